//! From a command to the one who learns from parts: refused before the first part where the last one could not help.

use std::path::PathBuf;

use super::super::kept::KeptError;
use super::super::recipes::Recipes;
use super::Beginning;
use super::calibration::{Asked, BY, Calibrating, wish};
use super::learning::Learning;
use crate::calibrate::PromiseError;
use crate::calibrate::promise::percent;
use crate::clock::{Clock, SystemClock};
use crate::command::{Calibrate, Command, Learn, MOST_PARTS};
use crate::line::control::{Control, ControlError};
use crate::memory::{PICTURES_OF_TOKENS, Settings};
use crate::publish::ActivityKind;

/// A command cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum PupilError {
    /// The line says so.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Nothing promises that.
    #[error(transparent)]
    Promise(#[from] PromiseError),
    /// So few parts promise less.
    #[error(
        "{parts} good parts cannot promise at most {} false rejects with {} confidence: {needed} are needed, {} more",
        percent(*false_rejects), percent(*confidence), needed - parts
    )]
    TooFew {
        /// As asked for.
        parts: usize,
        /// Those that would do.
        needed: usize,
        /// As asked for.
        false_rejects: f64,
        /// As asked for.
        confidence: f64,
    },
    /// Nobody would wait for so many.
    #[error("such a promise needs {needed} good parts, and at most {MOST_PARTS} are taken; ask for less")]
    TooMany {
        /// The fewest.
        needed: usize,
    },
    /// It would be forgotten with the end of the service.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// It begins nothing.
    #[error("the command takes no parts; please report this")]
    NoParts,
}

/// What calibrating and learning need besides the line.
pub struct Pupils {
    /// Where memories go; `None` keeps none.
    directory: Option<PathBuf>,
}

impl Pupils {
    /// Files go into folders of this one.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// What this command begins.
    pub fn beginning(&self, control: &Control, recipes: &Recipes, command: &Command) -> Result<Beginning, PupilError> {
        match command {
            Command::Calibrate(calibrate) => Self::calibrating(control, recipes, calibrate),
            Command::Learn(learn) => self.learning(control, learn),
            _ => Err(PupilError::NoParts),
        }
    }

    fn learning(&self, control: &Control, asked: &Learn) -> Result<Beginning, PupilError> {
        let (camera, recipe) = control.recipe(asked.camera.as_deref())?;
        if self.directory.is_none() {
            return Err(KeptError::NoFolder.into());
        }
        let wanted = asked.parts.ok_or(PupilError::NoParts)?;
        let settings = Settings {
            model: control.model().clone(),
            size: control.engine().image_size,
            sigma: control.engine().sigma,
            pictures_of_tokens: usize::from(PICTURES_OF_TOKENS),
            by: BY.into(),
            now: SystemClock.now().wall,
        };
        let view = control.way(&camera)?.view.clone();
        let pupil = Box::new(Learning::new(camera.to_string(), settings, view, wanted as usize));
        Ok(Beginning { kind: ActivityKind::Learn, camera, wanted, pupil, recipe })
    }

    fn calibrating(control: &Control, recipes: &Recipes, asked: &Calibrate) -> Result<Beginning, PupilError> {
        let (camera, used) = control.used(asked.camera.as_deref())?;
        // Parts without a verdict have no statistic, so that it would wait for ever.
        control.judges(&camera)?;
        let (model, recipe) = (used.model(control.model()), used.recipe);
        let false_rejects = asked.false_rejects.unwrap_or(Calibrate::FALSE_REJECTS);
        let confidence = asked.confidence.unwrap_or(Calibrate::CONFIDENCE);
        let (wish, needed) = wish(&recipe, false_rejects, confidence)?;
        let parts = asked.parts.map_or(needed, |parts| parts as usize);
        if parts < needed {
            return Err(PupilError::TooFew { parts, needed, false_rejects, confidence });
        }
        if parts > MOST_PARTS as usize {
            return Err(PupilError::TooMany { needed });
        }
        let (line, name, apply) = (control.line().to_owned(), camera.to_string(), asked.apply);
        let newest = recipes.newest(&camera, &recipe.info.id);
        let asked = Asked { line, camera: name, model, memory: used.memory, wish, apply, newest };
        let pupil = Box::new(Calibrating::new(asked, &recipe, parts));
        Ok(Beginning { kind: ActivityKind::Calibrate, camera, wanted: parts as u32, pupil, recipe })
    }
}
