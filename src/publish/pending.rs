//! The queue between the line and the broker as a pure state machine: a verdict leaves it only when acknowledged.
//!
//! Items in flight are always the oldest ones, so after a lost connection the same order is sent again.

use std::collections::VecDeque;

/// Names one queued item; grows with every push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u64);

/// The queue holds `capacity` unacknowledged items; the refused item is handed back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue holds {capacity} unacknowledged messages")]
pub struct Full<T> {
    /// The bound.
    pub capacity: usize,
    /// What was not taken.
    pub item: T,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    id: EntryId,
    late: bool,
    item: T,
}

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<'a, T> {
    /// To be given to [`Pending::acked`].
    pub id: EntryId,
    /// True when the item waited for a broker that was away, or was sent before without being acknowledged.
    pub late: bool,
    /// The item; the queue keeps it.
    pub item: &'a T,
}

/// A bounded queue of items that are waiting or in flight.
#[derive(Clone, Debug)]
pub struct Pending<T> {
    entries: VecDeque<Entry<T>>,
    /// The first `in_flight` entries have been sent on the present connection.
    in_flight: usize,
    next_id: u64,
    connected: bool,
    capacity: usize,
    max_in_flight: usize,
}

impl<T> Pending<T> {
    /// An empty queue without a connection. Both bounds are raised to at least 1.
    pub fn new(capacity: usize, max_in_flight: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            in_flight: 0,
            next_id: 0,
            connected: false,
            capacity: capacity.max(1),
            max_in_flight: max_in_flight.max(1),
        }
    }

    /// Takes an item, or hands it back when the queue is full.
    pub fn push(&mut self, item: T) -> Result<EntryId, Full<T>> {
        if self.entries.len() >= self.capacity {
            return Err(Full { capacity: self.capacity, item });
        }
        let id = EntryId(self.next_id);
        self.next_id += 1;
        self.entries.push_back(Entry { id, late: !self.connected, item });
        Ok(id)
    }

    /// The broker has accepted the connection: sending starts with the oldest item.
    pub fn connected(&mut self) {
        self.connected = true;
        self.in_flight = 0;
    }

    /// Everything unacknowledged will be sent again, in order, marked as late.
    pub fn connection_lost(&mut self) {
        self.connected = false;
        self.in_flight = 0;
        for entry in &mut self.entries {
            entry.late = true;
        }
    }

    /// Marks the oldest waiting item as in flight; `None` when there is none, no connection, or enough in flight.
    pub fn next_to_send(&mut self) -> Option<Next<'_, T>> {
        if !self.connected || self.in_flight >= self.max_in_flight {
            return None;
        }
        let entry = self.entries.get(self.in_flight)?;
        self.in_flight += 1;
        Some(Next { id: entry.id, late: entry.late, item: &entry.item })
    }

    /// Forgets an item that is in flight. `None` when it is not (an acknowledgement nobody waits for changes nothing).
    pub fn acked(&mut self, id: EntryId) -> Option<T> {
        let at = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        if at >= self.in_flight {
            return None;
        }
        self.in_flight -= 1;
        self.entries.remove(at).map(|entry| entry.item)
    }

    /// Unacknowledged items, waiting or in flight.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Items sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The bound on [`Pending::len`].
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lost_connection_sends_the_same_order_again_marked_late() {
        let mut queue = Pending::new(8, 2);
        queue.connected();
        for item in 0..4 {
            queue.push(item).expect("room");
        }
        let first = queue.next_to_send().expect("waiting");
        assert_eq!((*first.item, first.late), (0, false));
        let first = first.id;
        assert_eq!(queue.next_to_send().map(|n| *n.item), Some(1));
        assert_eq!(queue.next_to_send(), None, "two are in flight");
        assert_eq!(queue.acked(first), Some(0));
        queue.connection_lost();
        assert_eq!(queue.next_to_send(), None, "nobody listens");
        queue.connected();
        let again = queue.next_to_send().expect("waiting");
        assert_eq!((*again.item, again.late), (1, true));
    }

    #[test]
    fn a_full_queue_hands_the_item_back() {
        let mut queue = Pending::new(1, 1);
        queue.push('a').expect("room");
        assert_eq!(queue.push('b'), Err(Full { capacity: 1, item: 'b' }));
        assert_eq!(queue.len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Send,
        Ack(usize),
        Lose,
        Connect,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push),
            4 => Just(Step::Send),
            3 => (0..8usize).prop_map(Step::Ack),
            1 => Just(Step::Lose),
            2 => Just(Step::Connect),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Whatever happens on the way: nothing accepted is lost, first deliveries keep the order of the pushes,
        /// bounds hold, and a repeated delivery is marked late.
        #[test]
        fn nothing_is_lost_and_order_is_kept(steps in steps(), capacity in 1..20usize, window in 1..6usize) {
            let mut queue = Pending::new(capacity, window);
            let (mut accepted, mut delivered, mut acked) = (Vec::new(), Vec::new(), Vec::new());
            let mut flying: Vec<(EntryId, u32)> = Vec::new();
            let mut online = false;
            let mut number = 0u32;
            for step in steps {
                match step {
                    Step::Push => {
                        match queue.push(number) {
                            Ok(_) => accepted.push(number),
                            Err(full) => prop_assert_eq!((full.item, queue.len()), (number, capacity)),
                        }
                        number += 1;
                    }
                    Step::Send => if let Some(next) = queue.next_to_send() {
                        prop_assert!(online);
                        prop_assert!(next.late || !delivered.contains(next.item));
                        delivered.push(*next.item);
                        flying.push((next.id, *next.item));
                    },
                    Step::Ack(which) => if !flying.is_empty() {
                        let (id, item) = flying.remove(which % flying.len());
                        prop_assert_eq!(queue.acked(id), Some(item));
                        prop_assert_eq!(queue.acked(id), None);
                        acked.push(item);
                    },
                    Step::Lose => { queue.connection_lost(); flying.clear(); online = false; }
                    Step::Connect => if !online { queue.connected(); flying.clear(); online = true; },
                }
                prop_assert!(queue.len() <= capacity && queue.in_flight() <= window);
                prop_assert_eq!(queue.in_flight(), flying.len());
            }
            queue.connection_lost();
            queue.connected();
            while let Some(next) = queue.next_to_send() {
                let (id, item) = (next.id, *next.item);
                delivered.push(item);
                prop_assert_eq!(queue.acked(id), Some(item));
                acked.push(item);
            }
            let mut first_deliveries = Vec::new();
            for item in delivered {
                if !first_deliveries.contains(&item) {
                    first_deliveries.push(item);
                }
            }
            prop_assert_eq!(&first_deliveries, &accepted);
            acked.sort_unstable();
            prop_assert_eq!(acked, accepted);
        }
    }
}
