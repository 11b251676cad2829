//! The one bounded door from the line's threads to the publishing task, and what both sides share behind it.

mod unwelcome;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::outbox::{self, Inherited, Ledger, Limits, OutboxStatus, OwedPart, RecordId, Refusal, Safety};
use super::payload::Parcel;
use super::state::{Alarm, AlarmMessage, LineState, StateMessage};
use super::topic::Topics;
use super::{Outgoing, PublisherSpec};
use crate::clock::Clock;
use crate::frame::Part;

/// A verdict was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The broker has been away for longer than the queue lasts; the verdict is counted as dropped.
    #[error("{capacity} verdicts wait for the broker and the queue is full; bring the broker back or raise max_queue")]
    Full {
        /// The bound.
        capacity: usize,
    },
    /// The outbox on disk has reached its largest size.
    #[error("the outbox on disk is full; bring the broker back, or raise max_bytes in [outbox]")]
    LogFull,
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
    /// Verdicts and parts refused at the door.
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
    Verdict(RecordId),
    Retained { topic: String, version: u64 },
}

/// The next thing to put on the connection.
pub(super) enum Load {
    Verdict { id: RecordId, late: bool, parcel: Parcel },
    Retained { topic: String, version: u64, payload: Vec<u8> },
}

pub(super) struct Inner {
    pub(super) ledger: Ledger<Parcel>,
    retained: BTreeMap<String, Retained>,
    state: LineState,
    mode: Mode,
    counters: Counters,
    connections: u64,
    troubles: BTreeMap<&'static str, String>,
    /// One error line per episode of a full queue; the episode ends when half the queue is free again.
    overflowing: bool,
    capacity: usize,
    /// How the outbox is doing; `None` without one.
    pub(super) outbox: Option<OutboxStatus>,
    /// Since when the outbox's thread has been waiting for its disk.
    pub(super) disk_busy: Option<Instant>,
    /// Something for the outbox thread to look at.
    pub(super) work: bool,
    /// The outbox thread is to finish.
    pub(super) closing: bool,
}

/// What the line's threads, the connection to the broker and the outbox's thread share.
pub(super) struct PublisherState {
    inner: Mutex<Inner>,
    /// Room in the queue, or a record that has reached the disk.
    room: Condvar,
    pub(super) work: Condvar,
    pub(super) wake: Notify,
    pub(super) session: Uuid,
    pub(super) topics: Topics,
    clock: Arc<dyn Clock>,
}

/// Lets any thread publish; cheap to clone.
#[derive(Clone)]
pub struct Door(pub(super) Arc<PublisherState>);

impl Door {
    /// Accepts a part: it is owed exactly one verdict, whose event has the same camera and part. Never waits.
    ///
    /// With an outbox the debt is on disk a moment later, see [`Door::recorded`]; from then on it survives a crash.
    /// An error means that nothing is owed, and that whoever sent the trigger has to be told.
    pub fn owe(&self, camera: &str, part: &Part) -> Result<RecordId, DoorError> {
        self.0.owe(camera, part)
    }

    /// Waits up to `patience` until the debt is on disk, and says where it is then.
    pub fn recorded(&self, debt: RecordId, patience: Duration) -> Safety {
        let writing = |inner: &mut Inner| {
            let ends = matches!(inner.mode, Mode::Aborting | Mode::Closed);
            !ends && inner.ledger.safety(debt) == Safety::BeingWritten
        };
        let inner = match self.0.room.wait_timeout_while(self.0.lock(), patience, writing) {
            Ok((inner, _)) => inner,
            Err(poisoned) => poisoned.into_inner().0,
        };
        inner.ledger.safety(debt)
    }

    /// Parts that are owed a verdict, oldest first: right after the start, those that an earlier start has left behind.
    pub fn owed(&self) -> Vec<Arc<OwedPart>> {
        self.0.lock().ledger.owed()
    }

    /// Takes the verdict or says at once why not; never waits for the broker or the disk. That of an owed part is
    /// always taken.
    pub fn verdict(&self, outgoing: Outgoing) -> Result<(), DoorError> {
        self.0.push(outgoing)
    }

