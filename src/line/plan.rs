//! What a line is made of: its cameras, its engine, and who listens.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::locating::LocatePlan;
use super::parts::TriggerPlan;
use super::queue::WhenFull;
use super::recipe::RecipeSpec;
use super::sink::{EventSink, Heartbeat};
use crate::clock::Clock;
use crate::drift::Baseline;
use crate::engine::{Engine, EngineError};
use crate::event::FrameInfo;
use crate::frame::Part;
use crate::memory::Memory;
use crate::source::{Source, SourceError};

/// Opens a camera; called again after the camera was lost.
pub type SourceOpener = Box<dyn FnMut() -> Result<Box<dyn Source>, SourceError> + Send>;
/// Opens the engine; called once, inside the inference thread.
pub type EngineOpener = Box<dyn FnOnce() -> Result<Box<dyn Engine>, EngineError> + Send>;

/// One camera of the line, resolved.
#[derive(Clone, Debug)]
pub struct CameraPlan {
    /// Configured name.
    pub name: Arc<str>,
    /// Frames that may wait for the engine, at least 1.
    pub queue: usize,
    /// What happens when they do.
    pub when_full: WhenFull,
    /// Where its parts come from.
    pub trigger: TriggerPlan,
    /// How its frames are judged.
    pub recipe: RecipeSpec,
    /// The recipe that a command has set in an earlier start, in place of the configured one.
    pub kept: Option<RecipeSpec>,
    /// What good parts look like, for the maps that the recipe sees.
    pub memory: Option<Arc<Memory>>,
    /// What good parts look like, where it is watched whether pictures still do.
    pub picture: Option<Arc<Baseline>>,
    /// How its parts are found, where they do not lie still.
    pub locate: Option<LocatePlan>,
    /// Pause before a lost camera is opened again, the first time.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
}

/// A part that was accepted by an earlier start and never got its event.
#[derive(Clone, Debug, PartialEq)]
pub struct Unanswered {
    /// Its camera, which this start may not know any more.
    pub camera: String,
    /// The part.
    pub part: Part,
    /// When its trigger was accepted.
    pub accepted: Timestamp,
    /// Its frame, as that start counted, where it is remembered.
    pub frame: Option<FrameInfo>,
}

/// What a line is made of.
pub struct LineParts {
    /// Configured name of the line.
    pub name: String,
    /// This service start.
    pub session: Uuid,
    /// Cameras and how to open them.
    pub cameras: Vec<(CameraPlan, SourceOpener)>,
    /// How to open the engine.
    pub engine: EngineOpener,
    /// Parts that an earlier start has accepted and not answered, with their cameras: they get their events before any
    /// camera is opened.
    pub unanswered: Vec<Unanswered>,
    /// Where events go.
    pub sink: Arc<dyn EventSink>,
    /// Who watches the inference thread.
    pub heartbeat: Arc<dyn Heartbeat>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Ends a start that is no longer wanted.
    pub cancelled: CancellationToken,
}
