//! Frames whose parts have no outcome yet: a part that gets no verdict has a picture all the same, for the archive.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::frame::{Frame, Image};

/// Frames of a camera that are held at most, besides those that wait for the engine anyway.
const MOST: usize = 8;

/// One camera's, by their numbers.
#[derive(Default)]
pub(super) struct Shown(Mutex<BTreeMap<u64, Image>>);

impl Shown {
    /// This frame shows a part.
    pub fn put(&self, frame: &Frame) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert(frame.seq, frame.image.clone());
        if shown.len() > MOST {
            shown.pop_first();
        }
    }

    /// The frame's part has its outcome.
    pub fn take(&self, seq: u64) -> Option<Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&seq)
    }
}
