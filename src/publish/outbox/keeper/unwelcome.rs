//! Verdicts that the broker does not take: put beside the log, and taken back into it at the next start.

use std::path::PathBuf;

use super::OutboxThread;
use crate::publish::outbox::Leaving;
use crate::publish::payload::MAX_EVENT;

impl OutboxThread {
    /// Puts beside the log what the broker does not take; what the disk does not take either is tried again.
    pub(super) fn keep_aside(&mut self) {
        while self.failing.is_none() {
            let Some(Leaving { id, item, sent, .. }) = self.shared.lock().ledger.to_keep_aside().cloned() else {
                return;
            };
            let kept = match item.encode(true, self.clock.now(), MAX_EVENT) {
                Ok(event) => {
                    let aside = self.aside.clone();
                    self.at_disk(|_| aside.keep(&event.bytes, sent))
                }
                Err(error) => {
                    tracing::error!(record = id.0, %error, "a verdict is no JSON and is dropped");
                    Ok(PathBuf::new())
                }
            };
            match kept {
                Ok(path) => {
                    self.returning.retain(|(_, other)| *other != path);
                    self.shared.lock().ledger.kept_aside();
                    self.prune();
                }
                Err(error) => self.fails(&error),
            }
        }
    }

    fn prune(&mut self) {
        let aside = self.aside.clone();
        let lost = self.at_disk(|_| aside.prune());
        if lost > 0 {
            tracing::error!(lost, "verdicts that the broker never took were deleted");
            self.status.deleted += lost;
        }
    }

    /// What is in the log again needs no file of its own; one that stays is sent once more at the next start.
    pub(super) fn taken_back(&mut self) {
        let synced_to = self.store.synced_to();
        let again = self.returning.extract_if(.., |(id, _)| *id <= synced_to).map(|(_, path)| path).collect::<Vec<_>>();
        if !again.is_empty() {
            self.at_disk(|_| again.iter().for_each(|path| drop(std::fs::remove_file(path))));
        }
    }
}
