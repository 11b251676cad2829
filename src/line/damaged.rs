//! Frames that their source calls damaged: counted, and the first of a camera named.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::Frame;

/// One camera's count since the start.
#[derive(Debug, Default)]
pub(super) struct DamagedFrames(AtomicU64);

impl DamagedFrames {
    /// Looks at a frame that has come.
    pub fn look_at(&self, frame: &Frame) {
        if frame.image.damaged && self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                camera = %frame.camera, frame = frame.seq,
                "the source calls this frame damaged: it gets no verdict, and neither do others like it, which are counted"
            );
        }
    }

    /// One that is no picture at all, which has been said.
    pub fn one_in_vain(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
