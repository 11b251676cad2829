//! Why there are no scales.

use crate::engine::EngineError;
use crate::eval::EvalError;
use crate::source::image_file::ImageFileError;
use crate::weights::bundle::BundleError;

/// With fewer pictures neither ranges nor the comparison say much.
pub const LEAST: usize = 8;

/// Why there are no scales.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// Too few pictures.
    #[error("{found} pictures, at least {LEAST} are needed; give good parts as the line sees them")]
    TooFew {
        /// How many there are.
        found: usize,
    },
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(#[from] ImageFileError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The evaluation of the labelled data set.
    #[error(transparent)]
    Eval(#[from] EvalError),
}
