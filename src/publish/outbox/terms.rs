//! What the ledger is asked and answers: bounds, refusals, records on their way to disk, and what a start inherits.

use std::sync::Arc;

use super::debts::OwedPart;
use super::record::RecordId;

/// Nothing was taken; the item, if there was one, is handed back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<T> {
    /// Why not.
    pub why: Refusal,
    /// What was not taken.
    pub item: T,
}

/// Why nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This many events and owed parts are held in memory.
    Memory {
        /// The bound.
        capacity: usize,
    },
    /// The log on disk has reached its largest size.
    Log,
}

/// Where a debt is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// Its record is on its way to disk.
    BeingWritten,
    /// A restart finds it and answers it.
    OnDisk,
    /// Only this process knows it: there is no disk, or the disk fails.
    InMemory,
}

/// Bounds of a ledger, each at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events and owed parts that only memory holds.
    pub memory: usize,
    /// Events read back from disk ahead of sending.
    pub window: usize,
    /// Events sent and not yet acknowledged.
    pub in_flight: usize,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<T> {
    /// A part was accepted.
    Owed(Arc<OwedPart>),
    /// An event was given; `answers` is the record of its debt.
    Event {
        /// The debt, when it has a record.
        answers: Option<RecordId>,
        /// The event.
        item: T,
    },
    /// This debt was answered by an event that reached the broker without ever being on disk.
    Settled(RecordId),
}

/// One record on its way to disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToStore<T> {
    /// Its place.
    pub id: RecordId,
    /// Whether it answers a debt that is on disk, and so may use the space kept back for that.
    pub reserved: bool,
    /// What it says.
    pub content: Content<T>,
}

/// An event on its way to a place beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving<T> {
    /// Its place in the log.
    pub id: RecordId,
    /// The debt on disk that it answers, while it is not itself on disk.
    pub answers: Option<RecordId>,
    /// The event.
    pub item: T,
    /// The broker has it, without its details.
    pub sent: bool,
}

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<'a, T> {
    /// To be given to `Ledger::acked`.
    pub id: RecordId,
    /// True when it waited for a broker that was away, or was sent before without being acknowledged.
    pub late: bool,
    /// The event; the ledger keeps it.
    pub item: &'a T,
}

/// What an earlier start has left on disk.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// The last record's number.
    pub last: RecordId,
    /// Every event up to here was acknowledged.
    pub acked_to: RecordId,
    /// Events after it.
    pub waiting: u64,
    /// Parts without an event, oldest first.
    pub owed: Vec<(RecordId, OwedPart)>,
}
