//! What takes many parts of a running line: calibrations and learning, begun by a command, one of each camera at a time.
//!
//! ```text
//! command ─▶ Activities ─▶ Job ◀─ stop, end of the service, thread that broke off: the first to end it tells how it ended
//!                            └▶ thread: parts of the line (never waited for) ─▶ Pupil ─▶ files, recipe ─▶ acknowledgement
//! ```
//! Until its end an activity is in memory alone: whatever kills the process loses the activity and nothing else.

mod aside;
mod calibration;
mod copies;
mod job;
mod learning;
mod pupil;
mod pupils;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::command::Ack;
use crate::line::control::{Control, ControlError, PartStream};
use crate::line::recipe::RecipeSpec;
use crate::publish::{Activity, ActivityKind};
use aside::aside;
use job::Job;

pub use aside::give_way;
pub use job::Told;
pub use pupil::Pupil;
pub use pupils::{PupilError, Pupils};

use super::recipes::Recipes;

/// The last step of what is taken into use, which is one small file.
const LAST_STEP: Duration = Duration::from_secs(1);
/// How often the end of the service looks whether what is being written is written.
const LOOK: Duration = Duration::from_millis(10);

/// An activity cannot begin or be ended.
#[derive(Debug, thiserror::Error)]
pub enum ActivityError {
    /// The line says so.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// One at a time.
    #[error(
        "camera '{camera}' is busy with '{kind}' ({parts} of {wanted} parts): wait for its end, or end it with {kind} \
         {{\"camera\":\"{camera}\",\"stop\":true}}"
    )]
    Busy {
        /// Which camera.
        camera: Arc<str>,
        /// The command that is under way.
        kind: &'static str,
        /// Parts so far.
        parts: u32,
        /// Parts it wants.
        wanted: u32,
    },
    /// Nothing to be ended.
    #[error("camera '{camera}': no '{kind}' is under way")]
    NotRunning {
        /// Which camera.
        camera: Arc<str>,
        /// The command.
        kind: &'static str,
    },
    /// It has all its parts.
    #[error("camera '{camera}': '{kind}' has its parts and is being taken into use; roll it back afterwards")]
    TooLate {
        /// Which camera.
        camera: Arc<str>,
        /// The command.
        kind: &'static str,
    },
    /// No thread to be had.
    #[error("the thread of '{kind}' cannot be started; the system is out of threads")]
    Thread {
        /// The command.
        kind: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The service ends.
    #[error("the service is stopping; send it again when it runs")]
    Stopping,
}

/// What is to be begun.
pub struct Beginning {
    pub kind: ActivityKind,
    pub camera: Arc<str>,
    pub wanted: u32,
    pub pupil: Box<dyn Pupil>,
    /// The camera's, as the pupil knows it.
    pub recipe: Arc<RecipeSpec>,
}

#[derive(Default)]
struct Book {
    running: BTreeMap<Arc<str>, Arc<Job>>,
    /// How the last one of each camera ended.
    ended: BTreeMap<Arc<str>, Value>,
    closed: bool,
}

/// Those of a line; shared by whoever begins, ends or shows them.
pub struct Activities {
    recipes: Arc<Recipes>,
    clock: Arc<dyn Clock>,
    book: Mutex<Book>,
}

/// One that has its place and has not begun to take parts.
pub struct Begun {
    job: Arc<Job>,
    pupil: Box<dyn Pupil>,
    recipe: Arc<RecipeSpec>,
    parts: PartStream,
    /// For the acknowledgement.
    pub applied: Value,
}

