//! Why weight files cannot become a bundle.

use std::path::{Path, PathBuf};

use super::bundle::BundleError;
use super::pickle::PickleError;
use crate::vcp_clip::prompt::PromptError;

/// Weight files that cannot be imported. Tensor names are the names of the user's file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be opened or read.
    #[error("cannot read weight file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// No known container.
    #[error(
        "{} is not a weight file: {reason}; expected a TorchScript archive, a torch.save file or safetensors",
        path.display()
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What its first bytes look like.
        reason: String,
    },
    /// Truncated, contradictory or over a limit.
    #[error("weight file {} is truncated or damaged: {reason}; fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The pickle asks for something that acts on the machine.
    #[error(
        "weight file {} refused: its pickle asks for '{global}', which is no tensor data; nothing was executed",
        path.display()
    )]
    RefusedGlobal {
        /// The file.
        path: PathBuf,
        /// `module.name` as the pickle has it.
        global: String,
    },
    /// A tensor that the model needs.
    #[error("tensor '{tensor}' is missing from {}: expected shape {expected}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Its name in that file.
        tensor: String,
        /// The shape it should have; a letter stands for a size that only this tensor tells.
        expected: String,
    },
    /// A tensor that the model does not know.
    #[error("tensor '{tensor}' of {} with shape {found:?} is not part of the model: is this the right file?", path.display())]
    Surplus {
        /// The file.
        path: PathBuf,
        /// Its name in that file.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor of another shape.
    #[error("tensor '{tensor}' of {} has shape {found:?}, expected {expected}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its name in that file.
        tensor: String,
        /// What the other tensors ask for; a letter stands for a size that only this tensor tells.
        expected: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor of integers where numbers are needed.
    #[error("tensor '{tensor}' of {} holds {dtype} values, expected F16, BF16, F32 or F64", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// Its name in that file.
        tensor: String,
        /// What it holds.
        dtype: &'static str,
    },
    /// NaN or infinity.
    #[error("tensor '{tensor}' of {} holds a value that is not finite in 32-bit floats", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Its name in that file.
        tensor: String,
    },
    /// A temperature whose exponential is no number.
    #[error("{}: {reason}; train it again, or take another checkpoint", path.display())]
    Temperature {
        /// The file.
        path: PathBuf,
        /// Which tensor, and its value.
        reason: String,
    },
    /// Sizes that this model cannot have, or that do not fit the request.
    #[error("{0}")]
    Sizes(String),
    /// A prompt template that cannot be tokenised.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl ImportError {
    pub(super) fn of_pickle(path: &Path, error: PickleError) -> Self {
        match error {
            PickleError::Damaged(reason) => Self::Damaged { path: path.to_owned(), reason },
            PickleError::Refused(global) => Self::RefusedGlobal { path: path.to_owned(), global },
        }
    }
}
