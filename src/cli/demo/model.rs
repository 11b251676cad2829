//! Which model `demo` takes: the one that ships with the program, wherever it was put.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::vcp_clip::Architecture;
use crate::weights;

/// Where the model lies below a folder of shared files.
const SHARED: &str = "vcp-line/engines/vcp-demo";

/// Beside the program as installed, in the system's place, in the source folder that the program was built from.
fn places() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join("../share").join(SHARED));
    let system = Path::new("/usr/share").join(SHARED);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/vcp-demo");
    beside.into_iter().chain([system, source]).collect()
}

/// The first place that holds a folder; an error that names them all otherwise.
pub fn find() -> anyhow::Result<PathBuf> {
    let places = places();
    places.iter().find(|place| place.is_dir()).cloned().with_context(|| {
        let list: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        format!(
            "no model for the demo: looked for {}; name one with --model BUNDLE, or see the line at work without a trained \
             model with --random-model",
            list.join(", ")
        )
    })
}

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
