//! A model bundle: a folder with `manifest.json` and `weights.safetensors`.

/// A bundle that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {}
