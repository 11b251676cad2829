//! Everything a service start needs, with nothing left to look up.

use std::time::Duration;

use super::ways_in::Ask;
use crate::line::{CameraPlan, EngineOpener, SourceOpener};
use crate::publish::PublisherSpec;
use crate::publish::sparkplug::SparkplugSpec;

/// How to open the engine, given whom to tell of work that takes minutes and of its end (an empty text).
pub type EngineMaker = Box<dyn FnOnce(Box<dyn Fn(&str) + Send>) -> EngineOpener>;

/// A line to be served, resolved.
pub struct Service {
    /// Configured name.
    pub line: String,
    /// Cameras and how to open them.
    pub cameras: Vec<(CameraPlan, SourceOpener)>,
    /// How to open the engine.
    pub engine: EngineMaker,
    /// Where verdicts go.
    pub publisher: PublisherSpec,
    /// Who may ask what of the line.
    pub ask: Ask,
    /// Where they go as Sparkplug B besides.
    pub sparkplug: Option<SparkplugSpec>,
    /// Time from the stop request to the end of the process.
    pub stop_deadline: Duration,
}
