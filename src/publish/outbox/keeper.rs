//! The outbox thread: does on disk what the ledger decides, so that nobody else ever waits for the disk.

mod unwelcome;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::aside::Aside;
use super::record::{Kind, RecordId};
use super::store::{Deleted, Found, Store, StoreRecord};
use super::terms::{Content, ToStore};
use super::{Fsync, OutboxError, OutboxSpec, OutboxStatus, WhenLogFull};
use crate::clock::Clock;
use crate::publish::door::PublisherState;
use crate::publish::payload::{MAX_EVENT, Parcel, StoredVerdict};
use crate::publish::spec::Live;

/// Records written at once.
const BATCH: usize = 512;
/// How long acknowledgements wait for company before they are written: a killed process repeats so much.
const ACKS: Duration = Duration::from_millis(50);
/// Pause before a disk that took nothing is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// A disk that takes nothing for so long delays no more verdicts. Their parts would be answered a second time if the
/// process ended before the disk works again; that is possible harm, a verdict that never comes is certain harm.
const LONG: Duration = Duration::from_secs(5);
/// How often size, age and alarms are looked at while nothing happens.
const LOOK: Duration = Duration::from_millis(250);

/// The running outbox thread.
pub(in crate::publish) struct Keeper {
    shared: Arc<PublisherState>,
    thread: Option<JoinHandle<()>>,
    done: Receiver<()>,
}

impl Keeper {
    /// Starts the thread.
    pub fn start(
        store: Store,
        found: &Found,
        (spec, live): (OutboxSpec, Live),
        returning: Vec<(RecordId, PathBuf)>,
        shared: Arc<PublisherState>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let (over, done) = bounded(1);
        let now = Instant::now();
        let outbox = OutboxThread {
            store,
            shared: Arc::clone(&shared),
            clock,
            acks: (found.inherited.acked_to, now),
            synced_at: None,
            failing: None,
            status: OutboxStatus { damaged: found.damage.stretches, ..OutboxStatus::default() },
            looked: None,
            aside: Aside::new(&spec.directory),
            returning,
            spec,
            live,
        };
        let work = move || {
            let _over = over;
            let guard = Guard(Arc::clone(&outbox.shared));
            outbox.run();
            drop(guard);
        };
        let (watched, thread_ended) = (Arc::clone(&shared), done.clone());
        let look = move || watch(&watched, &thread_ended);
        // Ends with the other one.
        drop(std::thread::Builder::new().name("vcp-outbox-look".into()).spawn(look)?);
        let thread = std::thread::Builder::new().name("vcp-outbox".into()).spawn(work)?;
        Ok(Self { shared, thread: Some(thread), done })
    }

    /// Writes what there is and ends; gives a disk that hangs until `deadline`.
    pub fn finish(&mut self, deadline: Instant) {
        self.shared.close_outbox();
        // Nothing is ever sent: the channel's end is the message.
        let in_time = self.done.recv_deadline(deadline).is_err() && self.thread.as_ref().is_some_and(|_| self.ended());
        match self.thread.take() {
            Some(thread) if in_time || thread.is_finished() => {
                if thread.join().is_err() {
                    tracing::error!("the outbox thread panicked; please report the lines logged above");
                }
            }
            _ => tracing::error!("the disk of the outbox hangs; what it has not written is lost"),
        }
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    fn ended(&self) -> bool {
        matches!(self.done.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }
}

/// Looks, for as long as the outbox's thread lives, whether the disk has kept it waiting for long. That thread cannot
/// say so itself.
fn watch(shared: &PublisherState, thread_ended: &Receiver<()>) {
    while thread_ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let mut inner = shared.lock();
        let long = inner.disk_busy.is_some_and(|since| since.elapsed() >= LONG);
        if !long || inner.ledger.hangs() {
            continue;
        }
        inner.ledger.set_hangs(true);
        if let Some(status) = &mut inner.outbox {
            status.failing = Some("the disk of the outbox hangs; check it".into());
        }
        drop(inner);
        shared.moved_on();
        tracing::error!("the disk of the outbox hangs; verdicts are kept in memory alone");
    }
}

/// Says that nothing is stored any more when the thread breaks off.
struct Guard(Arc<PublisherState>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let failing = "the outbox thread broke off; restart the service, and report the lines logged above";
            let mut inner = self.0.lock();
            let status = inner.outbox.take().unwrap_or_default();
            inner.outbox = Some(OutboxStatus { failing: Some(failing.into()), ..status });
            tracing::error!("{failing}");
        }
    }
}