    /// How the outbox is doing; `None` when verdicts are kept in memory alone.
    pub fn outbox(&self) -> Option<OutboxStatus> {
        self.0.lock().outbox.clone()
    }

    /// Publishes the state, retained; the broker gets it again after every reconnect. States that follow each other
    /// faster than the broker acknowledges are merged: the latest wins.
    pub fn set_state(&self, state: LineState) {
        let mut inner = self.0.lock();
        // Once the stop has begun, `offline` is the last word, whatever a thread that is late still reports.
        if inner.mode != Mode::Running {
            return;
        }
        self.0.show_state(&mut inner, state);
        drop(inner);
        self.0.wake.notify_one();
    }

    /// Replaces the alarms of a camera; none clears the retained message.
    pub fn set_alarms(&self, camera: &str, alarms: &[Alarm]) {
        let payload = if alarms.is_empty() {
            Vec::new()
        } else {
            json(&AlarmMessage { session: self.0.session, alarms: alarms.to_vec() })
        };
        let mut inner = self.0.lock();
        if inner.mode != Mode::Running {
            return;
        }
        inner.retain(self.0.topics.alarm(camera), payload);
        drop(inner);
        self.0.wake.notify_one();
    }

    /// How it is going.
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// What a person should look at though the broker can be reached: alarm kind and message.
    pub fn troubles(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().troubles.clone()
    }
}

/// Our own messages hold only strings, numbers and string-keyed maps, which JSON always can express.
fn json(message: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("state and alarms have string keys and finite numbers")
}

impl Inner {
    fn refuse(&mut self, why: Refusal, camera: &str) -> DoorError {
        let error = match why {
            Refusal::Memory { capacity } => DoorError::Full { capacity },
            Refusal::Log => DoorError::LogFull,
        };
        self.counters.dropped += 1;
        if !std::mem::replace(&mut self.overflowing, true) {
            tracing::error!(camera, "{error}");
        }
        error
    }

    fn retain(&mut self, topic: String, payload: Vec<u8>) {
        let retained = self.retained.entry(topic).or_default();
        retained.version += 1;
        retained.payload = payload;
    }
}

