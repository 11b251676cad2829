//! What others may ask of a running line: triggers, pauses, recipes, pictures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::Serialize;

use super::event_writer::LineContext;
use super::handover::Handed;
use super::last_picture::Inspected;
use super::parts::{PartCounters, TriggerMode};
use super::queue::{LaneCounters, QueueWatch};
use super::recipe::{RecipeError, RecipeSpec};
use super::sink::Debt;
use super::station::{Station, TriggerRefused};
use super::stats::LineStats;
use super::used::Used;
use super::way::Way;
use crate::archive::ArchiveSpec;
use crate::clock::Moment;
use crate::engine::EngineInfo;
use crate::event::{MemoryInfo, ModelInfo, RecipeInfo};
use crate::frame::{Image, Part};
use crate::memory::{Memory, MemoryError};
use crate::verdict::Inspection;

/// How soon somebody who waits for a golden part notices that it is not wanted any more.
const GOLDEN_LOOK: Duration = Duration::from_millis(100);

/// The line cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No camera has this name.
    #[error("there is no camera '{camera}'; this line has: {known}")]
    NoCamera {
        /// As asked for.
        camera: String,
        /// Those there are.
        known: String,
    },
    /// Which camera is meant is not said.
    #[error("name the camera; this line has: {known}")]
    WhichCamera {
        /// Those there are.
        known: String,
    },
    /// The camera is not triggered by commands.
    #[error(
        "camera '{camera}' takes no triggers by command (its mode is {mode}); set mode = \"software\" or \"matched\" in \
         [camera.trigger]"
    )]
    Mode {
        /// Which camera.
        camera: Arc<str>,
        /// Its mode.
        mode: &'static str,
    },
    /// Matching by counter needs the controller's counter.
    #[error("camera '{camera}' matches by counter; send the controller's counter as \"trigger\"")]
    NoNumber {
        /// Which camera.
        camera: Arc<str>,
    },
    /// Two parts cannot have one name at the same time.
    #[error("part '{part}' of camera '{camera}' is still being inspected; give each part its own id")]
    Open {
        /// Which camera.
        camera: Arc<str>,
        /// Which part.
        part: String,
    },
    /// The outbox takes no more.
    #[error("the part is not accepted: {reason}")]
    Refused {
        /// What the outbox said.
        reason: String,
    },
    /// Nothing is kept.
    #[error("this line has no archive; add [archive] to its settings")]
    NoArchive,
    /// The line ends.
    #[error("the line is stopping and takes no more parts")]
    Stopping,
    /// No picture was inspected yet.
    #[error("camera '{camera}': no picture has been inspected yet; try again after the first part")]
    NothingSeen {
        /// Which camera.
        camera: Arc<str>,
    },
    /// The recipe cannot be used; the one before stays.
    #[error("camera '{camera}': {source}; the recipe in use stays")]
    Recipe {
        /// Which camera.
        camera: Arc<str>,
        /// Why.
        source: RecipeError,
    },
    /// The memory that goes with the recipe cannot be used; what is in use stays.
    #[error("camera '{camera}': {source}; recipe and memory in use stay")]
    Memory {
        /// Which camera.
        camera: Arc<str>,
        /// Why.
        source: MemoryError,
    },
    /// Tokens of all tiles of a frame may be more than there is memory for.
    #[error(
        "camera '{camera}' looks in tiles, of which a running line hands out no tokens: make the memory with `vcp-line learn --view \
         LINE.toml` from pictures of good parts, and name it as `memory` in [recipe]"
    )]
    Tiled {
        /// Which camera.
        camera: Arc<str>,
    },
    /// A stored picture was not judged.
    #[error("camera '{camera}': a stored part cannot be judged: {reason}")]
    NotJudged {
        /// Which camera.
        camera: Arc<str>,
        /// Why.
        reason: String,
    },
    /// Regions cannot be judged without the size of the frames.
    #[error(
        "camera '{camera}' has shown no frame yet, so that regions cannot be judged; the recipe in use stays, try again later"
    )]
    NoFrame {
        /// Which camera.
        camera: Arc<str>,
    },
    /// A version was used before.
    #[error(
        "camera '{camera}': version {given} of recipe '{id}' is not newer than {used}, which is in use; send {next} or leave it out"
    )]
    Version {
        /// Which camera.
        camera: Arc<str>,
        /// The recipe.
        id: String,
        /// As sent.
        given: u32,
        /// In use.
        used: u32,
        /// What would do.
        next: u32,
    },
}

