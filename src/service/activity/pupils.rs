//! From a command to the one who learns from parts: refused before the first part where the last one could not help.

use std::path::PathBuf;

use super::calibration::{Asked, Calibrating, wish};
use super::{Beginning, MOST_PARTS};
use crate::calibrate::PromiseError;
use crate::calibrate::promise::percent;
use crate::command::{Calibrate, Command};
use crate::line::control::{Control, ControlError};
use crate::publish::ActivityKind;

/// Folder of the calibrations in the line's state directory.
const CALIBRATIONS: &str = "calibrations";

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
    /// Not with this model and engine.
    #[error("the engine of this line hands out no tokens, of which a memory is made")]
    NoTokens,
    /// It begins nothing.
    #[error("the command takes no parts; please report this")]
    NoParts,
}

/// What calibrating and learning need besides the line.
pub struct Pupils {
    /// Where their files go; `None` writes none.
    directory: Option<PathBuf>,
}

impl Pupils {
    /// Files go into folders of this one.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// What this command begins.
    pub fn beginning(&self, control: &Control, command: &Command) -> Result<Beginning, PupilError> {
        match command {
            Command::Calibrate(calibrate) => self.calibrating(control, calibrate),
            Command::Learn(learn) => {
                control.recipe(learn.camera.as_deref())?;
                Err(PupilError::NoTokens)
            }
            _ => Err(PupilError::NoParts),
        }
    }

    fn calibrating(&self, control: &Control, asked: &Calibrate) -> Result<Beginning, PupilError> {
        let (camera, recipe) = control.recipe(asked.camera.as_deref())?;
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
        let name = format!("{camera}-{}-{}", recipe.info.id, recipe.info.version.saturating_add(1));
        let file = self.directory.as_ref().map(|directory| directory.join(CALIBRATIONS).join(name));
        let (line, model) = (control.line().to_owned(), control.model().clone());
        let (name, apply) = (camera.to_string(), asked.apply);
        let asked = Asked { line, camera: name, model, wish, apply, file };
        let pupil = Box::new(Calibrating::new(asked, &recipe, parts));
        Ok(Beginning { kind: ActivityKind::Calibrate, camera, wanted: parts as u32, pupil, recipe })
    }
}
