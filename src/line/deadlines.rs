//! The thread that gives parts up when their deadline passes, whatever the engine is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::station::Station;

/// How long the thread sleeps when nothing is due; the bell wakes it for what comes.
const SLEEP: Duration = Duration::from_millis(500);

/// Everything the deadline thread owns.
pub(super) struct DeadlineThread {
    pub stations: Vec<Arc<Station>>,
    pub bell: Receiver<()>,
    pub over: Arc<AtomicBool>,
}

impl DeadlineThread {
    /// Returns when the inference thread has ended.
    pub fn run(self) {
        while !self.over.load(Ordering::Acquire) {
            let now = Instant::now();
            let next = self.stations.iter().filter_map(|station| station.tick(now)).min();
            let until = next.unwrap_or(now + SLEEP).min(now + SLEEP);
            if self.bell.recv_deadline(until).is_err() {
                continue;
            }
        }
    }
}

/// Ends the deadline thread: with the inference thread, however that ends, and when nobody waits for it any more.
#[derive(Clone)]
pub(super) struct LastBell {
    pub bell: Sender<()>,
    pub over: Arc<AtomicBool>,
}

impl Drop for LastBell {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if self.bell.try_send(()).is_err() {
            tracing::trace!("the deadline thread is awake already");
        }
    }
}
