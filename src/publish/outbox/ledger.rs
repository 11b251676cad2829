//! What is owed, stored, sent and acknowledged, as a pure state machine: it decides, and knows neither disk nor broker.
//!
//! Every record gets a number, and this order is kept everywhere: on disk, towards the broker, and after a restart.
//!
//! ```text
//! owe, push ─▶ fresh ─ to_store … stored ─▶ window ─ next_to_send … acked ─▶ forgotten
//!                │                            ▲
//!                │          behind (on disk) ─┘ to_load … loaded
//!                └ store_failed: what no restart could repeat goes on from memory
//! ```
//! - An event whose debt is on disk is not sent before it is on disk itself: a restart would find the debt open and
//!   answer the part a second time. All others may be sent from memory while the disk fails; when it does so for long,
//!   these are sent, too, and the debt is noted as settled as soon as the disk works.
//! - Room is reserved when a part is accepted, so that its event is never refused.

mod set_aside;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::debts::{Debts, OwedPart};
use super::record::RecordId;
use super::terms::{Content, Inherited, Leaving, Limits, Next, Refusal, Refused, Safety, ToStore};
use crate::frame::Part;

#[derive(Clone, Debug)]
struct Entry<T> {
    id: RecordId,
    /// False while only memory has it.
    saved: bool,
    /// The debt on disk that it answers, while it is not saved.
    answers: Option<RecordId>,
    item: T,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Ledger<T> {
    limits: Limits,
    /// Without a disk, everything goes on from memory at once.
    disk: bool,
    /// The disk does not answer: everything goes on from memory, what lies on disk of it nobody knows.
    hangs: bool,
    log_full: bool,
    last: RecordId,
    debts: Debts,
    fresh: VecDeque<(RecordId, Content<T>)>,
    fresh_events: usize,
    window: VecDeque<Entry<T>>,
    unsaved: usize,
    /// Events that the broker does not take, on their way to a place beside the log.
    aside: VecDeque<Leaving<T>>,
    /// The first ones of the window have been sent on the present connection.
    in_flight: usize,
    /// Events on disk after the last one of the window.
    behind: u64,
    /// The last event that was ever in the window.
    loaded_to: RecordId,
    /// Up to here, sending is late.
    late_to: RecordId,
    connected: bool,
}

impl<T: Clone> Ledger<T> {
    /// A ledger that only memory holds.
    pub fn in_memory(limits: Limits) -> Self {
        Self::new(limits, false, Inherited::default())
    }

    /// A ledger whose records are written to disk, going on from what is there.
    pub fn on_disk(limits: Limits, inherited: Inherited) -> Self {
        Self::new(limits, true, inherited)
    }

    fn new(limits: Limits, disk: bool, inherited: Inherited) -> Self {
        let limits =
            Limits { memory: limits.memory.max(1), window: limits.window.max(1), in_flight: limits.in_flight.max(1) };
        let mut debts = Debts::default();
        for (id, part) in inherited.owed {
            debts.add(id, Arc::new(part), true);
        }
        Self {
            limits,
            disk,
            hangs: false,
            log_full: false,
            last: inherited.last,
            debts,
            fresh: VecDeque::new(),
            fresh_events: 0,
            window: VecDeque::new(),
            unsaved: 0,
            aside: VecDeque::new(),
            in_flight: 0,
            behind: inherited.waiting,
            loaded_to: inherited.acked_to,
            late_to: inherited.last,
            connected: false,
        }
    }

    fn number(&mut self) -> RecordId {
        self.last = self.last.next();
        self.last
    }

    /// Events and owed parts that only memory holds, and parts whose events are yet to come.
    pub fn held(&self) -> usize {
        self.fresh_events + self.unsaved + self.aside.len() + self.debts.len()
    }

    /// Why nothing more would be taken, if so.
    pub fn refusal(&self) -> Option<Refusal> {
        if self.held() >= self.limits.memory {
            Some(Refusal::Memory { capacity: self.limits.memory })
        } else {
            self.log_full.then_some(Refusal::Log)
        }
    }

