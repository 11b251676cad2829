//! First values of a CLIP that is trained from scratch, as OpenAI's code draws them.

use crate::vcp_clip::Architecture;

/// Name in a CLIP file of the logarithm of the contrastive temperature.
pub const LOGIT_SCALE: &str = "logit_scale";

/// How a tensor begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this.
    Uniform(f64),
    /// All the same.
    Constant(f32),
}

/// By name: Radford et al. 2021 for the text tower; the vision tower's matrices are drawn the same way, at its width.
pub fn first(name: &str, arch: &Architecture) -> First {
    let vision = arch.vision_width as f64;
    let text = arch.text_width as f64;
    if name.ends_with(".bias") || name.ends_with("_bias") {
        return First::Constant(0.0);
    }
    if let Some((tower, rest)) = name.split_once("resblocks.") {
        let (width, layers) = match tower.starts_with("visual.") {
            true => (vision, arch.vision_layers as f64),
            false => (text, arch.text_layers as f64),
        };
        // Residual branches are narrowed by the depth of the tower.
        let branch = width.powf(-0.5) * (2.0 * layers).powf(-0.5);
        return match rest.split_once('.').map_or(rest, |(_, rest)| rest) {
            "attn.in_proj_weight" => First::Normal(width.powf(-0.5)),
            "attn.out_proj.weight" | "mlp.c_proj.weight" => First::Normal(branch),
            "mlp.c_fc.weight" => First::Normal((2.0 * width).powf(-0.5)),
            _ => First::Constant(1.0),
        };
    }
    match name {
        "visual.class_embedding" | "visual.positional_embedding" | "visual.proj" => First::Normal(vision.powf(-0.5)),
        // torch's default of a convolution: uniform within one over the root of its inputs.
        "visual.conv1.weight" => First::Uniform(((3 * arch.patch * arch.patch) as f64).powf(-0.5)),
        "token_embedding.weight" | "token_embedding.rows" => First::Normal(0.02),
        "positional_embedding" => First::Normal(0.01),
        "text_projection" => First::Normal(text.powf(-0.5)),
        LOGIT_SCALE => First::Constant((1.0f32 / 0.07).ln()),
        _ => First::Constant(1.0),
    }
}
