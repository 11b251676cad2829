//! The recipe of a line's camera, taken from its settings: images are judged as the line judges its frames.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::anomaly::Prediction;
use crate::cli::failure::wrong_arguments;
use crate::config::{self, CameraConfig, LineConfig};
use crate::frame::Levels;
use crate::line::locating::{LocatePlan, LocateSettings};
use crate::line::recipe::{Recipe, RecipeError, RecipeSpec, no_verdict};
use crate::service::plan;
use crate::verdict::{Inspection, NoVerdictReason};
use crate::view::ViewSpec;

/// Judges as a camera of a line does.
pub struct Judge {
    /// Configured name.
    pub camera: String,
    /// File of the memory that joins the model's maps.
    pub memory: Option<PathBuf>,
    /// What of its frames is looked at.
    pub view: ViewSpec,
    /// What the values of its sensor mean, where the settings say so or its first pictures did.
    pub levels: Option<Arc<Levels>>,
    /// How its parts are found.
    pub locate: Option<LocatePlan>,
    recipe: Recipe,
}

/// The line's settings, and the judge of the camera of this name, which may be left out when there is one.
pub fn open(file: &Path, camera: Option<&str>) -> anyhow::Result<(LineConfig, Judge)> {
    let config = settings(file)?;
    let camera = chosen(&config, file, camera)?;
    let CameraConfig { plan, memory, .. } = camera;
    let levels = plan::levels(camera, config.commands.directory.as_deref()).known().map_err(anyhow::Error::msg)?;
    let (name, view, recipe) = (plan.name.to_string(), plan.view.clone(), Recipe::new(plan.recipe.clone()));
    let judge = Judge { camera: name, memory: memory.clone(), view, levels, locate: locate(camera)?, recipe };
    Ok((config, judge))
}

/// How a camera's parts are found, where they do not lie still.
pub fn locate(camera: &CameraConfig) -> anyhow::Result<Option<LocatePlan>> {
    let plan = camera.locate.as_ref().map(LocateSettings::plan).transpose();
    plan.with_context(|| format!("camera '{}': [camera.locate]", camera.plan.name))
}

/// The line's settings, for their model and recipes: what else they name need not be here.
pub fn settings(file: &Path) -> anyhow::Result<LineConfig> {
    let text =
        std::fs::read_to_string(file).map_err(|source| config::ConfigError::Read { path: file.to_owned(), source })?;
    Ok(config::parse(&text, file)?)
}

/// The camera of this name; without one, the only camera there is.
pub fn chosen<'a>(config: &'a LineConfig, file: &Path, camera: Option<&str>) -> anyhow::Result<&'a CameraConfig> {
    let names: Vec<&str> = config.cameras.iter().map(|camera| &*camera.plan.name).collect();
    let chosen = match camera {
        Some(name) => config.cameras.iter().find(|camera| &*camera.plan.name == name),
        None if names.len() == 1 => config.cameras.first(),
        None => {
            let message =
                format!("{} has several cameras; name one with --camera: {}", file.display(), names.join(", "));
            return Err(wrong_arguments(message));
        }
    };
    let Some(camera) = chosen else {
        let message =
            format!("--camera {}: {} has the cameras {}", camera.unwrap_or_default(), file.display(), names.join(", "));
        return Err(wrong_arguments(message));
    };
    Ok(camera)
}

impl Judge {
    /// What judges.
    pub fn spec(&self) -> &RecipeSpec {
        self.recipe.spec()
    }

    /// The verdict on a picture of this size. Errors when the recipe's regions do not fit it, which ends a line.
    pub fn inspect(&mut self, prediction: &Prediction, (width, height): (u32, u32)) -> Result<Inspection, RecipeError> {
        match self.recipe.inspect(prediction, width, height) {
            Err(RecipeError::NotFinite | RecipeError::Regions(_)) => Ok(no_verdict(NoVerdictReason::EngineError)),
            judged => judged,
        }
    }
}
