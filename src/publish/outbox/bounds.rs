//! What may change of the outbox while it is in use: how far it goes.

use std::time::Duration;

use super::{OutboxSpec, WhenLogFull};

/// How far the outbox goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxBounds {
    /// Largest size on disk, bytes.
    pub max_bytes: u64,
    /// Events older than this are deleted.
    pub max_age: Duration,
    /// What happens at `max_bytes`.
    pub when_full: WhenLogFull,
}

impl OutboxBounds {
    /// Those of these settings.
    pub fn of(spec: &OutboxSpec) -> Self {
        Self { max_bytes: spec.max_bytes, max_age: spec.max_age, when_full: spec.when_full }
    }

    /// In place of those in `spec`.
    pub(super) fn replace(&self, spec: &mut OutboxSpec) {
        (spec.max_bytes, spec.max_age, spec.when_full) = (self.max_bytes, self.max_age, self.when_full);
    }
}
