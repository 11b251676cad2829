//! Why a report cannot be written.

use std::path::{Path, PathBuf};

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Something else is there.
    #[error("{} exists and is no report of an evaluation: remove it or name another folder", path.display())]
    Occupied {
        /// The folder asked for.
        path: PathBuf,
    },
    /// A file or folder could not be written.
    #[error("report: {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A picture could not be written.
    #[error("report: {}: {source}", path.display())]
    Picture {
        /// Which.
        path: PathBuf,
        /// What the encoder said.
        source: image::ImageError,
    },
    /// A plot could not be drawn.
    #[error("report: plot '{plot}': {reason}")]
    Plot {
        /// Its title.
        plot: &'static str,
        /// What the library said.
        reason: String,
    },
}

/// The operating system's refusal, with the file or folder.
pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ReportError + '_ {
    |source| ReportError::Io { path: path.to_owned(), source }
}
