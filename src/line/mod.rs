//! The running line: one thread per camera, one for the engine, an ordered start and an ordered stop.
//!
//! ```text
//! cam-NAME … ─▶ station ─▶ queue (one bounded lane per camera) ─▶ inference: engine, recipe ─▶ station ─▶ event writer ─▶ EventSink
//!   commands ─────┴─ which frame shows which part (parts), its one outcome ─ deadlines ─────────┘
//!                                               watch: does the picture still look like the good parts? ◀─ inference
//! ```

mod camera;
mod camera_settings;
pub mod change;
pub mod control;
mod damaged;
mod deadlines;
mod error;
mod event_writer;
mod exceeding;
mod golden;
mod handover;
mod inspect;
mod inspect_golden;
mod inspect_tiles;
pub mod judge;
mod judged;
mod last_picture;
pub mod locating;
pub mod parts;
mod plan;
pub mod polygon;
pub mod queue;
pub mod recipe;
pub mod regions;
#[cfg(feature = "opencv")]
mod regions_opencv;
pub mod regions_plain;
mod reopening;
mod shown;
mod sink;
mod spawn;
mod station;
pub mod statistic;
pub mod stats;
mod used;
mod watch;
mod way;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio_util::sync::CancellationToken;

use crate::engine::EngineInfo;
use camera::{CameraThread, Never, Notice};
use control::Control;
use deadlines::{DeadlineThread, LastBell};
use event_writer::{EventWriter, LineContext};
use inspect::{InferenceThread, Post};
use queue::{LaneCounters, QueueWatch};
use spawn::Crew;
use station::Station;
use stats::LineStats;
use watch::WatchThread;

pub use crate::camera::CameraState;
pub use error::LineError;
pub use handover::Handed;
pub use last_picture::Inspected;
pub use plan::{Arrangement, CameraPlan, EngineOpener, LineParts, Open, Reopening, SourceOpener, Unanswered};
pub use sink::{Debt, EventSink, Heartbeat, Refused};
pub use used::{Trouble, Used};
pub use way::Way;

const INFERENCE: &str = "inference";
const DEADLINES: &str = "deadlines";
const WATCH: &str = "watch";
/// How soon the start notices that it is no longer wanted, and the line that a thread has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What the deadline thread may take to notice the end.
const LAST: Duration = Duration::from_millis(500);

/// What the threads of a failed start, or of cameras that have ended, may take to end.
const GIVE_BACK: Duration = Duration::from_secs(2);

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

/// A running line.
pub struct Line {
    crew: Crew,
    engine: EngineInfo,
    context: Arc<LineContext>,
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
        let LineParts { name, session, cameras, engine, unanswered, sink, archive, heartbeat, clock, cancelled } =
            parts;
        let names = cameras.iter().map(|(plan, _)| Arc::clone(&plan.name)).collect();
        let lanes: Vec<_> = cameras.iter().map(|(plan, _)| (plan.queue, plan.when_full)).collect();
        let (lanes, collector) = queue::lanes(&lanes);
        let queues = collector.watch();
        let give_up_at = Arc::new(OnceLock::new());
        let mut crew = Crew::new(cameras.len() + 3);

        let (ready, answer) = bounded(1);
        let (post_box, post) = bounded(1);
        let inference = InferenceThread {
            open: engine,
            collector,
            clock: Arc::clone(&clock),
            heartbeat,
            ready,
            post,
            give_up_at: Arc::clone(&give_up_at),
        };
        spawn(&mut crew, INFERENCE, move || inference.run())?;
        let engine = engine_ready(&answer, &cancelled)?;

        let (model, stats) = (engine.model(), Mutex::default());
        let context = LineContext { line: name, session, model, engine: engine.clone(), clock, sink, stats, archive };
        let context = Arc::new(context);
        let (bell, rung) = bounded(1);
        let station = |((plan, _), lane): (&(CameraPlan, _), _)| Station::new(plan, lane, &context, bell.clone());
        let stations: Vec<_> = cameras.iter().zip(lanes).map(station).map(Arc::new).collect();
        answer_for_earlier_start(&unanswered, &stations);
        let (deadlines, last_bell) = DeadlineThread::new(stations.clone(), bell, rung);
        let (go, stop) = bounded(0);
        let (watch, looks) = WatchThread::new(stations.clone(), Arc::clone(&context), stop.clone());
        let posted =
            Post { looks, context: Arc::clone(&context), stations: stations.clone(), _last_bell: last_bell.clone() };
        post_box.send(posted).map_err(|_| inference_panicked())?;
        spawn(&mut crew, DEADLINES, move || deadlines.run())?;
        spawn(&mut crew, WATCH, move || watch.run())?;

