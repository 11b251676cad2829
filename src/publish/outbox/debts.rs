//! The parts that are owed an event: who is answered by which event, and which debts a restart would find on disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::RecordId;
use crate::frame::Part;

/// A part whose trigger was accepted: from then on it is owed exactly one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedPart {
    /// Configured name of the camera.
    pub camera: String,
    /// The line controller's name for the part, and the trigger.
    pub part: Part,
    /// When the trigger was accepted.
    pub accepted: Timestamp,
}

#[derive(Clone, Debug)]
struct Debt {
    /// What it is called towards others.
    name: RecordId,
    /// Its record, which may be written a second time under another number.
    id: RecordId,
    part: Arc<OwedPart>,
    /// Whether its record is, or is going to be, on disk.
    recorded: bool,
}

type Key = (String, String, u64);

fn key(camera: &str, part: &Part) -> Key {
    (camera.to_owned(), part.id.clone(), part.trigger)
}

/// Open debts by camera and part. A part that is owed twice is answered twice, the older debt first.
#[derive(Clone, Debug, Default)]
pub struct Debts {
    open: HashMap<Key, VecDeque<Debt>>,
    count: usize,
    /// Recorded debts whose answer is not on disk yet, by record: these records must not be deleted.
    recorded: BTreeMap<RecordId, RecordId>,
    /// The record of each debt that is open, or answered while neither disk nor broker has the answer.
    records: HashMap<RecordId, Option<RecordId>>,
    /// Debts by the event that answers them, until disk or broker has it.
    answers: BTreeMap<RecordId, RecordId>,
}

/// The debt that an event answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What it is called towards others.
    pub name: RecordId,
    /// Its record, when it has one.
    pub record: Option<RecordId>,
}

impl Debts {
    /// One more part is owed an event.
    pub fn add(&mut self, id: RecordId, part: Arc<OwedPart>, recorded: bool) {
        if recorded {
            self.recorded.insert(id, id);
            self.records.insert(id, Some(id));
        }
        self.count += 1;
        self.open.entry(key(&part.camera, &part.part)).or_default().push_back(Debt { name: id, id, part, recorded });
    }

    /// Whether an event for this part would answer a debt.
    pub fn owes(&self, camera: &str, part: &Part) -> bool {
        self.open.contains_key(&key(camera, part))
    }

    /// An event for this part was given. `None`: nobody had asked for it.
    pub fn answer(&mut self, camera: &str, part: &Part) -> Option<Answered> {
        let key = key(camera, part);
        let debts = self.open.get_mut(&key)?;
        let debt = debts.pop_front()?;
        if debts.is_empty() {
            self.open.remove(&key);
        }
        self.count -= 1;
        Some(Answered { name: debt.name, record: debt.recorded.then_some(debt.id) })
    }

    /// The answer has got this number; it is still in memory alone.
    pub fn answered_by(&mut self, name: RecordId, event: RecordId) {
        if self.records.contains_key(&name) {
            self.answers.insert(event, name);
        }
    }

    /// Nothing more can happen to the answers up to this event: they are on disk, or deleted from there.
    pub fn answers_kept(&mut self, through: RecordId) {
        while let Some((event, name)) = self.answers.first_key_value().map(|(event, name)| (*event, *name))
            && event <= through
        {
            self.answers.remove(&event);
            self.records.remove(&name);
        }
    }

    /// The broker has this event.
    pub fn answer_acked(&mut self, event: RecordId) {
        if let Some(name) = self.answers.remove(&event) {
            self.records.remove(&name);
        }
    }

    /// The answer to this recorded debt is on disk.
    pub fn settled(&mut self, id: RecordId) {
        self.recorded.remove(&id);
    }

    /// The record of this debt will not be written. True when the debt is still open.
    pub fn not_recorded(&mut self, id: RecordId, owed: &OwedPart) -> bool {
        if let Some(name) = self.recorded.remove(&id) {
            self.forget_record(name);
        }
        let debts = self.open.get_mut(&key(&owed.camera, &owed.part));
        let debt = debts.and_then(|debts| debts.iter_mut().find(|debt| debt.id == id));
        debt.map(|debt| debt.recorded = false).is_some()
    }

    /// The records up to this one are gone from disk.
    pub fn forget_records(&mut self, through: RecordId) {
        let kept = self.recorded.split_off(&through.next());
        for name in std::mem::replace(&mut self.recorded, kept).into_values() {
            self.forget_record(name);
        }
        for debt in self.open.values_mut().flatten().filter(|debt| debt.id <= through) {
            debt.recorded = false;
        }
    }

    fn forget_record(&mut self, name: RecordId) {
        if let Some(record) = self.records.get_mut(&name) {
            *record = None;
        }
    }

    /// Open debts without a record, which get one now under new numbers.
    pub fn record_again(&mut self, mut number: impl FnMut() -> RecordId) -> Vec<(RecordId, Arc<OwedPart>)> {
        let mut again: Vec<&mut Debt> = self.open.values_mut().flatten().filter(|debt| !debt.recorded).collect();
        again.sort_by_key(|debt| debt.id);
        let renew = |debt: &mut Debt| {
            (debt.id, debt.recorded) = (number(), true);
            (debt.name, debt.id, Arc::clone(&debt.part))
        };
        let renewed: Vec<_> = again.into_iter().map(renew).collect();
        self.recorded.extend(renewed.iter().map(|(name, id, _)| (*id, *name)));
        self.records.extend(renewed.iter().map(|(name, id, _)| (*name, Some(*id))));
        renewed.into_iter().map(|(_, id, part)| (id, part)).collect()
    }

    /// The record of a debt. `None`: it needs none, its answer is kept elsewhere. `Some(None)`: it has no record.
    pub fn record(&self, name: RecordId) -> Option<Option<RecordId>> {
        self.records.get(&name).copied()
    }

    /// Open debts, oldest first.
    pub fn open(&self) -> Vec<Arc<OwedPart>> {
        let mut open: Vec<&Debt> = self.open.values().flatten().collect();
        open.sort_by_key(|debt| debt.id);
        open.into_iter().map(|debt| Arc::clone(&debt.part)).collect()
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The oldest record that a restart still needs.
    pub fn oldest_record(&self) -> Option<RecordId> {
        self.recorded.first_key_value().map(|(record, _)| *record)
    }
}
