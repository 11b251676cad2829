//! The weight files users have, turned into a bundle: CLIP as OpenAI or Hugging Face publish it, VCP-CLIP as its
//! authors do.
//!
//! ```text
//! file ─ container (zip + pickle | safetensors) ─ naming (OpenAI | Hugging Face) ─ detect (sizes) ─ layout (what must
//! be there) ─ import (tensor by tensor) ─ bundle
//! ```

pub mod bundle;
mod bundle_write;
mod clip_sizes;
mod container;
mod detect;
mod dtype;
mod error;
mod import;
pub mod layout;
mod mapped;
mod naming;
mod pickle;
pub mod position;
pub mod random;
mod safetensors_file;
pub mod target;
mod torch_file;

pub use bundle::{Bundle, BundleError, Dtype, Manifest, TensorRef};
pub use bundle_write::check_target;
pub use clip_sizes::{ClipSizes, clip_sizes};
pub use detect::check_sizes;
pub use error::ImportError;
pub use import::{ImportRequest, import, import_with};
pub use random::random;
