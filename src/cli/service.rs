//! A line as a service: publisher, line and systemd started, watched and stopped in order. `run` and `demo` share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::drops::{Change, DropWatch};
use super::plan::EngineMaker;
use crate::clock::{Clock, SystemClock};
use crate::event::{InspectionEvent, ModelInfo};
use crate::line::{
    CameraPlan, CameraState as LineCamera, EventSink, Heartbeat, Line, LineEnd, LineError, LineParts, SourceOpener,
};
use crate::publish::{Alarm, CameraState, Door, LineState, Outgoing, Publisher, PublisherSpec, StateWord};
use crate::systemd::{Notifier, NotifyError, Progress, Watchdog, watchdog_interval};

/// How long the inference thread waits for room in a full publishing queue before a verdict is given up. Longer than
/// any broker that is merely slow, shorter than systemd's watchdog.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the running line is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Added to the stop deadline when systemd is told how long the stop may take.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// What systemd shows until the engine is open.
const LOADING: &str = "loading the model";
/// Longest time for building a plan, as far as systemd is concerned; a ViT-L/14 takes a minute or two.
const LONG_WORK: Duration = Duration::from_secs(1200);
/// Share of the stop deadline that the line may use; the rest belongs to the publisher.
const LINE_SHARE: f64 = 0.6;

/// Everything a service start needs, resolved.
pub struct Service {
    /// Configured name.
    pub line: String,
    /// Cameras and how to open them.
    pub cameras: Vec<(CameraPlan, SourceOpener)>,
    /// How to open the engine.
    pub engine: EngineMaker,
    /// Where verdicts go.
    pub publisher: PublisherSpec,
    /// Time from the stop request to the end of the process.
    pub stop_deadline: Duration,
}

/// A stop on request, shared by everything that waits. The first SIGTERM or SIGINT asks, the second ends the process.
pub fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).context("installing signal handlers")?;
    let stop = token.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if stop.is_cancelled() {
                    tracing::warn!("second signal: leaving at once, verdicts not yet published are lost");
                    signal_hook::low_level::exit(1);
                }
                tracing::info!(signal, "stop requested; a second signal leaves at once");
                stop.cancel();
            }
        })
        .context("starting the signal thread")?;
    Ok(token)
}

/// Runs until `stop` or until every finite source has ended.
pub fn serve(service: Service, stop: &CancellationToken) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let session = Uuid::now_v7();
    let notifier = Notifier::from_env()?;
    tell_systemd(notifier.status(LOADING));

    let names: Vec<String> = service.cameras.iter().map(|(plan, _)| plan.name.to_string()).collect();
    let state = LineState {
        state: StateWord::Offline,
        since: Some(clock.now().wall),
        cameras: names.iter().map(|name| (name.clone(), CameraState::Starting)).collect(),
        model: None,
        activity: None,
    };
    let publisher = Publisher::start(service.publisher, session, state.clone(), Arc::clone(&clock), None)?;
    let voice = Arc::new(Voice::new(publisher.door(), state, Arc::clone(&clock)));
    let progress = Arc::new(Progress::default());
    let engine = {
        let (voice, notifier) = (Arc::clone(&voice), notifier.clone());
        (service.engine)(Box::new(move |activity| {
            voice.activity(activity);
            tell_systemd(notifier.status(if activity.is_empty() { LOADING } else { activity }));
            if !activity.is_empty() {
                tell_systemd(notifier.extend_timeout(LONG_WORK));
            }
        }))
    };

    let parts = LineParts {
        name: service.line.clone(),
        session,
        cameras: service.cameras,
        engine,
        sink: Arc::clone(&voice) as Arc<dyn EventSink>,
        heartbeat: Arc::new(Pulse(Arc::clone(&progress))),
        clock,
        cancelled: stop.clone(),
    };
    let mut line = match Line::start(parts) {
        Ok(line) => line,
        Err(error) => {
            tell_systemd(notifier.stopping());
            let report = publisher.stop(Duration::from_secs(1));
            tracing::debug!(unsent = report.unsent, "publisher stopped");
            return match error {
                LineError::Cancelled => Ok(()),
                error => Err(error.into()),
            };
        }
    };
    let engine = line.engine();
    let cameras = if names.len() == 1 { "camera" } else { "cameras" };
    let status = format!("{} {cameras}, engine {} {}", names.len(), engine.engine, engine.precision);
    voice.ready(ModelInfo {
        name: engine.model.clone(),
        sha256: engine.sha256.clone(),
        engine: engine.engine.to_string(),
        precision: engine.precision.to_string(),
    });
    tell_systemd(notifier.ready(&status));
    let watchdog = watchdog_interval()
        .map(|interval| Watchdog::start(notifier.clone(), interval, vec![Arc::clone(&progress)]))
        .transpose()?;
    tracing::info!(line = %service.line, %session, "{status}");

    let mut drops = DropWatch::default();
    let end = loop {
        if stop.is_cancelled() {
            break None;
        }
        drops.look(Instant::now(), &line.queues()).into_iter().for_each(|change| voice.drops(change));
        if let Some(end) = line.wait(LOOK) {
            break Some(end);
        }
    };

    tell_systemd(notifier.stopping());
    tell_systemd(notifier.extend_timeout(service.stop_deadline + STOP_MARGIN));
    let began = Instant::now();
    let report = line.stop(service.stop_deadline.mul_f64(LINE_SHARE));
    // From here on nobody makes progress on frames; a hang is TimeoutStopSec's business.
    drop(watchdog);
    let left = service.stop_deadline.saturating_sub(began.elapsed());
    tracing::info!(deadline_ms = left.as_millis() as u64, "stop: publisher");
    let door = publisher.door();
    let published = publisher.stop(left);
    let counters = door.counters();
    tracing::info!(
        events = report.stats.events(),
        acked = counters.acked,
        unsent = published.unsent,
        ms = began.elapsed().as_millis() as u64,
        "stopped"
    );
    if let Some(LineEnd::Failed(error)) = end {
        return Err(error.into());
    }
    anyhow::ensure!(report.late.is_empty(), "still busy at the stop deadline: {}", report.late.join(", "));
    anyhow::ensure!(report.panicked.is_empty(), "broke off: thread {}", report.panicked.join(", "));
    let finished = end.is_some();
    anyhow::ensure!(
        !finished || published.unsent == 0,
        "{} verdicts could not be delivered: is the broker running?",
        published.unsent
    );
    Ok(())
}

