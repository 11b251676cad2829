//! A model of random weights, for those who want to see a line at work without a trained one.

use std::path::{Path, PathBuf};

use crate::vcp_clip::Architecture;
use crate::weights;

/// Writes a model with random weights into the folder: sizes small enough to run on anything, with every part of a real
/// model present.
pub fn random(folder: &Path, seed: u64) -> anyhow::Result<PathBuf> {
    let bundle = folder.join("random-model");
    let architecture = Architecture {
        image_size: 154,
        patch: 14,
        vision_width: 128,
        vision_layers: 4,
        text_width: 64,
        text_layers: 2,
        context_length: 77,
        class_vectors: 2,
        prompt_tokens: 1,
        deep_prompts: 1,
        taps: vec![1, 2, 3, 4],
        post_heads: 8,
        direct_prompts: false,
    };
    weights::random(&bundle, &architecture, seed)?;
    Ok(bundle)
}
