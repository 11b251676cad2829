//! A calibration: the recipe's next version, what is promised of it, and what it would have decided on the parts given.

use serde::{Deserialize, Serialize};

use super::guards::{self, Warning};
use super::part::Part;
use super::promise::{Kind, Promise, PromiseError, Thresholds, Wanted, upper_limit};
use crate::event::RecipeInfo;
use crate::line::recipe::{RecipeSpec, Statistics};

/// Largest value of an anomaly map, and of an image score.
const MOST_DEFECT: f32 = 1.0;
const MOST_SCORE: f32 = 2.0;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// The promise.
    pub wanted: Wanted,
    /// Whether the image score gets a threshold, too. A recipe that has one gets a new one in any case: the promise is for
    /// what the recipe decides.
    pub score: bool,
    /// Whether the parts are independent of what judges them.
    pub kind: Kind,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The next version of the recipe.
    pub recipe: RecipeSpec,
    /// What is promised of its thresholds.
    pub promise: Promise,
    /// What a person should look at.
    pub warnings: Vec<Warning>,
    /// What recipe and next version decide on the parts given.
    pub decided: Decided,
}

/// Verdicts on the parts given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Good parts that count.
    pub good: Counts,
    /// Defective ones.
    pub bad: Counts,
}

/// How many of some parts fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Parts.
    pub parts: usize,
    /// With the recipe as it is.
    pub failed_before: usize,
    /// With its next version.
    pub failed_after: usize,
}

/// No thresholds come of these parts.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CalibrateError {
    /// Too few, or a promise that none can give.
    #[error(transparent)]
    Promise(#[from] PromiseError),
    /// The parts do not differ.
    #[error(
        "the {what} of all {parts} good parts is {value}: they tell nothing of how good parts differ; look whether the \
         pictures show parts, and whether regions and min_area_px leave anything to look at"
    )]
    AllEqual {
        /// Which statistic.
        what: &'static str,
        /// How many.
        parts: usize,
        /// Of all.
        value: String,
    },
    /// Some good parts look as bad as anything can.
    #[error(
        "{key} {threshold} would be needed, which no defect can reach (at most {most}): good parts have {what}s up to \
         {largest}; look at those parts, or at regions and min_area_px"
    )]
    OutOfReach {
        /// Which threshold.
        key: &'static str,
        /// As the promise needs it.
        threshold: f32,
        /// Which statistic.
        what: &'static str,
        /// Of the parts.
        largest: f32,
        /// What the model can say.
        most: f32,
    },
}

impl Counts {
    fn of(parts: &[&Part], before: Thresholds, after: Thresholds) -> Self {
        let failed = |thresholds: Thresholds| parts.iter().filter(|part| thresholds.reject(&part.statistics)).count();
        Self { parts: parts.len(), failed_before: failed(before), failed_after: failed(after) }
    }

    /// The share that fails after, and the limits between which it lies with 95 % confidence (Clopper and Pearson 1934).
    pub fn rate_after(&self) -> (f64, [f64; 2]) {
        /// Each side has half of what 95 % leave.
        const ONE_SIDE: f64 = 0.975;
        let (failed, parts) = (self.failed_after, self.parts);
        let low = 1.0 - upper_limit(parts - failed, parts, ONE_SIDE);
        (failed as f64 / parts.max(1) as f64, [low, upper_limit(failed, parts, ONE_SIDE)])
    }
}

/// The thresholds of a recipe.
pub fn thresholds(recipe: &RecipeSpec) -> Thresholds {
    Thresholds { defect: recipe.defect_threshold, score: recipe.threshold }
}

/// Thresholds from good parts for the next version of this recipe; `bad` are defective examples, of which the expected
/// detection rate is said.
pub fn calibrate(recipe: &RecipeSpec, good: &[Part], bad: &[Part], wish: &Wish) -> Result<Calibration, CalibrateError> {
    let (counted, warnings) = guards::look_at(good);
    let statistics: Vec<Statistics> = counted.iter().map(|part| part.statistics).collect();
    let both = wish.score || recipe.threshold.is_some();
    let (after, promise) = wish.wanted.thresholds(&statistics, both, wish.kind)?;
    let defects = statistics.iter().map(|part| part.defect);
    check("defect statistic", "defect_threshold", defects, after.defect, MOST_DEFECT)?;
    if let Some(threshold) = after.score {
        check("image score", "threshold", statistics.iter().map(|part| part.score), threshold, MOST_SCORE)?;
    }
    let version = recipe.info.version.saturating_add(1);
    let next = RecipeSpec {
        info: RecipeInfo { id: recipe.info.id.clone(), version },
        threshold: after.score,
        defect_threshold: after.defect,
        ..recipe.clone()
    };
    let before = thresholds(recipe);
    let bad: Vec<&Part> = bad.iter().collect();
    let decided = Decided { good: Counts::of(&counted, before, after), bad: Counts::of(&bad, before, after) };
    Ok(Calibration { recipe: next, promise, warnings, decided })
}

