//! Recipes that came by command or calibration, kept for the next start with what belongs to them and with those before them.

mod again;
mod error;
mod file;
mod look;
mod origin;
mod prepared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::{ModelInfo, RecipeInfo};
use crate::line::recipe::RecipeSpec;
use crate::line::{CameraPlan, Used};
use crate::memory::{Memory, MemoryError};
use crate::output;
use file::{FILE, Kept, MEMORIES};

use super::pictures;

pub use error::KeptError;
pub use file::{Before, With};
pub use look::{memory_in_use, recipe_history, recipe_in_use};
pub use origin::{By, Origin, Via, Who};
pub use prepared::Prepared;

/// Ending of the files of memories.
const MEMORY: &str = ".memory";

/// A recipe that is wanted in place of the one in use.
pub struct Wish {
    /// Its version is overwritten unless `version` says that somebody has chosen it.
    pub recipe: RecipeSpec,
    /// Whether its version is as somebody has said.
    pub version: bool,
    /// All thresholds are as somebody has said, so that nothing is known of what they were found with.
    pub by_hand: bool,
    /// No memory is to help, neither the product's nor that of the settings.
    pub without_memory: bool,
}

/// The recipes in use that are not those of the settings.
pub struct KeptRecipes {
    /// Where the file is; `None` keeps them until the service stops.
    directory: Option<PathBuf>,
    /// What the settings say.
    configured: BTreeMap<String, Used>,
    kept: BTreeMap<String, Kept>,
    /// Why the recipes of an earlier start are not in use.
    trouble: Option<String>,
    /// Whose doing the next changes are.
    origin: Option<(By, Option<Who>)>,
}

impl KeptRecipes {
    /// Reads what an earlier start has kept, and gives every camera its own. A file that cannot be read is put aside and
    /// told ([`KeptRecipes::trouble`]): the settings' recipes are good ones, but not those that somebody asked for. A memory
    /// that cannot be read gives its camera no verdicts.
    pub fn open(directory: Option<&Path>, cameras: &mut [&mut CameraPlan]) -> Self {
        if let Some(directory) = directory {
            file::sweep(directory);
        }
        let (mut kept, trouble) = directory.map(file::read).unwrap_or_default();
        let configured: BTreeMap<String, Used> =
            cameras.iter().map(|plan| (plan.name.to_string(), plan.configured())).collect();
        let mut news = false;
        for (camera, kept) in &mut kept {
            let superseded = configured.get(camera).map(|used| &*used.recipe) != Some(&kept.configured);
            if superseded && !kept.superseded {
                let RecipeInfo { id, version } = &kept.recipe.info;
                tracing::warn!(
                    camera,
                    recipe = id,
                    version,
                    "the settings have changed since this recipe came by command; theirs is used"
                );
            }
            news |= superseded != kept.superseded;
            kept.superseded = superseded;
        }
        if let Some(directory) = directory.filter(|_| news)
            && let Err(error) = file::write(directory, &kept)
        {
            tracing::warn!("{}: {error}; the next start says it again", directory.join(FILE).display());
        }
        let opened = Self { directory: directory.map(Path::to_owned), configured, kept, trouble, origin: None };
        for plan in cameras {
            let Some(kept) = opened.kept.get(&*plan.name).filter(|kept| kept.is_used()) else { continue };
            let RecipeInfo { id, version } = &kept.recipe.info;
            tracing::info!(camera = %plan.name, recipe = id, version, "recipe that came by command");
            let mut used = opened.belonging(&plan.name, &kept.recipe, &kept.with);
            used.memory = opened.memory(&plan.name, &kept.recipe, &kept.with).unwrap_or_else(|error| {
                tracing::error!("camera '{}' gets no verdicts without its memory: {error}", plan.name);
                Some(Arc::new(Memory::lost(error.to_string())))
            });
            plan.kept = Some(used);
        }
        opened
    }

    /// What is changed from now on is this one's doing.
    pub fn changed_by(&mut self, by: By, who: Option<&Who>) {
        self.origin = Some((by, who.cloned()));
    }

