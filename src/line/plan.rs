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
use super::used::Used;
use super::way::Way;
use crate::archive::Archive;
use crate::clock::Clock;
use crate::drift::Baseline;
use crate::engine::{Engine, EngineError};
use crate::event::{FrameInfo, ModelInfo};
use crate::frame::Part;
use crate::memory::Memory;
use crate::source::{Source, SourceError};
use crate::view::ViewSpec;

/// Opens a camera; called again after the camera was lost.
pub type SourceOpener = Box<dyn FnMut() -> Result<Box<dyn Source>, SourceError> + Send>;
/// Opens the engine; called once, inside the inference thread.
pub type EngineOpener = Box<dyn FnOnce() -> Result<Box<dyn Engine>, EngineError> + Send>;

/// A camera of a running line that is to go on in another way.
pub struct Reopening {
    /// How it is opened from now on; `None` where it stays open.
    pub open: Option<Open>,
    /// How its frames are taken from now on.
    pub arrangement: Arrangement,
}

/// How a camera is opened.
pub struct Open {
    /// How.
    pub open: SourceOpener,
    /// Pause before a lost camera is opened again, the first time.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
}

/// How a camera's frames are taken: what cannot change while any are in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// Frames that may wait for the engine, at least 1.
    pub queue: usize,
    /// What happens when they do.
    pub when_full: WhenFull,
    /// Where its parts come from.
    pub trigger: TriggerPlan,
}

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
    /// What of its frames is looked at, and in how many tiles.
    pub view: ViewSpec,
    /// How its frames are judged, as configured.
    pub recipe: RecipeSpec,
    /// What good parts look like, for the maps that the configured recipe sees.
    pub memory: Option<Arc<Memory>>,
    /// What the configured thresholds were calibrated with; `None` where they were set by hand.
    pub found_with: Option<ModelInfo>,
    /// What good parts look like, where it is watched whether pictures under the configured recipe still do.
    pub picture: Option<Arc<Baseline>>,
    /// How its parts are found, where they do not lie still.
    pub locate: Option<LocatePlan>,
    /// What came by command in an earlier start, in place of what is configured.
    pub kept: Option<Used>,
    /// Pause before a lost camera is opened again, the first time.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
}

impl CameraPlan {
    /// How its frames are taken.
    pub fn arrangement(&self) -> Arrangement {
        Arrangement { queue: self.queue, when_full: self.when_full, trigger: self.trigger }
    }

    /// How they are looked at.
    pub fn way(&self) -> Way {
        Way { view: self.view.clone(), locate: self.locate.clone() }
    }

    /// What the settings say.
    pub fn configured(&self) -> Used {
        Used {
            recipe: Arc::new(self.recipe.clone()),
            memory: self.memory.clone(),
            found_with: self.found_with.clone(),
            picture: self.picture.clone(),
        }
    }

    /// What a start uses.
    pub fn used(&self) -> Used {
        self.kept.clone().unwrap_or_else(|| self.configured())
    }
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
    /// What keeps what became of the parts, and pictures; `None` keeps nothing.
    pub archive: Option<Archive>,
    /// Who watches the inference thread.
    pub heartbeat: Arc<dyn Heartbeat>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Ends a start that is no longer wanted.
    pub cancelled: CancellationToken,
}
