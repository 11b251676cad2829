//! The vision tower: an image becomes patch tokens of the tapped layers and one image feature.

use super::ops::Ops;
use super::{Architecture, block};

/// What the vision tower says about a batch.
pub struct Vision<T> {
    /// F_ℓ per tapped layer, ascending: the residual stream without the class token, `[B, N, Cv]`, not normalised.
    pub tokens: Vec<T>,
    /// The projected class token `[B, 1, Ct]`, not normalised.
    pub feature: T,
}

/// Runs the tower on the images that `ops` holds.
pub fn encode<O: Ops>(ops: &mut O, arch: &Architecture) -> Vision<O::Tensor> {
    let patches = ops.patches(arch.patch);
    let patches = ops.linear(&patches, "visual.conv1.weight", None);
    let class = ops.weight("visual.class_embedding");
    let class = ops.repeat_like(&class, &patches);
    let x = ops.concat_rows(&[class, patches]);
    let position = ops.weight("visual.positional_embedding");
    let x = ops.add(&x, &position);
    let mut x = ops.layer_norm(&x, "visual.ln_pre", block::LAYER_NORM_EPS);

    let mut tokens = Vec::with_capacity(arch.taps.len());
    for layer in 0..arch.vision_layers {
        let prefix = format!("visual.transformer.resblocks.{layer}");
        x = block::run(ops, &x, &prefix, arch.vision_width, arch.vision_heads(), None);
        if arch.taps.contains(&(layer + 1)) {
            tokens.push(ops.rows(&x, 1, 1 + arch.patches()));
        }
    }
    let class = ops.rows(&x, 0, 1);
    let class = ops.layer_norm(&class, "visual.ln_post", block::LAYER_NORM_EPS);
    Vision { tokens, feature: ops.project(&class, "visual.proj") }
}