fn check(
    what: &'static str,
    key: &'static str,
    values: impl Iterator<Item = f32> + Clone,
    threshold: f32,
    most: f32,
) -> Result<(), CalibrateError> {
    let largest = values.clone().fold(f32::NEG_INFINITY, f32::max);
    if values.clone().count() > 1 && values.clone().all(|value| value == largest) {
        let value = match largest.is_finite() {
            true => largest.to_string(),
            false => "none (no region of min_area_px pixels fits)".into(),
        };
        return Err(CalibrateError::AllEqual { what, parts: values.count(), value });
    }
    match threshold > most {
        true => Err(CalibrateError::OutOfReach { key, threshold, what, largest, most }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::part::Look;

    fn recipe(threshold: Option<f32>) -> RecipeSpec {
        RecipeSpec {
            info: RecipeInfo { id: "caps".into(), version: 3 },
            threshold,
            defect_threshold: 0.5,
            min_area_px: 4,
            regions: Vec::new(),
        }
    }

    fn part(number: u16, defect: f32, score: f32) -> Part {
        let mut sha256 = [0; 32];
        sha256[..2].copy_from_slice(&number.to_le_bytes());
        let thumbnail = vec![f32::from(number % 251); 256];
        Part {
            picture: format!("{number}.png"),
            statistics: Statistics { defect, score },
            look: Look { sha256, thumbnail },
            features: None,
        }
    }

    fn good(count: u16) -> Vec<Part> {
        (0..count).map(|i| part(i, 0.1 + f32::from(i) * 1e-3, 0.2 + f32::from(i) * 2e-3)).collect()
    }

    fn wish(score: bool) -> Wish {
        Wish { wanted: Wanted::new(0.05, 0.95).expect("in range"), score, kind: Kind::Exact }
    }

    #[test]
    fn good_parts_make_the_next_version() {
        let bad = [part(900, 0.9, 1.0), part(901, 0.05, 0.1), part(902, 0.4, 0.3)];
        let found = calibrate(&recipe(None), &good(60), &bad, &wish(false)).expect("calibrated");
        assert_eq!((found.recipe.info.version, found.recipe.threshold), (4, None));
        assert_eq!(found.recipe.defect_threshold, (0.1f32 + 59.0 * 1e-3).next_up());
        assert_eq!(found.decided.good, Counts { parts: 60, failed_before: 0, failed_after: 0 });
        assert_eq!(found.decided.bad, Counts { parts: 3, failed_before: 1, failed_after: 2 });
        let (rate, [low, high]) = found.decided.bad.rate_after();
        assert!((rate - 0.6667).abs() < 1e-3 && (low - 0.0943).abs() < 1e-3 && (high - 0.9916).abs() < 1e-3);
        assert!(found.recipe.check().is_ok());
    }

    #[test]
    fn a_recipe_with_a_score_threshold_gets_both() {
        let found = calibrate(&recipe(Some(1.0)), &good(100), &[], &wish(false)).expect("calibrated");
        assert!(found.recipe.threshold.is_some_and(|threshold| threshold < 0.42));
        let error = calibrate(&recipe(Some(1.0)), &good(60), &[], &wish(false)).expect_err("two thresholds");
        assert!(error.to_string().contains("93 are needed, 33 more"), "{error}");
    }

    #[test]
    fn hollow_statistics_are_refused_with_their_words() {
        let equal: Vec<Part> = (0..60).map(|i| part(i, 0.25, 0.1)).collect();
        let error = calibrate(&recipe(None), &equal, &[], &wish(false)).expect_err("equal").to_string();
        assert!(error.starts_with("the defect statistic of all 60 good parts is 0.25: they tell nothing"), "{error}");
        let none: Vec<Part> = (0..60).map(|i| part(i, f32::NEG_INFINITY, 0.1)).collect();
        let error = calibrate(&recipe(None), &none, &[], &wish(false)).expect_err("none").to_string();
        assert!(error.contains("is none (no region of min_area_px pixels fits)"), "{error}");
        let mut hot = good(60);
        hot[7].statistics.defect = 1.0;
        let error = calibrate(&recipe(None), &hot, &[], &wish(false)).expect_err("saturated").to_string();
        assert!(error.contains("defect_threshold 1.0000001 would be needed, which no defect can reach"), "{error}");
        let mut twice = good(59);
        twice[3].look.sha256 = twice[2].look.sha256;
        let error = calibrate(&recipe(None), &twice, &[], &wish(false)).expect_err("58 count").to_string();
        assert!(error.starts_with("58 good parts cannot promise at most 5 %"), "{error}");
    }
}
