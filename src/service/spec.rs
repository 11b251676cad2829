//! Everything a service start needs, with nothing left to look up.

use std::time::Duration;

use crossbeam_channel::Receiver;
use jiff::Timestamp;

use super::settings_file::SettingsFile;
use super::ways_in::Ask;
use crate::archive::ArchiveSpec;
use crate::event::FrameInfo;
use crate::frame::Part;
use crate::line::{CameraPlan, EngineOpener, SourceOpener};
use crate::publish::sparkplug::SparkplugSpec;
use crate::publish::{PublisherSpec, TraceSpec};

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
    /// Where traces go, if anywhere.
    pub traces: Option<TraceSpec>,
    /// What is kept of every part, if anything.
    pub archive: Option<ArchiveSpec>,
    /// Time from the stop request to the end of the process.
    pub stop_deadline: Duration,
    /// Files of watched folders whose parts an earlier start may have left without an event.
    pub files: Vec<OwedFile>,
    /// Somebody asks to read the settings again.
    pub reread: Option<Receiver<()>>,
    /// A file that is read again when it has changed.
    pub watched: Option<SettingsFile>,
}

/// A file of a watched folder whose part was accepted by an earlier start.
#[derive(Clone, Debug, PartialEq)]
pub struct OwedFile {
    /// Configured name of the camera.
    pub camera: String,
    /// The part's trigger.
    pub trigger: u64,
    /// When the part was accepted, milliseconds since 1970.
    pub accepted: i64,
    /// The file's frame, as that start counted.
    pub frame: FrameInfo,
}

impl OwedFile {
    /// Whether it shows this part.
    pub fn is_of(&self, camera: &str, part: &Part, accepted: Timestamp) -> bool {
        (self.camera.as_str(), self.trigger, self.accepted) == (camera, part.trigger, accepted.as_millisecond())
    }
}
