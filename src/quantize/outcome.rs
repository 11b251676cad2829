//! What was found.

use std::time::Duration;

use super::gate::Distance;
use crate::engine::scales::{Kept, Scales};

/// What was found.
pub struct Outcome {
    /// To be written, when [`Self::holds`].
    pub scales: Scales,
    /// Whether the gate held.
    pub holds: bool,
    /// Mean deviation of the map of each layer alone, the worst first; empty where all layers together passed at once.
    pub costs: Vec<Kept>,
    /// The distance from float32 without scales: what bfloat16 alone costs.
    pub without: Distance,
    /// The same with all layers in 8 bits.
    pub whole: Distance,
    /// Median time of the network on a frame: float32, bfloat16 where the processor has it, 8 bits.
    pub times: Times,
}

/// Medians of the network's time on the pictures that were held out, one engine after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// In float32.
    pub fp32: Duration,
    /// As it would be computed without scales: bfloat16 where the processor has it, else float32.
    pub without: Duration,
    /// In 8 bits.
    pub int8: Duration,
}
