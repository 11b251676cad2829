//! Engines and graphs that are opened to be measured, before anything they say counts.

use super::openvino::OpenvinoEngine;
pub use super::openvino::{usual_precision, watch};
use super::scales::Scales;
use super::{Engine, EngineError, EngineSpec};

/// An engine that computes with these scales, however far from float32 it is; in int8 unless `spec` says fp8.
pub fn with_scales(spec: &EngineSpec, scales: Scales) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(OpenvinoEngine::with_scales(spec, scales)?))
}
