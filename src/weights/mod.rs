//! The weight files users have, turned into a bundle: CLIP as OpenAI or Hugging Face publish it, VCP-CLIP as its
//! authors do.
//!
//! ```text
//! file ─ container (zip or old format + pickle | safetensors) ─ choose (which tensors) ─ naming (OpenAI | Hugging Face)
//! ─ detect (sizes) ─ layout (what must be there) ─ import (tensor by tensor) ─ bundle
//! ```

pub mod bundle;
mod choose;
mod clip_sizes;
mod container;
mod detect;
mod dtype;
mod error;
mod folder;
mod header;
mod import;
mod index;
pub mod layout;
mod legacy_file;
mod naming;
mod pickle;
mod plus;
pub mod position;
pub mod random;
mod safetensors_file;
mod sizes;
mod torch_file;
mod walk;

use std::path::Path;

use choose::Role;

pub use bundle::{Bundle, BundleError, Dtype, Manifest, TensorRef, check_target};
pub use clip_sizes::{ClipSizes, clip_sizes};
pub use error::ImportError;
pub use import::{ImportRequest, import, import_with};
pub use random::random;
pub use sizes::check_sizes;

/// The names of the tensors in a weight file of any kind that `model import` reads.
pub fn tensor_names(file: &Path) -> Result<Vec<String>, ImportError> {
    let container = container::Container::open(&[file.to_owned()], Role::Clip)?;
    Ok(container.names().into_iter().map(str::to_owned).collect())
}

/// Reads the numbers of every tensor in weight files of any kind, and says how many there are; for feeding it with
/// hostile bytes.
pub fn read_all(files: &[std::path::PathBuf], vcp: bool) -> Result<usize, ImportError> {
    let mut container = container::Container::open(files, if vcp { Role::Vcp } else { Role::Clip })?;
    let names: Vec<String> = container.names().into_iter().map(str::to_owned).collect();
    names.iter().try_fold(0, |count, name| Ok(count + container.load(name)?.len()))
}

/// Why these bytes are no pickle that the import understands, if they are none; for feeding it with hostile bytes.
pub fn check_pickle(bytes: &[u8]) -> Result<(), String> {
    pickle::read(bytes).map(drop).map_err(|error| format!("{error:?}"))
}
