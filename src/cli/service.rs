//! A line as a service: publisher, line and systemd started, watched and stopped in order. `run` and `demo` share it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::commands::{CommandSpec, Commander};
use super::drops::{Change, DropWatch};
use super::front_desk::FrontDesk;
use super::plan::EngineMaker;
use crate::clock::{Clock, SystemClock};
use crate::event::{InspectionEvent, ModelInfo};
use crate::frame::Part;
use crate::line::{
    CameraPlan, CameraState as LineCamera, EventSink, Heartbeat, Line, LineEnd, LineError, LineParts, Refused,
    SourceOpener, Unanswered,
};
use crate::output;
use crate::publish::outbox::{RecordId, Safety};
use crate::publish::sparkplug::{Sparkplug, SparkplugHandle, SparkplugSpec};
use crate::publish::{
    Alarm, CameraState, CommandLink, CommandPort, Counters, Door, LineState, Outgoing, OwedPart, Publisher,
    PublisherSpec, StateWord,
};
use crate::systemd::{Notifier, NotifyError, Progress, Watchdog, watchdog_interval};
use crate::web::{Web, WebSpec};

/// How long the inference thread waits for room in a full publishing queue before a verdict is given up. Longer than
/// any broker that is merely slow, shorter than systemd's watchdog.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an acknowledgement waits for the disk of the outbox.
const DISK: Duration = Duration::from_secs(1);
/// How often the running line is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Added to the stop deadline when systemd is told how long the stop may take.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// What systemd shows until the engine is open.
const LOADING: &str = "loading the model";
/// Longest time for building a plan, as far as systemd is concerned; a ViT-L/14 takes a minute or two.
const LONG_WORK: Duration = Duration::from_secs(1200);
/// Time for the Sparkplug node to say what waits and its death, while the publisher works on.
const SPARKPLUG_STOP: Duration = Duration::from_secs(1);
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
    /// Who may ask what of the line.
    pub ask: Ask,
    /// Where they go as Sparkplug B besides.
    pub sparkplug: Option<SparkplugSpec>,
    /// Time from the stop request to the end of the process.
    pub stop_deadline: Duration,
}

/// The ways in for commands.
pub struct Ask {
    /// What commands may do.
    pub commands: CommandSpec,
    /// Whether they are taken from the broker.
    pub mqtt: bool,
    /// The API, when it is wanted.
    pub http: Option<WebSpec>,
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
                    tracing::warn!("second signal: leaving at once, verdicts not yet published wait in the outbox");
                    output::abandon();
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
    let links = service.ask.mqtt.then(|| service.publisher.clone());
    let kept = if service.publisher.outbox.is_some() { "wait in the outbox" } else { "are lost" };
    let publisher = Publisher::start(service.publisher, session, state.clone(), Arc::clone(&clock), None)?;
    // Those that were accepted and not answered when the last start ended.
    let unanswered: Vec<Unanswered> = publisher.door().owed().iter().map(|owed| unanswered(owed)).collect();
    let sparkplug = service.sparkplug.map(|spec| Sparkplug::start(spec, &state, Arc::clone(&clock))).transpose()?;
    let host = sparkplug.as_ref().map(Sparkplug::handle);
    let voice = Arc::new(Voice::new(publisher.door(), host, state, Arc::clone(&clock)));
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
    let owing = Arc::clone(&voice);
    let mut commander = Commander::start(service.ask.commands, Arc::clone(&clock), move || owing.settle())?;
    let port = || Arc::new(commander.inbox()) as Arc<dyn CommandPort>;
    let link = links.map(|spec| CommandLink::start(spec, port())).transpose()?;
    let desk = FrontDesk {
        line: service.line.clone(),
        session,
        voice: Arc::clone(&voice),
        inbox: commander.inbox(),
        control: commander.control(),
    };
    let web = service.ask.http.map(|spec| Web::start(spec, Arc::new(desk))).transpose()?;

    let parts = LineParts {
        name: service.line.clone(),
        session,
        cameras: service.cameras,
        engine,
        unanswered,
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
    commander.ready(line.control());
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
        voice.outbox();
        drops.look(Instant::now(), &line.queues()).into_iter().for_each(|change| voice.drops(change));
        voice.broker(&publisher.door().troubles());
        if let Some(end) = line.wait(LOOK) {
            break Some(end);
        }
    };

    tell_systemd(notifier.stopping());
    tell_systemd(notifier.extend_timeout(service.stop_deadline + STOP_MARGIN));
    let began = Instant::now();
    // What is not accepted any more is owed nothing.
    drop(link);
    drop(commander);
    let report = line.stop(service.stop_deadline.mul_f64(LINE_SHARE));
    // From here on nobody makes progress on frames; a hang is TimeoutStopSec's business.
    drop(watchdog);
    let left = service.stop_deadline.saturating_sub(began.elapsed());
    if let Some(sparkplug) = sparkplug {
        let unsent = sparkplug.stop(left.min(SPARKPLUG_STOP));
        tracing::info!(unsent, "stop: Sparkplug");
    }
    let left = service.stop_deadline.saturating_sub(began.elapsed());
    tracing::info!(deadline_ms = left.as_millis() as u64, "stop: publisher");
    let door = publisher.door();
    let published = publisher.stop(left);
    drop(web);
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
        "{} verdicts could not be delivered and {kept}: is the broker running?",
        published.unsent
    );
    Ok(())
}