/// What systemd does not hear changes nothing about the line.
fn tell_systemd(told: Result<(), NotifyError>) {
    if let Err(error) = told {
        tracing::warn!("{error}");
    }
}

/// The inference thread's signs of life, passed on to the watchdog.
struct Pulse(Arc<Progress>);

impl Heartbeat for Pulse {
    fn step(&self) {
        self.0.step();
    }
}

/// What the line says, as MQTT hears it: verdicts, the retained state, alarms.
struct Voice {
    door: Door,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

struct Known {
    state: LineState,
    ready: bool,
    engine: Option<Alarm>,
    lost: BTreeMap<String, Alarm>,
    drops: BTreeMap<String, Alarm>,
}

impl Voice {
    fn new(door: Door, state: LineState, clock: Arc<dyn Clock>) -> Self {
        let known = Known { state, ready: false, engine: None, lost: BTreeMap::new(), drops: BTreeMap::new() };
        // An alarm that an earlier start has left at the broker is not this start's.
        let cameras: Vec<String> = known.state.cameras.keys().cloned().collect();
        let voice = Self { door, clock, known: Mutex::new(known) };
        for camera in cameras {
            voice.door.set_alarms(&camera, &[]);
        }
        voice
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self, model: ModelInfo) {
        let mut known = self.known();
        known.ready = true;
        known.state.model = Some(model);
        self.tell(&mut known);
    }

    /// Something that takes long has begun, or ended (an empty text).
    fn activity(&self, text: &str) {
        let mut known = self.known();
        known.state.activity = (!text.is_empty()).then(|| text.to_owned());
        self.tell(&mut known);
    }

    /// Publishes the state as it follows from what is known.
    fn tell(&self, known: &mut Known) {
        let word = match () {
            () if !known.ready => StateWord::Offline,
            () if known.engine.is_some() || !known.lost.is_empty() => StateWord::Degraded,
            () => StateWord::Online,
        };
        if word != known.state.state {
            known.state.state = word;
            known.state.since = Some(self.clock.now().wall);
        }
        self.door.set_state(known.state.clone());
    }

    fn alarm(&self, kind: &str, message: String) -> Alarm {
        Alarm { kind: kind.into(), message, since: self.clock.now().wall }
    }

    /// Each dropped frame is counted in the events; the alarm says that it is going on.
    fn drops(&self, change: Change) {
        let mut known = self.known();
        match change {
            Change::Began(camera) => {
                let message = format!(
                    "camera '{camera}' drops frames: they come faster than they are inspected; lower the frame rate, \
                     raise queue for short bursts, or take a faster engine"
                );
                tracing::warn!("{message}");
                known.drops.insert(camera.to_string(), self.alarm("drops", message));
                self.show_alarms(&known, &camera);
            }
            Change::Ended(camera, dropped) => {
                tracing::info!(%camera, dropped, "no more frames are dropped");
                known.drops.remove(&*camera);
                self.show_alarms(&known, &camera);
            }
        }
    }

    fn show_alarms(&self, known: &Known, camera: &str) {
        let of_camera = known.lost.get(camera).into_iter().chain(known.drops.get(camera));
        let alarms: Vec<Alarm> = of_camera.chain(&known.engine).cloned().collect();
        self.door.set_alarms(camera, &alarms);
    }
}

impl EventSink for Voice {
    fn verdict(&self, event: InspectionEvent, captured: Instant) {
        let (camera, seq) = (event.camera.clone(), event.seq);
        if let Err(error) = self.door.verdict_within(Outgoing { event, captured }, PATIENCE) {
            // The door says it loudly, once each time it begins.
            tracing::debug!(%camera, seq, %error, "verdict lost");
        }
    }

    fn camera(&self, camera: &str, state: LineCamera, detail: Option<&str>) {
        let mut known = self.known();
        let state = match state {
            LineCamera::Starting => CameraState::Starting,
            LineCamera::Online => CameraState::Online,
            LineCamera::Lost => CameraState::Lost,
            LineCamera::Ended => CameraState::Stopped,
        };
        known.state.cameras.insert(camera.into(), state);
        if state == CameraState::Lost {
            let message = detail.unwrap_or("the camera does not answer").to_owned();
            let before = known.lost.get(camera);
            // Tried again and still lost is not lost anew.
            if before.is_none_or(|alarm| alarm.message != message) {
                let mut alarm = self.alarm("camera_lost", message);
                alarm.since = before.map_or(alarm.since, |before| before.since);
                known.lost.insert(camera.into(), alarm);
                self.show_alarms(&known, camera);
            }
        } else if known.lost.remove(camera).is_some() {
            self.show_alarms(&known, camera);
        }
        self.tell(&mut known);
    }

    fn engine(&self, error: Option<&str>) {
        let mut known = self.known();
        known.engine = error.map(|reason| self.alarm("engine", reason.to_owned()));
        let cameras: Vec<String> = known.state.cameras.keys().cloned().collect();
        for camera in cameras {
            self.show_alarms(&known, &camera);
        }
        self.tell(&mut known);
    }
}
