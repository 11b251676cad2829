//! What systemd, the service manager, is told while a line starts, works and stops.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::line::Heartbeat;
use crate::systemd::{Notifier, NotifyError, Progress, Watchdog, watchdog_interval};

/// What systemd shows until the engine is open.
const LOADING: &str = "loading the model";
/// Longest time for building a plan, as far as systemd is concerned; a ViT-L/14 takes a minute or two.
const LONG_WORK: Duration = Duration::from_secs(1200);
/// Added to the stop deadline when systemd is told how long the stop may take.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Tells systemd; what it does not hear changes nothing about the line.
#[derive(Clone)]
pub struct ServiceManager {
    notifier: Notifier,
    progress: Arc<Progress>,
    /// What systemd shows.
    shown: Arc<Mutex<String>>,
}

impl ServiceManager {
    /// The one that has started this process, or nobody. It hears that the model is being loaded.
    pub fn from_env() -> Result<Self, NotifyError> {
        let manager = Self { notifier: Notifier::from_env()?, progress: Arc::default(), shown: Arc::default() };
        manager.status(LOADING);
        Ok(manager)
    }

    /// Something that takes long has begun, or ended (an empty text).
    pub fn activity(&self, text: &str) {
        self.status(if text.is_empty() { LOADING } else { text });
        if !text.is_empty() {
            self.tell(|systemd| systemd.extend_timeout(LONG_WORK));
        }
    }

    /// How the line is doing, in one sentence; systemd is told when it has changed.
    pub fn status(&self, text: &str) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != text {
            text.clone_into(&mut shown);
            drop(shown);
            self.tell(|systemd| systemd.status(text));
        }
    }

    /// The inference thread's signs of life, for the watchdog.
    pub fn heartbeat(&self) -> Arc<dyn Heartbeat> {
        Arc::new(Pulse(Arc::clone(&self.progress)))
    }

    /// The line inspects. From here on a watchdog is fed, if the unit asks for one; dropped, it is not fed any more.
    pub fn ready(&self, status: &str) -> Result<Option<Watchdog>, NotifyError> {
        status.clone_into(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
        self.tell(|systemd| systemd.ready(status));
        let start = |interval| Watchdog::start(self.notifier.clone(), interval, vec![Arc::clone(&self.progress)]);
        watchdog_interval().map(start).transpose()
    }

    /// The line has not started.
    pub fn gave_up(&self) {
        self.tell(Notifier::stopping);
    }

    /// A stop has begun that may take so long.
    pub fn stopping(&self, deadline: Duration) {
        self.tell(Notifier::stopping);
        self.tell(|systemd| systemd.extend_timeout(deadline + STOP_MARGIN));
    }

    fn tell(&self, what: impl FnOnce(&Notifier) -> Result<(), NotifyError>) {
        if let Err(error) = what(&self.notifier) {
            tracing::warn!("{error}");
        }
    }
}

/// Passes every step on to the watchdog.
struct Pulse(Arc<Progress>);

impl Heartbeat for Pulse {
    fn step(&self) {
        self.0.step();
    }
}