/// Why the disk takes nothing, and when it is tried again.
struct Failing {
    reason: String,
    /// There is no room, but a segment that is begun keeps some back.
    full: bool,
    since: Instant,
    retry: Instant,
}

/// What the thread works with.
struct OutboxThread {
    store: Store,
    spec: OutboxSpec,
    live: Live,
    shared: Arc<PublisherState>,
    clock: Arc<dyn Clock>,
    /// The last acknowledgement on disk, and when it was written.
    acks: (RecordId, Instant),
    synced_at: Option<Instant>,
    failing: Option<Failing>,
    status: OutboxStatus,
    looked: Option<Instant>,
    /// Where verdicts go that the broker does not take.
    aside: Aside,
    /// Those of an earlier start that are to be sent once more: their files go when the log has them.
    returning: Vec<(RecordId, PathBuf)>,
}

impl OutboxThread {
    fn run(mut self) {
        loop {
            let closing = self.wait();
            self.write();
            self.keep_aside();
            self.write_acks(closing);
            self.sync(closing);
            self.load();
            self.bound();
            let end = closing && (self.failing.is_some() || self.idle());
            if end {
                // The next start would have to read what was answered since.
                self.looked = None;
            }
            self.look();
            if end {
                return self.store.close(self.clock.now());
            }
        }
    }

    /// Whether nothing is left to be written.
    fn idle(&self) -> bool {
        self.store.synced_to() == self.store.written_to()
            && self.shared.lock().ledger.to_store(self.store.written_to(), 1).is_empty()
            && self.shared.lock().ledger.to_keep_aside().is_none()
    }

    /// Waits for work, or for the time when something is due. True when this is to be the end.
    fn wait(&self) -> bool {
        let due = self.due().saturating_duration_since(Instant::now());
        let inner = self.shared.lock();
        let waited = self.shared.work.wait_timeout_while(inner, due, |inner| !inner.work && !inner.closing);
        let mut inner = match waited {
            Ok((inner, _)) => inner,
            Err(poisoned) => poisoned.into_inner().0,
        };
        inner.work = false;
        inner.closing
    }

    fn due(&self) -> Instant {
        let mut due = Instant::now() + LOOK;
        if let (Fsync::Batch(pause), Some(synced_at)) = (self.spec.fsync, self.synced_at)
            && self.store.synced_to() < self.store.written_to()
        {
            due = due.min(synced_at + pause);
        }
        // A broken disk gets none before it is tried again.
        if !self.is_broken() && self.shared.lock().ledger.acked_to() > self.acks.0 {
            due = due.min(self.acks.1 + ACKS);
        }
        due
    }

    /// One call of the disk, timed for [`watch`]: it may not return for long.
    fn at_disk<T>(&mut self, call: impl FnOnce(&mut Store) -> T) -> T {
        self.shared.lock().disk_busy = Some(Instant::now());
        let done = call(&mut self.store);
        let mut inner = self.shared.lock();
        inner.disk_busy = None;
        if inner.ledger.hangs() {
            tracing::info!("the disk of the outbox answers again");
            inner.ledger.set_hangs(false);
            inner.outbox = Some(self.status.clone());
        }
        done
    }

    /// Hands to the operating system whatever is not there yet.
    fn write(&mut self) {
        self.try_again();
        while let Some(batch) = self.next_batch() {
            let now = self.clock.now();
            let records: Vec<StoreRecord> = batch.into_iter().map(|record| self.written(record)).collect();
            let failed_before = self.failing.is_some();
            if let Err(error) = self.at_disk(|store| store.append(&records, now)) {
                self.fails(&error);
                if failed_before {
                    return;
                }
            }
            if !matches!(self.spec.fsync, Fsync::Batch(_)) && !self.sync(true) {
                return;
            }
        }
    }