    /// Why recipes that came by command are not in use, for an alarm.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Where calibrations and memories go.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The highest version of recipes of this name that was used.
    pub fn newest(&self, camera: &str, id: &str) -> u32 {
        let configured = self.configured.get(camera).filter(|used| used.recipe.info.id == id);
        let kept = self.kept.get(camera).and_then(|kept| kept.products.get(id));
        let versions = [configured.map(|used| used.recipe.info.version), kept.map(|product| product.newest)];
        versions.into_iter().flatten().max().unwrap_or_default()
    }

    /// What this wish leads to from `used`, which is in use: another product brings what belongs to it. Nothing is kept yet.
    pub fn next(&self, camera: &str, used: &Used, wish: Wish) -> Result<(Used, With), KeptError> {
        let Wish { mut recipe, version, by_hand, without_memory } = wish;
        if !version {
            recipe.info.version = self.newest(camera, &recipe.info.id).saturating_add(1);
        }
        let same = used.recipe.info.id == recipe.info.id;
        let (with, before) = (self.with(camera)?, self.kept.get(camera));
        let known = before.and_then(|kept| kept.products.get(&recipe.info.id)).map(|product| product.with.clone());
        let mut with = if same { with } else { known.unwrap_or_default() };
        if by_hand {
            with.found_with = None;
        }
        if without_memory {
            (with.memory, with.without_memory) = (None, true);
        }
        let next = match same {
            true => Used { recipe: Arc::new(recipe), found_with: with.found_with.clone(), ..used.clone() },
            false => self.read(camera, &recipe, &with)?,
        };
        let memory = next.memory.clone().filter(|_| !without_memory);
        Ok((Used { memory, ..next }, with))
    }

