//! Verdicts that the broker does not take pass the door another way: beside the log, and back at the next start.

use std::sync::Arc;

use super::PublisherState;
use crate::publish::outbox::RecordId;
use crate::publish::payload::{Parcel, StoredVerdict};

impl PublisherState {
    /// The broker does not take this verdict in any form. Without an outbox there is no other place for it.
    pub(in crate::publish) fn set_aside(&self, id: RecordId) -> bool {
        let mut inner = self.lock();
        let kept = inner.outbox.is_some();
        if inner.ledger.set_aside(id) && !kept {
            inner.ledger.kept_aside();
            inner.counters.dropped += 1;
        }
        inner.work = true;
        drop(inner);
        self.room.notify_all();
        self.work.notify_one();
        kept
    }

    /// Events of an earlier start that the broker did not take then. `None`: there is no room for it.
    pub(in crate::publish) fn once_more(&self, verdict: StoredVerdict) -> Option<RecordId> {
        let parcel = Parcel::Stored(Arc::new(verdict));
        let camera = parcel.camera().to_owned();
        let mut inner = self.lock();
        inner.work = true;
        inner.ledger.push(&camera, None, parcel).ok()
    }

    /// The broker takes this verdict without its details, which the outbox keeps.
    pub(in crate::publish) fn copy_aside(&self, id: RecordId) {
        let mut inner = self.lock();
        if inner.outbox.is_some() {
            inner.ledger.copy_aside(id);
        }
    }
}