        let notices = start_cameras(&mut crew, cameras, &stations, &context.sink, &stop)?;
        let mut line = Self { crew, engine, context, stations, names, queues, notices, give_up_at, go, last_bell };
        if let Err(error) = line.cameras_tried(&cancelled) {
            // The others must not keep their cameras while the error is being printed.
            let report = line.stop(GIVE_BACK);
            report.late.iter().for_each(|thread| tracing::warn!(%thread, "still running after a failed start"));
            return Err(error);
        }
        Ok(line)
    }

    /// Waits for the first attempt at every camera.
    fn cameras_tried(&mut self, cancelled: &CancellationToken) -> Result<(), LineError> {
        let mut tried = 0;
        while tried < self.names.len() {
            match self.notices.recv_timeout(LOOK) {
                Ok(Notice::Tried) => tried += 1,
                Ok(Notice::Failed(error)) => return Err(error),
                // Every camera thread has ended: finite sources were quick, or there was a panic that `wait` names.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if cancelled.is_cancelled() => return Err(LineError::Cancelled),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(error) = self.died() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// A thread that has ended though the line needs it. Cameras may end, when their source does.
    fn died(&mut self) -> Option<LineError> {
        if let Some(thread) = self.crew.panicked(INFERENCE) {
            return Some(LineError::Panicked { thread });
        }
        let early = self.crew.has_ended(DEADLINES) && !self.last_bell.has_rung();
        early.then(|| LineError::Panicked { thread: DEADLINES.into() })
    }

    /// Who is looking.
    pub fn engine(&self) -> &EngineInfo {
        &self.engine
    }

    /// What ails recipes, thresholds and memories in use, while it does.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.stations.iter().flat_map(|station| station.settings.troubles(&self.context.model)).collect()
    }

    /// A handle for those who may ask something of the line.
    pub fn control(&self) -> Control {
        Control::new(&self.stations, &self.context, &self.queues)
    }

    /// What the line has done so far.
    pub fn stats(&self) -> LineStats {
        self.context.stats().clone()
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
            if let Some(error) = self.died() {
                return Some(LineEnd::Failed(error));
            }
            if self.crew.has_ended(INFERENCE) {
                let mut joined = self.crew.join(Instant::now(), |name| name == INFERENCE);
                if joined.panicked.is_empty() {
                    joined = self.crew.join(Instant::now() + GIVE_BACK, |name| name != DEADLINES);
                }
                return Some(match (joined.panicked.into_iter().next(), joined.late.is_empty()) {
                    (Some(thread), _) => LineEnd::Failed(LineError::Panicked { thread }),
                    (None, true) => LineEnd::SourcesEnded,
                    // It ends after the last camera, never before.
                    (None, false) => LineEnd::Failed(LineError::Panicked { thread: INFERENCE.into() }),
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
        let Self { mut crew, context, stations, names, queues, go, give_up_at, notices: _notices, last_bell, .. } =
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
        let stats = context.stats().clone();
        tracing::info!(events = stats.events(), "stop: line done");
        StopReport { late, panicked, stats, queues: names.into_iter().zip(queues.counters()).collect() }
    }
}

/// What the engine's thread says of itself, once it can look.
fn engine_ready(
    answer: &Receiver<Result<EngineInfo, LineError>>,
    cancelled: &CancellationToken,
) -> Result<EngineInfo, LineError> {
    let engine = wait_for(answer, cancelled)?.ok_or_else(inference_panicked)??;
    tracing::info!(engine = %engine.engine, precision = %engine.precision, model = %engine.model, "engine ready");
    Ok(engine)
}

fn inference_panicked() -> LineError {
    LineError::Panicked { thread: INFERENCE.into() }
}

/// Before anything new: the parts that the last start did not get to.
fn answer_for_earlier_start(unanswered: &[Unanswered], stations: &[Arc<Station>]) {
    let mut gone: Vec<EventWriter> = Vec::new();
    for owed in unanswered {
        if let Some(station) = stations.iter().find(|station| **station.camera() == *owed.camera) {
            station.writer().restarted(owed, &station.recipe());
            continue;
        }
        tracing::warn!(camera = owed.camera, part = owed.part.id, "a part of a camera that is gone from the line");
        // Its event needs a recipe, and any one is as good: nothing was judged.
        let Some(any) = stations.first() else { continue };
        let at = gone.iter().position(|writer| writer.camera() == owed.camera).unwrap_or_else(|| {
            gone.push(any.writer().for_camera(&owed.camera));
            gone.len() - 1
        });
        gone[at].restarted(owed, &any.recipe());
    }
}

/// A thread for each camera; the cameras stop when the other end of `stop` is dropped.
fn start_cameras(
    crew: &mut Crew,
    cameras: Vec<(CameraPlan, SourceOpener)>,
    stations: &[Arc<Station>],
    sink: &Arc<dyn EventSink>,
    stop: &Receiver<Never>,
) -> Result<Receiver<Notice>, LineError> {
    // A notice of the first attempt and one of a failure from every camera.
    let (notify, notices) = bounded(2 * cameras.len());
    for ((plan, open), station) in cameras.into_iter().zip(stations.iter().map(Arc::clone)) {
        let name = format!("cam-{}", plan.name);
        let (sink, stop, notices) = (Arc::clone(sink), stop.clone(), notify.clone());
        let camera = CameraThread { plan, open, station, sink, stop, notices };
        spawn(crew, &name, move || camera.run())?;
    }
    Ok(notices)
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