/// One camera as `GET /api/state` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct CameraReport {
    /// Configured name.
    pub camera: Arc<str>,
    /// How it is triggered.
    pub trigger: TriggerMode,
    /// Whether inspection is paused.
    pub paused: bool,
    /// The recipe in use.
    pub recipe: RecipeInfo,
    /// Its parts.
    pub parts: PartCounters,
    /// Frames since the start that their source called damaged; none of them has a verdict.
    pub damaged: u64,
    /// The memory in use, if any.
    pub memory: Option<MemoryInfo>,
}

/// A part that is owed exactly one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its camera.
    pub camera: Arc<str>,
    /// The part, with the number of its trigger.
    pub part: Part,
    /// To ask whether it is kept.
    pub debt: Debt,
}

/// One camera's parts as they are judged, to be learnt from; dropped, no more are handed over.
pub struct PartStream {
    station: Arc<Station>,
    parts: Receiver<Handed>,
}

impl PartStream {
    /// The next part, if there is one within this time.
    pub fn next(&self, timeout: Duration) -> Option<Handed> {
        self.parts.recv_timeout(timeout).ok()
    }

    /// What the camera's frames are judged by now.
    pub fn recipe(&self) -> Arc<RecipeSpec> {
        self.station.settings.recipe()
    }

    /// What helps the model now.
    pub fn memory(&self) -> Option<Arc<Memory>> {
        self.station.settings.memory()
    }

    /// How the camera looks now.
    pub fn way(&self) -> Arc<Way> {
        self.station.settings.judge().way
    }

    /// Whether the camera is paused: no parts come then.
    pub fn is_paused(&self) -> bool {
        self.station.is_paused()
    }
}

/// A handle to a running line; cheap to clone.
#[derive(Clone)]
pub struct Control {
    stations: Arc<[Arc<Station>]>,
    pub(super) context: Arc<LineContext>,
    queues: QueueWatch,
}

impl Control {
    pub(super) fn new(stations: &[Arc<Station>], context: &Arc<LineContext>, queues: &QueueWatch) -> Self {
        Self { stations: stations.into(), context: Arc::clone(context), queues: queues.clone() }
    }

    /// What the line has done so far.
    pub fn stats(&self) -> LineStats {
        self.context.stats().clone()
    }

    /// How the queues are doing, per camera.
    pub fn queues(&self) -> Vec<(Arc<str>, LaneCounters)> {
        let names = self.stations.iter().map(|station| Arc::clone(station.camera()));
        names.zip(self.queues.counters()).collect()
    }

    /// The memories in use, per camera that has one.
    pub fn memories(&self) -> Vec<(Arc<str>, MemoryInfo)> {
        let memory = |station: &Arc<Station>| Some((Arc::clone(station.camera()), station.settings.memory()?.info()));
        self.stations.iter().filter_map(memory).collect()
    }

    /// Configured name of the line.
    pub fn line(&self) -> &str {
        &self.context.line
    }

    /// Who looks.
    pub fn model(&self) -> &ModelInfo {
        &self.context.model
    }

    /// The engine that looks.
    pub fn engine(&self) -> &EngineInfo {
        &self.context.engine
    }

    fn known(&self) -> String {
        self.stations.iter().map(|station| &**station.camera()).collect::<Vec<_>>().join(", ")
    }

