//! Why a bundle cannot be read or written.

use std::path::PathBuf;

use super::manifest::FORMAT;

/// A bundle that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// No bundle there.
    #[error("no model bundle at {}: {reason}; make one with `vcp-line model import`", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
        /// What is not there.
        reason: String,
    },
    /// Changed since it was written.
    #[error("model bundle damaged: {}: {reason}; import it again with `vcp-line model import`", path.display())]
    Damaged {
        /// The bundle.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Written by another version of this program.
    #[error("model bundle {} has format {found}, this program reads format {FORMAT}; import it again", path.display())]
    Format {
        /// The bundle.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// Something is already where the bundle should go.
    #[error("{} exists already; choose another folder for the bundle, or replace a bundle with --force", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// What should be replaced is no bundle.
    #[error("{} is no model bundle, so it is not replaced; choose another folder for the bundle", path.display())]
    NoBundle {
        /// What is there.
        path: PathBuf,
    },
    /// No space left.
    #[error(
        "disk full while writing model bundle {} (up to {needed} bytes needed); free some space; nothing was left behind",
        path.display()
    )]
    DiskFull {
        /// The bundle.
        path: PathBuf,
        /// Bytes of the weights if none of them fits into 16-bit floats.
        needed: u64,
    },
    /// Another error of the operating system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The bundle has no tensor of that name.
    #[error("model bundle has no tensor '{name}'")]
    NoTensor {
        /// The name asked for.
        name: String,
    },
    /// The writer was given other numbers than it announced.
    #[error("tensor '{name}' has {found} values, expected {expected}")]
    Length {
        /// The tensor.
        name: String,
        /// Values its shape asks for.
        expected: usize,
        /// Values given.
        found: usize,
    },
}
