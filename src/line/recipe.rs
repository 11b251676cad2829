//! The recipe turns a prediction into a verdict: thresholds, minimal area, regions of interest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::polygon::polygon_mistake;
use crate::anomaly::Prediction;
use crate::command::MAX_ID;
use crate::event::RecipeInfo;
use crate::verdict::{Inspection, NoVerdictReason, Verdict};
use crate::view::ViewError;
use crate::view::locate::LocateError;

use super::regions::{Mask, RegionError, defects};
use super::statistic::part_statistic;

/// Polygons of a recipe at most, and corners of each: what is judged at every frame has a bound.
const MOST_REGIONS: usize = 64;
const MOST_CORNERS: usize = 1000;

/// What a product must look like, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipeSpec {
    /// Name and version, for the events.
    pub info: RecipeInfo,
    /// Image scores from here on fail, raw model units 0 … 2; `None` decides by defects alone. The score is that of
    /// the whole picture: regions of interest do not change it.
    pub threshold: Option<f32>,
    /// Map values from here on belong to a defect, 0 … 1.
    pub defect_threshold: f32,
    /// Smaller defects do not count, pixels of the captured frame.
    pub min_area_px: u32,
    /// Polygons in pixels of the captured frame, inside of which defects count; none is the whole frame.
    pub regions: Vec<Vec<[f32; 2]>>,
}

/// The recipe does not fit the frames, or failed on one.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// A corner lies outside.
    #[error(
        "recipe '{recipe}': regions[{region}] has the corner [{x}, {y}] outside the frame of {width}x{height} pixels; \
         draw the polygon inside it"
    )]
    PolygonOutside {
        /// Configured name.
        recipe: String,
        /// Which polygon, from 0.
        region: usize,
        /// The corner.
        x: f32,
        /// The corner.
        y: f32,
        /// Columns of the frame.
        width: u32,
        /// Rows of the frame.
        height: u32,
    },
    /// A value that no recipe can have.
    #[error("recipe '{recipe}': {key} {found} is out of range; allowed: {allowed}")]
    Value {
        /// Its name.
        recipe: String,
        /// Which value.
        key: &'static str,
        /// As given.
        found: f32,
        /// What would do.
        allowed: &'static str,
    },
    /// The name goes into topics of others and file names.
    #[error("\"{id}\" is no name of a recipe; allowed: 1 to {MAX_ID} letters, digits, '_' and '-'")]
    Name {
        /// As given.
        id: String,
    },
    /// More polygons or corners than anybody draws, or one that encloses nothing.
    #[error("recipe '{recipe}': {mistake}")]
    Polygons {
        /// Its name.
        recipe: String,
        /// What is wrong with the first.
        mistake: RegionsMistake,
    },
    /// The map or the score holds no numbers.
    #[error("the engine answered with a value that is no finite number; check model and precision")]
    NotFinite,
    /// Regions could not be found.
    #[error(transparent)]
    Regions(#[from] RegionError),
    /// The camera's view does not fit the frames.
    #[error("[camera.view]: {0}")]
    View(#[from] ViewError),
    /// The camera's taught picture does not fit the frames.
    #[error("[camera.locate]: {0}")]
    Locate(#[from] LocateError),
}

/// A recipe that remembers the pixels of the last frame size.
#[derive(Clone, Debug)]
pub struct Recipe {
    spec: RecipeSpec,
    mask: Option<Mask>,
}

impl Recipe {
    /// Nothing is computed before the first frame.
    pub fn new(spec: RecipeSpec) -> Self {
        Self { spec, mask: None }
    }

    /// What was configured.
    pub fn spec(&self) -> &RecipeSpec {
        &self.spec
    }

    /// Whether the recipe can judge frames of this size: all polygons lie inside.
    pub fn fits(&self, width: u32, height: u32) -> Result<(), RecipeError> {
        self.spec.fits(width, height)
    }

    /// The verdict on a frame of this size: fail when a defect counts or the score reaches the threshold.
    pub fn inspect(&mut self, prediction: &Prediction, width: u32, height: u32) -> Result<Inspection, RecipeError> {
        if !prediction.score.is_finite() || !prediction.map.peak().is_finite() {
            return Err(RecipeError::NotFinite);
        }
        self.size_mask(width, height)?;
        let mask = self.mask.get_or_insert_with(|| Mask::new(width, height, &self.spec.regions));
        // A map that stays below the threshold is not even fetched: interpolation adds no higher values.
        let defects = if prediction.map.peak() < self.spec.defect_threshold {
            Vec::new()
        } else {
            if !prediction.map.values().iter().all(|value| value.is_finite()) {
                return Err(RecipeError::NotFinite);
            }
            defects(&prediction.map, mask, self.spec.defect_threshold, self.spec.min_area_px)?
        };
        let score_fails = self.spec.threshold.is_some_and(|threshold| prediction.score >= threshold);
        let verdict = if score_fails || !defects.is_empty() { Verdict::Fail } else { Verdict::Pass };
        Ok(Inspection { verdict, score: Some(prediction.score), defects, location: None, tiles: None })
    }

    /// The highest thresholds at which this recipe would still fail the part, whatever its own are.
    pub fn statistics(&mut self, prediction: &Prediction, width: u32, height: u32) -> Result<Statistics, RecipeError> {
        self.size_mask(width, height)?;
        let mask = self.mask.get_or_insert_with(|| Mask::new(width, height, &self.spec.regions));
        let defect = part_statistic(&prediction.map, mask, self.spec.min_area_px);
        match defect.is_nan() || !prediction.score.is_finite() {
            true => Err(RecipeError::NotFinite),
            false => Ok(Statistics { defect, score: prediction.score }),
        }
    }

    /// Forgets the mask of another frame size, after a look at whether this size will do.
    fn size_mask(&mut self, width: u32, height: u32) -> Result<(), RecipeError> {
        if self.mask.as_ref().is_none_or(|mask| mask.size() != (width, height)) {
            self.fits(width, height)?;
            self.mask = None;
        }
        Ok(())
    }
}

/// What is compared with the thresholds of a recipe, for one part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// The highest `defect_threshold` at which the part still fails; −∞ where none does. See [`part_statistic`].
    pub defect: f32,
    /// The highest `threshold` at which it still fails: the image score itself.
    pub score: f32,
}

impl RecipeSpec {
    /// The rules that hold whatever the frames are; the settings file has the same, told with their lines.
    pub fn check(&self) -> Result<(), RecipeError> {
        let recipe = || self.info.id.clone();
        let named = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=MAX_ID).contains(&self.info.id.len()) || !self.info.id.bytes().all(named) {
            return Err(RecipeError::Name { id: recipe() });
        }
        let range = |key, found: f32, most: f32, allowed| match (0.0..=most).contains(&found) {
            true => Ok(()),
            false => Err(RecipeError::Value { recipe: recipe(), key, found, allowed }),
        };
        if let Some(threshold) = self.threshold {
            range("threshold", threshold, 2.0, "0 to 2 (image score, raw model units)")?;
        }
        range("defect_threshold", self.defect_threshold, 1.0, "0 to 1 (anomaly map value)")?;
        if self.min_area_px == 0 {
            let allowed = "1 pixel and more";
            return Err(RecipeError::Value { recipe: recipe(), key: "min_area_px", found: 0.0, allowed });
        }
        match regions_mistakes(&self.regions).into_iter().next() {
            Some(mistake) => Err(RecipeError::Polygons { recipe: recipe(), mistake }),
            None => Ok(()),
        }
    }

    /// Whether all polygons lie inside frames of this size.
    pub fn fits(&self, width: u32, height: u32) -> Result<(), RecipeError> {
        for (region, polygon) in self.regions.iter().enumerate() {
            let inside = |&&[x, y]: &&[f32; 2]| (0.0..=width as f32).contains(&x) && (0.0..=height as f32).contains(&y);
            if let Some(&[x, y]) = polygon.iter().find(|corner| !inside(corner)) {
                let recipe = self.info.id.clone();
                return Err(RecipeError::PolygonOutside { recipe, region, x, y, width, height });
            }
        }
        Ok(())
    }
}

