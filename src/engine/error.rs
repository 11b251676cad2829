//! Why an engine cannot be opened, or fails on a batch.

use std::path::PathBuf;

use super::choice::{EngineChoice, Precision};
use super::plan::PlanError;

/// An engine could not be opened, or failed on a batch.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This binary was built without the engine's feature.
    #[error("engine '{engine}' is not in this build: rebuild with `cargo build --features {feature}`")]
    NotBuilt {
        /// The engine asked for.
        engine: EngineChoice,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// There is no graphics card, or nothing that drives it.
    #[error("engine '{engine}': {reason}")]
    NoCard {
        /// The engine asked for.
        engine: EngineChoice,
        /// What is missing, and what to install.
        reason: String,
    },
    /// There is a graphics card, and it, its driver or the compiler of kernels is too old for this engine, or missing.
    #[error("engine '{engine}': {reason}")]
    Unfit {
        /// The engine asked for.
        engine: EngineChoice,
        /// What is too old, and what to install.
        reason: String,
    },
    /// The graphics card failed or is too small.
    #[error("engine '{engine}': {reason}")]
    Card {
        /// The engine.
        engine: EngineChoice,
        /// What the driver said, and what to do.
        reason: String,
    },
    /// The TensorRT plan is absent, damaged, or made for something else.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The engine answers otherwise than the reference engine.
    #[error(
        "engine '{engine}' failed its self-test: the map is off by {map} and the score by {score}, up to {tolerance} and \
         twice that were allowed; build the plan again, update the driver, or take another engine"
    )]
    SelfTest {
        /// The engine.
        engine: EngineChoice,
        /// Largest deviation of a map value.
        map: f32,
        /// Deviation of the image score.
        score: f32,
        /// Allowed for a map value.
        tolerance: f32,
    },
    /// The runtime library is not there or does not load.
    #[error("engine '{engine}': {library} could not be loaded ({reason}); {next_step}")]
    Library {
        /// The engine asked for.
        engine: EngineChoice,
        /// File name of the library.
        library: &'static str,
        /// What the loader said.
        reason: String,
        /// What to do.
        next_step: &'static str,
    },
    /// The engine cannot compute in this arithmetic.
    #[error("engine '{engine}' has no precision '{precision}'; it has {available}")]
    Precision {
        /// The engine asked for.
        engine: EngineChoice,
        /// The precision asked for.
        precision: Precision,
        /// What there is instead.
        available: &'static str,
    },
    /// The model bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] crate::weights::bundle::BundleError),
    /// The scales for 8 bits cannot be used.
    #[error(transparent)]
    Scales(#[from] super::scales::ScalesError),
    /// A file the engine writes for its runtime could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The runtime refused the model or a batch.
    #[error("engine '{engine}': {step}: {reason}")]
    Runtime {
        /// The engine.
        engine: EngineChoice,
        /// What was being done.
        step: &'static str,
        /// What the runtime said.
        reason: String,
    },
    /// The loaded library is of another version than this program speaks to.
    #[error("engine '{engine}': {library} is version {found}, this program needs {needed}; {next_step}")]
    LibraryVersion {
        /// The engine.
        engine: EngineChoice,
        /// File name of the library.
        library: &'static str,
        /// Its version.
        found: String,
        /// Version that works.
        needed: String,
        /// What to do.
        next_step: &'static str,
    },
    /// More frames than the engine was opened for.
    #[error("a batch of {got} frames, the engine takes 1 to {max}")]
    Batch {
        /// Frames handed in.
        got: usize,
        /// [`super::EngineInfo::max_batch`].
        max: usize,
    },
}

impl EngineError {
    /// Whether `auto` goes on to the next engine: this one is not set up here, as opposed to broken.
    pub(super) fn is_passed_over(&self) -> bool {
        matches!(
            self,
            Self::NotBuilt { .. }
                | Self::NoCard { .. }
                | Self::Unfit { .. }
                | Self::Library { .. }
                | Self::LibraryVersion { .. }
                | Self::Plan(PlanError::Absent { .. } | PlanError::Architecture { .. })
        )
    }
}
