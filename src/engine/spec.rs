//! What an engine is opened with.

use std::path::{Path, PathBuf};

use super::choice::{EngineChoice, Precision};
use super::remote::RemoteSpec;

/// Everything needed to open an engine.
#[derive(Clone, Debug)]
pub struct EngineSpec {
    /// Directory of the model bundle.
    pub bundle: PathBuf,
    /// Which engine.
    pub engine: EngineChoice,
    /// Arithmetic.
    pub precision: Precision,
    /// Largest batch wanted, at least 1; an engine may take less, see [`super::EngineInfo::max_batch`].
    pub max_batch: usize,
    /// CPU threads for inference; `None` leaves it to the engine (all cores).
    pub threads: Option<usize>,
    /// The plan of the TensorRT engine.
    pub plan: PlanSpec,
    /// The servers of the remote engine.
    pub remote: Option<RemoteSpec>,
    /// Scales for 8 bits; `None` is [`super::scales::default_path`].
    pub scales: Option<PathBuf>,
}

/// Where the TensorRT plan is and what happens when it does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanSpec {
    /// The file; `None` is [`super::plan::default_path`].
    pub file: Option<PathBuf>,
    /// Build it when the engine is opened and it is absent, damaged or does not fit.
    pub rebuild: bool,
}

impl EngineSpec {
    /// The engine that works best here, exact arithmetic, one frame at a time.
    pub fn new(bundle: impl AsRef<Path>) -> Self {
        Self {
            bundle: bundle.as_ref().to_owned(),
            engine: EngineChoice::Auto,
            precision: Precision::Fp32,
            max_batch: 1,
            threads: None,
            plan: PlanSpec::default(),
            remote: None,
            scales: None,
        }
    }
}
