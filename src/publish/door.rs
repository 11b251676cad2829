//! The one bounded door from the line's threads to the publishing task, and what both sides share behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::pending::{EntryId, Pending};
use super::state::{Alarm, AlarmMessage, LineState, StateMessage};
use super::topic::Topics;
use super::{Outgoing, PublisherSpec};

/// A verdict was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The broker has been away for longer than the queue lasts; the verdict is counted as dropped.
    #[error("{capacity} verdicts wait for the broker and the queue is full; bring the broker back or raise max_queue")]
    Full {
        /// The bound.
        capacity: usize,
    },
    /// The publisher has been stopped; the verdict is counted as dropped.
    #[error("the publisher has stopped and takes no more verdicts")]
    Closed,
}

/// How publishing is going, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Verdicts not yet acknowledged, in flight or waiting.
    pub queued: usize,
    /// Verdicts sent on this connection and not yet acknowledged.
    pub in_flight: usize,
    /// Verdicts acknowledged by the broker.
    pub acked: u64,
    /// Verdicts refused at the door.
    pub dropped: u64,
    /// Connections accepted after the first one.
    pub reconnects: u64,
    /// Whether the broker is there now.
    pub connected: bool,
}

/// What the publishing task is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Publish and reconnect for ever.
    Running,
    /// Publish what is left, say `offline`, disconnect; be done by this instant.
    Draining(Instant),
    /// Drop the connection at once: the last will speaks.
    Aborting,
    /// The task has ended.
    Closed,
}

/// A retained topic: only its latest payload matters.
#[derive(Debug, Default)]
struct Retained {
    payload: Vec<u8>,
    version: u64,
    sent: u64,
    acked: u64,
}

/// What one packet carries, to find its place again when it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cargo {
    Verdict(EntryId),
    Retained { topic: String, version: u64 },
}

/// The next thing to put on the connection.
pub(super) enum Load {
    Verdict { id: EntryId, late: bool, outgoing: Arc<Outgoing> },
    Retained { topic: String, version: u64, payload: Vec<u8> },
}

struct Inner {
    pending: Pending<Arc<Outgoing>>,
    retained: BTreeMap<String, Retained>,
    state: LineState,
    mode: Mode,
    counters: Counters,
    connections: u64,
    /// One error line per episode of a full queue; the episode ends when half the queue is free again.
    overflowing: bool,
}

pub(super) struct Shared {
    inner: Mutex<Inner>,
    room: Condvar,
    pub(super) wake: Notify,
    pub(super) session: Uuid,
    pub(super) topics: Topics,
}

/// Lets any thread publish; cheap to clone.
#[derive(Clone)]
pub struct Door(pub(super) Arc<Shared>);

impl Door {
    /// Takes the verdict or says at once why not; never waits for the broker.
    pub fn verdict(&self, outgoing: Outgoing) -> Result<(), DoorError> {
        self.0.push(outgoing, None)
    }

    /// Like [`Door::verdict`], and waits up to `patience` for room in the queue.
    pub fn verdict_within(&self, outgoing: Outgoing, patience: Duration) -> Result<(), DoorError> {
        self.0.push(outgoing, Some(patience))
    }

    /// Publishes the state, retained; the broker gets it again after every reconnect. States that follow each other
    /// faster than the broker acknowledges are merged: the latest wins.
    pub fn set_state(&self, state: LineState) {
        // Once the stop has begun, `offline` is the last word, whatever a thread that is late still reports.
        if self.0.is_running() {
            self.0.set_state(state);
        }
    }

    /// Replaces the alarms of a camera; none clears the retained message.
    pub fn set_alarms(&self, camera: &str, alarms: &[Alarm]) {
        if !self.0.is_running() {
            return;
        }
        let payload = if alarms.is_empty() {
            Vec::new()
        } else {
            json(&AlarmMessage { session: self.0.session, alarms: alarms.to_vec() })
        };
        self.0.retain(self.0.topics.alarm(camera), payload);
    }

    /// How it is going.
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }
}

/// Our own messages hold only strings, numbers and string-keyed maps, which JSON always can express.
fn json(message: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("state and alarms have string keys and finite numbers")
}

