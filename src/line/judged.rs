//! The engine's answer for one frame, and the event that it becomes.

use std::sync::Arc;
use std::time::Duration;

use super::event_writer::{Entry, Kept};
use super::parts::Shot;
use super::recipe::RecipeSpec;
use crate::anomaly::StageTimes;
use crate::frame::Part;
use crate::memory::Memory;
use crate::verdict::Inspection;

/// The engine's answer for one frame, and how it came about.
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

/// What is told of it.
pub(super) fn verdict(part: Option<Part>, shot: Shot, judged: &Judged, inspection: Inspection) -> Entry<'_> {
    let Judged { waited, times, recipe, memory, kept, .. } = judged;
    Entry {
        part,
        begun: shot.captured,
        shot: Some(shot),
        due: None,
        inspection,
        waited: *waited,
        times: *times,
        recipe,
        memory: memory.as_ref().map(|memory| memory.info()),
        kept: kept.clone(),
    }
}