    /// Whether an event would be taken.
    pub fn takes(&self, camera: &str, part: Option<&Part>) -> bool {
        part.is_some_and(|part| self.debts.owes(camera, part)) || self.refusal().is_none()
    }

    /// Accepts a part: it is owed one event from now on, and has room for it.
    pub fn owe(&mut self, part: OwedPart) -> Result<RecordId, Refused<OwedPart>> {
        if let Some(why) = self.refusal() {
            return Err(Refused { why, item: part });
        }
        let (id, part) = (self.number(), Arc::new(part));
        self.debts.add(id, Arc::clone(&part), self.disk);
        if self.disk {
            self.fresh.push_back((id, Content::Owed(part)));
        }
        Ok(id)
    }

    /// Takes an event. That of an owed part is always taken; any other one may be refused.
    pub fn push(&mut self, camera: &str, part: Option<&Part>, item: T) -> Result<RecordId, Refused<T>> {
        let debt = part.and_then(|part| self.debts.answer(camera, part));
        if let (None, Some(why)) = (debt, self.refusal()) {
            return Err(Refused { why, item });
        }
        let id = self.number();
        if let Some(debt) = debt {
            self.debts.answered_by(debt.name, id);
        }
        let answers = debt.and_then(|debt| debt.record);
        if !self.connected {
            self.late_to = id;
        }
        if self.disk {
            self.fresh_events += 1;
            self.fresh.push_back((id, Content::Event { answers, item }));
            self.go_on();
        } else {
            self.enter_window(id, item, false, None);
        }
        Ok(id)
    }

    fn enter_window(&mut self, id: RecordId, item: T, saved: bool, answers: Option<RecordId>) {
        self.unsaved += usize::from(!saved);
        self.loaded_to = id;
        self.window.push_back(Entry { id, saved, answers, item });
    }

    /// Parts that are owed an event, oldest first.
    pub fn owed(&self) -> Vec<Arc<OwedPart>> {
        self.debts.open()
    }

    // The disk.

    /// The oldest records after `after` that are not on disk, at most `max`, in order.
    pub fn to_store(&self, after: RecordId, max: usize) -> Vec<ToStore<T>> {
        let first_fresh = self.fresh.front().map(|(id, _)| *id);
        // What memory alone holds of the window is older than anything fresh that is an event, but not than debts.
        let unsaved = self.window.iter().filter(|entry| !entry.saved && entry.id > after).map(|entry| ToStore {
            id: entry.id,
            reserved: entry.answers.is_some(),
            content: Content::Event { answers: entry.answers, item: entry.item.clone() },
        });
        let start = self.fresh.partition_point(|(id, _)| *id <= after);
        let fresh = self.fresh.range(start..).map(|(id, content)| {
            let reserved = match content {
                Content::Event { answers: Some(owed), .. } => {
                    *owed <= after || first_fresh.is_some_and(|first| *owed < first)
                }
                Content::Settled(_) => true,
                _ => false,
            };
            ToStore { id: *id, reserved, content: content.clone() }
        });
        let mut batch: Vec<_> = if self.disk && self.unsaved > 0 { unsaved.take(max).collect() } else { Vec::new() };
        batch.extend(fresh.take(max));
        batch.sort_by_key(|record| record.id);
        batch.truncate(max);
        batch
    }

    /// Everything up to this record is on disk, as far as the policy asks for it.
    pub fn stored(&mut self, through: RecordId) {
        if self.unsaved > 0 {
            for entry in self.window.iter_mut().filter(|entry| !entry.saved && entry.id <= through) {
                entry.saved = true;
                self.unsaved -= 1;
                if let Some(debt) = entry.answers.take() {
                    self.debts.settled(debt);
                }
            }
        }
        while self.fresh.front().is_some_and(|(id, _)| *id <= through) {
            let (id, answers, item) = match self.fresh.pop_front() {
                Some((id, Content::Event { answers, item })) => (id, answers, item),
                Some((_, Content::Settled(debt))) => {
                    self.debts.settled(debt);
                    continue;
                }
                Some((_, Content::Owed(_))) | None => continue,
            };
            self.fresh_events -= 1;
            if let Some(debt) = answers {
                self.debts.settled(debt);
            }
            if self.behind == 0 && self.window.len() < self.limits.window {
                self.enter_window(id, item, true, None);
            } else {
                self.behind += 1;
            }
        }
        self.debts.answers_kept(through);
    }