    /// Keeps these recipes with what belongs to them. After an error nothing has changed.
    pub fn keep<'a>(
        &mut self,
        changes: impl Iterator<Item = (&'a str, &'a RecipeSpec, With)>,
    ) -> Result<(), KeptError> {
        let mut kept = self.kept.clone();
        for (camera, recipe, with) in changes {
            let mut of_camera = self.of_camera(camera)?;
            of_camera.put(recipe.clone(), with);
            kept.insert(camera.to_owned(), of_camera);
        }
        self.replace(kept)
    }

    /// Keeps a recipe whose thresholds were calibrated with this model and its memory; the good parts are in this file. After
    /// an error nothing has changed.
    pub fn keep_calibrated(
        &mut self,
        camera: &str,
        recipe: &RecipeSpec,
        found_with: &ModelInfo,
        good_parts: Option<&Path>,
    ) -> Result<(), KeptError> {
        let good_parts = good_parts.map(|file| self.inside(file));
        let with = With { found_with: Some(found_with.clone()), good_parts, ..self.with(camera)? };
        self.keep([(camera, recipe, with)].into_iter())
    }

    /// Keeps a memory, which goes with the recipe in use from now on; says where. `before` is what has looked until now: if
    /// nobody knows what the thresholds were found with, they were good for that. `commits` is asked when all but the last
    /// step is done. After an error nothing has changed.
    pub fn keep_memory(
        &mut self,
        camera: &str,
        memory: &Memory,
        before: ModelInfo,
        commits: &dyn Fn() -> bool,
    ) -> Result<PathBuf, KeptError> {
        let (folder, name) = self.write_memory(camera, memory)?;
        let file = folder.join(&name);
        let mut of_camera = self.of_camera(camera)?;
        let found_with = of_camera.with.found_with.clone().or(Some(before));
        let with = With { memory: Some(name), without_memory: false, found_with, ..of_camera.with.clone() };
        of_camera.put(of_camera.recipe.clone(), with);
        let mut kept = self.kept.clone();
        kept.insert(camera.to_owned(), of_camera);
        let done = if commits() { self.replace(kept) } else { Err(KeptError::Stopping) };
        // That of an error, or one that nothing leads to any more.
        self.forget_memories(&folder, camera);
        done.map(|()| file)
    }

    /// As [`KeptRecipes::keep_calibrated`], with a memory that the same good parts have made, as one step.
    pub fn keep_learnt(
        &mut self,
        camera: &str,
        recipe: &RecipeSpec,
        memory: &Memory,
        found_with: &ModelInfo,
        good_parts: Option<&Path>,
    ) -> Result<(), KeptError> {
        let (folder, name) = self.write_memory(camera, memory)?;
        let found_with = Some(found_with.clone());
        let good_parts = good_parts.map(|file| self.inside(file));
        let with = With { memory: Some(name), without_memory: false, found_with, good_parts };
        let done = self.keep([(camera, recipe, with)].into_iter());
        self.forget_memories(&folder, camera);
        done
    }

    /// Puts it beside the others, where nothing leads to it yet; says in which folder and by which name.
    fn write_memory(&self, camera: &str, memory: &Memory) -> Result<(PathBuf, String), KeptError> {
        let folder = self.directory.as_ref().ok_or(KeptError::NoFolder)?.join(MEMORIES);
        let name = format!("{camera}-{}{MEMORY}", memory.about().id);
        let failed = |source| KeptError::Write { file: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        memory.write(&folder.join(&name))?;
        output::sync_folder(&folder).map_err(failed)?;
        Ok((folder, name))
    }

    /// Relative to the directory where it is inside.
    fn inside(&self, file: &Path) -> PathBuf {
        let inside = self.directory.as_ref().and_then(|folder| file.strip_prefix(folder).ok());
        inside.unwrap_or(file).to_owned()
    }

    /// Files of memories that nothing leads to.
    fn forget_memories(&self, folder: &Path, camera: &str) {
        let known = |name: &str| self.kept.get(camera).is_some_and(|kept| kept.memories().any(|known| known == name));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let of_camera = name.strip_suffix(MEMORY).and_then(|name| name.rsplit_once('-'));
            if of_camera.is_some_and(|(of, _)| of == camera)
                && !known(&name)
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!("{}: {error}; an old memory stays", entry.path().display());
            }
        }
    }

    /// The recipe in use: the kept one, or that of the settings.
    pub fn used(&self, camera: &str) -> Result<&RecipeSpec, KeptError> {
        let kept = self.kept.get(camera).filter(|kept| kept.is_used());
        kept.map_or_else(|| Ok(&*self.configured(camera)?.recipe), |kept| Ok(&kept.recipe))
    }

    /// What belongs to it.
    fn with(&self, camera: &str) -> Result<With, KeptError> {
        Ok(self.of_camera(camera)?.with)
    }

    /// What is kept of the camera; settings that have changed since end the way back, too.
    fn of_camera(&self, camera: &str) -> Result<Kept, KeptError> {
        let configured = self.configured(camera)?;
        let kept = self.kept.get(camera);
        if let Some(kept) = kept.filter(|kept| kept.is_used()) {
            return Ok(kept.clone());
        }
        let with = With { found_with: configured.found_with.clone(), ..With::default() };
        let products = kept.map(|kept| kept.products.clone()).unwrap_or_default();
        let mut new = Kept::new(RecipeSpec::clone(&configured.recipe), with, products);
        if let Some(kept) = kept {
            new.history = kept.history.clone();
            new.remember(kept.now());
        }
        Ok(new)
    }

    /// What so many more steps back than one lead to: a recipe as a new version, because a version that was used before has
    /// said something else; the very recipe in use where only what belongs to it was another one.
    pub fn previous(&self, camera: &str, more: usize) -> Result<Before, KeptError> {
        let Kept { recipe: used, mut before, .. } = self.of_camera(camera)?;
        before.truncate(before.len().saturating_sub(more));
        let Some(Before { recipe, with, since }) = before.pop() else {
            let RecipeInfo { id, version } = used.info;
            return Err(KeptError::NothingBefore { camera: camera.to_owned(), recipe: id, version });
        };
        if recipe == used {
            return Ok(Before { recipe, with, since });
        }
        let id = recipe.info.id.clone();
        let version = self.newest(camera, &id).max(recipe.info.version).saturating_add(1);
        Ok(Before { recipe: RecipeSpec { info: RecipeInfo { id, version }, ..recipe }, with, since })
    }

    /// Keeps [`KeptRecipes::previous`]. After an error nothing has changed.
    pub fn roll_back(&mut self, camera: &str, more: usize) -> Result<RecipeSpec, KeptError> {
        let Before { recipe, with, .. } = self.previous(camera, more)?;
        let mut of_camera = self.of_camera(camera)?;
        of_camera.before.truncate(of_camera.before.len().saturating_sub(more + 1));
        of_camera.set(recipe.clone(), with);
        let mut kept = self.kept.clone();
        kept.insert(camera.to_owned(), of_camera);
        self.replace(kept)?;
        Ok(recipe)
    }

    /// The line has taken what the settings say into use again, because the frames do not fit what came by command.
    pub fn give_way(&mut self, camera: &str) -> Result<(), KeptError> {
        let configured = self.configured(camera)?;
        let (recipe, found_with) = (RecipeSpec::clone(&configured.recipe), configured.found_with.clone());
        if *self.used(camera)? == recipe {
            return Ok(());
        }
        self.changed_by(By::GaveWay, None);
        self.keep([(camera, &recipe, With { found_with, ..With::default() })].into_iter())
    }

    /// The recipe with what belongs to it, read anew.
    pub fn read(&self, camera: &str, recipe: &RecipeSpec, with: &With) -> Result<Used, KeptError> {
        let memory = self.memory(camera, recipe, with)?;
        Ok(Used { memory, ..self.belonging(camera, recipe, with) })
    }

    /// Whether this names the memory in use.
    pub fn names_memory(&self, camera: &str, recipe: &RecipeSpec, with: &With) -> bool {
        let which =
            |recipe: &RecipeSpec, with: &With| (recipe.info.id.clone(), with.memory.clone(), with.without_memory);
        self.of_camera(camera).is_ok_and(|kept| which(&kept.recipe, &kept.with) == which(recipe, with))
    }

    /// The recipe with what belongs to it, but without its memory.
    pub fn belonging(&self, camera: &str, recipe: &RecipeSpec, with: &With) -> Used {
        let id = &recipe.info.id;
        let configured = self.configured.get(camera).filter(|used| used.recipe.info.id == *id);
        let left = || pictures::left(self.directory()?, camera, id);
        let picture = match (&with.good_parts, configured) {
            (Some(file), _) => {
                let file = self.directory.as_ref().map_or_else(|| file.clone(), |folder| folder.join(file));
                pictures::baseline(camera, id, &file)
            }
            (None, Some(configured)) => configured.picture.clone(),
            (None, None) => left().and_then(|file| pictures::baseline(camera, id, &file)),
        };
        let (recipe, found_with) = (Arc::new(recipe.clone()), with.found_with.clone());
        Used { recipe, memory: None, found_with, picture }
    }

    /// The memory of this name; without one that of the settings, when it is for recipes of this name.
    fn memory(&self, camera: &str, recipe: &RecipeSpec, with: &With) -> Result<Option<Arc<Memory>>, MemoryError> {
        let file = with.memory.as_ref().zip(self.directory.as_ref());
        if let Some((name, place)) = file {
            return Memory::read(&place.join(MEMORIES).join(name)).map(|memory| Some(Arc::new(memory)));
        }
        let configured = self.configured.get(camera).filter(|used| used.recipe.info.id == recipe.info.id);
        Ok(configured.filter(|_| !with.without_memory).and_then(|used| used.memory.clone()))
    }

    fn configured(&self, camera: &str) -> Result<&Used, KeptError> {
        self.configured.get(camera).ok_or_else(|| KeptError::NoCamera { camera: camera.to_owned() })
    }

    fn replace(&mut self, mut kept: BTreeMap<String, Kept>) -> Result<(), KeptError> {
        if let Some((by, who)) = &self.origin {
            for (camera, kept) in &mut kept {
                if self.kept.get(camera) == Some(&*kept) {
                    continue;
                }
                let before = self.kept.get(camera).filter(|kept| kept.is_used());
                if before.is_some_and(|before| (&before.recipe, &before.with) == (&kept.recipe, &kept.with)) {
                    continue;
                }
                let settings = || Some(Before::of_settings(&self.configured.get(camera)?.recipe));
                if let Some(was) = before.map(Kept::now).or_else(settings) {
                    kept.remember(was);
                }
                kept.since = Some(Origin::now(*by, who.as_ref()));
            }
        }
        if let Some(directory) = &self.directory {
            file::write(directory, &kept).map_err(|source| KeptError::Write { file: directory.join(FILE), source })?;
        }
        self.kept = kept;
        Ok(())
    }
}
