//! The log on disk: a directory of segments, locked by one process, recovered when it is opened.

use std::collections::VecDeque;
use std::path::Path;

use super::bounds::OutboxBounds;
use super::lock::Lock;
use super::record::{Kind, Record, RecordId, SEGMENT_HEAD, Step, Walk, leading_number};
use super::segment::{self, Active, Segment};
use super::survey::{self, Damage, Survey};
use super::terms::Inherited;
use super::time::LogTime;
use super::{Fsync, OutboxError, OutboxSpec};
use crate::clock::Moment;

/// What was found when the log was opened.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What the ledger goes on from.
    pub inherited: Inherited,
    /// What could not be read.
    pub damage: Damage,
    /// Bytes of a write that was cut short, removed.
    pub torn: u64,
}

impl Found {
    /// Says in the log what was found, when there is something to say.
    pub fn say(&self, directory: &Path) {
        let (waiting, owed) = (self.inherited.waiting, self.inherited.owed.len());
        let outbox = directory.display();
        if waiting > 0 || owed > 0 {
            tracing::info!(%outbox, waiting, owed, "the outbox holds what an earlier start has not delivered");
        }
        if self.torn > 0 {
            tracing::warn!(%outbox, bytes = self.torn, "the last write to the outbox was cut short; its rest is removed");
        }
        if self.damage.stretches > 0 {
            let Damage { stretches, bytes } = self.damage;
            tracing::error!(%outbox, stretches, bytes, "parts of the outbox are unreadable and skipped; check the disk");
        }
    }
}

/// A record on its way to disk.
#[derive(Clone, Debug)]
pub struct StoreRecord {
    /// Its number, greater than all before.
    pub id: RecordId,
    /// What it says.
    pub kind: Kind,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Whether it may use the reserve of a segment.
    pub reserved: bool,
}

/// Events that were read back.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Number and JSON, in order.
    pub events: Vec<(RecordId, Vec<u8>)>,
    /// Nothing is behind them.
    pub end: bool,
    /// Stretches that were skipped.
    pub damaged: u64,
}

/// Segments that were deleted with events in them that nobody had acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The last record deleted.
    pub through: RecordId,
    /// Events on disk after it.
    pub left: u64,
}

/// Where reading back has come to.
#[derive(Debug)]
struct Reader {
    segment: u64,
    /// The last event that was read.
    last: RecordId,
    /// Bytes of the segment from `start` on, and the place in the file where the next step begins.
    bytes: Vec<u8>,
    start: u64,
    at: u64,
}

/// An open log.
#[derive(Debug)]
pub struct Store {
    spec: OutboxSpec,
    /// Held until the end of the process.
    lock: Lock,
    left: VecDeque<Segment>,
    /// Number of the next segment.
    number: u64,
    active: Option<Active>,
    reader: Option<Reader>,
    time: LogTime,
    /// The last record handed to the operating system, and the last one known to be on disk.
    written: RecordId,
    synced: RecordId,
}

impl Store {
    /// Locks the directory, reads everything in it, removes the torn end of the last write, and deletes what is no
    /// longer needed. Reads a log of any size segment by segment.
    pub fn open(spec: &OutboxSpec, now: Moment) -> Result<(Self, Found), OutboxError> {
        let directory = &spec.directory;
        let lock = Lock::take(directory)?;
        let survey = survey::read(directory)?;
        let number = match survey.segments.last() {
            Some(segment) => segment.number.checked_add(1).ok_or_else(|| OutboxError::Number(segment.path.clone()))?,
            None => 1,
        };
        let (found, segments) = Self::take_over(survey)?;
        let last_time = segments.iter().filter_map(|segment| segment.summary.times).map(|(_, last)| last).max();
        let mut store = Self {
            spec: spec.clone(),
            time: LogTime::resume(directory, last_time, now),
            lock,
            left: segments.into(),
            number,
            active: None,
            reader: None,
            written: found.inherited.last,
            synced: found.inherited.last,
        };
        let oldest_debt = found.inherited.owed.first().map(|(id, _)| *id);
        store.delete_answered(found.inherited.acked_to, oldest_debt);
        Ok((store, found))
    }

