//! Why a plan cannot be used, each with the command that makes one that can.

use std::path::PathBuf;

use super::flavour::Flavour;

/// A plan that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// None there.
    #[error("no TensorRT plan at {}; build it: {build}", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
        /// The command that builds it.
        build: String,
    },
    /// Not what was written.
    #[error("TensorRT plan {} is damaged: {reason}; build it again: {build}", path.display())]
    Damaged {
        /// The plan or its identity file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
        /// The command that builds it.
        build: String,
    },
    /// Built for something else.
    #[error("TensorRT plan {} does not fit: {reason}; build it again: {build}", path.display())]
    Misfit {
        /// The plan.
        path: PathBuf,
        /// What differs, expected and found.
        reason: String,
        /// The command that builds it.
        build: String,
    },
    /// TensorRT makes no plans for this architecture.
    #[error("{flavour} makes no plans for SM {}: {hint}", dotted(sm))]
    Architecture {
        /// Which TensorRT.
        flavour: Flavour,
        /// Compute capability × 10.
        sm: u32,
        /// What does.
        hint: String,
    },
    /// The files could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// `8.9` for 89.
pub(super) fn dotted(sm: &u32) -> String {
    format!("{}.{}", sm / 10, sm % 10)
}
