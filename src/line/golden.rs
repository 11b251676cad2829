//! A golden part on its way to the engine: a stored picture whose right verdict is known, judged as the camera's frames are.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::frame::Image;
use crate::verdict::Inspection;

/// What is to be judged, and whom to tell.
pub(super) struct GoldenPart {
    pub image: Image,
    answer: Sender<Result<Inspection, String>>,
}

impl GoldenPart {
    /// Whoever asked may have gone away.
    pub fn answer(self, said: Result<Inspection, String>) {
        if self.answer.send(said).is_err() {
            tracing::debug!("nobody waits for the golden part any more");
        }
    }
}

/// One camera's place for one golden part.
#[derive(Default)]
pub(super) struct Golden(Mutex<Option<GoldenPart>>);

impl Golden {
    fn place(&self) -> MutexGuard<'_, Option<GoldenPart>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This one is to be judged; one that waits already is given up.
    pub fn ask(&self, image: Image) -> Receiver<Result<Inspection, String>> {
        let (answer, said) = bounded(1);
        *self.place() = Some(GoldenPart { image, answer });
        said
    }

    /// The one that waits.
    pub fn take(&self) -> Option<GoldenPart> {
        self.place().take()
    }

    /// A part of the line came first.
    pub fn put_back(&self, part: GoldenPart) {
        self.place().get_or_insert(part);
    }

    /// Nobody waits for it any more.
    pub fn forget(&self) {
        *self.place() = None;
    }
}
