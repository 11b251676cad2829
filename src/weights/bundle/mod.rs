//! A model bundle: a folder with `manifest.json` and `weights.safetensors`.

mod error;
mod manifest;
mod open;
mod weights;
mod write;

pub use error::BundleError;
pub use manifest::{FORMAT, FileIdentity, MANIFEST_FILE, Manifest, Prompt, Prompts, SourceFile, WEIGHTS_FILE};
pub(super) use open::check_temperature;
pub use open::{Bundle, TensorRef};
pub use weights::Dtype;
pub(super) use write::hash;
pub use write::{Draft, Values, check_target, write};
