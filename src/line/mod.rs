//! The running line: one thread per camera, one for the engine, an ordered start and an ordered stop.
//!
//! ```text
//! cam-NAME … ─▶ station ─▶ queue (one bounded lane per camera) ─▶ inference: engine, recipe ─▶ station ─▶ desk ─▶ EventSink
//!   commands ─────┴─ which frame shows which part (parts), its one outcome ─ deadlines ─────────┘
//! ```

mod camera;
pub mod control;
mod deadlines;
mod desk;
mod inspect;
pub mod parts;
pub mod polygon;
pub mod queue;
pub mod recipe;
pub mod regions;
#[cfg(feature = "opencv")]
mod regions_opencv;
pub mod regions_plain;
mod spawn;
mod station;
pub mod stats;

#[cfg(feature = "opencv")]
use regions_opencv as region_finder;
#[cfg(not(feature = "opencv"))]
use regions_plain as region_finder;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::engine::{Engine, EngineError, EngineInfo};
use crate::event::{InspectionEvent, ModelInfo};
use crate::frame::Part;
use crate::source::{Source, SourceError};
use camera::{CameraThread, Never};
use control::Control;
use deadlines::{DeadlineThread, LastBell};
use desk::{Desk, Office};
use inspect::{InferenceThread, Post};
use parts::TriggerPlan;
use queue::{LaneCounters, QueueWatch, WhenFull};
use recipe::{RecipeError, RecipeSpec};
use spawn::Crew;
use station::Station;
use stats::LineStats;

pub use crate::camera::CameraState;
pub use station::Inspected;

const INFERENCE: &str = "inference";
const DEADLINES: &str = "deadlines";
/// How soon the start notices that it is no longer wanted, and the line that a thread has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What the deadline thread may take to notice the end.
const LAST: Duration = Duration::from_millis(500);

/// Opens a camera; called again after the camera was lost.
pub type SourceOpener = Box<dyn FnMut() -> Result<Box<dyn Source>, SourceError> + Send>;
/// Opens the engine; called once, inside the inference thread.
pub type EngineOpener = Box<dyn FnOnce() -> Result<Box<dyn Engine>, EngineError> + Send>;

/// Nothing was taken, and this is why: the way out is full or closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Takes what the line has to say. Implemented by `service`, by `bench` and by tests.
pub trait EventSink: Send + Sync {
    /// A trigger for this part has come. Taken, the part is owed exactly one event with the same `part`, also across a
    /// crash; refused, it is owed none, and whoever sent the trigger has to be told. Never waits.
    fn owe(&self, camera: &str, part: &Part) -> Result<(), Refused>;
    /// One event, in order per camera. May wait: the camera's next event waits with it. That of an owed part is refused
    /// only when the program is ending; a refused event has used no number. One that leaves after `due` is marked so.
    fn verdict(&self, event: InspectionEvent, captured: Instant, due: Option<Instant>) -> Result<(), Refused>;
    /// A camera has changed its state; `detail` says why it is lost.
    fn camera(&self, camera: &str, state: CameraState, detail: Option<&str>);
    /// The engine has begun to fail (the reason) or works again (`None`).
    fn engine(&self, error: Option<&str>);
}

/// Learns that the inference thread is alive: after every batch, and twice a second while nothing comes.
pub trait Heartbeat: Send + Sync {
    /// One sign of life.
    fn step(&self);
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
    /// How its frames are judged.
    pub recipe: RecipeSpec,
    /// The recipe that a command has set in an earlier start, in place of the configured one.
    pub kept: Option<RecipeSpec>,
    /// Pause before a lost camera is opened again, the first time.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
}

/// A part that was accepted by an earlier start and never got its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Its camera, which this start may not know any more.
    pub camera: String,
    /// The part.
    pub part: Part,
    /// When its trigger was accepted.
    pub accepted: Timestamp,
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

/// The line did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The engine does not open, or fails on its first picture.
    #[error(transparent)]
    Engine(EngineError),
    /// A camera cannot be used at all; trying again would not help.
    #[error(transparent)]
    Camera(SourceError),
    /// The recipe does not fit the camera's frames.
    #[error("camera '{camera}': {source}")]
    Recipe {
        /// Configured name.
        camera: String,
        /// Why.
        source: RecipeError,
    },
    /// The engine's input has no sensible size.
    #[error("the model's input has a side of {side} pixels; import the model again")]
    WarmUp {
        /// Side of the input.
        side: usize,
    },
    /// No thread to be had.
    #[error("thread '{thread}' could not be started ({source}); raise the limit of tasks (TasksMax, ulimit -u)")]
    Thread {
        /// Its name.
        thread: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread panicked; the log has the place.
    #[error("thread '{thread}' broke off; please report the lines logged above this one")]
    Panicked {
        /// Its name.
        thread: String,
    },
    /// Stopped on request before it was ready.
    #[error("stopped on request before the line was ready")]
    Cancelled,
}

/// Why a line ended by itself.
#[derive(Debug)]
pub enum LineEnd {
    /// Every source was finite, and every frame has its event.
    SourcesEnded,
    /// Something that waiting does not mend.
    Failed(LineError),
}

