//! What the line says, as MQTT hears it: verdicts, the retained state, alarms.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::commands::{Keeping, Kept};
use super::drops::Change;
use crate::camera::CameraState;
use crate::clock::Clock;
use crate::event::{InspectionEvent, ModelInfo};
use crate::frame::Part;
use crate::line::{Debt, EventSink, Refused, Trouble};
use crate::logging::LogHealth;
use crate::publish::outbox::{OutboxStatus, RecordId, Safety, WhenUnkept};
use crate::publish::sparkplug::SparkplugHandle;
use crate::publish::{Activity, Alarm, Counters, Door, LineState, Outgoing, StateWord};
use crate::verdict::Suspect;
use crate::web::News;

/// How long one look at a part that is being written lasts; then it is looked at anew.
const LOOK: Duration = Duration::from_millis(200);
/// Alarms of this kind say that a recipe or memory is not in use that should be.
const RECIPES: &str = "recipes";
/// Longer than a disk that hangs is waited for by the outbox itself.
const LONGEST: Duration = Duration::from_secs(20);

/// Speaks for the line, and knows what it has said.
pub struct Voice {
    door: Door,
    sparkplug: Option<SparkplugHandle>,
    clock: Arc<dyn Clock>,
    when_unkept: WhenUnkept,
    /// For pages that look on.
    news: News,
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
    /// Cameras whose pictures have changed, and how.
    pictures: BTreeMap<(String, &'static str), Alarm>,
    /// Lines of the log are being lost.
    log: Option<Alarm>,
    /// What keeps the archive from keeping pictures, or soon will.
    archive: Option<Alarm>,
    /// Recipes that came by command could not be read at the start.
    recipes: Option<Alarm>,
    /// What ails recipes, thresholds and memories in use, each with its camera.
    judging: Vec<(Arc<str>, Alarm)>,
}

impl Voice {
    /// Nothing has been said yet but `state`.
    pub fn new(
        door: Door,
        sparkplug: Option<SparkplugHandle>,
        state: LineState,
        when_unkept: WhenUnkept,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let known = Known {
            state,
            ready: false,
            engine: None,
            broker: BTreeMap::new(),
            outbox: None,
            lost: BTreeMap::new(),
            drops: BTreeMap::new(),
            pictures: BTreeMap::new(),
            log: None,
            archive: None,
            recipes: None,
            judging: Vec::new(),
        };
        // An alarm that an earlier start has left at the broker is not this start's.
        let cameras: Vec<String> = known.state.cameras.keys().cloned().collect();
        let news = News::default();
        let voice = Self { door, sparkplug, clock, when_unkept, news, known: Mutex::new(known) };
        for camera in cameras {
            voice.door.set_alarms(&camera, &[]);
        }
        voice
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line inspects, with this model.
    pub fn ready(&self, model: ModelInfo) {
        let mut known = self.known();
        known.ready = true;
        known.state.model = Some(model);
        self.tell(&mut known);
    }

    /// Something that takes long has begun, or ended (an empty text).
    pub fn activity(&self, text: &str) {
        let mut known = self.known();
        known.state.activity = (!text.is_empty()).then(|| text.to_owned());
        self.tell(&mut known);
    }

    /// Calibrations and learning are this far.
    pub fn activities(&self, activities: Vec<Activity>) {
        let mut known = self.known();
        known.state.activities = activities;
        self.tell(&mut known);
    }

    /// Publishes the state as it follows from what is known.
    fn tell(&self, known: &mut Known) {
        let word = match () {
            () if !known.ready => StateWord::Offline,
            () if known.engine.is_some()
                || known.outbox.as_ref().is_some_and(|(_, degraded)| *degraded)
                || !known.broker.is_empty()
                || known.recipes.is_some()
                || known.judging.iter().any(|(_, alarm)| alarm.kind == RECIPES)
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
        self.news.changed();
    }

    /// What happens, for pages that look on.
    pub fn news(&self) -> &News {
        &self.news
    }

    /// How the outbox is doing; `None` without one.
    pub fn outbox_status(&self) -> Option<OutboxStatus> {
        self.door.outbox()
    }

    /// Every alarm that stands, with the camera that it is about; `None` where it is about the line.
    pub fn standing(&self) -> Vec<(Option<String>, Alarm)> {
        let known = self.known();
        let outbox = known.outbox.as_ref().map(|(alarm, _)| alarm);
        let of_all = known.engine.iter().chain(known.broker.values()).chain(outbox);
        let of_all = of_all.chain(&known.recipes).chain(&known.log).chain(&known.archive);
        let of_one = known.lost.iter().chain(&known.drops).map(|(camera, alarm)| (camera.clone(), alarm));
        let pictures = known.pictures.iter().map(|((camera, _), alarm)| (camera.clone(), alarm));
        let judging = known.judging.iter().map(|(camera, alarm)| (camera.to_string(), alarm));
        let of_one = of_one.chain(pictures).chain(judging).map(|(camera, alarm)| (Some(camera), alarm.clone()));
        of_all.map(|alarm| (None, alarm.clone())).chain(of_one).collect()
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

    /// What stands, as `(camera, kind)`; what concerns every camera has none.
    pub fn alarms(&self) -> Vec<(String, String)> {
        self.standing().into_iter().map(|(camera, alarm)| (camera.unwrap_or_default(), alarm.kind)).collect()
    }

    fn alarm(&self, kind: &str, message: String) -> Alarm {
        Alarm { kind: kind.into(), message, since: self.clock.now().wall }
    }

    /// Each dropped frame is counted in the events; the alarm says that it is going on.
    pub fn drops(&self, change: Change) {
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

    /// Looks how the broker is doing. What is wrong with it though it can be reached concerns every camera.
    pub fn broker(&self) {
        let troubles = self.door.troubles();
        let mut known = self.known();
        let told = |(kind, message): (&&str, &String)| known.broker.get(*kind).is_some_and(|a| a.message == *message);
        if known.broker.len() == troubles.len() && troubles.iter().all(told) {
            return;
        }
        let alarms = troubles.iter().map(|(kind, message)| (*kind, self.alarm(kind, message.clone()))).collect();
        known.broker = alarms;
        self.show_all_alarms(&known);
        self.tell(&mut known);
    }

    /// Looks how the outbox is doing. What ails it concerns every camera.
    pub fn outbox(&self) {
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

    /// Looks how the log is doing. A lost log concerns every camera and harms none.
    pub fn log(&self, health: &LogHealth) {
        let message = health.trouble.as_ref().map(|why| format!("{} lines of the log were lost: {why}", health.lost));
        let mut known = self.known();
        if known.log.as_ref().map(|alarm| &alarm.message) == message.as_ref() {
            return;
        }
        let since = known.log.as_ref().map(|alarm| alarm.since);
        known.log = message.map(|message| {
            let alarm = self.alarm("log", message);
            Alarm { since: since.unwrap_or(alarm.since), ..alarm }
        });
        self.show_all_alarms(&known);
    }

    /// What the archive says of itself. It concerns every camera, and harms no verdict.
    pub fn archive(&self, message: Option<String>) {
        let mut known = self.known();
        if known.archive.as_ref().map(|alarm| &alarm.message) == message.as_ref() {
            return;
        }
        match &message {
            Some(message) => tracing::warn!("{message}"),
            None => tracing::info!("the archive is well again"),
        }
        let since = known.archive.as_ref().map(|alarm| alarm.since);
        known.archive = message.map(|message| {
            let alarm = self.alarm("archive", message);
            Alarm { since: since.unwrap_or(alarm.since), ..alarm }
        });
        self.show_all_alarms(&known);
    }

    /// Recipes that came by command are not in use, because what was kept of them is damaged.
    pub fn recipes(&self, trouble: Option<&str>) {
        let mut known = self.known();
        known.recipes = trouble.map(|message| self.alarm("recipes", message.to_owned()));
        self.show_all_alarms(&known);
        self.tell(&mut known);
    }

    /// Looks how recipes, thresholds and memories in use are doing.
    pub fn judging(&self, troubles: Vec<Trouble>) {
        let mut known = self.known();
        let told =
            |(camera, alarm): &(Arc<str>, Alarm)| (Arc::clone(camera), alarm.kind.clone(), alarm.message.clone());
        let now =
            troubles.iter().map(|trouble| (Arc::clone(&trouble.camera), trouble.kind.into(), trouble.message.clone()));
        if known.judging.iter().map(told).eq(now) {
            return;
        }
        let before = std::mem::take(&mut known.judging);
        for Trouble { camera, kind, message } in troubles {
            let old = before.iter().find(|(of, alarm)| *of == camera && alarm.kind == kind && alarm.message == message);
            let alarm = match old {
                Some((_, alarm)) => alarm.clone(),
                None => {
                    tracing::warn!(%camera, alarm = kind, "{message}");
                    self.alarm(kind, message)
                }
            };
            known.judging.push((camera, alarm));
        }
        for (camera, alarm) in before.iter().filter(|before| !known.judging.contains(before)) {
            tracing::info!(%camera, alarm = alarm.kind, "over: {}", alarm.message);
        }
        self.show_all_alarms(&known);
        self.tell(&mut known);
    }

    /// What is wrong, to follow a sentence that says how the line would be; empty when nothing is.
    pub fn trouble(&self) -> String {
        let known = self.known();
        let outbox = known.outbox.as_ref().map(|(alarm, _)| alarm);
        let all = known.engine.iter().chain(known.lost.values()).chain(known.broker.values()).chain(outbox);
        let all =
            all.chain(&known.recipes).chain(known.drops.values()).chain(known.pictures.values()).chain(&known.log);
        let all = all.chain(&known.archive).chain(known.judging.iter().map(|(_, alarm)| alarm));
        let counters = self.door.counters();
        let away = (!counters.connected).then(|| format!("; no broker, {} verdicts wait", counters.queued));
        let alarms = all.map(|alarm| format!("; {}: {}", alarm.kind, alarm.message));
        alarms.chain(away).collect()
    }

    fn show_all_alarms(&self, known: &Known) {
        known.state.cameras.keys().for_each(|camera| self.show_alarms(known, camera));
    }

    fn show_alarms(&self, known: &Known, camera: &str) {
        let pictures = known.pictures.iter().filter(|((name, _), _)| name == camera).map(|(_, alarm)| alarm);
        let judging = known.judging.iter().filter(|(name, _)| **name == *camera).map(|(_, alarm)| alarm);
        let of_camera =
            known.lost.get(camera).into_iter().chain(known.drops.get(camera)).chain(pictures).chain(judging);
        let outbox = known.outbox.as_ref().map(|(alarm, _)| alarm);
        let of_all =
            known.engine.iter().chain(known.broker.values()).chain(outbox).chain(&known.recipes).chain(&known.log);
        let of_all = of_all.chain(&known.archive);
        let alarms: Vec<Alarm> = of_camera.chain(of_all).cloned().collect();
        self.door.set_alarms(camera, &alarms);
        self.news.changed();
    }
}

impl Keeping for Voice {
    fn refuses(&self) -> Option<String> {
        let failing = self.door.outbox().and_then(|outbox| outbox.failing);
        failing.filter(|_| self.when_unkept == WhenUnkept::Refuse)
    }

    fn kept(&self, debt: Debt) -> Kept {
        let began = self.clock.now().monotonic;
        loop {
            match self.door.recorded(RecordId(debt.0), LOOK) {
                Safety::OnDisk => return Kept::Safely,
                Safety::BeingWritten if self.clock.now().monotonic.duration_since(began) < LONGEST => {}
                // Without an outbox nothing is promised.
                Safety::InMemory if self.door.outbox().is_none() => return Kept::Safely,
                Safety::InMemory | Safety::BeingWritten if self.when_unkept == WhenUnkept::Memory => {
                    return Kept::InMemory;
                }
                Safety::InMemory | Safety::BeingWritten => {
                    let failing = self.door.outbox().and_then(|outbox| outbox.failing);
                    return Kept::Not(failing.unwrap_or_else(|| "the disk of the outbox takes nothing".into()));
                }
            }
        }
    }
}

impl EventSink for Voice {
    // The door says loudly that it is full, once each time it begins.
    fn owe(&self, camera: &str, part: &Part) -> Result<Debt, Refused> {
        let debt = self.door.owe(camera, part).map_err(|error| Refused(error.to_string()))?;
        Ok(Debt(debt.0))
    }

    fn verdict(&self, event: InspectionEvent, captured: Instant, due: Option<Instant>) -> Result<(), Refused> {
        let told = self.sparkplug.as_ref().map(|host| (host, event.clone()));
        let now = self.clock.now();
        let (shown, total) = (event.clone(), now.monotonic.saturating_duration_since(captured));
        let outgoing = Outgoing { event, captured, due };
        self.door.verdict(outgoing).map_err(|error| Refused(error.to_string()))?;
        if let Some((host, event)) = told {
            host.verdict(&event);
        }
        self.news.verdict(shown, total, now.wall);
        Ok(())
    }

    fn camera(&self, camera: &str, state: CameraState, detail: Option<&str>) {
        let mut known = self.known();
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

    fn picture(&self, camera: &str, suspect: Suspect, message: Option<&str>) {
        let (mut known, kind) = (self.known(), suspect.word());
        match message {
            Some(message) => {
                tracing::warn!(camera, alarm = kind, "{message}");
                known.pictures.insert((camera.to_owned(), kind), self.alarm(kind, message.to_owned()));
            }
            None => {
                tracing::info!(camera, alarm = kind, "pictures look like those of the good parts again");
                known.pictures.remove(&(camera.to_owned(), kind));
            }
        }
        self.show_alarms(&known, camera);
    }
}
