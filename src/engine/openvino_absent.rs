//! In place of the OpenVINO engine in a build without it: says how to get it.

use std::time::Duration;

use crate::anomaly::Prediction;
use crate::frame::{Frame, Image};

use super::scales::{Hear, Scales};
use super::{Engine, EngineChoice, EngineError, EngineInfo, EngineSpec, Precision};

const ABSENT: EngineError = EngineError::NotBuilt { engine: EngineChoice::Openvino, feature: "openvino" };

/// Never exists.
pub enum OpenvinoEngine {}

impl OpenvinoEngine {
    /// Always [`EngineError::NotBuilt`].
    pub fn open(_: &EngineSpec) -> Result<Self, EngineError> {
        Err(ABSENT)
    }

    /// Always [`EngineError::NotBuilt`].
    pub fn with_scales(_: &EngineSpec, _: Scales) -> Result<Self, EngineError> {
        Err(ABSENT)
    }
}

/// What the engine would take without scales.
pub fn usual_precision() -> Precision {
    Precision::Fp32
}

/// Always [`EngineError::NotBuilt`].
pub fn network_tail(_: &EngineSpec, _: u32) -> Result<Duration, EngineError> {
    Err(ABSENT)
}

/// Always [`EngineError::NotBuilt`].
pub fn watch(_: &EngineSpec, _: &mut dyn Iterator<Item = Image>, _: &mut Hear<'_>) -> Result<(), EngineError> {
    Err(ABSENT)
}

impl Engine for OpenvinoEngine {
    fn infer(&mut self, _: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        match *self {}
    }

    fn info(&self) -> &EngineInfo {
        match *self {}
    }
}