/// How the stop went.
#[derive(Debug, Default)]
pub struct StopReport {
    /// Threads that were still busy at the deadline.
    pub late: Vec<String>,
    /// Threads that panicked.
    pub panicked: Vec<String>,
    /// What the line has done.
    pub stats: LineStats,
    /// Frames left in the queues, per camera (all zero after an orderly stop), and those dropped.
    pub queues: Vec<(Arc<str>, LaneCounters)>,
}

/// From camera threads to the line.
enum Notice {
    /// The first attempt to open the camera is over.
    Tried,
    Failed(LineError),
}

/// A running line.
pub struct Line {
    crew: Crew,
    engine: EngineInfo,
    office: Arc<Office>,
    stations: Vec<Arc<Station>>,
    names: Vec<Arc<str>>,
    queues: QueueWatch,
    notices: Receiver<Notice>,
    give_up_at: Arc<OnceLock<Instant>>,
    /// Its end tells the cameras to stop.
    go: Sender<Never>,
    last_bell: LastBell,
}

impl Line {
    /// Opens the engine, lets it look at one grey picture, then tries every camera once. A camera that is not
    /// reachable is tried again in its thread; any other error ends the start.
    pub fn start(parts: LineParts) -> Result<Self, LineError> {
        let count = parts.cameras.len();
        let lanes: Vec<_> = parts.cameras.iter().map(|(plan, _)| (plan.queue, plan.when_full)).collect();
        let (queues, collector) = queue::lanes(&lanes);
        let watch = collector.watch();
        let mut crew = Crew::new(count + 2);

        let (ready, answer) = bounded(1);
        let (post_box, post) = bounded(1);
        let clock = Arc::clone(&parts.clock);
        let give_up_at = Arc::new(OnceLock::new());
        let thread = InferenceThread {
            open: parts.engine,
            collector,
            clock,
            heartbeat: parts.heartbeat,
            ready,
            post,
            give_up_at: Arc::clone(&give_up_at),
        };
        spawn(&mut crew, INFERENCE, move || thread.run())?;
        let panicked = || LineError::Panicked { thread: INFERENCE.into() };
        let engine = wait_for(&answer, &parts.cancelled)?.ok_or_else(panicked)??;
        tracing::info!(engine = %engine.engine, precision = %engine.precision, model = %engine.model, "engine ready");

        let model = ModelInfo {
            name: engine.model.clone(),
            sha256: engine.sha256.clone(),
            engine: engine.engine.to_string(),
            precision: engine.precision.to_string(),
        };
        let office = Arc::new(Office {
            line: parts.name,
            session: parts.session,
            model,
            clock: parts.clock,
            sink: Arc::clone(&parts.sink),
            stats: Mutex::default(),
        });
        let (bell, rung) = bounded(1);
        let over = Arc::new(AtomicBool::new(false));
        let station = |((plan, _), queue): (&(CameraPlan, SourceOpener), _)| {
            let desk = Desk::new(Arc::clone(&office), Arc::clone(&plan.name));
            Arc::new(Station::new(plan, queue, desk, Arc::clone(&office.clock), bell.clone()))
        };
        let stations: Vec<_> = parts.cameras.iter().zip(queues).map(station).collect();
        answer_for_earlier_start(&parts.unanswered, &stations);
        let deadlines = DeadlineThread { stations: stations.clone(), bell: rung, over: Arc::clone(&over) };
        let last_bell = LastBell { bell, over };
        let posted = Post { office: Arc::clone(&office), stations: stations.clone(), _last_bell: last_bell.clone() };
        post_box.send(posted).map_err(|_| panicked())?;
        spawn(&mut crew, DEADLINES, move || deadlines.run())?;

        // A notice of the first attempt and one of a failure from every camera.
        let (notify, notices) = bounded(2 * count);
        let (go, stop) = bounded(0);
        let names = parts.cameras.iter().map(|(plan, _)| Arc::clone(&plan.name)).collect();
        for ((plan, open), station) in parts.cameras.into_iter().zip(stations.iter().map(Arc::clone)) {
            let name = format!("cam-{}", plan.name);
            let (sink, stop, notices) = (Arc::clone(&parts.sink), stop.clone(), notify.clone());
            let thread = CameraThread { plan, open, station, sink, stop, notices };
            spawn(&mut crew, &name, move || thread.run())?;
        }
        drop(notify);
        let mut line =
            Self { crew, engine, office, stations, names, queues: watch, notices, give_up_at, go, last_bell };
        match line.cameras_tried(count, &parts.cancelled) {
            Ok(()) => Ok(line),
            Err(error) => {
                // The others must not keep their cameras while the error is being printed.
                let report = line.stop(Duration::from_secs(2));
                report.late.iter().for_each(|thread| tracing::warn!(%thread, "still running after a failed start"));
                Err(error)
            }
        }
    }

