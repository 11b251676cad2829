//! The recipe's next version for the line's next start, kept where recipes are kept that came by command, and the way back.
//!
//! A running line holds its recipes in memory and writes them itself, so that this refuses beside one: its own commands
//! `threshold`, `calibrate` and `rollback` do the same without a stop.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::cli::check::as_service;
use crate::cli::terminal::say;
use crate::config::LineConfig;
use crate::event::{ModelInfo, RecipeInfo};
use crate::line::CameraPlan;
use crate::line::recipe::RecipeSpec;
use crate::memory::Memory;
use crate::publish::outbox::trace::is_used;
use crate::service::{By, KeptRecipes, Via, Who, configure_good_parts, place_of_sheet};

/// Where recipes of a camera are kept.
pub struct Place<'a> {
    pub settings: &'a Path,
    pub config: &'a LineConfig,
    pub camera: &'a CameraPlan,
}

impl Place<'_> {
    /// The line's state folder, when a recipe can be put there now.
    pub fn state(&self) -> anyhow::Result<PathBuf> {
        if let Some(other) =
            as_service::difference(self.settings).filter(|other| other.missing.contains(&"state folder"))
        {
            let line = self.settings.file_stem().unwrap_or_default().to_string_lossy();
            bail!(
                "the service of {} has another state folder, and would not see the recipe ({}); set \
                 STATE_DIRECTORY=/var/lib/vcp-line/{line}, as in: sudo STATE_DIRECTORY=/var/lib/vcp-line/{line} vcp-line \
                 calibrate …",
                self.settings.display(),
                other.missing.join(", ")
            );
        }
        let Some(state) = &self.config.commands.directory else {
            bail!("no state folder to keep the recipe in; set STATE_DIRECTORY or HOME, or directory in [commands]");
        };
        if is_used(&self.config.outbox.directory)? {
            bail!(
                "line '{}' is running, and would not see the recipe: stop it first, or send it the command threshold, \
                 calibrate or rollback, which it carries out at once",
                self.config.name
            );
        }
        Ok(state.clone())
    }

    /// Where the line puts this sheet of a calibration.
    pub fn sheet(&self, recipe: &RecipeInfo, name: &str) -> PathBuf {
        let state = self.config.commands.directory.clone().unwrap_or_default();
        state.join(place_of_sheet(&self.camera.name, recipe, name, false))
    }

    /// Keeps it for the next start, with what its thresholds were found with; the good parts are in this file. `memory` is that
    /// of these thresholds where it is a new one.
    pub fn apply(
        &self,
        recipe: &RecipeSpec,
        found_with: &ModelInfo,
        good_parts: Option<&Path>,
        memory: Option<&Memory>,
    ) -> anyhow::Result<()> {
        // Again: looking at the pictures has taken its time.
        let mut kept = self.open()?;
        kept.changed_by(By::Calibration, Some(&here()));
        let good_parts = good_parts.map(std::path::absolute).transpose()?;
        let (name, good_parts) = (&self.camera.name, good_parts.as_deref());
        match memory {
            Some(memory) => kept.keep_learnt(name, recipe, memory, found_with, good_parts)?,
            None => kept.keep_calibrated(name, recipe, found_with, good_parts)?,
        }
        Ok(())
    }

    /// Back to the recipe before, for the next start.
    pub fn roll_back(&self) -> anyhow::Result<()> {
        let mut kept = self.open()?;
        let used = kept.used(&self.camera.name)?.clone();
        kept.changed_by(By::Rollback, Some(&here()));
        let back = kept.roll_back(&self.camera.name, 0)?;
        let score = |recipe: &RecipeSpec| recipe.threshold.map_or("none".to_owned(), |threshold| threshold.to_string());
        say!("camera              {}", self.camera.name);
        say!(
            "recipe              {} version {} → {} version {}",
            used.info.id,
            used.info.version,
            back.info.id,
            back.info.version
        );
        say!("defect_threshold    {} → {}", used.defect_threshold, back.defect_threshold);
        say!("threshold           {} → {}", score(&used), score(&back));
        say!("applied             at the line's next start");
        Ok(())
    }

    fn open(&self) -> anyhow::Result<KeptRecipes> {
        let state = self.state()?;
        // All of them: recipes of cameras that the settings do not have are put away.
        let mut cameras = self.config.cameras.clone();
        cameras.iter_mut().for_each(|camera| configure_good_parts(camera, Some(&state)));
        let mut plans: Vec<CameraPlan> = cameras.into_iter().map(|camera| camera.plan).collect();
        let kept = KeptRecipes::open(Some(&state), &mut plans.iter_mut().collect::<Vec<_>>());
        match kept.trouble() {
            Some(trouble) => bail!("{trouble}"),
            None => Ok(kept),
        }
    }
}

fn here() -> Who {
    Who { via: Via::CommandLine, command: None, user: Some(user()) }
}

/// Who asks: the name in the surroundings, or else the number of the user.
pub fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let number = || fs::metadata("/proc/self").map(|own| format!("user {}", own.uid())).unwrap_or_default();
    named.filter(|name| !name.is_empty()).unwrap_or_else(number)
}