/// What is wrong with regions whatever the frames are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionsMistake {
    /// Which polygon, from 0; `None` where it is their number.
    pub region: Option<usize>,
    /// Follows the polygon's name.
    pub text: String,
}

impl fmt::Display for RegionsMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.region {
            Some(region) => write!(f, "regions[{region}] {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// The one rule for settings, commands and kept recipes.
pub fn regions_mistakes(regions: &[Vec<[f32; 2]>]) -> Vec<RegionsMistake> {
    if regions.len() > MOST_REGIONS {
        let text = format!("{} regions are too many; at most {MOST_REGIONS}", regions.len());
        return vec![RegionsMistake { region: None, text }];
    }
    let mistake = |(region, polygon): (usize, &Vec<[f32; 2]>)| {
        let text = match polygon.len() {
            corners if corners > MOST_CORNERS => Some(format!("has {corners} corners; at most {MOST_CORNERS}")),
            _ => polygon_mistake(polygon),
        };
        text.map(|text| RegionsMistake { region: Some(region), text })
    };
    regions.iter().enumerate().filter_map(mistake).collect()
}

/// The inspection of a frame nobody could judge.
pub fn no_verdict(reason: NoVerdictReason) -> Inspection {
    Inspection { verdict: Verdict::NoVerdict(reason), score: None, defects: Vec::new(), location: None, tiles: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::{AnomalyMap, StageTimes};

    fn spec() -> RecipeSpec {
        RecipeSpec {
            info: RecipeInfo { id: "caps".into(), version: 1 },
            threshold: Some(1.2),
            defect_threshold: 0.5,
            min_area_px: 2,
            regions: Vec::new(),
        }
    }

    fn prediction(values: [f32; 4], score: f32) -> Prediction {
        Prediction { map: AnomalyMap::new(2, values.to_vec()), score, times: StageTimes::default(), tokens: None }
    }

    fn verdict(spec: RecipeSpec, values: [f32; 4], score: f32) -> Verdict {
        Recipe::new(spec).inspect(&prediction(values, score), 2, 2).expect("inspected").verdict
    }

    #[test]
    fn either_a_defect_or_the_score_fails_a_part() {
        assert_eq!(verdict(spec(), [0.4; 4], 1.19), Verdict::Pass);
        assert_eq!(verdict(spec(), [0.4; 4], 1.2), Verdict::Fail);
        assert_eq!(verdict(spec(), [0.5, 0.5, 0.0, 0.0], 0.0), Verdict::Fail);
        assert_eq!(verdict(spec(), [0.9, 0.0, 0.0, 0.0], 0.0), Verdict::Pass, "one pixel, two are needed");
        assert_eq!(verdict(RecipeSpec { threshold: None, ..spec() }, [0.0; 4], 2.0), Verdict::Pass);
    }

    #[test]
    fn the_map_of_a_passing_part_is_not_fetched() {
        struct Never;
        impl crate::anomaly::Fetch for Never {
            fn fetch(&self) -> Vec<f32> {
                panic!("nobody needs these values")
            }
        }
        let times = StageTimes::default();
        let prediction =
            Prediction { map: AnomalyMap::elsewhere(2, 0.49, Box::new(Never)), score: 0.1, times, tokens: None };
        assert_eq!(Recipe::new(spec()).inspect(&prediction, 2, 2).expect("inspected").verdict, Verdict::Pass);
        let failed = Prediction { score: 1.3, ..prediction };
        assert_eq!(Recipe::new(spec()).inspect(&failed, 2, 2).expect("inspected").verdict, Verdict::Fail);
    }

    #[test]
    fn what_is_no_number_is_no_verdict() {
        for (values, score) in [([f32::NAN, 0.0, 0.0, 0.0], 0.1), ([0.0; 4], f32::NAN), ([f32::INFINITY; 4], 0.1)] {
            let error = Recipe::new(spec()).inspect(&prediction(values, score), 2, 2).expect_err("not finite");
            assert!(matches!(error, RecipeError::NotFinite));
        }
    }

    #[test]
    fn values_that_no_recipe_can_have_are_named() {
        let said = |spec: RecipeSpec| spec.check().expect_err("wrong").to_string();
        assert!(spec().check().is_ok());
        assert_eq!(
            said(RecipeSpec { threshold: Some(2.5), ..spec() }),
            "recipe 'caps': threshold 2.5 is out of range; allowed: 0 to 2 (image score, raw model units)"
        );
        assert!(said(RecipeSpec { defect_threshold: f32::NAN, ..spec() }).contains("defect_threshold NaN"));
        assert!(said(RecipeSpec { min_area_px: 0, ..spec() }).contains("min_area_px 0 is out of range"));
        assert!(
            said(RecipeSpec { regions: vec![vec![]; 65], ..spec() }).contains("65 regions are too many; at most 64")
        );
        let long = [vec![[0.0, 0.0]; 1001]];
        assert_eq!(regions_mistakes(&long)[0].to_string(), "regions[0] has 1001 corners; at most 1000");
        assert!(said(RecipeSpec { regions: vec![vec![[0.0, 0.0]]], ..spec() }).contains("regions[0] has 1 corners"));
        let info = RecipeInfo { id: "../x".into(), version: 1 };
        assert!(said(RecipeSpec { info, ..spec() }).starts_with("\"../x\" is no name"));
    }

    #[test]
    fn polygons_must_lie_inside_the_frame() {
        let spec = RecipeSpec { regions: vec![vec![[0.0, 0.0], [641.0, 0.0], [0.0, 480.0]]], ..spec() };
        let error = Recipe::new(spec.clone()).fits(640, 480).expect_err("outside");
        assert_eq!(
            error.to_string(),
            "recipe 'caps': regions[0] has the corner [641, 0] outside the frame of 640x480 pixels; draw the polygon \
             inside it"
        );
        assert!(Recipe::new(spec).fits(641, 480).is_ok());
    }

    #[test]
    fn the_mask_follows_the_frame_size() {
        let mut recipe = Recipe::new(spec());
        let hot = prediction([1.0; 4], 0.0);
        for (width, height) in [(2, 2), (6, 4), (2, 2)] {
            let found = recipe.inspect(&hot, width, height).expect("inspected").defects;
            assert_eq!(found[0].bounds, [0, 0, width, height]);
        }
    }
}