    /// The camera of this name; without one, the only camera there is.
    pub(super) fn one(&self, camera: Option<&str>) -> Result<&Arc<Station>, ControlError> {
        match (camera, &*self.stations) {
            (Some(camera), stations) => stations
                .iter()
                .find(|station| **station.camera() == *camera)
                .ok_or_else(|| ControlError::NoCamera { camera: camera.to_owned(), known: self.known() }),
            (None, [only]) => Ok(only),
            (None, _) => Err(ControlError::WhichCamera { known: self.known() }),
        }
    }

    /// The camera of this name; without one, all of them.
    fn some(&self, camera: Option<&str>) -> Result<Vec<&Arc<Station>>, ControlError> {
        match camera {
            Some(_) => self.one(camera).map(|station| vec![station]),
            None => Ok(self.stations.iter().collect()),
        }
    }

    /// The full name of this camera, and what its frames are judged by.
    pub fn recipe(&self, camera: Option<&str>) -> Result<(Arc<str>, Arc<RecipeSpec>), ControlError> {
        self.one(camera).map(|station| (Arc::clone(station.camera()), station.settings.recipe()))
    }

    /// The full name of this camera, and all that belongs to its recipe.
    pub fn used(&self, camera: Option<&str>) -> Result<(Arc<str>, Used), ControlError> {
        self.one(camera).map(|station| (Arc::clone(station.camera()), station.settings.used()))
    }

    /// How this camera looks at its frames.
    pub fn way(&self, camera: &str) -> Result<Arc<Way>, ControlError> {
        self.one(Some(camera)).map(|station| station.settings.way())
    }

    /// The full names: of this camera, without one of all.
    pub fn names(&self, camera: Option<&str>) -> Result<Vec<Arc<str>>, ControlError> {
        Ok(self.some(camera)?.into_iter().map(|station| Arc::clone(station.camera())).collect())
    }

    /// Whether what came by command has given way to the settings, because it does not fit the frames.
    pub fn gave_way(&self, camera: &str) -> Result<bool, ControlError> {
        self.one(Some(camera)).map(|station| station.settings.gave_way())
    }

    /// Errors where the memory in use fits neither model nor frames, so that there are no verdicts.
    pub fn judges(&self, camera: &str) -> Result<(), ControlError> {
        let station = self.one(Some(camera))?;
        let camera = Arc::clone(station.camera());
        station.settings.judges(&self.context.model).map_err(|source| ControlError::Memory { camera, source })
    }

    /// The parts of this camera that are captured from then on and judged, handed over to one taker at a time: whoever
    /// asked before gets no more.
    /// `tokens`: the engine is to hand out its tokens with them, which cameras with tiles refuse.
    pub fn hand_over(&self, camera: &str, since: Instant, tokens: bool) -> Result<PartStream, ControlError> {
        let station = Arc::clone(self.one(Some(camera))?);
        if tokens && station.settings.way().view.tiles.is_some() {
            return Err(ControlError::Tiled { camera: Arc::clone(station.camera()) });
        }
        Ok(PartStream { parts: station.hand_over.begin(since, tokens), station })
    }

    /// Every camera.
    pub fn cameras(&self) -> Vec<CameraReport> {
        let report = |station: &Arc<Station>| CameraReport {
            camera: Arc::clone(station.camera()),
            trigger: station.plan().mode,
            paused: station.is_paused(),
            recipe: station.settings.recipe().info.clone(),
            parts: station.counters(),
            damaged: station.damaged_frames.count(),
            memory: station.settings.memory().map(|memory| memory.info()),
        };
        self.stations.iter().map(report).collect()
    }

