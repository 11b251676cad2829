//! Starts and stops what publishes verdicts: the connection to the broker and the outbox's thread, behind one door.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::door::{Door, Mode, PublisherState};
use super::mqtt::{MAX_IN_FLIGHT, Published, VerdictConnection};
use super::outbox::{Aside, Keeper, OutboxSpec, RecordId, SetAside, Store};
use super::payload::StoredVerdict;
use super::state::LineState;
use super::{PublishError, PublisherSpec, reconnect};
use crate::clock::Clock;

/// What the outbox's last write may take at least.
const DISK: Duration = Duration::from_secs(2);

/// What an orderly stop left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct StopReport {
    /// Verdicts the broker has not acknowledged.
    pub unsent: usize,
}

/// Publishes until stopped. Dropped without [`Publisher::stop`] it vanishes like a killed process: the last will speaks.
pub struct Publisher {
    shared: Arc<PublisherState>,
    thread: Option<JoinHandle<()>>,
    keeper: Option<Keeper>,
}

impl Publisher {
    /// Starts publishing in its own thread. A broker that is away is no error here: verdicts wait in the queue, and with
    /// an outbox on disk. What an earlier start has left in the outbox is published first.
    ///
    /// `published` hears of every verdict handed to the connection; when it is full, reports are left out.
    pub fn start(
        spec: PublisherSpec,
        session: Uuid,
        state: LineState,
        clock: Arc<dyn Clock>,
        published: Option<crossbeam_channel::Sender<Published>>,
    ) -> Result<Self, PublishError> {
        let spec = PublisherSpec { max_in_flight: spec.max_in_flight.min(MAX_IN_FLIGHT), ..spec };
        let opened = spec.outbox.clone().map(|outbox| Store::open(&outbox, clock.now()).map(|opened| (outbox, opened)));
        let opened = opened.transpose()?;
        let inherited = opened.as_ref().map(|(_, (_, found))| found.inherited.clone());
        let shared = Arc::new(PublisherState::new(&spec, session, state, clock.clone(), inherited));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("vcp-mqtt-dns")
            .build()
            .map_err(PublishError::Thread)?;
        let mut again = Vec::new();
        let live = spec.live.clone();
        let keeper = opened.map(|(outbox, (store, found))| {
            found.say(&outbox.directory);
            let returning = once_more(&outbox, &shared);
            again.extend(returning.iter().map(|(id, _)| *id));
            Keeper::start(store, &found, (outbox, live), returning, shared.clone(), clock.clone())
        });
        let keeper = keeper.transpose().map_err(PublishError::Thread)?;
        let mut connection = VerdictConnection::new(spec, shared.clone(), clock, published, again);
        let closing = shared.clone();
        let thread = std::thread::Builder::new()
            .name("vcp-mqtt".into())
            .spawn(move || {
                // Closes the door also when the connection panics.
                let closing = Closing(closing);
                runtime.block_on(reconnect::run(&mut connection));
                drop(closing);
                // A name lookup may hang for long; nobody waits for it.
                runtime.shutdown_background();
            })
            .map_err(PublishError::Thread)?;
        Ok(Self { shared, thread: Some(thread), keeper })
    }

    /// The door through which threads publish.
    pub fn door(&self) -> Door {
        Door(self.shared.clone())
    }

    /// The thread that has ended though nobody asked, if one has: from then on verdicts are not published.
    pub fn broken(&self) -> Option<&'static str> {
        if self.keeper.as_ref().is_some_and(Keeper::has_ended) {
            return Some("vcp-outbox");
        }
        self.thread.as_ref().is_some_and(JoinHandle::is_finished).then_some("vcp-mqtt")
    }

    /// Publishes what is left, then `offline`, then disconnects; gives up `deadline` from now.
    pub fn stop(mut self, deadline: Duration) -> StopReport {
        let deadline = Instant::now() + deadline;
        self.shared.set_mode(Mode::Draining(deadline));
        self.join();
        self.close_outbox(deadline);
        StopReport { unsent: self.shared.unsent() }
    }

    /// The disk is given a moment in any case: what it has not written by then is lost.
    fn close_outbox(&mut self, deadline: Instant) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.finish(deadline.max(Instant::now() + DISK));
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the publisher thread panicked; verdicts it had not sent are lost");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.shared.set_mode(Mode::Aborting);
            self.join();
            self.close_outbox(Instant::now());
        }
    }
}

/// Verdicts that the broker did not take from an earlier start are sent once more: it may take larger ones by now.
/// Returns their records and files.
fn once_more(spec: &OutboxSpec, shared: &PublisherState) -> Vec<(RecordId, PathBuf)> {
    let aside = Aside::new(&spec.directory);
    let unsent = aside.list().into_iter().filter(|one| !one.shortened);
    let again = |one: SetAside| match StoredVerdict::new(one.json) {
        Ok(verdict) => shared.once_more(verdict).map(|id| (id, one.path)),
        Err(error) => {
            tracing::warn!(file = %one.path.display(), %error, "a verdict that was set aside cannot be understood");
            None
        }
    };
    let again: Vec<_> = unsent.filter_map(again).collect();
    if !again.is_empty() {
        tracing::info!(verdicts = again.len(), "what the broker did not take from an earlier start is sent once more");
    }
    again
}

struct Closing(Arc<PublisherState>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.set_mode(Mode::Closed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::{Moment, SystemClock};
    use crate::publish::state::StateWord;

    /// A clock that takes the thread that asks down with it.
    #[derive(Default)]
    struct Stopped(AtomicBool);

    impl Clock for Stopped {
        fn now(&self) -> Moment {
            assert!(!self.0.load(Ordering::Relaxed), "on purpose");
            SystemClock.now()
        }
    }

    fn soon(mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < until, "not within 20 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_thread_that_ends_unasked_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spec = PublisherSpec::new("127.0.0.1", 1, "caps");
        let state = LineState {
            state: StateWord::Online,
            since: None,
            cameras: BTreeMap::new(),
            model: None,
            activity: None,
            activities: Vec::new(),
        };
        let clock = Arc::new(Stopped::default());
        let start = |spec: &PublisherSpec| {
            Publisher::start(spec.clone(), Uuid::nil(), state.clone(), clock.clone(), None).expect("started")
        };
        let publisher = start(&spec);
        assert_eq!(publisher.broken(), None);
        publisher.shared.set_mode(Mode::Aborting);
        soon(|| publisher.broken() == Some("vcp-mqtt"));
        drop(publisher);
        spec.outbox = Some(OutboxSpec::new(folder.path()));
        let publisher = start(&spec);
        assert_eq!(publisher.broken(), None);
        clock.0.store(true, Ordering::Relaxed);
        soon(|| publisher.broken() == Some("vcp-outbox"));
    }
}
