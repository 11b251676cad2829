//! Failures of TensorRT and of the card, in their own words.

use std::sync::{Mutex, OnceLock, PoisonError};

use trtx::{LogHandler, Logger, Severity};

use crate::cuda::CudaError;
use crate::engine::{EngineChoice, EngineError};

/// How errors name this engine.
pub const ENGINE: EngineChoice = EngineChoice::Tensorrt;

/// A failure of TensorRT, with what it logged.
pub fn runtime(step: &'static str) -> impl Fn(trtx::Error) -> EngineError {
    move |error| {
        let reason = said().unwrap_or_else(|| error.to_string());
        EngineError::Runtime { engine: ENGINE, step, reason }
    }
}

/// A failure of the card.
pub fn card(error: CudaError) -> EngineError {
    let reason = error.to_string();
    match error {
        CudaError::NoDriver { .. } | CudaError::NoDevice { .. } => EngineError::NoCard { engine: ENGINE, reason },
        CudaError::DriverTooOld { .. }
        | CudaError::Architecture { .. }
        | CudaError::NoCompiler
        | CudaError::CompilerVersion { .. } => EngineError::Unfit { engine: ENGINE, reason },
        _ => EngineError::Card { engine: ENGINE, reason },
    }
}

/// Passes TensorRT's messages on, and keeps its first error since [`forget`]: the functions themselves only say that
/// they failed.
struct Told;

static LAST_ERROR: Mutex<Option<String>> = Mutex::new(None);

impl LogHandler for Told {
    fn log(&self, severity: Severity, message: &str) {
        match severity {
            Severity::InternalError | Severity::Error => {
                tracing::debug!(target: "tensorrt", "{message}");
                let mut last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
                // The first of several is the cause, the others follow from it.
                last.get_or_insert_with(|| message.to_owned());
            }
            Severity::Warning => tracing::debug!(target: "tensorrt", "{message}"),
            Severity::Info | Severity::Verbose => tracing::trace!(target: "tensorrt", "{message}"),
        }
    }
}

/// The one logger: TensorRT keeps the first that it is given for the whole process.
pub fn logger() -> Result<&'static Logger, EngineError> {
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    if let Some(logger) = LOGGER.get() {
        return Ok(logger);
    }
    let logger = Logger::new(Told).map_err(runtime("creating TensorRT's logger"))?;
    Ok(LOGGER.get_or_init(|| logger))
}

/// What TensorRT said about the failure that just happened, and nothing older: see [`forget`].
fn said() -> Option<String> {
    LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Forgets errors of earlier steps.
pub fn forget() {
    said();
}