impl PublisherState {
    pub(super) fn new(
        spec: &PublisherSpec,
        session: Uuid,
        state: LineState,
        clock: Arc<dyn Clock>,
        inherited: Option<Inherited>,
    ) -> Self {
        let limits = Limits {
            memory: spec.max_queue,
            window: outbox::WINDOW.max(spec.max_in_flight),
            in_flight: spec.max_in_flight,
        };
        let inner = Inner {
            outbox: inherited.is_some().then(OutboxStatus::default),
            ledger: inherited.map_or_else(|| Ledger::in_memory(limits), |found| Ledger::on_disk(limits, found)),
            retained: BTreeMap::new(),
            state: state.clone(),
            mode: Mode::Running,
            counters: Counters::default(),
            connections: 0,
            troubles: BTreeMap::new(),
            overflowing: false,
            capacity: spec.max_queue.max(1),
            disk_busy: None,
            work: true,
            closing: false,
        };
        let shared = Self {
            inner: Mutex::new(inner),
            room: Condvar::new(),
            work: Condvar::new(),
            wake: Notify::new(),
            session,
            topics: spec.topics(),
            clock,
        };
        shared.show_state(&mut shared.lock(), state);
        shared
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is complete before the lock is released, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises or clears what [`Door::troubles`] tells; true when that was news.
    pub(super) fn trouble(&self, kind: &'static str, message: Option<String>) -> bool {
        let mut inner = self.lock();
        match message {
            Some(message) => inner.troubles.insert(kind, message.clone()) != Some(message),
            None => inner.troubles.remove(kind).is_some(),
        }
    }

    fn owe(&self, camera: &str, part: &Part) -> Result<RecordId, DoorError> {
        let owed = OwedPart { camera: camera.to_owned(), part: part.clone(), accepted: self.clock.now().wall };
        let mut inner = self.lock();
        if inner.mode != Mode::Running {
            inner.counters.dropped += 1;
            return Err(DoorError::Closed);
        }
        let debt = inner.ledger.owe(owed).map_err(|refused| inner.refuse(refused.why, camera))?;
        self.call(inner);
        Ok(debt)
    }

    fn push(&self, outgoing: Outgoing) -> Result<(), DoorError> {
        let mut inner = self.lock();
        if matches!(inner.mode, Mode::Closed | Mode::Aborting) || inner.closing {
            inner.counters.dropped += 1;
            return Err(DoorError::Closed);
        }
        let outgoing = Arc::new(outgoing);
        let event = &outgoing.event;
        let parcel = Parcel::Live(Arc::clone(&outgoing));
        if let Err(refused) = inner.ledger.push(&event.camera, event.part.as_ref(), parcel) {
            return Err(inner.refuse(refused.why, &event.camera));
        }
        if inner.ledger.held() * 2 <= inner.capacity {
            inner.overflowing = false;
        }
        self.call(inner);
        Ok(())
    }

    /// Calls whoever comes next: the outbox thread, or without one the connection.
    fn call(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.work = true;
        let (disk, hangs) = (inner.outbox.is_some(), inner.ledger.hangs());
        drop(inner);
        if disk {
            self.work.notify_one();
        }
        if !disk || hangs {
            self.wake.notify_one();
        }
    }

    /// Something was stored or read back: the connection can go on, and whoever waits for it.
    pub(super) fn moved_on(&self) {
        self.wake.notify_one();
        self.room.notify_all();
    }

    /// The outbox thread finishes what there is and ends.
    pub(super) fn close_outbox(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    fn show_state(&self, inner: &mut Inner, state: LineState) {
        let payload = json(&StateMessage::new(self.session, state.clone()));
        inner.state = state;
        inner.retain(self.topics.state(), payload);
    }

    /// The last will: this line, offline, at a moment nobody knows in advance.
    pub(super) fn will(&self) -> Vec<u8> {
        json(&StateMessage::new(self.session, self.lock().state.offline(None)))
    }

    pub(super) fn say_offline(&self, since: jiff::Timestamp) {
        let mut inner = self.lock();
        let offline = inner.state.offline(Some(since));
        self.show_state(&mut inner, offline);
        drop(inner);
        self.wake.notify_one();
    }

    pub(super) fn connected(&self) {
        let mut inner = self.lock();
        inner.ledger.connected();
        inner.work = true;
        for retained in inner.retained.values_mut() {
            (retained.sent, retained.acked) = (0, 0);
        }
        inner.connections += 1;
        inner.counters.reconnects = inner.connections - 1;
        inner.counters.connected = true;
    }

    pub(super) fn connection_lost(&self) {
        let mut inner = self.lock();
        inner.ledger.connection_lost();
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
        let next = inner.ledger.next_to_send()?;
        Some(Load::Verdict { id: next.id, late: next.late, parcel: next.item.clone() })
    }

    pub(super) fn acked(&self, cargo: &Cargo) {
        let mut inner = self.lock();
        match cargo {
            Cargo::Verdict(id) => {
                if inner.ledger.acked(*id).is_some() {
                    inner.counters.acked += 1;
                    inner.work = true;
                    drop(inner);
                    self.room.notify_all();
                    self.work.notify_one();
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
    pub(super) fn give_up(&self, id: RecordId) {
        let mut inner = self.lock();
        if inner.ledger.acked(id).is_some() {
            inner.counters.dropped += 1;
            inner.work = true;
            drop(inner);
            self.room.notify_all();
            self.work.notify_one();
        }
    }

    /// Whether the broker has acknowledged everything there is.
    pub(super) fn all_acked(&self) -> bool {
        let inner = self.lock();
        inner.ledger.is_empty() && inner.retained.values().all(|retained| retained.acked == retained.version)
    }

    pub(super) fn unsent(&self) -> usize {
        usize::try_from(self.lock().ledger.len()).unwrap_or(usize::MAX)
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
        let queued = usize::try_from(inner.ledger.len()).unwrap_or(usize::MAX);
        Counters { queued, in_flight: inner.ledger.in_flight(), ..inner.counters }
    }
}

#[cfg(test)]
mod tests;
