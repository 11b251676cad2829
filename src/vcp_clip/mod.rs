//! VCP-CLIP, written once. Source: Qu et al., "VCP-CLIP: A visual context prompting model for zero-shot anomaly
//! segmentation", ECCV 2024, arXiv 2407.12276, in the form its published checkpoints were trained with.

use serde::{Deserialize, Serialize};

pub mod block;
pub(crate) mod cores;
pub mod eager;
pub mod maps;
pub(crate) mod matrix;
pub mod network;
pub mod ops;
pub mod post_vcp;
pub mod pre_vcp;
pub mod preprocess;
pub mod prompt;
pub(crate) mod resample;
mod resample_deep;
mod row_products;
pub(crate) mod simd;
pub mod text;
pub mod vision;

/// Width of one attention head in both CLIP towers (Radford et al. 2021); a tower whose width is no multiple of it has
/// as many heads as fit, and wider ones.
pub const HEAD_WIDTH: usize = 64;

/// Sizes of one model, read from its tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Side S of the square input, pixels; a multiple of `patch`.
    pub image_size: usize,
    /// Side of a patch, pixels.
    pub patch: usize,
    /// Cv, channels of the vision tower.
    pub vision_width: usize,
    /// Blocks of the vision tower.
    pub vision_layers: usize,
    /// Ct, channels of the text tower and of the joint embedding.
    pub text_width: usize,
    /// Blocks of the text tower.
    pub text_layers: usize,
    /// Length of a padded text, 77 in every released CLIP.
    pub context_length: usize,
    /// r, class vectors that Pre-VCP makes from the image.
    pub class_vectors: usize,
    /// n, learned tokens after the start token.
    pub prompt_tokens: usize,
    /// Blocks that overwrite the prompt tokens with their own: all but the first.
    pub deep_prompts: usize,
    /// Vision blocks whose patch tokens are used, counted from 1, ascending.
    pub taps: Vec<usize>,
    /// h, heads of the Post-VCP cross-attention.
    pub post_heads: usize,
    /// Is the only class vector a linear map of the image feature, as in VCP-CLIP+?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct_prompts: bool,
}

impl Architecture {
    /// The sizes of the published checkpoints: CLIP ViT-L/14-336 at 518 pixels.
    pub fn vit_l_14_336_at_518() -> Self {
        Self {
            image_size: 518,
            patch: 14,
            vision_width: 1024,
            vision_layers: 24,
            text_width: 768,
            text_layers: 12,
            context_length: 77,
            class_vectors: 2,
            prompt_tokens: 1,
            deep_prompts: 11,
            taps: vec![6, 12, 18, 24],
            post_heads: 8,
            direct_prompts: false,
        }
    }

    /// Every part of the published model, as small as parts go: two layers that look at 56 pixels, for weights that are drawn at random.
    pub fn smallest() -> Self {
        Self {
            image_size: 56,
            vision_width: 64,
            vision_layers: 2,
            text_width: 64,
            text_layers: 2,
            deep_prompts: 1,
            taps: vec![1, 2],
            ..Self::vit_l_14_336_at_518()
        }
    }

    /// G, patches along one side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch
    }

    /// N = G², patches of an image.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Heads of a vision block.
    pub fn vision_heads(&self) -> usize {
        self.vision_width / HEAD_WIDTH
    }

    /// Heads of a text block.
    pub fn text_heads(&self) -> usize {
        self.text_width / HEAD_WIDTH
    }
}

/// Numbers of the method that are no tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constants {
    /// Share of the Pre-VCP map in the blend; the Post-VCP map gets the rest.
    pub raw_weight: f32,
    /// Pixels whose mean is the image score of one map.
    pub top_k: usize,
    /// Standard deviation of the Gaussian over the blended map, pixels.
    pub sigma: f32,
    /// Per channel, red, green, blue, subtracted after scaling to 0 … 1.
    pub mean: [f32; 3],
    /// Per channel, divided by.
    pub std: [f32; 3],
}

/// Largest deviation of the Gaussian over the blended map that a model may ask for, pixels.
pub const LARGEST_SIGMA: f32 = 1000.0;

impl Default for Constants {
    /// The released evaluation's values, with OpenAI CLIP's normalisation.
    fn default() -> Self {
        Self {
            raw_weight: 0.2,
            top_k: 2000,
            sigma: 8.0,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }
}
