//! The settings, read again while the line runs: which recipe each camera has because of them.

use std::collections::BTreeMap;

use super::{Kept, KeptError, KeptRecipes, With};
use crate::event::RecipeInfo;
use crate::line::Used;
use crate::line::recipe::RecipeSpec;

/// What the settings say of one camera, and what is used because of it.
pub struct Again {
    camera: String,
    /// What they say.
    pub configured: Used,
    /// What is used.
    pub used: Used,
    kept: Option<Kept>,
}

impl KeptRecipes {
    /// Whoever spoke last is heard: a recipe of the settings that has changed since they were read is used, also in place of one
    /// that came by command or calibration; one that has not leaves that in use. A version that was used before is never used
    /// for another recipe: the next one is, and outlasts a restart. Nothing is kept yet.
    pub fn again(&self, camera: &str, configured: Used) -> Result<Again, KeptError> {
        let before = self.configured(camera)?;
        let by_command = self.kept.get(camera).is_some_and(Kept::is_used);
        let mut kept = self.of_camera(camera)?;
        let settings = RecipeSpec::clone(&configured.recipe);
        let changed = settings != *before.recipe;
        if changed {
            let RecipeInfo { id, version } = &settings.info;
            let newest = self.newest(camera, id);
            let version = if *version > newest { *version } else { newest.saturating_add(1) };
            let info = RecipeInfo { id: id.clone(), version };
            let with = With { found_with: configured.found_with.clone(), ..With::default() };
            kept.put(RecipeSpec { info, ..settings.clone() }, with);
        } else if !by_command {
            kept.with.found_with = configured.found_with.clone();
        }
        kept.configured = settings;
        let now = Self {
            directory: self.directory.clone(),
            configured: [(camera.to_owned(), configured.clone())].into(),
            kept: BTreeMap::new(),
            trouble: None,
            origin: None,
        };
        let used = now.read(camera, &kept.recipe, &kept.with)?;
        let kept = (changed || by_command).then_some(kept);
        Ok(Again { camera: camera.to_owned(), configured, used, kept })
    }

    /// Keeps it for the next start. After an error nothing has changed.
    pub fn keep_again(&mut self, all: Vec<Again>) -> Result<(), KeptError> {
        let mut kept = self.kept.clone();
        let news = all.iter().filter_map(|again| Some((again.camera.clone(), again.kept.clone()?)));
        kept.extend(news);
        if kept != self.kept {
            self.replace(kept)?;
        }
        self.configured.extend(all.into_iter().map(|again| (again.camera, again.configured)));
        Ok(())
    }
}
