//! The recipes in use with what belongs to them, changed by one hand at a time: kept for the next start first, then taken into
//! use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use serde_json::{Value, json};

use super::kept::{By, KeptError, KeptRecipes, Prepared, Who, Wish};
use super::pictures;
use crate::drift::Baseline;
use crate::error_chain;
use crate::event::{ModelInfo, RecipeInfo};
use crate::line::change::{RecipeChange, Reconfigured};
use crate::line::control::{Control, ControlError};
use crate::line::recipe::RecipeSpec;
use crate::line::{Used, Way};
use crate::memory::Memory;
use crate::output;

/// A recipe cannot be changed; the one in use stays.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The line says so.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It would not outlast this start.
    #[error(transparent)]
    Keep(#[from] KeptError),
    /// Somebody was faster.
    #[error("{what} of camera '{camera}' was changed meanwhile; nothing was changed, do it again")]
    Changed {
        /// The recipe, its memory, or the view.
        what: &'static str,
        /// Which camera.
        camera: Arc<str>,
    },
    /// Nothing that was in use before can be used now.
    #[error("camera '{camera}': nothing that was in use before can be used now, and what is in use stays: {reasons}")]
    NoWayBack {
        /// Which camera.
        camera: Arc<str>,
        /// Each with its reason.
        reasons: String,
    },
    /// What people and the next start are to read cannot be written.
    #[error("writing {file}: nothing was changed")]
    Sheet {
        /// Where.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a calibration has found.
pub struct Calibrated {
    /// The next version.
    pub recipe: RecipeSpec,
    /// What its thresholds were found with.
    pub model: ModelInfo,
    /// What pictures are compared with, when it is in use.
    pub picture: Option<Baseline>,
    /// Names and texts of the calibration file, which is the first, and of its histograms.
    pub sheets: Vec<(String, String)>,
    /// It is taken into use.
    pub apply: bool,
}

/// What was in use when somebody began to learn.
pub struct Begun<'a> {
    pub recipe: &'a RecipeSpec,
    pub memory: Option<Arc<Memory>>,
    pub way: Arc<Way>,
}

/// What the settings, read again, say of a camera.
pub struct Settings {
    pub camera: Arc<str>,
    pub configured: Used,
    /// How its frames are looked at, where that is another way.
    pub way: Option<Way>,
    /// It is opened anew.
    pub reopened: bool,
    /// All of it waits until what the camera has in hand is answered.
    pub waits: bool,
}

/// Changes recipes of a running line; shared by the threads that may.
pub struct Recipes {
    kept: Mutex<KeptRecipes>,
}

impl Recipes {
    /// Those that an earlier start has kept.
    pub fn new(kept: KeptRecipes) -> Self {
        Self { kept: Mutex::new(kept) }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, KeptRecipes> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The highest version of recipes of this name that was used.
    pub fn newest(&self, camera: &str, id: &str) -> u32 {
        self.kept().newest(camera, id)
    }

    /// Changes those of one camera or of all.
    pub fn change(
        &self,
        control: &Control,
        camera: Option<&str>,
        who: &Who,
        wish: impl Fn(&RecipeSpec) -> Wish,
    ) -> Result<Value, ChangeError> {
        let mut kept = self.kept();
        let mut changes = Vec::new();
        for camera in control.names(camera)? {
            let used = in_use(&mut kept, control, &camera)?;
            let (next, with) = kept.next(&camera, &used, wish(&used.recipe))?;
            changes.push((control.change(&camera, next)?, with));
        }
        kept.changed_by(By::Command, Some(who));
        kept.keep(changes.iter().map(|(change, with)| (&**change.camera(), change.recipe(), with.clone())))?;
        Ok(changes.into_iter().map(|(change, _)| apply(change)).collect())
    }

    /// Takes what a calibration has found into use, or only writes it down; says where, and which recipe is in use now. Errors
    /// when recipe or memory are not those that it was found with, and leaves no file then.
    pub fn calibrated(
        &self,
        control: &Control,
        camera: &Arc<str>,
        begun: &Begun<'_>,
        found: Calibrated,
        commits: &dyn Fn() -> bool,
    ) -> Result<(Vec<PathBuf>, Option<Value>), ChangeError> {
        let mut kept = self.kept();
        let used = in_use(&mut kept, control, camera)?;
        let changed = |what| ChangeError::Changed { what, camera: Arc::clone(camera) };
        if *used.recipe != *begun.recipe {
            return Err(changed("the recipe"));
        }
        if !used.has_memory(begun.memory.as_ref()) {
            return Err(changed("the memory"));
        }
        if control.way(camera)? != begun.way {
            return Err(changed("the view"));
        }
        let Calibrated { recipe, model, picture, sheets, apply: applied } = found;
        let info = recipe.info.clone();
        let (recipe, picture, found_with) = (Arc::new(recipe), picture.map(Arc::new), Some(model.clone()));
        let change = control.change(camera, Used { recipe, picture, found_with, ..used })?;
        kept.changed_by(By::Calibration, None);
        let folder = kept.directory().map(Path::to_owned);
        let place = |name: &str| Some(folder.as_ref()?.join(pictures::place(camera, &info, name, !applied)));
        let files: Vec<PathBuf> = sheets.iter().filter_map(|(name, _)| place(name)).collect();
        let done = write(&files, &sheets).and_then(|()| match () {
            () if !commits() => Err(KeptError::Stopping.into()),
            () if applied => Ok(kept.keep_calibrated(camera, change.recipe(), &model, files.first().map(|f| &**f))?),
            () => Ok(()),
        });
        if let Err(error) = done {
            // Nothing refers to them.
            files.iter().for_each(|file| _ = fs::remove_file(file).ok());
            return Err(error);
        }
        Ok((files, applied.then(|| apply(change))))
    }

    /// Changes one camera or all over to a recipe that is prepared, with its memory and good parts.
    pub fn change_over(
        &self,
        control: &Control,
        camera: Option<&str>,
        prepared: &Prepared,
        who: &Who,
    ) -> Result<Value, ChangeError> {
        let mut kept = self.kept();
        let (mut changes, mut all) = (Vec::new(), Vec::new());
        for camera in control.names(camera)? {
            in_use(&mut kept, control, &camera)?;
            let (used, next) = kept.over_to(&camera, prepared)?;
            changes.push(control.change(&camera, used)?);
            all.push((camera.to_string(), next));
        }
        kept.changed_by(By::RecipeFile, Some(who));
        kept.keep_over(all)?;
        Ok(changes.into_iter().map(apply).collect())
    }

    /// Takes what the settings say of each camera now over, in one step for all of them. Says which recipes are others now.
    pub fn read_again(&self, control: &Control, settings: Vec<Settings>, who: &Who) -> Result<Vec<Value>, ChangeError> {
        let mut kept = self.kept();
        let (mut changes, mut all) = (Vec::new(), Vec::new());
        for Settings { camera, configured, way, reopened, waits } in settings {
            let before = in_use(&mut kept, control, &camera)?;
            let again = kept.again(&camera, configured)?;
            let same = again.used.is_same(&before);
            let used = if same { before } else { again.used.clone() };
            let configured = again.configured.clone();
            if way.is_some() && same && used.found_with.is_some() {
                let RecipeInfo { id, version } = &used.recipe.info;
                tracing::warn!(%camera, recipe = id, version, "its thresholds were found with another view: calibrate again");
            }
            let now = Reconfigured { used, configured, way, reopened, waits };
            changes.push((control.reconfigure(&camera, now)?, same));
            all.push(again);
        }
        kept.changed_by(By::Settings, Some(who));
        kept.keep_again(all)?;
        let done = changes.into_iter().map(|(change, same)| (apply(change), same));
        Ok(done.filter(|(_, same)| !same).map(|(done, _)| done).collect())
    }

    /// Back to the recipe before with what belonged to it, as a new version where the name is the same: a version never means
    /// two recipes. What cannot be used now is left out, and named.
    pub fn roll_back(&self, control: &Control, camera: Option<&str>, who: &Who) -> Result<Value, ChangeError> {
        let mut kept = self.kept();
        let (camera, _) = control.used(camera)?;
        let used = in_use(&mut kept, control, &camera)?;
        let mut left_out = Vec::new();
        loop {
            let before = match kept.previous(&camera, left_out.len()) {
                Ok(before) => before,
                Err(error) if left_out.is_empty() => return Err(error.into()),
                Err(_) => return Err(ChangeError::NoWayBack { camera, reasons: left_out.join("; ") }),
            };
            let same = kept.names_memory(&camera, &before.recipe, &before.with);
            let read = || -> Result<RecipeChange, ChangeError> {
                let next = match same {
                    true => {
                        Used { memory: used.memory.clone(), ..kept.belonging(&camera, &before.recipe, &before.with) }
                    }
                    false => kept.read(&camera, &before.recipe, &before.with)?,
                };
                if next.has_memory(used.memory.as_ref()) {
                    control.judges(&camera)?;
                }
                Ok(control.change(&camera, next)?)
            };
            match read() {
                Ok(change) => {
                    kept.changed_by(By::Rollback, Some(who));
                    kept.roll_back(&camera, left_out.len())?;
                    let mut done = apply(change);
                    done["memory"] = json!(control.used(Some(&camera))?.1.memory.map(|memory| memory.info()));
                    if !left_out.is_empty() {
                        done["left_out"] = left_out.into();
                    }
                    return Ok(json!([done]));
                }
                Err(error) if cannot_be_used(&error) => {
                    let RecipeInfo { id, .. } = &before.recipe.info;
                    left_out.push(format!("recipe '{id}': {}", error_chain::one_line(&error)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a memory of this product into use; says where it is kept.
    pub fn remember(
        &self,
        control: &Control,
        camera: &Arc<str>,
        begun: &Begun<'_>,
        memory: Memory,
        commits: &dyn Fn() -> bool,
    ) -> Result<PathBuf, ChangeError> {
        let mut kept = self.kept();
        let used = in_use(&mut kept, control, camera)?;
        let changed = |what| ChangeError::Changed { what, camera: Arc::clone(camera) };
        if used.recipe.info.id != begun.recipe.info.id {
            return Err(changed("the recipe"));
        }
        if control.way(camera)? != begun.way {
            return Err(changed("the view"));
        }
        let memory = Arc::new(memory);
        let before = used.model(control.model());
        let found_with = used.found_with.clone().or_else(|| Some(before.clone()));
        let change = control.change(camera, Used { memory: Some(Arc::clone(&memory)), found_with, ..used })?;
        kept.changed_by(By::Learning, None);
        let file = kept.keep_memory(camera, &memory, before, commits)?;
        change.apply();
        Ok(file)
    }
}

/// What is in use; what is kept says the same from then on.
fn in_use(kept: &mut KeptRecipes, control: &Control, camera: &Arc<str>) -> Result<Used, ChangeError> {
    if control.gave_way(camera)? {
        kept.give_way(camera)?;
    }
    Ok(control.used(Some(camera))?.1)
}

/// What waiting does not mend.
fn cannot_be_used(error: &ChangeError) -> bool {
    let of_line = matches!(error, ChangeError::Control(ControlError::Memory { .. } | ControlError::Recipe { .. }));
    of_line || matches!(error, ChangeError::Keep(KeptError::Memory(_)))
}

fn write(files: &[PathBuf], sheets: &[(String, String)]) -> Result<(), ChangeError> {
    for (file, (_, text)) in files.iter().zip(sheets) {
        let folder = file.parent().unwrap_or(file);
        let written = fs::create_dir_all(folder).and_then(|()| output::write(file, text.as_bytes()));
        written.map_err(|source| ChangeError::Sheet { file: file.clone(), source })?;
    }
    files.first().and_then(|file| file.parent()).map_or(Ok(()), |folder| {
        output::sync_folder(folder).map_err(|source| ChangeError::Sheet { file: folder.to_owned(), source })
    })
}

fn apply(change: RecipeChange) -> Value {
    let camera = Arc::clone(change.camera());
    let RecipeInfo { id, version } = change.apply();
    json!({ "camera": camera, "recipe": { "id": id, "version": version } })
}

#[cfg(test)]
mod tests;