    /// The disk takes nothing after the record `written`: debts behind it are kept in memory alone, and whatever no
    /// restart could answer a second time goes on from memory, as soon as everything before it is known to be on disk;
    /// with `all`, everything does.
    pub fn store_failed(&mut self, written: RecordId, all: bool) {
        self.give_up_debts(written);
        if self.fresh.front().is_some_and(|(id, _)| *id <= written) {
            return;
        }
        let mut settled = Vec::new();
        while let Some((id, content)) = self.fresh.pop_front() {
            match content {
                Content::Event { answers, item } if self.behind == 0 && (all || answers.is_none()) => {
                    self.fresh_events -= 1;
                    self.enter_window(id, item, false, answers);
                }
                Content::Settled(debt) => settled.push((id, Content::Settled(debt))),
                kept => {
                    self.fresh.push_front((id, kept));
                    break;
                }
            }
        }
        settled.into_iter().rev().for_each(|record| self.fresh.push_front(record));
    }

    /// The disk does not answer, or has answered at last. Meanwhile events go on from memory; records stay what they
    /// are, because any of them may have reached the disk.
    pub fn set_hangs(&mut self, hangs: bool) {
        self.hangs = hangs;
        self.go_on();
    }

    /// Whether the disk does not answer.
    pub fn hangs(&self) -> bool {
        self.hangs
    }

    fn go_on(&mut self) {
        // What lies on disk behind the window comes first, and cannot be read.
        if !self.hangs || self.behind > 0 {
            return;
        }
        for (id, content) in std::mem::take(&mut self.fresh) {
            match content {
                Content::Event { answers, item } => {
                    self.fresh_events -= 1;
                    self.enter_window(id, item, false, answers);
                }
                kept => self.fresh.push_back((id, kept)),
            }
        }
    }

    /// Whoever waits for the record of a debt is told at once that there will be none.
    fn give_up_debts(&mut self, written: RecordId) {
        let (debts, mut unrecorded) = (&mut self.debts, HashSet::new());
        self.fresh.retain(|(id, content)| match content {
            Content::Owed(part) if *id > written => {
                if !debts.not_recorded(*id, part) {
                    unrecorded.insert(*id);
                }
                false
            }
            _ => true,
        });
        if unrecorded.is_empty() {
            return;
        }
        for (_, content) in &mut self.fresh {
            if let Content::Event { answers, .. } = content
                && answers.is_some_and(|debt| unrecorded.contains(&debt))
            {
                *answers = None;
            }
        }
    }

    /// The disk works again: parts that are still owed and have no record get one.
    pub fn store_works(&mut self) {
        let last = &mut self.last;
        let again = self.debts.record_again(|| {
            *last = last.next();
            *last
        });
        self.fresh.extend(again.into_iter().map(|(id, part)| (id, Content::Owed(part))));
    }

    /// Whether events are to be read back: those after this record, at most so many.
    pub fn to_load(&self) -> Option<(RecordId, usize)> {
        let room = self.limits.window.saturating_sub(self.window.len());
        (self.behind > 0 && room * 2 >= self.limits.window).then_some((self.loaded_to, room))
    }

    /// Events that were read back; `end` when nothing more is on disk behind them.
    pub fn loaded(&mut self, items: Vec<(RecordId, T)>, end: bool) {
        let count = items.len() as u64;
        for (id, item) in items {
            if id > self.loaded_to {
                self.enter_window(id, item, true, None);
            }
        }
        self.behind = if end { 0 } else { self.behind.saturating_sub(count).max(1) };
    }

    /// The log has reached its largest size, or has room again.
    pub fn set_log_full(&mut self, full: bool) {
        self.log_full = full;
    }

