//! One activity: how far it is, and who ends it.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use crate::command::Ack;
use crate::publish::{Activity, ActivityKind};

/// Hears the end: what was done, or why nothing was.
pub type Told = Box<dyn FnOnce(Result<Value, String>) -> Ack + Send>;
/// Notes the end for the state.
type Note = Box<dyn FnOnce(&Ack, &Job) + Send>;

/// Who may end it.
enum Phase {
    /// Whoever comes first.
    Taking(Option<(Note, Told)>),
    /// Its own thread, which takes the result into use; `commits`: it does the last step and cannot be held any more.
    Putting {
        told: Option<(Note, Told)>,
        commits: bool,
    },
    Over,
}

/// See the module.
pub struct Job {
    pub kind: ActivityKind,
    pub camera: Arc<str>,
    pub wanted: u32,
    since: Timestamp,
    parts: AtomicU32,
    paused: AtomicBool,
    phase: Mutex<Phase>,
}

/// The right and the duty to end a job.
pub struct Claim<'a> {
    job: &'a Job,
}

impl Job {
    pub fn new(kind: ActivityKind, camera: Arc<str>, wanted: u32, since: Timestamp) -> Self {
        let (parts, paused, phase) = (AtomicU32::new(0), AtomicBool::new(false), Mutex::new(Phase::Taking(None)));
        Self { kind, camera, wanted, since, parts, paused, phase }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who hears its end.
    pub fn tells(&self, note: Note, told: Told) {
        let mut phase = self.phase();
        match &mut *phase {
            Phase::Taking(nobody) => *nobody = Some((note, told)),
            // Ended before it has begun.
            Phase::Putting { .. } | Phase::Over => {
                drop(phase);
                let ack = told(Err("the service is stopping; nothing was changed, begin again".into()));
                note(&ack, self);
            }
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(*self.phase(), Phase::Over)
    }

    /// Whether its camera is taken: whoever is being told that it has ended may begin the next one.
    pub fn is_under_way(&self) -> bool {
        match &*self.phase() {
            Phase::Taking(_) => true,
            Phase::Putting { told, .. } => told.is_some(),
            Phase::Over => false,
        }
    }

    /// Whether nobody has ended it.
    pub fn goes_on(&self) -> bool {
        matches!(*self.phase(), Phase::Taking(_))
    }

    /// One more part counts; says whether these are enough.
    pub fn count(&self) -> bool {
        self.parts.fetch_add(1, Ordering::Relaxed) + 1 >= self.wanted
    }

    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// The right to end it, unless somebody else has that.
    pub fn claim(&self) -> Option<Claim<'_>> {
        let mut phase = self.phase();
        let Phase::Taking(told) = &mut *phase else { return None };
        *phase = Phase::Putting { told: told.take(), commits: false };
        Some(Claim { job: self })
    }

    /// Ends it though its thread takes the result into use, unless that does its last step.
    pub fn give_up(&self, reason: &str) {
        let told = match &mut *self.phase() {
            Phase::Putting { told, commits: false } => told.take(),
            _ => return,
        };
        self.tell(told, Err(reason.to_owned()));
    }

    fn tell(&self, told: Option<(Note, Told)>, result: Result<Value, String>) {
        let (kind, camera) = (self.kind.word(), &self.camera);
        match &result {
            Ok(_) => tracing::info!(%camera, "{kind}: done"),
            Err(reason) => tracing::warn!(%camera, "{kind}: {reason}"),
        }
        if let Some((note, told)) = told {
            let ack = told(result);
            note(&ack, self);
        }
        *self.phase() = Phase::Over;
    }

    /// Ends it, unless somebody else does.
    pub fn end(&self, result: Result<Value, &dyn Display>) -> bool {
        self.claim().map(|claim| claim.end(result.map_err(|reason| reason.to_string()))).is_some()
    }

    /// How far it is.
    pub fn report(&self) -> Activity {
        let waits = self.paused.load(Ordering::Relaxed).then(|| "the camera is paused; resume it".to_owned());
        Activity {
            kind: self.kind,
            camera: self.camera.to_string(),
            parts: self.parts.load(Ordering::Relaxed),
            wanted: self.wanted,
            since: self.since,
            waits,
        }
    }
}

impl Claim<'_> {
    /// Tells how it ended.
    pub fn end(self, result: Result<Value, String>) {
        self.tell(result);
    }

    /// Whether the last step may be done: nobody has given it up. From then on nobody can.
    pub fn commits(&self) -> bool {
        match &mut *self.job.phase() {
            Phase::Putting { told, commits } => {
                // Whoever has taken it tells that nothing was changed.
                *commits = told.is_some();
                *commits
            }
            Phase::Taking(_) | Phase::Over => false,
        }
    }

    fn tell(&self, result: Result<Value, String>) {
        let told = match &mut *self.job.phase() {
            Phase::Putting { told, .. } => told.take(),
            Phase::Taking(_) | Phase::Over => return,
        };
        self.job.tell(told, result);
    }
}

impl Drop for Claim<'_> {
    /// A thread that breaks off owes its answer too.
    fn drop(&mut self) {
        if !self.job.is_over() {
            self.tell(Err("its thread broke off; please report this".into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_first_to_end_it_tells_how_it_ended_and_nobody_else() {
        let job = Job::new(ActivityKind::Learn, "top".into(), 2, Timestamp::UNIX_EPOCH);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        let told = move |result: Result<Value, String>| {
            ears.lock().expect("heard").push(result.clone());
            result.map_or_else(|error| Ack::refused(None, error), |applied| Ack::done(None, applied))
        };
        job.tells(Box::new(|_, _| {}), Box::new(told));
        assert!(!job.count());
        assert!(job.count() && job.goes_on() && !job.is_over());
        let claim = job.claim().expect("nobody has it");
        assert!(!job.end(Err(&"stopped")) && !job.goes_on() && !job.is_over(), "it is being put");
        assert!(job.is_under_way());
        drop(claim);
        assert!(job.is_over() && !job.end(Err(&"stopped")));
        let given_up = |late: bool| {
            let job = Job::new(ActivityKind::Learn, "top".into(), 2, Timestamp::UNIX_EPOCH);
            let (heard, ears) = {
                let heard = Arc::new(Mutex::new(Vec::new()));
                (Arc::clone(&heard), heard)
            };
            let told = move |result: Result<Value, String>| {
                ears.lock().expect("heard").push(result.clone());
                Ack::refused(None, "")
            };
            job.tells(Box::new(|_, _| {}), Box::new(told));
            let claim = job.claim().expect("nobody has it");
            let commits = late.then(|| claim.commits());
            job.give_up("stopping");
            let commits = commits.unwrap_or_else(|| claim.commits());
            claim.end(if commits { Ok(Value::Null) } else { Err("given up".into()) });
            let heard = heard.lock().expect("heard").clone();
            (commits, heard)
        };
        assert_eq!(given_up(false), (false, vec![Err("stopping".to_owned())]), "the last step is not done");
        assert_eq!(given_up(true), (true, vec![Ok(Value::Null)]), "it was being done");
        assert_eq!(*heard.lock().expect("heard"), [Err("its thread broke off; please report this".to_owned())]);
    }
}
