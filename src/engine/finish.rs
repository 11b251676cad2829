//! What every engine does after the network: Post-VCP, map fusion and the image score, as our own code.

use crate::anomaly::AnomalyMap;
use crate::vcp_clip::Architecture;
use crate::vcp_clip::eager::Eager;
use crate::vcp_clip::maps::{Fused, MapFusion};
use crate::vcp_clip::network::TextConstants;
use crate::vcp_clip::post_vcp::{PostVcp, TokenValue};
use crate::weights::bundle::{Bundle, BundleError};

/// The part of the model behind the graph.
pub struct Finish {
    /// Cross-attention over the patch tokens.
    pub post_vcp: PostVcp,
    /// Upsampling, fusion, smoothing.
    pub fusion: MapFusion,
}

impl Finish {
    /// Reads its weights from the bundle.
    pub fn new(bundle: &Bundle) -> Result<Self, BundleError> {
        let manifest = bundle.manifest();
        let arch = &manifest.architecture;
        let values = |name: &str| Ok::<_, BundleError>(bundle.f32(name)?.1);
        let post_vcp = PostVcp {
            heads: arch.post_heads,
            vision_width: arch.vision_width,
            text_width: arch.text_width,
            query: values("Zero_try.q_proj_pre.weight")?,
            query_bias: values("Zero_try.q_proj_pre.bias")?,
            key: values("Zero_try.k_proj_pre_1.weight")?,
            value: values("Zero_try.v_proj_pre_1.weight")?,
            value_bias: values("Zero_try.v_proj_pre_1.bias")?,
            out: values("Zero_try.proj_post_t.weight")?,
            out_bias: values("Zero_try.proj_post_t.bias")?,
            temperature: scalar(bundle, "Zero_try.prompt_temp_l1")?.exp(),
        };
        Ok(Self { post_vcp, fusion: MapFusion::new(arch, &manifest.constants) })
    }

    /// One image's network outputs → maps and score. `tokens` are N×Cv per tapped layer, `text` 2×Ct, `raw` N×2 per
    /// tapped layer.
    pub fn run<T: TokenValue>(&self, tokens: &[&[T]], text: &[f32], raw: &[&[f32]]) -> Fused {
        let new = self.post_vcp.difference_maps(tokens, text);
        let raw: Vec<Vec<f32>> =
            raw.iter().map(|logits| logits.chunks_exact(2).map(|pair| pair[1] - pair[0]).collect()).collect();
        self.fusion.fuse(&raw, &new)
    }
}

impl Fused {
    /// The map under its public type, with both paths where they are wanted.
    pub fn into_map(self, arch: &Architecture, paths: bool) -> AnomalyMap {
        let map = AnomalyMap::new(arch.image_size, self.map);
        if paths { map.with_paths([self.raw, self.new]) } else { map }
    }
}

/// The whole network with the bundle's weights, in float32 on the flex device (plain Rust).
pub fn eager(bundle: &Bundle) -> Result<Eager, BundleError> {
    load(bundle, super::onnx::is_in_graph)
}

/// The weights that the text tower's constant start needs, and no others.
pub fn text_constants(bundle: &Bundle) -> Result<TextConstants, BundleError> {
    let elsewhere = ["visual.", "trainable_linearlayer.", "New_Lan_Embed."];
    let is_text = |name: &str| super::onnx::is_in_graph(name) && !elsewhere.iter().any(|p| name.starts_with(p));
    let mut eager = load(bundle, is_text)?;
    constants(bundle, &mut eager)
}

fn load(bundle: &Bundle, wanted: impl Fn(&str) -> bool) -> Result<Eager, BundleError> {
    let tensors = bundle
        .names()
        .filter(|name| wanted(name))
        .map(|name| {
            let (shape, values) = bundle.f32(name)?;
            Ok((name.to_owned(), shape, values))
        })
        .collect::<Result<Vec<_>, BundleError>>()?;
    Ok(Eager::new(burn::tensor::Device::flex(), tensors))
}

/// The text constants computed by an engine that already holds the weights.
pub fn constants(bundle: &Bundle, eager: &mut Eager) -> Result<TextConstants, BundleError> {
    let manifest = bundle.manifest();
    let prompts = &manifest.prompts;
    let temperature = scalar(bundle, "New_Lan_Embed.prompt_temp")?;
    TextConstants::compute(
        eager,
        &manifest.architecture,
        [&prompts.normal.tokens, &prompts.abnormal.tokens],
        &manifest.token_ids,
        temperature,
    )
    .ok_or_else(|| bundle.damaged("a prompt token has no embedding row"))
}

fn scalar(bundle: &Bundle, name: &str) -> Result<f32, BundleError> {
    let (_, values) = bundle.f32(name)?;
    values.first().copied().ok_or_else(|| bundle.damaged(format!("tensor '{name}' is empty")))
}
