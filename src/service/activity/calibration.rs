//! A calibration on the running line: statistics of the next good parts, and at their end thresholds with a promise.

use std::path::PathBuf;

use serde_json::json;

use super::pupil::{Outcome, Pupil, Unfit};
use crate::calibrate::histogram::{Histogram, svg};
use crate::calibrate::record::Model;
use crate::calibrate::{By, Calibration, Kind, Look, Part, Record, Wanted, Wish, calibrate};
use crate::clock::{Clock, SystemClock};
use crate::event::ModelInfo;
use crate::line::Handed;
use crate::line::recipe::{Recipe, RecipeSpec};

/// Who has asked, in the calibration file.
const BY: &str = "command";
/// So often in a row the same picture ends a calibration whose parts were not many more.
const MOST_COPIES: usize = 100;

/// What is asked for, and where it is asked.
pub struct Asked {
    pub line: String,
    pub camera: String,
    pub model: ModelInfo,
    pub wish: Wish,
    /// The next version is taken into use.
    pub apply: bool,
    /// Where the calibration file and its picture go, without their extension.
    pub file: Option<PathBuf>,
}

/// See the module.
pub struct Calibrating {
    asked: Asked,
    recipe: Recipe,
    good: Vec<Part>,
    wanted: usize,
    size: Option<(u32, u32)>,
    /// Exact copies of pictures that count, and those in a row.
    copies: usize,
    in_a_row: usize,
}

impl Calibrating {
    /// Of this recipe by so many parts.
    pub fn new(asked: Asked, recipe: &RecipeSpec, wanted: usize) -> Self {
        let recipe = Recipe::new(recipe.clone());
        Self { asked, recipe, good: Vec::new(), wanted, size: None, copies: 0, in_a_row: 0 }
    }

    fn found(&self, found: &Calibration) -> Outcome {
        let Asked { line, camera, model, apply, file, .. } = &self.asked;
        let before = self.recipe.spec();
        let by = By { at: SystemClock.now().wall, by: BY.into(), line: line.clone(), camera: camera.clone() };
        let model = Model {
            name: model.name.clone(),
            sha256: model.sha256.clone(),
            engine: model.engine.clone(),
            precision: model.precision.clone(),
        };
        let record = Record::new(by, model, before, found, &self.good, &[]);
        let mut applied = json!({
            "camera": camera,
            "activity": "calibrate",
            "parts": self.good.len(),
            "copies": self.copies,
            "before": record.before,
            "after": record.after,
            "promise": record.promise,
            "decided": record.decided,
            "warnings": record.warnings,
        });
        let mut files = Vec::new();
        if let (Some(file), Ok(mut text)) = (file, serde_json::to_vec_pretty(&record)) {
            text.push(b'\n');
            let named = |extension: &str| {
                let mut name = file.clone().into_os_string();
                name.push(extension);
                PathBuf::from(name)
            };
            let defects: Vec<f32> = self.good.iter().map(|part| part.statistics.defect).collect();
            let picture = svg(&Histogram {
                title: &format!("{camera}: {} good parts, recipe '{}'", defects.len(), before.info.id),
                axis: "defect statistic",
                good: &defects,
                bad: &[],
                before: Some(before.defect_threshold),
                after: found.recipe.defect_threshold,
            });
            applied["file"] = named(".json").to_string_lossy().into();
            applied["histogram"] = named(".svg").to_string_lossy().into();
            files = vec![(named(".json"), text), (named(".svg"), picture.into_bytes())];
        }
        Outcome { applied, files, recipe: apply.then(|| found.recipe.clone()) }
    }
}

impl Pupil for Calibrating {
    fn take(&mut self, part: &Handed) -> Result<bool, Unfit> {
        let (width, height) = (part.frame.image.width, part.frame.image.height);
        let size = *self.size.get_or_insert((width, height));
        if size != (width, height) {
            return Err(Unfit(format!(
                "the frames have {width}x{height} pixels now, before they had {}x{}; nothing was changed, begin again",
                size.0, size.1
            )));
        }
        let look = Look::of(&part.frame.image);
        if self.good.iter().any(|other| other.look.sha256 == look.sha256) {
            (self.copies, self.in_a_row) = (self.copies + 1, self.in_a_row + 1);
            return match self.in_a_row >= MOST_COPIES.max(self.wanted) {
                true => Err(Unfit(format!(
                    "{} pictures in a row were the very ones that had come before, and a promise needs different parts: \
                     does the camera look at parts? Nothing was changed",
                    self.in_a_row
                ))),
                false => Ok(false),
            };
        }
        let statistics = self.recipe.statistics(&part.prediction, width, height);
        let statistics = statistics.map_err(|error| Unfit(format!("{error}; nothing was changed")))?;
        let name = part.frame.part.as_ref().map(|part| format!("part {}", part.id));
        let picture = name.unwrap_or_else(|| format!("frame {}", part.frame.seq));
        self.good.push(Part { picture, statistics, look });
        self.in_a_row = 0;
        Ok(true)
    }

    /// What was seen was judged by another recipe, and the next version is one of that.
    fn minds(&self, _before: &RecipeSpec, _now: &RecipeSpec) -> bool {
        true
    }

    fn finish(self: Box<Self>) -> Result<Outcome, Unfit> {
        match calibrate(self.recipe.spec(), &self.good, &[], &self.asked.wish) {
            Ok(found) => Ok(self.found(&found)),
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
