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
    stations: Vec<Arc<Station>>,
    rung: Receiver<()>,
    over: Arc<AtomicBool>,
}

impl DeadlineThread {
    /// `rung` hears the `bell` that the stations have; what is returned beside the thread ends it.
    pub fn new(stations: Vec<Arc<Station>>, bell: Sender<()>, rung: Receiver<()>) -> (Self, LastBell) {
        let over = Arc::new(AtomicBool::new(false));
        (Self { stations, rung, over: Arc::clone(&over) }, LastBell { bell, over })
    }

    /// Returns when the first clone of its [`LastBell`] is dropped.
    pub fn run(self) {
        while !self.over.load(Ordering::Acquire) {
            let now = Instant::now();
            let next = self.stations.iter().filter_map(|station| station.tick(now)).min();
            let until = next.unwrap_or(now + SLEEP).min(now + SLEEP);
            // Rung or not, the next round looks at everything again.
            self.rung.recv_deadline(until).ok();
        }
    }
}

/// Ends the deadline thread as soon as one of its clones is dropped: by the inference thread, however that ends, or by
/// the line, when nobody waits any longer for an engine that hangs.
#[derive(Clone)]
pub(super) struct LastBell {
    bell: Sender<()>,
    over: Arc<AtomicBool>,
}

impl LastBell {
    /// Whether the deadline thread was told to end.
    pub fn has_rung(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

impl Drop for LastBell {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if self.bell.try_send(()).is_err() {
            tracing::trace!("the deadline thread is awake already");
        }
    }
}
