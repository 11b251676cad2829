//! The engine's answer for one frame, on its way to the event.

use std::sync::Arc;
use std::time::Duration;

use super::event_writer::{Entry, Kept};
use super::parts::Shot;
use super::recipe::RecipeSpec;
use crate::anomaly::StageTimes;
use crate::frame::Part;
use crate::memory::Memory;
use crate::verdict::Inspection;

/// The answer, and how it came about.
pub(super) struct Judged {
    pub inspection: Inspection,
    /// From capture until the engine took the frame.
    pub waited: Duration,
    /// `postprocess` includes the recipe.
    pub times: StageTimes,
    /// What it was judged by.
    pub recipe: Arc<RecipeSpec>,
    /// What helped the model.
    pub memory: Option<Arc<Memory>>,
    /// What the archive keeps of it.
    pub kept: Kept,
}

impl Judged {
    /// What is told of it.
    pub fn entry(&self, part: Option<Part>, shot: Shot) -> Entry<'_> {
        Entry {
            part,
            begun: shot.captured,
            shot: Some(shot),
            due: None,
            inspection: self.inspection.clone(),
            waited: self.waited,
            times: self.times,
            recipe: &self.recipe,
            memory: self.memory.as_ref().map(|memory| memory.info()),
            kept: self.kept.clone(),
        }
    }
}
