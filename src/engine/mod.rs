//! An engine looks at frames and answers with anomaly maps. Three exist: [`reference`] (plain Rust), [`openvino`] and
//! [`tensorrt`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::anomaly::Prediction;
use crate::frame::{Frame, Image};
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;

pub mod finish;
pub mod onnx;
#[cfg(feature = "openvino")]
pub mod openvino;
#[cfg(not(feature = "openvino"))]
#[path = "openvino_absent.rs"]
pub mod openvino;
pub mod plan;
pub mod reference;
#[cfg(feature = "openvino")]
mod resident;
#[cfg(any(feature = "openvino", feature = "tensorrt"))]
mod scratch;
pub mod self_test;
#[cfg(feature = "tensorrt")]
pub mod tensorrt;
#[cfg(not(feature = "tensorrt"))]
#[path = "tensorrt_absent.rs"]
pub mod tensorrt;

use plan::PlanError;

/// Runs the model. Opened inside the thread that uses it; not `Send`.
/// Implemented by the reference engine, the OpenVINO engine and by the bench's engine that replays one map.
pub trait Engine {
    /// One prediction per frame, in order. Takes at most [`EngineInfo::max_batch`] frames.
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError>;
    /// As [`Self::infer`]. An engine with memory of its own may ask `coming`, while the answer is computed, for pictures
    /// that will probably be next, at most a batch of them, and bring them there. Whatever is asked for next is answered
    /// all the same.
    fn infer_looking_ahead(
        &mut self,
        frames: &[&Frame],
        _coming: &dyn Fn() -> Vec<Image>,
    ) -> Result<Vec<Prediction>, EngineError> {
        self.infer(frames)
    }
    /// Who is looking.
    fn info(&self) -> &EngineInfo;
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// The fastest engine that works here; which one is logged and shown in every event.
    #[default]
    Auto,
    /// Plain Rust, float32.
    Reference,
    /// OpenVINO on the CPU.
    Openvino,
    /// TensorRT and our own kernels on an NVIDIA GPU; needs a plan, see `vcp-line model build`.
    Tensorrt,
}

/// Arithmetic of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    Fp32,
    /// bfloat16 matrix products.
    Bf16,
    /// float16.
    Fp16,
}

/// Everything needed to open an engine.
#[derive(Clone, Debug)]
pub struct EngineSpec {
    /// Directory of the model bundle.
    pub bundle: PathBuf,
    /// Which engine.
    pub engine: EngineChoice,
    /// Arithmetic.
    pub precision: Precision,
    /// Largest batch wanted, at least 1; an engine may take less, see [`EngineInfo::max_batch`].
    pub max_batch: usize,
    /// CPU threads for inference; `None` leaves it to the engine (all cores).
    pub threads: Option<usize>,
    /// The plan of the TensorRT engine.
    pub plan: PlanSpec,
}

/// Where the TensorRT plan is and what happens when it does not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanSpec {
    /// The file; `None` is [`plan::default_path`].
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
        }
    }
}

/// Identity of an open engine; goes into every event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Model name in the manifest.
    pub model: String,
    /// SHA-256 of the bundle's weights, hexadecimal.
    pub sha256: String,
    /// The engine really used, never `Auto`.
    pub engine: EngineChoice,
    /// Arithmetic really used.
    pub precision: Precision,
    /// Largest batch.
    pub max_batch: usize,
    /// Side S of the model's input and of the map, pixels.
    pub image_size: usize,
}

impl EngineInfo {
    /// The identity of an engine that runs `bundle`.
    pub fn new(bundle: &Bundle, engine: EngineChoice, precision: Precision, max_batch: usize) -> Self {
        let manifest = bundle.manifest();
        Self {
            model: manifest.name.clone(),
            sha256: bundle.sha256().to_owned(),
            engine,
            precision,
            max_batch: max_batch.max(1),
            image_size: manifest.architecture.image_size,
        }
    }

    /// An error unless `got` frames are a batch this engine takes.
    pub fn check_batch(&self, got: usize) -> Result<(), EngineError> {
        if got == 0 || got > self.max_batch {
            return Err(EngineError::Batch { got, max: self.max_batch });
        }
        Ok(())
    }
}

/// Opens the engine that was asked for. `Auto` takes the first that is installed of TensorRT, OpenVINO and the
/// reference engine, and logs which one and why not the others; an engine that was named is never replaced.
pub fn open(spec: &EngineSpec) -> Result<Box<dyn Engine>, EngineError> {
    open_telling(spec, &|_| {})
}

/// As [`open`]; `tell` hears of work that takes minutes: building a plan.
pub fn open_telling(spec: &EngineSpec, tell: &dyn Fn(&str)) -> Result<Box<dyn Engine>, EngineError> {
    match spec.engine {
        EngineChoice::Reference => Ok(Box::new(reference::ReferenceEngine::open(spec)?)),
        EngineChoice::Openvino => Ok(Box::new(openvino::OpenvinoEngine::open(spec)?)),
        EngineChoice::Tensorrt => Ok(Box::new(tensorrt::TensorrtEngine::open(spec, tell)?)),
        EngineChoice::Auto => {
            for engine in [EngineChoice::Tensorrt, EngineChoice::Openvino] {
                match open_telling(&EngineSpec { engine, ..spec.clone() }, tell) {
                    Ok(opened) => {
                        tracing::info!(%engine, "engine = \"auto\" took");
                        return Ok(opened);
                    }
                    Err(error @ (EngineError::NotBuilt { .. } | EngineError::NoCard { .. })) => {
                        tracing::debug!(%engine, %error, "engine = \"auto\" passed over");
                    }
                    Err(error) if error.is_passed_over() => {
                        tracing::warn!(%engine, %error, "engine = \"auto\" passed over");
                    }
                    // The engine is there, and something is wrong: another, slower one would hide it.
                    Err(error) => return Err(error),
                }
            }
            tracing::warn!("engine = \"auto\" took the reference engine: right, and many times slower than OpenVINO");
            open(&EngineSpec { engine: EngineChoice::Reference, ..spec.clone() })
        }
    }
}

/// Median time of the network behind the vision tower, measured alone; `None` for engines that do not tell it apart.
pub fn network_tail(spec: &EngineSpec, rounds: u32) -> Result<Option<Duration>, EngineError> {
    match spec.engine {
        EngineChoice::Openvino => openvino::network_tail(spec, rounds).map(Some),
        EngineChoice::Reference | EngineChoice::Tensorrt | EngineChoice::Auto => Ok(None),
    }
}

/// Pre-processing as the bundle wants it.
fn preprocessor(bundle: &Bundle) -> Preprocessor {
    let manifest = bundle.manifest();
    let constants = &manifest.constants;
    Preprocessor::new(manifest.architecture.image_size, constants.mean, constants.std)
}

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
        /// [`EngineInfo::max_batch`].
        max: usize,
    },
}

impl EngineError {
    /// Whether `auto` goes on to the next engine: this one is not set up here, as opposed to broken.
    fn is_passed_over(&self) -> bool {
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

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Reference => "reference",
            Self::Openvino => "openvino",
            Self::Tensorrt => "tensorrt",
        })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}
