//! A camera of a running line that is to be opened in another way, on its way to the camera's thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan::Reopening;

/// Holds the last one until the thread takes it.
#[derive(Default)]
pub(super) struct Reopen(Mutex<Option<Reopening>>);

impl Reopen {
    fn waiting(&self) -> MutexGuard<'_, Option<Reopening>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The camera is closed, and opened in this way.
    pub fn put(&self, reopening: Reopening) {
        *self.waiting() = Some(reopening);
    }

    pub fn is_due(&self) -> bool {
        self.waiting().is_some()
    }

    pub fn take(&self) -> Option<Reopening> {
        self.waiting().take()
    }
}
