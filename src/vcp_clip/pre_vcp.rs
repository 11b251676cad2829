//! Pre-VCP: class vectors made from the image feature, and the anomaly logits of the projected patch tokens.

use super::Architecture;
use super::ops::Ops;

/// Taps of the convolution that spreads the image feature over the class vectors.
const KERNEL: usize = 3;

/// The linear map of VCP-CLIP+, `[Ct, Ct]`: what its own file has for the image feature.
pub const DIRECT_WEIGHT: &str = "prompt_token_embedding.fusion_proj.weight";
/// Its constant term, `[Ct]`, with all that does not depend on the image.
pub const DIRECT_BIAS: &str = "prompt_token_embedding.fusion_proj.bias";

/// z = `prompt_query` + conv(x): image feature `[B, 1, Ct]` → class vectors `[B, r, Ct]`.
///
/// In VCP-CLIP+ (Im and Park, "VCP-CLIP+: stabilizing and optimizing VCP-CLIP with minimal architectural changes",
/// Electronics 2026, 15, 2058) z = W x + b with r = 1: its learned tokens are the same for all images.
pub fn class_vectors<O: Ops>(ops: &mut O, arch: &Architecture, feature: &O::Tensor) -> O::Tensor {
    if arch.direct_prompts {
        return ops.linear(feature, DIRECT_WEIGHT, Some(DIRECT_BIAS));
    }
    let spread = ops.conv_columns(
        feature,
        "New_Lan_Embed.prompt_linear1.fc.weight",
        "New_Lan_Embed.prompt_linear1.fc.bias",
        KERNEL,
    );
    let query = ops.weight("New_Lan_Embed.prompt_query");
    ops.add(&spread, &query)
}

/// Per tapped layer, `exp(prompt_temp) · P̂_ℓ tᵀ`: tokens `[B, N, Cv]` and text embeddings `[B, 2, Ct]` → `[B, N, 2]`.
///
/// `temperature` is `exp(prompt_temp)`.
pub fn logits<O: Ops>(
    ops: &mut O,
    arch: &Architecture,
    tokens: &[O::Tensor],
    text: &O::Tensor,
    temperature: f32,
) -> Vec<O::Tensor> {
    // Scaling the two text rows instead of the N×2 logits is the same number, cheaper.
    let text = ops.scale(text, temperature);
    debug_assert_eq!(tokens.len(), arch.taps.len());
    tokens
        .iter()
        .enumerate()
        .map(|(i, tokens)| {
            let projected = ops.linear(
                tokens,
                &format!("trainable_linearlayer.fc.{i}.weight"),
                Some(&format!("trainable_linearlayer.fc.{i}.bias")),
            );
            let projected = ops.l2_normalize(&projected);
            ops.matmul_transposed(&projected, &text)
        })
        .collect()
}
