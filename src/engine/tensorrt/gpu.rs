//! The graphics card that is there, and what plans depend on of it.

use std::sync::Arc;

use super::failure::card;
use crate::cuda::{Gpu, Machine, Properties};
use crate::engine::EngineError;

/// The first card, or the one that CUDA_VISIBLE_DEVICES puts first.
pub fn open() -> Result<Arc<Gpu>, EngineError> {
    Gpu::open(0).map_err(card)
}

/// Its name, architecture and sizes.
pub fn properties(gpu: &Gpu) -> Properties {
    Machine::properties(gpu).clone()
}

/// CUDA version of the driver, `13.0`.
pub fn driver(properties: &Properties) -> String {
    format!("{}.{}", properties.driver / 1000, properties.driver % 1000 / 10)
}
