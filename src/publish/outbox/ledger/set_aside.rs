//! Events that the broker does not take: they leave the queue, so that others go on, and wait to be kept beside the log.

use super::super::record::RecordId;
use super::super::terms::{Content, Leaving};
use super::Ledger;

impl<T: Clone> Ledger<T> {
    /// The broker does not take this event. It counts as unacknowledged until [`Ledger::kept_aside`]. False when it does
    /// not wait to be sent.
    pub fn set_aside(&mut self, id: RecordId) -> bool {
        let Ok(at) = self.window.binary_search_by_key(&id, |entry| entry.id) else { return false };
        let Some(entry) = self.window.remove(at) else { return false };
        self.in_flight -= usize::from(at < self.in_flight);
        self.unsaved -= usize::from(!entry.saved);
        self.aside.push_back(Leaving { id, answers: entry.answers, item: entry.item, sent: false });
        true
    }

    /// The broker takes this event without its details, which are to be kept.
    pub fn copy_aside(&mut self, id: RecordId) {
        if let Ok(at) = self.window.binary_search_by_key(&id, |entry| entry.id) {
            let item = self.window[at].item.clone();
            self.aside.push_back(Leaving { id, answers: None, item, sent: true });
        }
    }

    /// What is to be kept beside the log next.
    pub fn to_keep_aside(&self) -> Option<&Leaving<T>> {
        self.aside.front()
    }

    /// It is kept: in the log it is one that was acknowledged.
    pub fn kept_aside(&mut self) {
        let Some(Leaving { id, answers, sent: false, .. }) = self.aside.pop_front() else { return };
        self.debts.answer_acked(id);
        if let Some(debt) = answers {
            let at = self.fresh.partition_point(|(other, _)| *other < id);
            self.fresh.insert(at, (id, Content::Settled(debt)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::terms::{Inherited, Limits};
    use super::*;

    #[test]
    fn others_go_on_and_no_restart_forgets_it() {
        let limits = Limits { memory: 9, window: 9, in_flight: 9 };
        let mut ledger = Ledger::on_disk(limits, Inherited::default());
        ledger.connected();
        let ids: Vec<RecordId> = (0..3).map(|item| ledger.push("top", None, item).expect("room")).collect();
        ledger.stored(ids[2]);
        for _ in 0..3 {
            ledger.next_to_send().expect("waits");
        }
        assert!(ledger.set_aside(ids[1]) && !ledger.set_aside(ids[1]));
        assert_eq!((ledger.acked(ids[0]), ledger.acked(ids[2]), ledger.acked(ids[1])), (Some(0), Some(2), None));
        assert_eq!((ledger.acked_to(), ledger.len(), ledger.in_flight()), (ids[0], 0, 0));
        assert_eq!(ledger.to_keep_aside().map(|leaving| leaving.item), Some(1));
        ledger.kept_aside();
        assert_eq!((ledger.acked_to(), ledger.to_keep_aside().is_none()), (ids[2], true));
    }
}