fn unanswered(owed: &OwedPart) -> Unanswered {
    Unanswered { camera: owed.camera.clone(), part: owed.part.clone(), accepted: owed.accepted }
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
pub(super) struct Voice {
    door: Door,
    sparkplug: Option<SparkplugHandle>,
    clock: Arc<dyn Clock>,
    /// The newest debt.
    owed: AtomicU64,
    known: Mutex<Known>,
}

struct Known {
    state: LineState,
    ready: bool,
    engine: Option<Alarm>,
    broker: BTreeMap<&'static str, Alarm>,
    /// What ails the outbox, and whether the line is degraded by it.
    outbox: Option<(Alarm, bool)>,
    lost: BTreeMap<String, Alarm>,
    drops: BTreeMap<String, Alarm>,
}

impl Voice {
    fn new(door: Door, sparkplug: Option<SparkplugHandle>, state: LineState, clock: Arc<dyn Clock>) -> Self {
        let known = Known {
            state,
            ready: false,
            engine: None,
            broker: BTreeMap::new(),
            outbox: None,
            lost: BTreeMap::new(),
            drops: BTreeMap::new(),
        };
        // An alarm that an earlier start has left at the broker is not this start's.
        let cameras: Vec<String> = known.state.cameras.keys().cloned().collect();
        let voice = Self { door, sparkplug, clock, owed: AtomicU64::new(0), known: Mutex::new(known) };
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
            () if known.engine.is_some()
                || known.outbox.as_ref().is_some_and(|(_, degraded)| *degraded)
                || !known.lost.is_empty() =>
            {
                StateWord::Degraded
            }
            () => StateWord::Online,
        };
        if word != known.state.state {
            known.state.state = word;
            known.state.since = Some(self.clock.now().wall);
        }
        if let Some(host) = &self.sparkplug {
            host.line(&known.state);
        }
        self.door.set_state(known.state.clone());
    }

    /// Waits until the parts accepted so far are where a restart finds them, or the disk has had its time: whoever asks
    /// is told then.
    pub fn settle(&self) {
        let debt = RecordId(self.owed.load(Ordering::Relaxed));
        if self.door.recorded(debt, DISK) == Safety::BeingWritten {
            tracing::warn!("the outbox is slow: parts are acknowledged before they are on disk");
        }
    }

    /// Whether everything is there that inspecting needs, and what is not.
    pub fn health(&self) -> Result<(), String> {
        let known = self.known();
        let alarms = known.engine.iter().chain(known.lost.values());
        let missing: Vec<&str> = alarms.map(|alarm| alarm.message.as_str()).collect();
        match (known.ready, missing.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(missing.join("; ")),
            (false, _) => Err("the line is starting".into()),
        }
    }

    /// The state as it is published, and how publishing is going.
    pub fn report(&self) -> (LineState, Counters) {
        (self.known().state.clone(), self.door.counters())
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

    /// What is wrong with the broker though it can be reached concerns every camera.
    fn broker(&self, troubles: &BTreeMap<&'static str, String>) {
        let mut known = self.known();
        let told = |(kind, message): (&&str, &String)| known.broker.get(*kind).is_some_and(|a| a.message == *message);
        if known.broker.len() == troubles.len() && troubles.iter().all(told) {
            return;
        }
        let alarms = troubles.iter().map(|(kind, message)| (*kind, self.alarm(kind, message.clone()))).collect();
        known.broker = alarms;
        for camera in known.state.cameras.keys() {
            self.show_alarms(&known, camera);
        }
    }

    /// Looks how the outbox is doing. What ails it concerns every camera.
    fn outbox(&self) {
        let Some(outbox) = self.door.outbox() else { return };
        let (message, degraded) = (outbox.alarm(), outbox.is_degraded());
        let mut known = self.known();
        let before = known.outbox.as_ref();
        if before.map(|(alarm, degraded)| (&alarm.message, *degraded)) == message.as_ref().map(|text| (text, degraded))
        {
            return;
        }
        match &message {
            Some(message) => tracing::warn!("{message}"),
            None => tracing::info!("the outbox is well again"),
        }
        let since = before.map(|(alarm, _)| alarm.since);
        known.outbox = message.map(|message| {
            let alarm = self.alarm("outbox", message);
            (Alarm { since: since.unwrap_or(alarm.since), ..alarm }, degraded)
        });
        self.show_all_alarms(&known);
        self.tell(&mut known);
    }

    fn show_all_alarms(&self, known: &Known) {
        known.state.cameras.keys().for_each(|camera| self.show_alarms(known, camera));
    }

    fn show_alarms(&self, known: &Known, camera: &str) {
        let of_camera = known.lost.get(camera).into_iter().chain(known.drops.get(camera));
        let outbox = known.outbox.as_ref().map(|(alarm, _)| alarm);
        let of_all = known.engine.iter().chain(known.broker.values()).chain(outbox);
        let alarms: Vec<Alarm> = of_camera.chain(of_all).cloned().collect();
        self.door.set_alarms(camera, &alarms);
    }
}

impl EventSink for Voice {
    // The door says loudly that it is full, once each time it begins.
    fn owe(&self, camera: &str, part: &Part) -> Result<(), Refused> {
        self.door
            .owe(camera, part)
            .map(|debt| {
                self.owed.fetch_max(debt.0, Ordering::Relaxed);
            })
            .map_err(|error| Refused(error.to_string()))
    }

    fn verdict(&self, event: InspectionEvent, captured: Instant, due: Option<Instant>) -> Result<(), Refused> {
        let told = self.sparkplug.as_ref().map(|host| (host, event.clone()));
        let outgoing = Outgoing { event, captured, due };
        self.door.verdict_within(outgoing, PATIENCE).map_err(|error| Refused(error.to_string()))?;
        if let Some((host, event)) = told {
            host.verdict(&event);
        }
        Ok(())
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
        self.show_all_alarms(&known);
        self.tell(&mut known);
    }
}