    /// Finds out whether a disk that took nothing takes something again, when it is time.
    fn try_again(&mut self) {
        let now = self.clock.now();
        if self.failing.as_ref().is_some_and(|failing| now.monotonic >= failing.retry) {
            let acked_to = self.shared.lock().ledger.acked_to();
            let tried = self.at_disk(|store| match store.check_folder() {
                Ok(()) => store.probe(acked_to, now).map(|()| false),
                Err(_) => store.take_again(acked_to),
            });
            match tried {
                Ok(lost) => {
                    if lost {
                        self.log_lost();
                    }
                    self.works();
                }
                Err(error) => self.fails(&error),
            }
        }
    }

    /// What is to be written next; while the disk fails, that alone for which there may be room that is kept back.
    fn next_batch(&self) -> Option<Vec<ToStore<Parcel>>> {
        let (written, all) = (self.store.written_to(), self.fails_for_long());
        let mut inner = self.shared.lock();
        if self.failing.is_some() {
            inner.ledger.store_failed(written, all);
        }
        let mut batch = inner.ledger.to_store(written, BATCH);
        drop(inner);
        if let Some(failing) = &self.failing {
            // What is kept back in a segment helps against a full disk, and against nothing else.
            let reserved = batch.iter().take_while(|record| failing.full && record.reserved).count();
            batch.truncate(reserved);
            self.shared.moved_on();
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn written(&self, ToStore { id, reserved, content }: ToStore<Parcel>) -> StoreRecord {
        let (kind, mut payload, json) = match content {
            Content::Owed(part) => (Kind::Owed, Vec::new(), serde_json::to_vec(&*part)),
            Content::Event { answers, item } => {
                let debt = answers.map_or(0, |debt| debt.0).to_le_bytes().to_vec();
                (Kind::Event, debt, item.encode(false, self.clock.now(), MAX_EVENT).map(|event| event.bytes))
            }
            Content::Settled(debt) => (Kind::Settled, debt.0.to_le_bytes().to_vec(), Ok(Vec::new())),
        };
        match json {
            Ok(json) => payload.extend(json),
            // The connection meets it again and gives it up; its place in the log stays.
            Err(error) => tracing::error!(record = id.0, %error, "a record of the outbox cannot be written as JSON"),
        }
        StoreRecord { id, kind, payload, reserved }
    }

    fn write_acks(&mut self, now_or_never: bool) {
        let acked_to = self.shared.lock().ledger.acked_to();
        if acked_to <= self.acks.0 || self.is_broken() || !(now_or_never || self.acks.1.elapsed() >= ACKS) {
            return;
        }
        self.acks.1 = Instant::now();
        let now = self.clock.now();
        match self.at_disk(|store| store.append_acked(acked_to, now)) {
            Ok(()) => self.acks.0 = acked_to,
            Err(error) => tracing::debug!(%error, "acknowledgements are not written; they would be repeated"),
        }
    }

    /// Makes durable what was written, when it is time. False when the disk did not do it.
    fn sync(&mut self, at_once: bool) -> bool {
        if let (Fsync::Batch(pause), Some(synced_at), false) = (self.spec.fsync, self.synced_at, at_once)
            && synced_at.elapsed() < pause
        {
            return true;
        }
        let mut synced = true;
        if self.store.synced_to() < self.store.written_to() {
            if let Err(error) = self.at_disk(Store::sync) {
                self.fails(&error);
                synced = false;
            }
            self.synced_at = Some(Instant::now());
        }
        self.shared.lock().ledger.stored(self.store.synced_to());
        self.shared.moved_on();
        self.taken_back();
        synced
    }

    /// Whether the disk fails for another reason than want of room: then nothing is tried before its time.
    fn is_broken(&self) -> bool {
        self.failing.as_ref().is_some_and(|failing| !failing.full)
    }

    /// Reads back what is to be sent next.
    fn load(&mut self) {
        loop {
            let Some((after, max)) = self.shared.lock().ledger.to_load() else { return };
            let loaded = match self.at_disk(|store| store.read_after(after, max)) {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::error!(%error, "events that wait cannot be read back and are passed over");
                    self.damaged(1);
                    return;
                }
            };
            self.damaged(loaded.damaged);
            let mut events = Vec::with_capacity(loaded.events.len());
            for (id, json) in loaded.events {
                match StoredVerdict::new(json) {
                    Ok(stored) => events.push((id, Parcel::Stored(Arc::new(stored)))),
                    Err(error) => {
                        tracing::error!(record = id.0, %error, "an event in the outbox cannot be understood");
                        self.damaged(1);
                    }
                }
            }
            self.shared.lock().ledger.loaded(events, loaded.end);
            self.shared.moved_on();
        }
    }

    fn damaged(&mut self, stretches: u64) {
        if stretches > 0 {
            tracing::error!(stretches, "a part of the outbox is unreadable and was skipped; check the disk");
            self.status.damaged += stretches;
        }
    }

    /// Nothing new is taken while the log has its largest size. What is on its way from memory still comes.
    fn bound(&mut self) {
        self.status.bytes = self.store.bytes();
        let full = self.status.bytes >= self.spec.max_bytes && self.spec.when_full == WhenLogFull::Refuse;
        self.shared.lock().ledger.set_log_full(full);
    }

    /// Size, age, alarms.
    fn look(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK / 5) {
            return;
        }
        self.looked = Some(Instant::now());
        if let Some(bounds) = self.live.new_bounds() {
            bounds.replace(&mut self.spec);
            self.store.bound(&bounds);
        }
        let now = self.clock.now();
        if self.failing.is_none()
            && let Err(error) = self.at_disk(|store| store.check_folder())
        {
            self.fails(&error);
        }
        if self.is_broken() {
            return;
        }
        let (acked_to, debt) = {
            let inner = self.shared.lock();
            (inner.ledger.acked_to(), inner.ledger.oldest_debt())
        };
        let aged = self.at_disk(|store| {
            store.note_time(now);
            store.delete_answered(acked_to, debt);
            store.delete_older(now)
        });
        self.deleted(aged, "max_age");
        if self.spec.when_full == WhenLogFull::DropOldest {
            let most = self.spec.max_bytes;
            let beyond = self.at_disk(|store| store.delete_beyond(most));
            self.deleted(beyond, "max_bytes");
        }
        self.bound();
        self.status.fill = self.status.bytes as f64 / self.spec.max_bytes.max(1) as f64;
        self.status.age = self.store.age(acked_to, now);
        let mut inner = self.shared.lock();
        if inner.ledger.is_empty() {
            self.status.deleted = 0;
        }
        inner.outbox = Some(self.status.clone());
    }