    /// Turns what lies there into what the ledger goes on from.
    fn take_over(mut survey: Survey) -> Result<(Found, Vec<Segment>), OutboxError> {
        let torn = survey.torn();
        let mut segments = std::mem::take(&mut survey.segments);
        if let Some(Segment { path, used, .. }) = segments.last() {
            // What is torn, and the zeros that were allocated.
            let cut = std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(*used));
            cut.map_err(OutboxError::io(path, "removing the unwritten end"))?;
        }
        segments.retain(|segment| {
            let holds = segment.summary.times.is_some();
            if !holds {
                segment::remove(&segment.path);
            }
            holds
        });
        let (damage, last, acked_to, waiting) = (survey.damage, survey.last, survey.acked_to, survey.waiting());
        let owed = survey.into_debts().into_iter().collect();
        Ok((Found { inherited: Inherited { last, acked_to, waiting, owed }, damage, torn }, segments))
    }

    /// Milliseconds since 1970 as the log counts them: never back, and only as fast as real time goes.
    pub fn time(&self, now: Moment) -> i64 {
        self.time.at(now)
    }

    /// Now and then, for the next start.
    pub fn note_time(&mut self, now: Moment) {
        self.time.note(now);
    }

    /// Whether the folder is still the one that was opened: neither deleted, nor unmounted, nor covered.
    pub fn check_folder(&self) -> Result<(), OutboxError> {
        if self.lock.holds() { Ok(()) } else { Err(OutboxError::Gone { path: self.spec.directory.clone() }) }
    }

    /// Takes the folder again after it was gone. What was on its way is written again; true when what the log held is
    /// not in it any more, and everything after `acked_to` has to be.
    pub fn take_again(&mut self, acked_to: RecordId) -> Result<bool, OutboxError> {
        let gone = || OutboxError::Gone { path: self.spec.directory.clone() };
        self.lock = self.lock.again().ok_or_else(gone)?;
        if let Some(active) = &mut self.active {
            active.discard();
        }
        self.retire();
        self.written = self.synced;
        let lost = self.left.iter().any(|segment| !segment.path.exists());
        if lost {
            self.left.clear();
            self.reader = None;
            (self.written, self.synced) = (acked_to, acked_to);
        }
        Ok(lost)
    }

    /// The last record that was handed to the operating system.
    pub fn written_to(&self) -> RecordId {
        self.written
    }

    /// Writes records in their order. After an error, [`Store::written_to`] says which of them were written.
    pub fn append(&mut self, records: &[StoreRecord], now: Moment) -> Result<(), OutboxError> {
        let time = self.time(now);
        let mut bytes = Vec::new();
        let mut summary = self.active.as_ref().map(|active| active.segment().summary).unwrap_or_default();
        let mut last = self.written;
        for StoreRecord { id, kind, payload, reserved } in records {
            let size = Record::size(payload.len()) as u64;
            let needed = bytes.len() as u64 + size;
            if !self.active.as_ref().is_some_and(|active| active.has_room(needed, *reserved)) {
                self.put(&mut bytes, summary, last)?;
                let next = self.next_segment(size);
                let reserve = self.active.as_ref().is_some_and(|active| active.has_room(size, *reserved));
                match next {
                    Ok(()) => {}
                    Err(_) if *reserved && reserve => {}
                    Err(error) => return Err(error),
                }
                summary = self.active.as_ref().map(|active| active.segment().summary).unwrap_or_default();
            }
            Record { kind: *kind, id: *id, time, payload }.write(&mut bytes);
            summary.add(*kind, *id, time);
            last = *id;
        }
        self.put(&mut bytes, summary, last)
    }

    fn put(&mut self, bytes: &mut Vec<u8>, summary: segment::Summary, last: RecordId) -> Result<(), OutboxError> {
        if let (Some(active), false) = (&mut self.active, bytes.is_empty()) {
            active.write(bytes, summary)?;
            self.written = last;
            bytes.clear();
        }
        Ok(())
    }

    fn next_segment(&mut self, record: u64) -> Result<(), OutboxError> {
        self.sync()?;
        // A reserve beside a record of any size.
        let size = self.spec.segment().max((SEGMENT_HEAD as u64 + record) * 2);
        let following = self.number.checked_add(1);
        let following =
            following.ok_or_else(|| OutboxError::Number(Segment::path(&self.spec.directory, self.number)))?;
        let next = Active::create(&self.spec.directory, self.number, size, self.spec.fsync != Fsync::Never);
        if next.is_ok() || Segment::path(&self.spec.directory, self.number).exists() {
            // A file that nobody can remove must not be in the way for ever.
            self.number = following;
        }
        let next = next?;
        self.retire();
        self.active = Some(next);
        Ok(())
    }

    /// Leaves the segment that is being written; the next record begins another one.
    fn retire(&mut self) {
        if let Some(active) = self.active.take() {
            let segment = active.leave();
            if segment.summary.times.is_some() {
                self.left.push_back(segment);
            } else {
                segment::remove(&segment.path);
            }
        }
    }

    /// Finds out whether the disk takes records again, by writing this acknowledgement.
    pub fn probe(&mut self, acked_to: RecordId, now: Moment) -> Result<(), OutboxError> {
        const RECORD: u64 = 16 << 10;
        if !self.active.as_ref().is_some_and(|active| active.has_room(RECORD, false)) {
            self.next_segment(RECORD)?;
        }
        self.append_acked(acked_to, now)?;
        match (&mut self.active, self.spec.fsync) {
            (Some(active), Fsync::Always | Fsync::Batch(_)) => active.sync(),
            _ => Ok(()),
        }
    }

    /// Writes that every event up to this one was acknowledged. Lost, it costs nothing but repeated events.
    pub fn append_acked(&mut self, to: RecordId, now: Moment) -> Result<(), OutboxError> {
        let payload = to.0.to_le_bytes().to_vec();
        self.append(&[StoreRecord { id: self.written, kind: Kind::Acked, payload, reserved: true }], now)
    }

    /// The last record that is on disk, as far as the policy asks for it.
    pub fn synced_to(&self) -> RecordId {
        self.synced
    }

    /// Leaves no allocated space behind.
    pub fn close(mut self, now: Moment) {
        self.time.note(now);
        self.retire();
    }

    /// Returns when everything written is on disk, as far as the policy asks for it. After an error,
    /// [`Store::written_to`] is back at what is known to be there, and the rest has to be written again.
    pub fn sync(&mut self) -> Result<(), OutboxError> {
        if self.spec.fsync != Fsync::Never
            && self.synced < self.written
            && let Some(active) = &mut self.active
            && let Err(error) = active.sync()
        {
            self.written = self.synced;
            self.retire();
            return Err(error);
        }
        self.synced = self.written;
        Ok(())
    }

    /// Reads the events after this one, at most `max`; the next call goes on from there without searching. What the
    /// policy does not count as being on disk yet is not read. A segment that cannot be read is an error once, and then
    /// passed over.
    pub fn read_after(&mut self, after: RecordId, max: usize) -> Result<Loaded, OutboxError> {
        let mut loaded = Loaded::default();
        if self.reader.as_ref().is_some_and(|reader| reader.last != after) {
            self.reader = None;
        }
        while loaded.events.len() < max {
            if !self.fill(after)? {
                loaded.end = true;
                break;
            }
            let Some(reader) = &mut self.reader else { break };
            let mut walk = Walk::new(&reader.bytes, (reader.at - reader.start) as usize);
            let step = walk.next();
            if matches!(&step, Some(Step::Record(record, _)) if record.id > self.synced) {
                loaded.end = true;
                break;
            }
            reader.at = reader.start + walk.position() as u64;
            match step {
                Some(Step::Record(Record { kind: Kind::Event, id, payload, .. }, _)) if id > reader.last => {
                    reader.last = id;
                    if let Some((_, json)) = leading_number(payload) {
                        loaded.events.push((id, json.to_vec()));
                    }
                }
                Some(Step::Record(..)) => {}
                Some(Step::Damage(_) | Step::Tail(_)) => loaded.damaged += 1,
                None => reader.at = reader.start + reader.bytes.len() as u64,
            }
        }
        Ok(loaded)
    }

    /// Makes the reader stand before unread bytes. False when there are none.
    fn fill(&mut self, after: RecordId) -> Result<bool, OutboxError> {
        let segments = || self.left.iter().chain(self.active.as_ref().map(Active::segment));
        let (current, last) = match &self.reader {
            Some(reader) if reader.at < reader.start + reader.bytes.len() as u64 => return Ok(true),
            Some(reader) => (segments().find(|segment| segment.number == reader.segment), reader.last),
            None => (None, after),
        };
        let (segment, from) = match (current, &self.reader) {
            // More has been written since.
            (Some(segment), Some(reader)) if reader.at < segment.used => (segment, reader.at),
            _ => {
                let behind = self.reader.as_ref().map(|reader| reader.segment);
                let unread = |segment: &&Segment| {
                    segment.summary.last_event > last && behind.is_none_or(|behind| segment.number > behind)
                };
                match segments().find(unread) {
                    Some(segment) => (segment, SEGMENT_HEAD as u64),
                    None => return Ok(false),
                }
            }
        };
        let number = segment.number;
        match segment::read(&segment.path, from, segment.used) {
            Ok(bytes) => {
                self.reader = Some(Reader { segment: number, last, bytes, start: from, at: from });
                Ok(true)
            }
            Err(error) => {
                // What is behind it must not wait for ever; the next start tries this one again.
                self.left.retain(|segment| segment.number != number);
                Err(error)
            }
        }
    }

    /// Deletes segments from the oldest on whose events were all acknowledged and that hold no open debt.
    pub fn delete_answered(&mut self, acked_to: RecordId, oldest_debt: Option<RecordId>) {
        let done = |segment: &Segment| {
            segment.summary.last_event <= acked_to && oldest_debt.is_none_or(|debt| debt > segment.summary.last)
        };
        while self.left.front().is_some_and(done) {
            self.delete_front();
        }
    }

    fn delete_front(&mut self) -> RecordId {
        let Some(segment) = self.left.pop_front() else { return RecordId::default() };
        segment::remove(&segment.path);
        segment.summary.last
    }

    /// From now on these.
    pub(in crate::publish) fn bound(&mut self, bounds: &OutboxBounds) {
        bounds.replace(&mut self.spec);
    }

    /// Deletes the oldest segments until the log has at most `bytes`, whatever is in them.
    pub fn delete_beyond(&mut self, bytes: u64) -> Option<Deleted> {
        let mut through = None;
        while self.bytes() > bytes && !self.left.is_empty() {
            through = Some(self.delete_front());
        }
        through.map(|through| Deleted { through, left: self.events() })
    }

    /// Deletes segments whose newest record is older than `max_age`, whatever is in them.
    pub fn delete_older(&mut self, now: Moment) -> Option<Deleted> {
        let limit = self.time(now) - i64::try_from(self.spec.max_age.as_millis()).unwrap_or(i64::MAX);
        // A segment that nobody has written for so long is left.
        if self.active.as_ref().and_then(|active| active.segment().summary.times).is_some_and(|times| times.1 < limit) {
            self.retire();
        }
        let mut through = None;
        while self.left.front().and_then(|segment| segment.summary.times).is_some_and(|times| times.1 < limit) {
            through = Some(self.delete_front());
        }
        through.map(|through| Deleted { through, left: self.events() })
    }

    /// Age of the oldest segment that holds an unacknowledged event, as a share of `max_age`.
    pub fn age(&self, acked_to: RecordId, now: Moment) -> f64 {
        let mut segments = self.left.iter().chain(self.active.as_ref().map(Active::segment));
        let oldest = segments.find(|segment| segment.summary.last_event > acked_to);
        let Some((first, _)) = oldest.and_then(|segment| segment.summary.times) else { return 0.0 };
        (self.time(now) - first) as f64 / self.spec.max_age.as_millis().max(1) as f64
    }

    fn events(&self) -> u64 {
        self.left.iter().chain(self.active.as_ref().map(Active::segment)).map(|segment| segment.summary.events).sum()
    }

    /// Bytes of all records on disk.
    pub fn bytes(&self) -> u64 {
        self.left.iter().chain(self.active.as_ref().map(Active::segment)).map(|segment| segment.used).sum()
    }
}