    /// A part is there since `at`. Once this returns a part, it is owed exactly one event. `early`: it came before the
    /// line was ready.
    pub fn trigger(
        &self,
        camera: Option<&str>,
        id: &str,
        number: Option<u64>,
        at: Moment,
        early: bool,
    ) -> Result<Accepted, ControlError> {
        let station = self.one(camera)?;
        let camera = Arc::clone(station.camera());
        match station.trigger(id, number, at, early) {
            Ok((part, debt)) => Ok(Accepted { camera, part, debt }),
            Err(TriggerRefused::Mode(mode)) => {
                let mode = if mode == TriggerMode::Free { "free" } else { "hardware" };
                Err(ControlError::Mode { camera, mode })
            }
            Err(TriggerRefused::NoNumber) => Err(ControlError::NoNumber { camera }),
            Err(TriggerRefused::Open) => Err(ControlError::Open { camera, part: id.to_owned() }),
            Err(TriggerRefused::Refused(refused)) => Err(ControlError::Refused { reason: refused.to_string() }),
            Err(TriggerRefused::Stopping) => Err(ControlError::Stopping),
        }
    }

    /// Pauses or resumes one camera or all; says which.
    pub fn pause(&self, camera: Option<&str>, paused: bool) -> Result<Vec<Arc<str>>, ControlError> {
        let stations = self.some(camera)?;
        stations.iter().for_each(|station| station.pause(paused));
        Ok(stations.iter().map(|station| Arc::clone(station.camera())).collect())
    }

    /// The archive, if there is one, has the bounds of these settings from now on.
    pub fn bound_archive(&self, spec: ArchiveSpec) {
        self.context.archive.iter().for_each(|archive| archive.bound(spec.clone()));
    }

    /// Keeps the pictures of the next `parts` parts of one camera or all, whatever their verdict; says of which.
    pub fn keep(&self, camera: Option<&str>, parts: u32) -> Result<Vec<Arc<str>>, ControlError> {
        let archive = self.context.archive.as_ref().ok_or(ControlError::NoArchive)?;
        let cameras = self.names(camera)?;
        cameras.iter().for_each(|camera| archive.request(camera, parts));
        Ok(cameras)
    }

    /// Whether this camera has shown a part that was inspected.
    pub fn has_seen(&self, camera: &str) -> bool {
        self.one(Some(camera)).is_ok_and(|station| station.picture.frame().is_some())
    }

    /// What this picture would be judged as now, were it a frame of this camera: when the engine has nothing else to do, and as
    /// long as `go_on`. Its values are read through the levels of the camera's last frame.
    pub fn judge(&self, camera: &str, mut image: Image, go_on: &dyn Fn() -> bool) -> Result<Inspection, ControlError> {
        let station = self.one(Some(camera))?;
        let camera = || Arc::clone(station.camera());
        let like = station.picture.frame().ok_or_else(|| ControlError::NothingSeen { camera: camera() })?.image;
        (image.levels, image.resampling) = (like.levels, like.resampling);
        let failed = |reason: &str| ControlError::NotJudged { camera: camera(), reason: reason.to_owned() };
        let said = station.golden.ask(image);
        loop {
            match said.recv_timeout(GOLDEN_LOOK) {
                Ok(Ok(inspection)) => return Ok(inspection),
                Ok(Err(reason)) => return Err(failed(&reason)),
                Err(RecvTimeoutError::Timeout) if go_on() => {}
                Err(RecvTimeoutError::Timeout) => {
                    station.golden.forget();
                    return Err(failed("the engine had no time for it"));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(failed("another one took its place")),
            }
        }
    }

    /// The newest inspected picture of this camera whose map is here, for somebody who looks on: never waits.
    pub fn glimpse(&self, camera: &str) -> Option<Arc<Inspected>> {
        self.one(Some(camera)).ok()?.picture.glimpse()
    }

    /// The picture that was inspected last. May wait for the engine to look at it again: its map is not kept for nobody.
    pub fn latest(&self, camera: Option<&str>) -> Result<Arc<Inspected>, ControlError> {
        let station = self.one(camera)?;
        station.picture.latest().ok_or_else(|| ControlError::NothingSeen { camera: Arc::clone(station.camera()) })
    }
}
