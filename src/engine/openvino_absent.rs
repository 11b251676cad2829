//! In place of the OpenVINO engine in a build without it: says how to get it.

use std::time::Duration;

use crate::anomaly::Prediction;
use crate::frame::Frame;

use super::{Engine, EngineChoice, EngineError, EngineInfo, EngineSpec};

const ABSENT: EngineError = EngineError::NotBuilt { engine: EngineChoice::Openvino, feature: "openvino" };

/// Never exists.
pub enum OpenvinoEngine {}

impl OpenvinoEngine {
    /// Always [`EngineError::NotBuilt`].
    pub fn open(_: &EngineSpec) -> Result<Self, EngineError> {
        Err(ABSENT)
    }
}

/// Always [`EngineError::NotBuilt`].
pub fn network_tail(_: &EngineSpec, _: u32) -> Result<Duration, EngineError> {
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
