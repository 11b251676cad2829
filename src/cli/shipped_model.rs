//! The model that ships with the program, wherever it was put.

use std::path::{Path, PathBuf};

use anyhow::Context;

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
        format!("the model that ships with vcp-line is not in {}; name one with --model BUNDLE", list.join(", "))
    })
}
