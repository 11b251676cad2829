//! Why a training cannot start or go on, or cannot be kept.

use std::path::{Path, PathBuf};

use safetensors::tensor::SafeTensorError;

use super::captions::PairsError;
use crate::dataset::DatasetError;
use crate::eval::metrics::MetricsError;
use crate::vcp_clip::prompt::PromptError;
use crate::weights::{BundleError, ImportError};

/// A training that cannot start or go on; nothing that was there before is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// This binary was built without the device's feature.
    #[error("device '{device}' is not in this build: rebuild with `cargo build --release --features {feature}`")]
    NotBuilt {
        /// The device asked for.
        device: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// This machine has none.
    #[error("no device '{device}' is found here: {advice}, or take --device cpu")]
    NoDevice {
        /// The device asked for.
        device: &'static str,
        /// What it takes.
        advice: &'static str,
    },
    /// Settings that contradict each other or the model.
    #[error("{0}")]
    Settings(String),
    /// Pictures to learn from.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Pictures with captions.
    #[error(transparent)]
    Pairs(#[from] PairsError),
    /// A text that cannot be tokenised.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// Weights to start from.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The model made of them.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Where the run is kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The loss or a learned value is no number any more.
    #[error(
        "after {step} steps the values have run away: they are no numbers any more; start again with a lower {rates}, or \
         with a longer --warm-up. What is in a --checkpoint is from before"
    )]
    NotFinite {
        /// Steps since the beginning.
        step: u64,
        /// The arguments that say how fast values move.
        rates: &'static str,
    },
    /// Maps of the validation cannot be measured.
    #[error("validation: {0}")]
    Metrics(#[from] MetricsError),
    /// Kept features cannot be read again.
    #[error("cannot read kept features: {source}; give them more memory with --cache-memory, or start again")]
    Features {
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Somebody wanted it to end, and it has been kept.
    #[error("stopped on request; the run is kept in {}: go on with the same command and --resume", folder.display())]
    Stopped {
        /// Where.
        folder: PathBuf,
    },
    /// What the operating system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
}

/// A checkpoint that cannot be written, read or gone on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// What the operating system refuses.
    #[error("cannot {action} checkpoint {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Another process writes there.
    #[error("checkpoint folder {} is in use by another training run: wait for it, or name another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Not what was written.
    #[error("checkpoint {} is damaged: {reason}; remove it and start again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Of another run.
    #[error(
        "checkpoint {} is of another run: {differences}; go on with the same data and settings, or name another folder",
        path.display()
    )]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// Which settings differ, with both values.
        differences: String,
    },
    /// The tensors of this run cannot be stored.
    #[error("checkpoint {}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the format says.
        source: SafeTensorError,
    },
}

/// The operating system's refusal with what was tried.
pub(super) fn io_error(action: &'static str, path: &Path, source: std::io::Error) -> LearnError {
    LearnError::Io { action, path: path.to_owned(), source }
}
