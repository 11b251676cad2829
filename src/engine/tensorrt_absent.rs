//! In place of the TensorRT engine in a build without it: says how to get it.

use std::path::PathBuf;

use crate::anomaly::Prediction;
use crate::frame::Frame;

use super::plan::{Flavour, PlanIdentity};
use super::{Engine, EngineChoice, EngineError, EngineInfo, EngineSpec, Precision};

const ABSENT: EngineError = EngineError::NotBuilt { engine: EngineChoice::Tensorrt, feature: "tensorrt" };

/// Which TensorRT a build with it would take.
pub const FLAVOUR: Flavour = Flavour::TensorrtRtx;

/// Never exists.
pub enum TensorrtEngine {}

impl TensorrtEngine {
    /// Always [`EngineError::NotBuilt`].
    pub fn open(_: &EngineSpec, _: &dyn Fn(&str)) -> Result<Self, EngineError> {
        Err(ABSENT)
    }
}

/// What to build, in a build that cannot.
pub struct BuildRequest {
    /// Folder of the model bundle.
    pub bundle: PathBuf,
    /// Architectures, compute capability × 10.
    pub sms: Vec<u32>,
    /// Arithmetic.
    pub precision: Precision,
    /// Batches of 1 to this many.
    pub max_batch: usize,
    /// The plan's file.
    pub output: Option<PathBuf>,
    /// Scales for 8 bits.
    pub scales: Option<PathBuf>,
}

/// Told the phase, steps done and steps in all.
pub type Progress = Box<dyn FnMut(&str, u64, u64) + Send>;

/// Always [`EngineError::NotBuilt`].
pub fn build(_: &BuildRequest, _: Progress) -> Result<(PathBuf, PlanIdentity), EngineError> {
    Err(ABSENT)
}

impl Engine for TensorrtEngine {
    fn infer(&mut self, _: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        match *self {}
    }

    fn info(&self) -> &EngineInfo {
        match *self {}
    }
}
