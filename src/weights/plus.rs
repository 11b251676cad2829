//! VCP-CLIP+ (github.com/augustinus2000/VCP-CLIP-plus, MIT): what its checkpoints have otherwise than VCP-CLIP's.
//!
//! The class vector is `fusion_proj([x; s])` of the image feature x, where s = LayerNorm(projector(`prompt_tokens`)) is
//! the same for all images; both become one linear map. `alpha` holds the blend that training chose: the sigmoid is the
//! share of the Post-VCP map. Pre-VCP's query and convolution are in the file and not used. The temperatures, Post-VCP,
//! both towers, the text prompts, the Gaussian and the image score are those of VCP-CLIP.

use super::container::Container;
use super::error::ImportError;
use super::layout::Named;
use crate::vcp_clip::pre_vcp::{DIRECT_BIAS, DIRECT_WEIGHT};

/// The logarithm of the odds of the Post-VCP map in the blend.
pub(super) const ALPHA: &str = "alpha";
const TOKENS: &str = "prompt_token_embedding.prompt_tokens";
const PROJECTOR: &str = "prompt_token_embedding.projector.weight";
const PROJECTOR_BIAS: &str = "prompt_token_embedding.projector.bias";
const NORM: &str = "prompt_token_embedding.norm.weight";
const NORM_BIAS: &str = "prompt_token_embedding.norm.bias";
/// torch's default for `LayerNorm`.
const EPS: f64 = 1e-5;

/// Is this file of VCP-CLIP+?
pub(super) fn is(vcp: &Container) -> bool {
    [DIRECT_WEIGHT, DIRECT_BIAS, TOKENS, PROJECTOR].iter().any(|name| vcp.shape(name).is_some())
}

/// Is this a tensor of VCP-CLIP that VCP-CLIP+ stores and does not use?
pub(super) fn is_unused(name: &str) -> bool {
    name.starts_with("New_Lan_Embed.")
}

/// Is this a tensor that a bundle has in another form than the file?
pub(super) fn is_folded(name: &str) -> bool {
    name == DIRECT_WEIGHT || name == DIRECT_BIAS
}

/// Tensors of the file that [`Direct::load`] reads, for text embeddings of `width` channels.
pub(super) fn file(vcp: &Container, width: usize) -> Vec<Named> {
    let tokens = vcp.shape(TOKENS).and_then(|shape| shape.get(1)).copied().unwrap_or(1);
    let named = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
    vec![
        named(TOKENS, &[1, tokens, width]),
        named(PROJECTOR, &[1, tokens]),
        named(PROJECTOR_BIAS, &[1]),
        named(NORM, &[width]),
        named(NORM_BIAS, &[width]),
        named(DIRECT_WEIGHT, &[width, 2 * width]),
        named(DIRECT_BIAS, &[width]),
        named(ALPHA, &[]),
    ]
}

/// Share of the Pre-VCP map in the blend, if the file says it.
pub(super) fn raw_weight(vcp: &mut Container) -> Result<Option<f32>, ImportError> {
    if vcp.shape(ALPHA).is_none_or(|shape| shape.iter().any(|&size| size != 1)) {
        return Ok(None);
    }
    let alpha = vcp.load(ALPHA)?.first().copied().map(f64::from);
    Ok(alpha.map(|alpha| (1.0 / (1.0 + alpha.exp())) as f32))
}

/// The linear map that the class vector is.
pub(super) struct Direct {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Direct {
    /// Reads the tensors of [`file`], whose shapes were checked.
    pub(super) fn load(vcp: &mut Container, width: usize) -> Result<Self, ImportError> {
        let mut load = |name: &str| vcp.load(name);
        let (tokens, weights, bias) = (load(TOKENS)?, load(PROJECTOR)?, load(PROJECTOR_BIAS)?);
        let (gain, shift) = (load(NORM)?, load(NORM_BIAS)?);
        let (fusion, constant) = (load(DIRECT_WEIGHT)?, load(DIRECT_BIAS)?);
        let bias = f64::from(bias.first().copied().unwrap_or_default());
        let mut summary = vec![bias; width];
        for (token, weight) in tokens.chunks_exact(width).zip(&weights) {
            for (sum, value) in summary.iter_mut().zip(token) {
                *sum += f64::from(*value) * f64::from(*weight);
            }
        }
        let mean = summary.iter().sum::<f64>() / width as f64;
        let variance = summary.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + EPS).sqrt();
        for ((value, gain), shift) in summary.iter_mut().zip(&gain).zip(&shift) {
            *value = (*value - mean) * scale * f64::from(*gain) + f64::from(*shift);
        }
        let rows = fusion.chunks_exact(2 * width);
        let fixed = |row: &[f32]| row[width..].iter().zip(&summary).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
        Ok(Self {
            weight: rows.clone().flat_map(|row| &row[..width]).copied().collect(),
            bias: rows.zip(&constant).map(|(row, constant)| (f64::from(*constant) + fixed(row)) as f32).collect(),
        })
    }
}
