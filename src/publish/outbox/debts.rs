//! The parts that are owed an event: who is answered by which event, and which debts a restart would find on disk.

use std::collections::{BTreeSet, HashMap, VecDeque};
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
    /// Recorded debts whose answer is not on disk yet: their records must not be deleted.
    recorded: BTreeSet<RecordId>,
}

impl Debts {
    /// One more part is owed an event.
    pub fn add(&mut self, id: RecordId, part: Arc<OwedPart>, recorded: bool) {
        if recorded {
            self.recorded.insert(id);
        }
        self.count += 1;
        self.open.entry(key(&part.camera, &part.part)).or_default().push_back(Debt { name: id, id, part, recorded });
    }

    /// Whether an event for this part would answer a debt.
    pub fn owes(&self, camera: &str, part: &Part) -> bool {
        self.open.contains_key(&key(camera, part))
    }

    /// An event for this part was given. `None`: nobody had asked for it. `Some(None)`: the debt is not recorded.
    pub fn answer(&mut self, camera: &str, part: &Part) -> Option<Option<RecordId>> {
        let key = key(camera, part);
        let debts = self.open.get_mut(&key)?;
        let debt = debts.pop_front()?;
        if debts.is_empty() {
            self.open.remove(&key);
        }
        self.count -= 1;
        Some(debt.recorded.then_some(debt.id))
    }

    /// The answer to this recorded debt is on disk.
    pub fn settled(&mut self, id: RecordId) {
        self.recorded.remove(&id);
    }

    /// The record of this debt will not be written. True when the debt is still open.
    pub fn not_recorded(&mut self, id: RecordId, owed: &OwedPart) -> bool {
        self.recorded.remove(&id);
        let debts = self.open.get_mut(&key(&owed.camera, &owed.part));
        let debt = debts.and_then(|debts| debts.iter_mut().find(|debt| debt.id == id));
        debt.map(|debt| debt.recorded = false).is_some()
    }

    /// The records up to this one are gone from disk.
    pub fn forget_records(&mut self, through: RecordId) {
        self.recorded = self.recorded.split_off(&through.next());
        for debt in self.open.values_mut().flatten().filter(|debt| debt.id <= through) {
            debt.recorded = false;
        }
    }

    /// Open debts without a record, which get one now under new numbers.
    pub fn record_again(&mut self, mut number: impl FnMut() -> RecordId) -> Vec<(RecordId, Arc<OwedPart>)> {
        let mut again: Vec<&mut Debt> = self.open.values_mut().flatten().filter(|debt| !debt.recorded).collect();
        again.sort_by_key(|debt| debt.id);
        let renew = |debt: &mut Debt| {
            (debt.id, debt.recorded) = (number(), true);
            (debt.id, Arc::clone(&debt.part))
        };
        let renewed: Vec<_> = again.into_iter().map(renew).collect();
        self.recorded.extend(renewed.iter().map(|(id, _)| *id));
        renewed
    }

    /// The record of an open debt. `None`: it is not open any more. `Some(None)`: it has no record.
    pub fn record(&self, name: RecordId) -> Option<Option<RecordId>> {
        let debt = self.open.values().flatten().find(|debt| debt.name == name)?;
        Some(debt.recorded.then_some(debt.id))
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
        self.recorded.first().copied()
    }
}
