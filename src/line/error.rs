//! Why a line does not start, or ends by itself.

use super::recipe::RecipeError;
use crate::engine::EngineError;
use crate::source::SourceError;

/// The line did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The engine does not open, or fails on its first picture.
    #[error(transparent)]
    Engine(EngineError),
    /// A camera cannot be used at all; trying again would not help.
    #[error(transparent)]
    Camera(SourceError),
    /// The recipe does not fit the camera's frames.
    #[error("camera '{camera}': {source}")]
    Recipe {
        /// Configured name.
        camera: String,
        /// Why.
        source: RecipeError,
    },
    /// The engine's input has no sensible size.
    #[error("the model's input has a side of {side} pixels; import the model again")]
    WarmUp {
        /// Side of the input.
        side: usize,
    },
    /// No thread to be had.
    #[error("thread '{thread}' could not be started ({source}); raise the limit of tasks (TasksMax, ulimit -u)")]
    Thread {
        /// Its name.
        thread: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread panicked, or has ended while the line needs it; the log has the place.
    #[error("thread '{thread}' broke off; please report the lines logged above this one")]
    Panicked {
        /// Its name.
        thread: String,
    },
    /// Stopped on request before it was ready.
    #[error("stopped on request before the line was ready")]
    Cancelled,
}
