//! A camera of a running line that is to go on in another way, on its way to the camera's thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan::Reopening;

/// Holds the last one until the thread takes it, with the number of the change of settings that it belongs to.
#[derive(Default)]
pub(super) struct Reopen(Mutex<Option<(Reopening, u64)>>);

impl Reopen {
    fn waiting(&self) -> MutexGuard<'_, Option<(Reopening, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The camera goes on in this way; one that waits to be closed is closed all the same.
    pub fn put(&self, reopening: Reopening, number: u64) {
        let mut waiting = self.waiting();
        let Reopening { open, arrangement } = reopening;
        let open = open.or_else(|| waiting.take()?.0.open);
        *waiting = Some((Reopening { open, arrangement }, number));
    }

    pub fn is_due(&self) -> bool {
        self.waiting().is_some()
    }

    /// Whether the camera is to be closed.
    pub fn closes(&self) -> bool {
        self.waiting().as_ref().is_some_and(|(reopening, _)| reopening.open.is_some())
    }

    pub fn take(&self) -> Option<(Reopening, u64)> {
        self.waiting().take()
    }
}
