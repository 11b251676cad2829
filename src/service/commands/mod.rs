//! Commands from the broker and from the API: read at once, carried out in their order, answered when what they promise is true.
//!
//! ```text
//! broker, API ─▶ Inbox ─▶ quick: triggers, pauses, keep ▶ answers: each when its part is kept on disk ─▶ who asked
//!                            └▶ slow: recipes, pictures ────────────────────────────────────────────────▲
//!                                 └▶ what takes many parts: a thread for each camera (`service::activity`) ──┘
//! ```
//! Three threads, so that a disk that is slow delays acknowledgements and never a trigger.

mod answers;
mod orders;
mod quick;
mod repeats;
mod slow;

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

pub use answers::{Keeping, Kept};
pub use orders::Inbox;

use super::activity::{Activities, Pupils};
use super::error::ServiceError;
use super::kept::KeptRecipes;
use super::recipes::Recipes;
use super::snapshot::Snapshots;
use crate::clock::Clock;
use crate::line::control::Control;
use answers::Answers;
use orders::Counters;
use quick::Quick;
use slow::Slow;

/// Commands that may wait; more are refused at once.
const WAITING: usize = 1024;
/// Recipes and pictures that may wait for the disk; more are refused at once.
const WAITING_FOR_DISK: usize = 16;
/// What the threads may take to end: one may be waiting for a disk that hangs.
const END: Duration = Duration::from_secs(1);

/// What commands may do besides asking the line.
pub struct CommandSpec {
    /// Older ones, by their own words, are not carried out.
    pub max_age: Duration,
    /// Where pictures go; `None` refuses them.
    pub snapshots: Option<Snapshots>,
    /// Where changed recipes are kept.
    pub kept: KeptRecipes,
    /// What calibrating and learning need.
    pub pupils: Pupils,
}

/// The threads that carry commands out.
pub struct Commander {
    inbox: Inbox,
    activities: Arc<Activities>,
    control: Arc<OnceLock<Control>>,
    ready: Option<Sender<()>>,
    stop: Option<Sender<()>>,
    threads: Vec<Worker>,
}

/// A thread of which one knows whether it has ended.
struct Worker {
    name: &'static str,
    thread: JoinHandle<()>,
    over: Receiver<()>,
}

impl Worker {
    fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<Self, ServiceError> {
        let (end, over) = bounded(0);
        let work = move || {
            let _end: Sender<()> = end;
            work();
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        let thread = thread.map_err(|source| ServiceError::Thread { thread: name, source })?;
        Ok(Self { name, thread, over })
    }

    /// Waits for its end; one that is late is left behind.
    fn end(self, deadline: Instant) {
        // Nothing is ever sent: the channel's end is the message.
        if matches!(self.over.recv_deadline(deadline), Err(crossbeam_channel::RecvTimeoutError::Timeout)) {
            tracing::warn!(thread = self.name, "still waits for the disk, and is left behind");
        } else if self.thread.join().is_err() {
            tracing::error!(thread = self.name, "broke off");
        }
    }
}

impl Commander {
    /// Starts them; until [`Commander::ready`], triggers wait and other commands are refused.
    pub fn start(spec: CommandSpec, clock: Arc<dyn Clock>, keeping: Arc<dyn Keeping>) -> Result<Self, ServiceError> {
        let (orders, waiting) = bounded(WAITING);
        let (ready, is_ready) = bounded(0);
        let (stop, stopped) = bounded(0);
        let (answers, given) = bounded(WAITING);
        let (slow_orders, slow_waiting) = bounded(WAITING_FOR_DISK);
        let counters = Arc::new(Counters::default());
        let control = Arc::new(OnceLock::new());
        let inbox = Inbox::new(orders, Arc::clone(&counters), Arc::clone(&clock));
        let answering = Answers::new(Arc::clone(&keeping), Arc::clone(&counters));
        let CommandSpec { max_age, snapshots, kept, pupils } = spec;
        let recipes = Arc::new(Recipes::new(kept));
        let activities = Arc::new(Activities::new(Arc::clone(&recipes), Arc::clone(&clock)));
        let slow = Slow::new(
            snapshots,
            recipes,
            Arc::clone(&activities),
            pupils,
            Arc::clone(&clock),
            answers.clone(),
            Arc::clone(&counters),
        );
        let quick = Quick::new(max_age, clock, counters, Arc::clone(&control), keeping, answers, slow_orders);
        let threads = vec![
            Worker::start("commands", move || quick.run(&waiting, &is_ready, &stopped))?,
            Worker::start("recipes", move || slow.run(&slow_waiting))?,
            Worker::start("acks", move || answering.run(&given))?,
        ];
        Ok(Self { inbox, activities, control, ready: Some(ready), stop: Some(stop), threads })
    }

    /// What takes many parts.
    pub fn activities(&self) -> &Arc<Activities> {
        &self.activities
    }

    /// The way in.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// The line is there.
    pub fn ready(&mut self, control: Control) {
        if self.control.set(control).is_err() {
            tracing::debug!("the line was there before");
        }
        // The channel's end is the message.
        self.ready = None;
    }

    /// The line, once it is there.
    pub fn control(&self) -> Arc<OnceLock<Control>> {
        Arc::clone(&self.control)
    }

    /// A thread that has ended though nobody asked it to.
    pub fn broken(&self) -> Option<&'static str> {
        self.threads.iter().find(|worker| worker.thread.is_finished()).map(|worker| worker.name)
    }
}

impl Drop for Commander {
    /// Each thread ends the next one: nothing more is asked of it.
    fn drop(&mut self) {
        self.ready = None;
        self.stop = None;
        let deadline = Instant::now() + END;
        self.threads.drain(..).for_each(|worker| worker.end(deadline));
    }
}
