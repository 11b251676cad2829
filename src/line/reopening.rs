//! A camera of a running line that is to go on in another way, on its way to the camera's thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan::Reopening;

/// Holds the last one until the thread takes it.
#[derive(Default)]
pub(super) struct Reopen(Mutex<Option<Reopening>>);

impl Reopen {
    fn waiting(&self) -> MutexGuard<'_, Option<Reopening>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The camera goes on in this way; one that waits to be closed is closed all the same.
    pub fn put(&self, reopening: Reopening) {
        let mut waiting = self.waiting();
        let Reopening { open, arrangement } = reopening;
        let open = open.or_else(|| waiting.take()?.open);
        *waiting = Some(Reopening { open, arrangement });
    }

    pub fn is_due(&self) -> bool {
        self.waiting().is_some()
    }

    /// Whether the camera is to be closed.
    pub fn closes(&self) -> bool {
        self.waiting().as_ref().is_some_and(|reopening| reopening.open.is_some())
    }

    pub fn take(&self) -> Option<Reopening> {
        self.waiting().take()
    }
}