    fn deleted(&mut self, deleted: Option<Deleted>, bound: &str) {
        let Some(Deleted { through, left }) = deleted else { return };
        let lost = self.shared.lock().ledger.deleted(through, left);
        if lost > 0 {
            tracing::error!(lost, bound, "verdicts were deleted undelivered");
            self.status.deleted += lost;
        }
    }

    fn fails(&mut self, error: &OutboxError) {
        let reason = error.to_string();
        if self.failing.as_ref().is_none_or(|failing| failing.reason != reason) {
            tracing::error!("{reason}; verdicts are kept in memory alone");
        }
        let now = self.clock.now().monotonic;
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        let full = matches!(error, OutboxError::DiskFull { .. });
        self.failing = Some(Failing { retry: now + RETRY, since, full, reason: reason.clone() });
        let all = self.fails_for_long();
        self.status.failing = Some(reason);
        let mut inner = self.shared.lock();
        inner.ledger.store_failed(self.store.written_to(), all);
        inner.outbox = Some(self.status.clone());
        drop(inner);
        self.shared.moved_on();
    }

    /// The folder is there again without the log.
    fn log_lost(&mut self) {
        let lost = self.shared.lock().ledger.log_lost();
        self.acks.0 = RecordId::default();
        tracing::error!(lost, "the folder of the outbox has lost its log; what memory has is written anew");
        self.status.deleted += lost;
    }

    /// Whether verdicts have waited long enough for the disk.
    fn fails_for_long(&self) -> bool {
        let now = self.clock.now().monotonic;
        self.failing.as_ref().is_some_and(|failing| now.saturating_duration_since(failing.since) >= LONG)
    }

    fn works(&mut self) {
        tracing::info!("the disk of the outbox takes records again");
        self.failing = None;
        self.status.failing = None;
        let mut inner = self.shared.lock();
        inner.ledger.store_works();
        inner.outbox = Some(self.status.clone());
    }
}
