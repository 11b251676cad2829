//! A calibration on the running line: statistics of the next good parts, and at their end thresholds with a promise.

use std::sync::Arc;

use serde_json::json;

use super::super::recipes::Calibrated;
use super::copies::Copies;
use super::pupil::{Outcome, Pupil, Unfit};
use crate::calibrate::{By, Calibration, Kind, Look, Part, Record, Wanted, Wish, calibrate, sheets};
use crate::clock::{Clock, SystemClock};
use crate::drift::Features;
use crate::event::ModelInfo;
use crate::line::Handed;
use crate::line::recipe::{Recipe, RecipeSpec};
use crate::memory::Memory;
use crate::verdict::Verdict;

/// Who has asked, in files.
pub const BY: &str = "command";

/// What is asked for, and where it is asked.
pub struct Asked {
    pub line: String,
    pub camera: String,
    /// With the memory that helps it.
    pub model: ModelInfo,
    /// That of the camera: pictures that have made it do not count.
    pub memory: Option<Arc<Memory>>,
    pub wish: Wish,
    /// The next version is taken into use.
    pub apply: bool,
    /// The highest version of the recipe that was used.
    pub newest: u32,
}

/// See the module.
pub struct Calibrating {
    asked: Asked,
    recipe: Recipe,
    good: Vec<Part>,
    size: Option<(u32, u32)>,
    copies: Copies,
}

impl Calibrating {
    /// Of this recipe by so many parts.
    pub fn new(asked: Asked, recipe: &RecipeSpec, wanted: usize) -> Self {
        let recipe = Recipe::new(recipe.clone());
        let known = asked.memory.iter().flat_map(|memory| memory.about().pictures.iter().copied());
        let copies = Copies::new(wanted, known);
        Self { asked, recipe, good: Vec::new(), size: None, copies }
    }

    fn found(&self, found: &Calibration) -> Result<Outcome, Unfit> {
        let Asked { line, camera, model, apply, .. } = &self.asked;
        let before = self.recipe.spec();
        let by = By { at: SystemClock.now().wall, by: BY.into(), line: line.clone(), camera: camera.clone() };
        let record = Record::new(by, model.clone(), before, found, &self.good, &[]);
        let applied = json!({
            "camera": camera,
            "activity": "calibrate",
            "parts": self.good.len(),
            "copies": self.copies.count(),
            "before": record.before,
            "after": record.after,
            "promise": record.promise,
            "decided": record.decided,
            "warnings": record.warnings,
        });
        let sheets = sheets(&record, before, found, &self.good, &[]).map_err(|error| Unfit(error.to_string()))?;
        let calibrated = Calibrated {
            recipe: found.recipe.clone(),
            model: record.model,
            picture: record.picture,
            sheets,
            apply: *apply,
        };
        Ok(Outcome { applied, calibrated: Some(calibrated), memory: None })
    }
}

impl Pupil for Calibrating {
    fn take(&mut self, part: &Handed) -> Result<bool, Unfit> {
        if matches!(part.verdict, Verdict::NoVerdict(_)) {
            return Ok(false);
        }
        let (width, height) = (part.frame.image.width, part.frame.image.height);
        let size = *self.size.get_or_insert((width, height));
        if size != (width, height) {
            return Err(Unfit(format!(
                "the frames have {width}x{height} pixels now, before they had {}x{}; nothing was changed, begin again",
                size.0, size.1
            )));
        }
        let look = Look::of(&part.frame.image);
        if !self.copies.is_new(look.sha256)? {
            return Ok(false);
        }
        let statistics = self.recipe.statistics(&part.prediction, width, height);
        let statistics = statistics.map_err(|error| Unfit(format!("{error}; nothing was changed")))?;
        let name = part.frame.part.as_ref().map(|part| format!("part {}", part.id));
        let picture = name.unwrap_or_else(|| format!("frame {}", part.frame.seq));
        let features = Some(Features::of(&part.frame.image));
        self.good.push(Part { picture, statistics, look, features });
        Ok(true)
    }

    /// What was seen was judged by another recipe, and the next version is one of that.
    fn minds_changes(&self) -> bool {
        true
    }

    fn wants_tokens(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>) -> Result<Outcome, Unfit> {
        match calibrate(self.recipe.spec(), &self.good, &[], &self.asked.wish) {
            Ok(mut found) => {
                // A version that was used before, and has given way since, means another recipe.
                let version = &mut found.recipe.info.version;
                *version = (*version).max(self.asked.newest.saturating_add(1));
                self.found(&found)
            }
            Err(error) => Err(Unfit(format!("{error}; nothing was changed"))),
        }
    }
}

/// What is wished for; the fewest parts that it needs.
pub fn wish(
    recipe: &RecipeSpec,
    false_rejects: f64,
    confidence: f64,
) -> Result<(Wish, usize), crate::calibrate::PromiseError> {
    let wanted = Wanted::new(false_rejects, confidence)?;
    let needed = wanted.parts_needed(usize::from(recipe.threshold.is_some()));
    Ok((Wish { wanted, score: false, kind: Kind::Exact }, needed))
}
