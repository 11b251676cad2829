//! What others may ask of a running line: triggers, pauses, recipes, pictures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
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
use crate::clock::Moment;
use crate::engine::EngineInfo;
use crate::event::{MemoryInfo, ModelInfo, RecipeInfo};
use crate::frame::Part;
use crate::memory::{Memory, MemoryError};

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

/// A changed recipe with what belongs to it, checked and not yet in use.
pub struct RecipeChange {
    station: Arc<Station>,
    used: Used,
}

impl RecipeChange {
    /// Whose recipe it is.
    pub fn camera(&self) -> &Arc<str> {
        self.station.camera()
    }

    /// What will be in use.
    pub fn recipe(&self) -> &RecipeSpec {
        &self.used.recipe
    }

    /// Takes it into use: the next batch of the engine is judged by it.
    pub fn apply(self) -> RecipeInfo {
        let info = self.used.recipe.info.clone();
        self.station.change(self.used);
        info
    }
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
        self.station.recipe()
    }

    /// What helps the model now.
    pub fn memory(&self) -> Option<Arc<Memory>> {
        self.station.memory()
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
    context: Arc<LineContext>,
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
        let memory = |station: &Arc<Station>| Some((Arc::clone(station.camera()), station.memory()?.info()));
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
    fn one(&self, camera: Option<&str>) -> Result<&Arc<Station>, ControlError> {
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
        self.one(camera).map(|station| (Arc::clone(station.camera()), station.recipe()))
    }

    /// The full name of this camera, and all that belongs to its recipe.
    pub fn used(&self, camera: Option<&str>) -> Result<(Arc<str>, Used), ControlError> {
        self.one(camera).map(|station| (Arc::clone(station.camera()), station.used()))
    }

    /// The full names: of this camera, without one of all.
    pub fn names(&self, camera: Option<&str>) -> Result<Vec<Arc<str>>, ControlError> {
        Ok(self.some(camera)?.into_iter().map(|station| Arc::clone(station.camera())).collect())
    }

    /// Whether what came by command has given way to the settings, because it does not fit the frames.
    pub fn gave_way(&self, camera: &str) -> Result<bool, ControlError> {
        self.one(Some(camera)).map(|station| station.gave_way())
    }

    /// Errors where the memory in use fits neither model nor frames, so that there are no verdicts.
    pub fn judges(&self, camera: &str) -> Result<(), ControlError> {
        let station = self.one(Some(camera))?;
        let camera = Arc::clone(station.camera());
        station.judges(&self.context.model).map_err(|source| ControlError::Memory { camera, source })
    }

    /// The parts of this camera that are captured from then on and judged, handed over to one taker at a time: whoever
    /// asked before gets no more.
    /// `tokens`: the engine is to hand out its tokens with them.
    pub fn hand_over(&self, camera: &str, since: Instant, tokens: bool) -> Result<PartStream, ControlError> {
        let station = Arc::clone(self.one(Some(camera))?);
        Ok(PartStream { parts: station.hand_over.begin(since, tokens), station })
    }

    /// Every camera.
    pub fn cameras(&self) -> Vec<CameraReport> {
        let report = |station: &Arc<Station>| CameraReport {
            camera: Arc::clone(station.camera()),
            trigger: station.plan().mode,
            paused: station.is_paused(),
            recipe: station.recipe().info.clone(),
            parts: station.counters(),
            damaged: station.damaged_frames.count(),
            memory: station.memory().map(|memory| memory.info()),
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

    /// This in place of what is in use; nothing is changed yet. The version of another recipe of the same name counts on
    /// unless it is larger already. Errors when the recipe or a memory that is not in use fits neither model nor frames.
    pub fn change(&self, camera: &str, used: Used) -> Result<RecipeChange, ControlError> {
        let station = self.one(Some(camera))?;
        let before = station.used();
        let camera = Arc::clone(station.camera());
        let recipe = checked(station, &before.recipe, RecipeSpec::clone(&used.recipe))?;
        let used = Used { recipe: Arc::new(recipe), ..used };
        if !used.has_memory(before.memory.as_ref()) {
            let judges = used.judges(&self.context.model, station.frame_size());
            judges.map_err(|source| ControlError::Memory { camera, source })?;
        }
        Ok(RecipeChange { station: Arc::clone(station), used })
    }

    /// Keeps the pictures of the next `parts` parts of one camera or all, whatever their verdict; says of which.
    pub fn keep(&self, camera: Option<&str>, parts: u32) -> Result<Vec<Arc<str>>, ControlError> {
        let archive = self.context.archive.as_ref().ok_or(ControlError::NoArchive)?;
        let cameras = self.names(camera)?;
        cameras.iter().for_each(|camera| archive.request(camera, parts));
        Ok(cameras)
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

fn checked(station: &Station, used: &RecipeSpec, mut recipe: RecipeSpec) -> Result<RecipeSpec, ControlError> {
    let camera = Arc::clone(station.camera());
    if recipe.info.id == used.info.id && recipe != *used {
        let next = used.info.version.saturating_add(1);
        if recipe.info.version == used.info.version {
            recipe.info.version = next;
        } else if recipe.info.version < used.info.version {
            let RecipeInfo { id, version: given } = recipe.info;
            return Err(ControlError::Version { camera, id, given, used: used.info.version, next });
        }
    }
    let fits = match (station.frame_size(), recipe.regions.is_empty()) {
        (Some((width, height)), _) => recipe.fits(width, height),
        (None, true) => Ok(()),
        (None, false) => return Err(ControlError::NoFrame { camera }),
    };
    match recipe.check().and(fits) {
        Ok(()) => Ok(recipe),
        Err(source) => Err(ControlError::Recipe { camera, source }),
    }
}