    fn cameras_tried(&mut self, count: usize, cancelled: &CancellationToken) -> Result<(), LineError> {
        let mut tried = 0;
        while tried < count {
            match self.notices.recv_timeout(LOOK) {
                Ok(Notice::Tried) => tried += 1,
                Ok(Notice::Failed(error)) => return Err(error),
                // Every camera thread has ended: finite sources were quick, or there was a panic that `wait` names.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if cancelled.is_cancelled() => return Err(LineError::Cancelled),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(thread) = self.crew.panicked(INFERENCE) {
                return Err(LineError::Panicked { thread });
            }
        }
        Ok(())
    }

    /// Who is looking.
    pub fn engine(&self) -> &EngineInfo {
        &self.engine
    }

    /// A handle for those who may ask something of the line.
    pub fn control(&self) -> Control {
        Control::new(&self.stations)
    }

    /// What the line has done so far.
    pub fn stats(&self) -> LineStats {
        self.office.stats().clone()
    }

    /// How the queues are doing, per camera.
    pub fn queues(&self) -> Vec<(Arc<str>, LaneCounters)> {
        self.names.iter().cloned().zip(self.queues.counters()).collect()
    }

    /// Waits up to `timeout` for the line to end by itself; `None` when it goes on. Stop it in any case.
    pub fn wait(&mut self, timeout: Duration) -> Option<LineEnd> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.notices.recv_timeout(left.min(LOOK)) {
                Ok(Notice::Failed(error)) => return Some(LineEnd::Failed(error)),
                Ok(Notice::Tried) => continue,
                Err(RecvTimeoutError::Timeout) => {}
                // Without a sender the call returns at once.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(left.min(LOOK)),
            }
            if let Some(thread) = self.crew.panicked(INFERENCE) {
                return Some(LineEnd::Failed(LineError::Panicked { thread }));
            }
            if self.crew.has_ended(INFERENCE) {
                let joined = self.crew.join(deadline, |_| true);
                return Some(match joined.panicked.into_iter().next() {
                    Some(thread) => LineEnd::Failed(LineError::Panicked { thread }),
                    None => LineEnd::SourcesEnded,
                });
            }
            if left.is_zero() {
                return None;
            }
        }
    }

    /// Stops in order: cameras, queues, engine. Every frame that waits gets its event: a verdict while there is time,
    /// `no_verdict` (deadline) after two thirds of it.
    pub fn stop(self, deadline: Duration) -> StopReport {
        let Self { mut crew, office, stations, names, queues, go, give_up_at, notices: _notices, engine: _, last_bell } =
            self;
        let now = Instant::now();
        give_up_at.get_or_init(|| now + deadline.mul_f64(2.0 / 3.0));
        // A camera that hangs in its driver must not keep what waits from being judged.
        let cameras_until = now + deadline / 3;
        let deadline = now + deadline;
        tracing::info!("stop: cameras");
        drop(go);
        crew.wait(cameras_until, |name| name != INFERENCE && name != DEADLINES);
        queues.close();
        tracing::info!(
            waiting = queues.counters().iter().map(|lane| lane.waiting).sum::<usize>(),
            "stop: engine drains"
        );
        let mut joined = crew.join(deadline, |name| name != DEADLINES);
        // Whatever an engine that hangs or broke off still has: its part is owed an event by this start.
        stations.iter().for_each(|station| station.finish());
        drop(last_bell);
        let bell = crew.join(deadline.max(Instant::now() + LAST), |_| true);
        joined.late.extend(bell.late);
        joined.panicked.extend(bell.panicked);
        let (late, panicked) = (joined.late, joined.panicked);
        late.iter().for_each(|thread| tracing::error!(%thread, "stop: still busy at the deadline"));
        panicked.iter().for_each(|thread| tracing::error!(%thread, "stop: the thread had panicked"));
        let stats = office.stats().clone();
        tracing::info!(events = stats.events(), "stop: line done");
        StopReport { late, panicked, stats, queues: names.into_iter().zip(queues.counters()).collect() }
    }
}

/// Before anything new: the parts that the last start did not get to.
fn answer_for_earlier_start(unanswered: &[Unanswered], stations: &[Arc<Station>]) {
    let mut gone: Vec<Desk> = Vec::new();
    for owed in unanswered {
        if let Some(station) = stations.iter().find(|station| **station.camera() == *owed.camera) {
            station.desk().restarted(owed, &station.recipe());
            continue;
        }
        tracing::warn!(camera = owed.camera, part = owed.part.id, "a part of a camera that is gone from the line");
        // Its event needs a recipe, and any one is as good: nothing was judged.
        let Some(any) = stations.first() else { continue };
        let at = gone.iter().position(|desk| desk.camera() == owed.camera).unwrap_or_else(|| {
            gone.push(any.desk().for_camera(&owed.camera));
            gone.len() - 1
        });
        gone[at].restarted(owed, &any.recipe());
    }
}

fn spawn(crew: &mut Crew, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), LineError> {
    crew.spawn(name, work).map_err(|source| LineError::Thread { thread: name.to_owned(), source })
}

/// `None` when nobody is left who could answer.
fn wait_for<T>(answers: &Receiver<T>, cancelled: &CancellationToken) -> Result<Option<T>, LineError> {
    loop {
        match answers.recv_timeout(LOOK) {
            Ok(answer) => return Ok(Some(answer)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if cancelled.is_cancelled() => return Err(LineError::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests;
