//! Changes of a running line's recipes, ways of looking and cameras: checked first, then taken over in one step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::camera_settings::Change;
use super::control::{Control, ControlError};
use super::plan::Reopening;
use super::recipe::RecipeSpec;
use super::station::Station;
use super::used::Used;
use super::way::Way;
use crate::event::RecipeInfo;

/// How soon somebody who waits for a camera notices that it goes on.
const LOOK: Duration = Duration::from_millis(5);

/// What the settings, read again, say of a camera.
pub struct Reconfigured {
    /// What its frames are judged by.
    pub used: Used,
    /// What the settings say of that.
    pub configured: Used,
    /// How its frames are looked at, where that is another way.
    pub way: Option<Way>,
    /// It is opened anew, so that its frames may have another size.
    pub reopened: bool,
    /// All of it waits until what the camera has in hand is answered, because a [`Control::reopen`] follows.
    pub waits: bool,
}

/// A changed recipe with what belongs to it, checked and not yet in use.
pub struct RecipeChange {
    station: Arc<Station>,
    change: Change,
}

impl RecipeChange {
    /// Whose recipe it is.
    pub fn camera(&self) -> &Arc<str> {
        self.station.camera()
    }

    /// What will be in use.
    pub fn recipe(&self) -> &RecipeSpec {
        &self.change.used.recipe
    }

    /// Takes it into use: the next batch of the engine is looked at and judged by it.
    pub fn apply(self) -> RecipeInfo {
        let info = self.change.used.recipe.info.clone();
        self.station.settings.change(self.change);
        info
    }
}

impl Control {
    /// This in place of what is in use; nothing is changed yet. The version of another recipe of the same name counts on
    /// unless it is larger already. Errors when the recipe fits no frames, or a memory that is not in use neither model, view nor
    /// frames.
    pub fn change(&self, camera: &str, used: Used) -> Result<RecipeChange, ControlError> {
        let station = self.one(Some(camera))?;
        let used = counted(station, used)?;
        if !used.has_memory(station.settings.used().memory.as_ref()) {
            let (size, way) = (station.settings.frame_size(), station.settings.way());
            let judges = used.judges(&self.context.model, size, &way.view);
            judges.map_err(|source| ControlError::Memory { camera: Arc::clone(station.camera()), source })?;
        }
        let change = Change { used, configured: None, way: None, waits: false };
        Ok(RecipeChange { station: Arc::clone(station), change })
    }

    /// As [`Control::change`], because the settings were read again. Of a camera that is opened anew nobody knows the frames: what
    /// does not fit them is told when they come.
    pub fn reconfigure(&self, camera: &str, settings: Reconfigured) -> Result<RecipeChange, ControlError> {
        let Reconfigured { used, configured, way, reopened, waits } = settings;
        let station = self.one(Some(camera))?;
        let before = station.settings.used();
        let camera = || Arc::clone(station.camera());
        let used = match reopened || used.recipe == before.recipe {
            true => {
                used.recipe.check().map_err(|source| ControlError::Recipe { camera: camera(), source })?;
                used
            }
            false => counted(station, used)?,
        };
        let way = way.map(Arc::new);
        // One that is still to be opened in another way may have frames of another size, too; the first one tells.
        let known = !reopened && !station.settings.is_coming();
        let size = station.settings.frame_size().filter(|_| known);
        if let (Some(way), Some(size)) = (&way, size) {
            let fits = way.fits_with(size, &used.recipe);
            fits.map_err(|source| ControlError::Recipe { camera: camera(), source })?;
        }
        if way.is_some() || !used.has_memory(before.memory.as_ref()) {
            let looks = way.clone().unwrap_or_else(|| station.settings.way());
            let judges = used.judges(&self.context.model, size, &looks.view);
            judges.map_err(|source| ControlError::Memory { camera: camera(), source })?;
        }
        let (station, configured) = (Arc::clone(station), Some(configured));
        Ok(RecipeChange { station, change: Change { used, configured, way, waits } })
    }

    /// What the camera has in hand is answered, then it goes on in this way, with what [waits](Reconfigured::waits) for that; the
    /// other cameras are not touched.
    pub fn reopen(&self, camera: &str, reopening: Reopening) -> Result<(), ControlError> {
        self.one(Some(camera)).map(|station| station.reopen.put(reopening, station.settings.newest()))
    }

    /// Waits until all these cameras go on, `timeout` at most; says which do not yet.
    pub fn gone_on(&self, cameras: &[Arc<str>], timeout: Duration) -> Vec<Arc<str>> {
        let until = Instant::now() + timeout;
        // One whose source has ended goes on no more.
        let goes_on = |station: &Arc<Station>| station.is_open() && station.settings.is_coming();
        let waits = |camera: &&Arc<str>| self.one(Some(camera)).is_ok_and(goes_on);
        loop {
            let left: Vec<Arc<str>> = cameras.iter().filter(waits).cloned().collect();
            if left.is_empty() || Instant::now() >= until {
                return left;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Whether the camera can be opened anew: one that has shown its last picture has no thread any more.
    pub fn can_reopen(&self, camera: &str) -> bool {
        self.one(Some(camera)).is_ok_and(|station| station.is_open())
    }
}

/// With its version, where its name is that of the recipe in use. Errors when it fits no frames.
fn counted(station: &Station, wanted: Used) -> Result<Used, ControlError> {
    let used = station.settings.used().recipe;
    let camera = Arc::clone(station.camera());
    let mut recipe = RecipeSpec::clone(&wanted.recipe);
    if recipe.info.id == used.info.id && recipe != *used {
        let next = used.info.version.saturating_add(1);
        if recipe.info.version == used.info.version {
            recipe.info.version = next;
        } else if recipe.info.version < used.info.version {
            let RecipeInfo { id, version: given } = recipe.info;
            return Err(ControlError::Version { camera, id, given, used: used.info.version, next });
        }
    }
    let fits = match (station.settings.frame_size(), recipe.regions.is_empty()) {
        (Some((width, height)), _) => recipe.fits(width, height),
        (None, true) => Ok(()),
        (None, false) => return Err(ControlError::NoFrame { camera }),
    };
    match recipe.check().and(fits) {
        Ok(()) => Ok(Used { recipe: Arc::new(recipe), ..wanted }),
        Err(source) => Err(ControlError::Recipe { camera, source }),
    }
}