impl Shared {
    pub(super) fn new(spec: &PublisherSpec, session: Uuid, state: LineState) -> Self {
        let inner = Inner {
            pending: Pending::new(spec.max_queue, spec.max_in_flight),
            retained: BTreeMap::new(),
            state: state.clone(),
            mode: Mode::Running,
            counters: Counters::default(),
            connections: 0,
            overflowing: false,
        };
        let shared = Self {
            inner: Mutex::new(inner),
            room: Condvar::new(),
            wake: Notify::new(),
            session,
            topics: spec.topics(),
        };
        shared.set_state(state);
        shared
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete before the lock is released, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        self.lock().mode == Mode::Running
    }

    fn push(&self, outgoing: Outgoing, patience: Option<Duration>) -> Result<(), DoorError> {
        // Waiting helps only while a connected broker empties the queue; without one it would only slow inspection.
        let full = |inner: &mut Inner| {
            inner.mode == Mode::Running && inner.counters.connected && inner.pending.len() >= inner.pending.capacity()
        };
        let mut inner = self.lock();
        if let Some(patience) = patience {
            inner = match self.room.wait_timeout_while(inner, patience, full) {
                Ok((inner, _)) => inner,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        if matches!(inner.mode, Mode::Closed | Mode::Aborting) {
            inner.counters.dropped += 1;
            return Err(DoorError::Closed);
        }
        match inner.pending.push(Arc::new(outgoing)) {
            Ok(_) => {
                if inner.pending.len() * 2 <= inner.pending.capacity() {
                    inner.overflowing = false;
                }
                drop(inner);
                self.wake.notify_one();
                Ok(())
            }
            Err(refused) => {
                let error = DoorError::Full { capacity: refused.capacity };
                inner.counters.dropped += 1;
                if !std::mem::replace(&mut inner.overflowing, true) {
                    tracing::error!(camera = refused.item.event.camera, seq = refused.item.event.seq, "{error}");
                }
                Err(error)
            }
        }
    }

    fn set_state(&self, state: LineState) {
        let payload = json(&StateMessage::new(self.session, state.clone()));
        self.lock().state = state;
        self.retain(self.topics.state(), payload);
    }

    fn retain(&self, topic: String, payload: Vec<u8>) {
        let mut inner = self.lock();
        let retained = inner.retained.entry(topic).or_default();
        retained.version += 1;
        retained.payload = payload;
        drop(inner);
        self.wake.notify_one();
    }

    /// The last will: this line, offline, at a moment nobody knows in advance.
    pub(super) fn will(&self) -> Vec<u8> {
        json(&StateMessage::new(self.session, self.lock().state.offline(None)))
    }

    pub(super) fn say_offline(&self, since: jiff::Timestamp) {
        let offline = self.lock().state.offline(Some(since));
        self.set_state(offline);
    }

    pub(super) fn connected(&self) {
        let mut inner = self.lock();
        inner.pending.connected();
        for retained in inner.retained.values_mut() {
            (retained.sent, retained.acked) = (0, 0);
        }
        inner.connections += 1;
        inner.counters.reconnects = inner.connections - 1;
        inner.counters.connected = true;
    }

    pub(super) fn connection_lost(&self) {
        let mut inner = self.lock();
        inner.pending.connection_lost();
        inner.counters.connected = false;
        drop(inner);
        self.room.notify_all();
    }

    /// Retained messages go first: they are few, and a reader should know the state before verdicts arrive.
    pub(super) fn next(&self) -> Option<Load> {
        let mut inner = self.lock();
        let waiting = |(_, r): &(&String, &mut Retained)| r.sent < r.version && r.sent == r.acked;
        if let Some((topic, retained)) = inner.retained.iter_mut().find(waiting) {
            retained.sent = retained.version;
            return Some(Load::Retained {
                topic: topic.clone(),
                version: retained.version,
                payload: retained.payload.clone(),
            });
        }
        let next = inner.pending.next_to_send()?;
        Some(Load::Verdict { id: next.id, late: next.late, outgoing: Arc::clone(next.item) })
    }

    pub(super) fn acked(&self, cargo: &Cargo) {
        let mut inner = self.lock();
        match cargo {
            Cargo::Verdict(id) => {
                if inner.pending.acked(*id).is_some() {
                    inner.counters.acked += 1;
                    self.room.notify_one();
                }
            }
            Cargo::Retained { topic, version } => {
                if let Some(retained) = inner.retained.get_mut(topic) {
                    retained.acked = *version;
                }
            }
        }
    }

    /// A verdict that cannot be written as JSON would block the queue for ever.
    pub(super) fn give_up(&self, id: EntryId) {
        let mut inner = self.lock();
        if inner.pending.acked(id).is_some() {
            inner.counters.dropped += 1;
            self.room.notify_one();
        }
    }

    /// Whether the broker has acknowledged everything there is.
    pub(super) fn all_acked(&self) -> bool {
        let inner = self.lock();
        inner.pending.is_empty() && inner.retained.values().all(|retained| retained.acked == retained.version)
    }

    pub(super) fn unsent(&self) -> usize {
        self.lock().pending.len()
    }

    pub(super) fn mode(&self) -> Mode {
        self.lock().mode
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        let mut inner = self.lock();
        if inner.mode != Mode::Closed {
            inner.mode = mode;
        }
        drop(inner);
        self.room.notify_all();
        self.wake.notify_one();
    }

    fn counters(&self) -> Counters {
        let inner = self.lock();
        Counters { queued: inner.pending.len(), in_flight: inner.pending.in_flight(), ..inner.counters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::payload::tests::event;
    use crate::publish::state::StateWord;

    fn door(max_queue: usize) -> Door {
        let mut spec = PublisherSpec::new("nowhere", 1, "caps");
        spec.max_queue = max_queue;
        let state =
            LineState { state: StateWord::Online, since: None, cameras: BTreeMap::new(), model: None, activity: None };
        Door(Arc::new(Shared::new(&spec, Uuid::nil(), state)))
    }

    fn verdict(seq: u64) -> Outgoing {
        Outgoing { event: event(seq), captured: Instant::now() }
    }

    #[test]
    fn a_full_queue_refuses_and_counts() {
        let door = door(2);
        assert_eq!(door.verdict(verdict(0)), Ok(()));
        assert_eq!(door.verdict(verdict(1)), Ok(()));
        assert_eq!(door.verdict(verdict(2)), Err(DoorError::Full { capacity: 2 }));
        // Without a broker that empties the queue nobody waits; with one, as long as asked.
        let long = Duration::from_secs(600);
        assert_eq!(door.verdict_within(verdict(3), long), Err(DoorError::Full { capacity: 2 }));
        door.0.connected();
        let patience = Duration::from_millis(20);
        let start = Instant::now();
        assert_eq!(door.verdict_within(verdict(4), patience), Err(DoorError::Full { capacity: 2 }));
        assert!(start.elapsed() >= patience);
        assert_eq!((door.counters().queued, door.counters().dropped), (2, 3));
    }

    #[test]
    fn waiting_ends_when_an_acknowledgement_makes_room() {
        let door = door(1);
        door.verdict(verdict(0)).expect("room");
        door.0.connected();
        let Some(Load::Retained { .. }) = door.0.next() else { panic!("the state goes first") };
        let Some(Load::Verdict { id, .. }) = door.0.next() else { panic!("then the verdict") };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| door.verdict_within(verdict(1), Duration::from_secs(30)));
            door.0.acked(&Cargo::Verdict(id));
            assert_eq!(waiting.join().expect("no panic"), Ok(()));
        });
        assert_eq!((door.counters().queued, door.counters().acked, door.counters().dropped), (1, 1, 0));
    }

    #[test]
    fn retained_messages_merge_and_are_repeated_after_a_reconnect() {
        let door = door(1);
        door.0.connected();
        let Some(Load::Retained { topic, version, .. }) = door.0.next() else { panic!("state") };
        door.0.say_offline(jiff::Timestamp::UNIX_EPOCH);
        assert!(door.0.next().is_none(), "one at a time per topic");
        door.0.acked(&Cargo::Retained { topic, version });
        assert!(!door.0.all_acked());
        let Some(Load::Retained { topic, version, .. }) = door.0.next() else { panic!("newer state") };
        door.0.acked(&Cargo::Retained { topic, version });
        assert!(door.0.all_acked() && door.0.next().is_none());
        door.0.connected();
        let Some(Load::Retained { payload, .. }) = door.0.next() else { panic!("again") };
        assert!(String::from_utf8(payload).expect("JSON").contains("\"offline\""));
    }

    #[test]
    fn a_closed_door_says_so() {
        let door = door(1);
        door.0.set_mode(Mode::Closed);
        assert_eq!(door.verdict(verdict(0)), Err(DoorError::Closed));
        assert_eq!(door.counters().dropped, 1);
    }
}