impl Activities {
    pub fn new(recipes: Arc<Recipes>, clock: Arc<dyn Clock>) -> Self {
        Self { recipes, clock, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the camera's place. `told` hears the end, once, whatever it is.
    pub fn begin(&self, control: &Control, beginning: Beginning) -> Result<Begun, ActivityError> {
        let Beginning { kind, camera, wanted, pupil, recipe } = beginning;
        let Moment { wall, monotonic } = self.clock.now();
        let mut book = self.book();
        if book.closed {
            return Err(ActivityError::Stopping);
        }
        if let Some(job) = book.running.get(&camera).filter(|job| job.is_under_way()) {
            let Activity { kind, parts, wanted, .. } = job.report();
            return Err(ActivityError::Busy { camera, kind: kind.word(), parts, wanted });
        }
        let parts = control.hand_over(&camera, monotonic, pupil.wants_tokens())?;
        let job = Arc::new(Job::new(kind, Arc::clone(&camera), wanted, wall));
        job.pause(parts.is_paused());
        book.running.insert(Arc::clone(&camera), Arc::clone(&job));
        let mut applied = json!({ "camera": camera, "activity": kind.word(), "wanted": wanted });
        if let Some(waits) = job.report().waits {
            applied["waits"] = waits.into();
        }
        Ok(Begun { job, pupil, recipe, parts, applied })
    }

    /// Takes parts in a thread of its own, until it has enough.
    pub fn go_on(self: &Arc<Self>, begun: Begun, control: Control, told: Told) {
        let Begun { job, pupil, recipe, parts, .. } = begun;
        let kind = job.kind.word();
        let activities = Arc::clone(self);
        let note = move |ack: &Ack, job: &Job| activities.note(ack, job);
        job.tells(Box::new(note), told);
        let (recipes, worker) = (Arc::clone(&self.recipes), Arc::clone(&job));
        let work = move || aside(move || work::run(&worker, pupil, parts, &recipe, &control, &recipes));
        if let Err(source) = std::thread::Builder::new().name(kind.into()).spawn(work) {
            job.end(Err(&ActivityError::Thread { kind, source }));
        }
    }

    /// What the state says of the camera's last one.
    fn note(&self, ack: &Ack, job: &Job) {
        let Activity { kind, parts, wanted, since, .. } = job.report();
        let mut ended = json!({
            "kind": kind, "parts": parts, "wanted": wanted, "since": since, "ended": self.clock.now().wall, "ok": ack.ok,
        });
        for (key, value) in [("error", ack.error.clone().map(Value::from)), ("applied", ack.applied.clone())] {
            if let Some(value) = value {
                ended[key] = value;
            }
        }
        self.book().ended.insert(Arc::clone(&job.camera), ended);
    }

    /// Ends the one of this kind that is under way; nothing of it is left.
    pub fn stop(&self, kind: ActivityKind, camera: Arc<str>) -> Result<Value, ActivityError> {
        let job = self.book().running.get(&camera).filter(|job| job.kind == kind && !job.is_over()).cloned();
        let kind = kind.word();
        let Some(job) = job else { return Err(ActivityError::NotRunning { camera, kind }) };
        let Activity { parts, wanted, .. } = job.report();
        let reason = format!("ended by command after {parts} of {wanted} parts; nothing was changed");
        match job.end(Err(&reason)) {
            true => Ok(json!({ "camera": camera, "stopped": kind, "parts": parts, "wanted": wanted })),
            false => Err(ActivityError::TooLate { camera, kind }),
        }
    }

    /// How far they are.
    pub fn report(&self) -> Vec<Activity> {
        let mut book = self.book();
        book.running.retain(|_, job| !job.is_over());
        book.running.values().map(|job| job.report()).collect()
    }

    /// How far the camera's one is, and how its last one ended.
    pub fn of(&self, camera: &str) -> (Option<Activity>, Option<Value>) {
        let book = self.book();
        let running = book.running.get(camera).filter(|job| !job.is_over());
        (running.map(|job| job.report()), book.ended.get(camera).cloned())
    }

    /// The service ends, and they with it; what is being written is written by then. Says whether there were any.
    pub fn close(&self, deadline: Instant) -> bool {
        let jobs: Vec<Arc<Job>> = {
            let mut book = self.book();
            book.closed = true;
            book.running.values().filter(|job| !job.is_over()).cloned().collect()
        };
        for job in &jobs {
            let Activity { parts, wanted, .. } = job.report();
            let reason =
                format!("the service is stopping after {parts} of {wanted} parts; nothing was changed, begin again");
            job.end(Err(&reason));
        }
        let wait_until = |deadline: Instant| {
            while jobs.iter().any(|job| !job.is_over()) && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
        };
        wait_until(deadline);
        jobs.iter().for_each(|job| job.give_up("the service is stopping; nothing was changed, begin again"));
        wait_until(Instant::now() + LAST_STEP);
        !jobs.is_empty()
    }
}

/// How often the state says how far they are, when nothing but that has changed.
const PACE: Duration = Duration::from_secs(1);

/// Keeps the state from being published with every part.
#[derive(Default)]
pub struct Pace {
    shown: Vec<Activity>,
    at: Option<Instant>,
}

impl Pace {
    /// What is to be shown now; `None` when that is not due.
    pub fn show(&mut self, activities: Vec<Activity>, now: Instant) -> Option<Vec<Activity>> {
        let begun =
            |activity: &Activity| (activity.kind, activity.camera.clone(), activity.since, activity.waits.clone());
        let same = self.shown.iter().map(begun).eq(activities.iter().map(begun));
        let early = self.at.is_some_and(|at| now.saturating_duration_since(at) < PACE);
        if self.shown == activities || (same && early) {
            return None;
        }
        (self.shown, self.at) = (activities.clone(), Some(now));
        Some(activities)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_state_is_told_at_once_of_a_beginning_and_at_a_bounded_rate_of_parts() {
        let now = Instant::now();
        let at = |parts| Activity {
            kind: ActivityKind::Calibrate,
            camera: "top".into(),
            parts,
            wanted: 59,
            since: Timestamp::UNIX_EPOCH,
            waits: None,
        };
        let mut pace = Pace::default();
        assert_eq!(pace.show(Vec::new(), now), None);
        assert_eq!(pace.show(vec![at(0)], now), Some(vec![at(0)]));
        assert_eq!(pace.show(vec![at(7)], now + PACE / 2), None);
        assert_eq!(pace.show(vec![at(9)], now + PACE), Some(vec![at(9)]));
        let waiting = Activity { waits: Some("paused".into()), ..at(9) };
        assert_eq!(pace.show(vec![waiting.clone()], now + PACE), Some(vec![waiting]));
        assert_eq!(pace.show(Vec::new(), now + PACE), Some(Vec::new()));
    }
}