    /// The folder with the log is another one now: only what memory has is left, and is written anew. Returns how many
    /// events were lost.
    pub fn log_lost(&mut self) -> u64 {
        self.give_up_debts(RecordId::default());
        self.debts.forget_records(self.last);
        self.unsaved = self.window.len();
        self.window.iter_mut().for_each(|entry| (entry.saved, entry.answers) = (false, None));
        self.store_works();
        std::mem::take(&mut self.behind)
    }

    /// Everything up to this record was deleted without being acknowledged; `left` events are on disk after it.
    /// Returns how many events were lost.
    pub fn deleted(&mut self, through: RecordId, left: u64) -> u64 {
        let waiting = self.window.len() as u64 + self.behind;
        while self.window.front().is_some_and(|entry| entry.id <= through) {
            let entry = self.window.pop_front();
            self.unsaved -= usize::from(entry.is_some_and(|entry| !entry.saved));
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if self.loaded_to <= through {
            (self.loaded_to, self.behind) = (through, left);
        }
        self.debts.answers_kept(through);
        // Parts that are still owed are not forgotten with their records.
        self.debts.forget_records(through);
        self.store_works();
        waiting - (self.window.len() as u64 + self.behind).min(waiting)
    }

    /// The last event up to which everything was acknowledged.
    pub fn acked_to(&self) -> RecordId {
        let acked_to = self.window.front().map_or(self.loaded_to, |entry| RecordId(entry.id.0 - 1));
        let aside = self.aside.iter().filter(|leaving| !leaving.sent).map(|leaving| RecordId(leaving.id.0 - 1)).min();
        aside.map_or(acked_to, |aside| aside.min(acked_to))
    }

    /// The oldest record of a debt that a restart would still need.
    pub fn oldest_debt(&self) -> Option<RecordId> {
        self.debts.oldest_record()
    }

    /// How safe this debt is: for a restart its record and the event that answers it are the same.
    pub fn safety(&self, debt: RecordId) -> Safety {
        match self.debts.record(debt) {
            _ if !self.disk => Safety::InMemory,
            Some(None) => Safety::InMemory,
            Some(Some(record)) if self.fresh.binary_search_by_key(&record, |(id, _)| *id).is_ok() => {
                if self.hangs {
                    Safety::InMemory
                } else {
                    Safety::BeingWritten
                }
            }
            // Disk or broker has the record, or the event in its place.
            Some(Some(_)) | None => Safety::OnDisk,
        }
    }

    // The broker.

    /// The broker has accepted the connection: sending starts with the oldest event.
    pub fn connected(&mut self) {
        self.connected = true;
        self.in_flight = 0;
    }

    /// Everything unacknowledged will be sent again, in order, and late.
    pub fn connection_lost(&mut self) {
        self.connected = false;
        self.in_flight = 0;
        self.late_to = self.last;
    }

    /// Marks the oldest waiting event as in flight; `None` when there is none, no connection, or enough in flight.
    pub fn next_to_send(&mut self) -> Option<Next<'_, T>> {
        if !self.connected || self.in_flight >= self.limits.in_flight {
            return None;
        }
        let entry = self.window.get(self.in_flight)?;
        self.in_flight += 1;
        Some(Next { id: entry.id, late: entry.id <= self.late_to, item: &entry.item })
    }

    /// Forgets an event that is in flight. `None` when it is not (an acknowledgement nobody waits for changes nothing).
    pub fn acked(&mut self, id: RecordId) -> Option<T> {
        let at = self.window.binary_search_by_key(&id, |entry| entry.id).ok()?;
        if at >= self.in_flight {
            return None;
        }
        self.in_flight -= 1;
        let entry = self.window.remove(at)?;
        self.unsaved -= usize::from(!entry.saved);
        self.debts.answer_acked(id);
        if let Some(debt) = entry.answers {
            // A restart must not find the debt open.
            let at = self.fresh.partition_point(|(other, _)| *other < id);
            self.fresh.insert(at, (id, Content::Settled(debt)));
        }
        Some(entry.item)
    }

    /// Unacknowledged events, wherever they are.
    pub fn len(&self) -> u64 {
        (self.window.len() + self.fresh_events) as u64 + self.behind
    }

    /// Whether everything was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}
