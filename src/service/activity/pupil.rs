//! Whoever learns from parts, one after the other, in a thread of its own.

use serde_json::Value;

use super::super::recipes::Calibrated;
use crate::line::Handed;
use crate::memory::Memory;

/// Why parts of this kind cannot be learnt from: the activity ends with it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

/// Learns from parts. Implemented by calibrations, by whoever makes memories, and by tests.
pub trait Pupil: Send {
    /// Takes a part. False when it does not count and another one is wanted in its place.
    fn take(&mut self, part: &Handed) -> Result<bool, Unfit>;
    /// Whether it wants what the engine alone said, with its tokens.
    fn wants_tokens(&self) -> bool;
    /// Whether another recipe or memory ends it.
    fn minds_changes(&self) -> bool;
    /// Computes what was learnt; changes nothing yet.
    fn finish(self: Box<Self>) -> Result<Outcome, Unfit>;
}

/// What was learnt, before anything has come of it.
#[derive(Default)]
pub struct Outcome {
    /// For the acknowledgement, an object.
    pub applied: Value,
    /// A recipe's thresholds.
    pub calibrated: Option<Calibrated>,
    /// To be taken into use.
    pub memory: Option<Memory>,
}
