//! What one camera's frames are looked at and judged by, changed in one step: no frame knows half of two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::recipe::{RecipeError, RecipeSpec};
use super::used::{RECIPES, THRESHOLDS, Trouble, Used};
use super::way::Way;
use crate::drift::Baseline;
use crate::event::ModelInfo;
use crate::memory::{Memory, MemoryError};

/// What the engine's next frames of a camera are looked at and judged by.
#[derive(Clone)]
pub(super) struct Judge {
    pub recipe: Arc<RecipeSpec>,
    pub memory: Option<Arc<Memory>>,
    pub way: Arc<Way>,
}

/// One camera's; see the module.
pub(super) struct CameraSettings {
    camera: Arc<str>,
    all: Mutex<All>,
}

struct All {
    configured: Used,
    current: Used,
    way: Arc<Way>,
    /// For the frames after those that the camera has in hand.
    coming: Option<Coming>,
    /// Changes that have waited.
    waited: u64,
    /// Columns and rows of the last frame.
    size: Option<(u32, u32)>,
    /// Why what came by command has given way to what is configured.
    gave_way: Option<String>,
    /// How its frames are taken or looked at was read again.
    read_again: bool,
}

struct Coming {
    /// Of the newest change that made it wait.
    number: u64,
    used: Used,
    configured: Option<Used>,
    way: Arc<Way>,
}

/// Takes the place of what is there.
pub(super) struct Change {
    pub used: Used,
    /// What the settings say now, if they have been read again.
    pub configured: Option<Used>,
    /// Another way to look, if it is another one.
    pub way: Option<Arc<Way>>,
    /// It waits until what the camera has in hand is answered ([`CameraSettings::arrive`]).
    pub waits: bool,
}

impl CameraSettings {
    pub fn new(camera: Arc<str>, configured: Used, current: Used, way: Way) -> Self {
        let (way, coming, waited, size, gave_way, read_again) = (Arc::new(way), None, 0, None, None, false);
        Self { camera, all: Mutex::new(All { configured, current, way, coming, waited, size, gave_way, read_again }) }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What frames are judged by from now on.
    pub fn recipe(&self) -> Arc<RecipeSpec> {
        Arc::clone(&self.all().current.recipe)
    }

    /// What joins the model's maps from the next frame on.
    pub fn memory(&self) -> Option<Arc<Memory>> {
        self.all().current.memory.clone()
    }

    /// What pictures are compared with, if with anything.
    pub fn baseline(&self) -> Option<Arc<Baseline>> {
        self.all().current.picture.clone()
    }

    /// What frames are looked at and judged by that the engine takes now.
    pub fn judge(&self) -> Judge {
        let all = self.all();
        let Used { recipe, memory, .. } = &all.current;
        Judge { recipe: Arc::clone(recipe), memory: memory.clone(), way: Arc::clone(&all.way) }
    }

    /// All that belongs to the recipe in use, or to the one that takes its place with the frames to come.
    pub fn used(&self) -> Used {
        let all = self.all();
        all.coming.as_ref().map_or_else(|| all.current.clone(), |coming| coming.used.clone())
    }

    /// The way to look that is in use, or takes its place with the frames to come.
    pub fn way(&self) -> Arc<Way> {
        let all = self.all();
        Arc::clone(all.coming.as_ref().map_or(&all.way, |coming| &coming.way))
    }

    /// Columns and rows of the last frame, once there was one.
    pub fn frame_size(&self) -> Option<(u32, u32)> {
        self.all().size
    }

    /// All of it at once.
    pub fn change(&self, change: Change) {
        let Change { used, configured, way, waits } = change;
        let mut all = self.all();
        all.read_again |= waits || way.is_some();
        if waits || all.coming.is_some() {
            all.waited += u64::from(waits);
            let (before, known) = match all.coming.take() {
                Some(coming) => (coming.configured, coming.way),
                None => (None, Arc::clone(&all.way)),
            };
            let (number, configured, way) = (all.waited, configured.or(before), way.unwrap_or(known));
            all.coming = Some(Coming { number, used, configured, way });
            return;
        }
        (all.current, all.gave_way) = (used, None);
        all.configured = configured.unwrap_or_else(|| all.configured.clone());
        all.way = way.unwrap_or_else(|| Arc::clone(&all.way));
    }

    /// The number of the newest change that waits, or has waited.
    pub fn newest(&self) -> u64 {
        self.all().waited
    }

    /// What the camera had in hand is answered: what waited for that is in use, unless a change after this `number` waits.
    pub fn arrive(&self, number: u64) {
        let mut all = self.all();
        let Some(Coming { used, configured, way, .. }) = all.coming.take_if(|coming| coming.number <= number) else {
            return;
        };
        (all.current, all.gave_way, all.way) = (used, None, way);
        all.configured = configured.unwrap_or_else(|| all.configured.clone());
    }

    /// Whether something waits for [`CameraSettings::arrive`].
    pub fn is_coming(&self) -> bool {
        self.all().coming.is_some()
    }

    /// Whether others of its settings were read while the line runs: what is wrong with them takes the camera away, and not the line.
    pub fn was_read_again(&self) -> bool {
        self.all().read_again
    }

    /// Whether what came by command has given way to what is configured.
    pub fn gave_way(&self) -> bool {
        let all = self.all();
        // What waits takes its place.
        all.gave_way.is_some() && all.coming.is_none()
    }

    /// Errors where the memory does not fit the model, the frames or the view, so that there are no verdicts.
    pub fn judges(&self, model: &ModelInfo) -> Result<(), MemoryError> {
        let all = self.all();
        all.current.judges(model, all.size, &all.way.view)
    }

    /// What ails what frames are judged by.
    pub fn troubles(&self, model: &ModelInfo) -> Vec<Trouble> {
        let all = self.all();
        let All { current, size, gave_way, way, .. } = &*all;
        let unfit = current.judges(model, *size, &way.view).err();
        let unfit = unfit.map(|error| format!("camera '{}' gets no verdicts without its memory: {error}", self.camera));
        let doubt = current.doubt(model).filter(|_| unfit.is_none());
        let all = [(RECIPES, unfit), (RECIPES, gave_way.clone()), (THRESHOLDS, doubt)];
        let named = |(kind, message): (_, Option<_>)| {
            message.map(|message| Trouble { camera: Arc::clone(&self.camera), kind, message })
        };
        all.into_iter().filter_map(named).collect()
    }

    /// Frames of this size come now. A recipe that came by command and does not fit them gives way to the configured one, with
    /// all that belongs to it.
    pub fn frames_have(&self, width: u32, height: u32) -> Result<(), RecipeError> {
        let mut all = self.all();
        all.way.fits((width, height))?;
        all.size = Some((width, height));
        let All { configured, current, .. } = &*all;
        let Err(error) = current.recipe.fits(width, height) else { return Ok(()) };
        if current.recipe == configured.recipe || configured.recipe.fits(width, height).is_err() {
            return Err(error);
        }
        let text = format!("{error}; the recipe of the settings is used again");
        tracing::error!(camera = %self.camera, "{text}");
        (all.current, all.gave_way) = (all.configured.clone(), Some(text));
        Ok(())
    }
}
