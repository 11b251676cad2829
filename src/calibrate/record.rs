//! The calibration file: everything that a calibration rests on and has found, as JSON, one for each camera and recipe.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::calibration::{Calibration, Decided, thresholds};
use super::crossfit::Plan;
use super::part::Part;
use super::promise::Promise;
use crate::drift::{Baseline, GoodPart};
use crate::event::{ModelInfo, RecipeInfo};
use crate::line::judge::judged_by;
use crate::line::recipe::RecipeSpec;
use crate::output;

/// Of the file; a field that is added does not change it.
pub const SCHEMA: u32 = 1;

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`]
    pub schema: u32,
    /// When.
    pub at: Timestamp,
    /// Who asked: a user of the computer, or whoever sent the command.
    pub by: String,
    /// Configured name of the line.
    pub line: String,
    /// Configured name of the camera.
    pub camera: String,
    /// The recipe before.
    pub before: Setting,
    /// Its next version.
    pub after: Setting,
    /// What has looked at the parts; statistics of another one are other statistics.
    pub model: Model,
    /// How the same parts made the memory, too; none where others had made it before, or without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Plan>,
    /// What is promised.
    pub promise: Promise,
    /// Verdicts on the parts given.
    pub decided: Decided,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// Good parts, also those that do not count.
    pub good: Vec<Entry>,
    /// Defective ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<Entry>,
    /// How the good pictures look, for the alarms that tell when that changes; written by `drift`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Baseline>,
}

/// A recipe's name and thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Name and version.
    pub recipe: RecipeInfo,
    /// Of the image score.
    pub threshold: Option<f32>,
    /// Of the map.
    pub defect_threshold: f32,
    /// What the statistics depend on, too.
    pub min_area_px: u32,
}

/// The model, how it was run and the memory that helped: thresholds hold for what looks as it did.
pub type Model = ModelInfo;

/// A part's statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What a person knows it by.
    pub picture: String,
    /// The highest `defect_threshold` at which it fails; `None` where none does.
    pub defect: Option<f32>,
    /// Its image score.
    pub score: f32,
    /// SHA-256 of size, format and pixels, hexadecimal.
    pub sha256: String,
}

/// Where and for whom a calibration was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// When.
    pub at: Timestamp,
    /// Who asked.
    pub by: String,
    /// Configured name of the line.
    pub line: String,
    /// Configured name of the camera.
    pub camera: String,
}

impl Record {
    /// Of a calibration of this recipe by these parts.
    pub fn new(by: By, model: Model, before: &RecipeSpec, found: &Calibration, good: &[Part], bad: &[Part]) -> Self {
        let By { at, by, line, camera } = by;
        let mut warnings: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
        let picture = baseline(&found.recipe, &model, good);
        let picture = picture.map(|baseline| baseline.map_err(|error| warnings.push(error)));
        let entries = |parts: &[Part]| parts.iter().map(Entry::of).collect();
        Self {
            schema: SCHEMA,
            at,
            by,
            line,
            camera,
            before: Setting::of(before),
            after: Setting::of(&found.recipe),
            model,
            fitted: None,
            promise: found.promise.clone(),
            decided: found.decided,
            warnings,
            good: entries(good),
            bad: entries(bad),
            picture: picture.and_then(Result::ok),
        }
    }

    /// Whole or not at all.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        output::write(file, &text)
    }

    /// Errors name what is wrong with the file, not which it is.
    pub fn read(file: &Path) -> io::Result<Self> {
        Self::parse(&std::fs::read(file)?)
    }

    /// Of the file's bytes.
    pub fn parse(bytes: &[u8]) -> io::Result<Self> {
        let record: Self = serde_json::from_slice(bytes)?;
        match record.schema {
            SCHEMA => Ok(record),
            other => {
                let text = format!("schema {other} is not known, this program reads {SCHEMA}: calibrate again");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }
}

/// What later pictures are compared with, where the parts were measured; else why there is none.
fn baseline(recipe: &RecipeSpec, model: &Model, good: &[Part]) -> Option<Result<Baseline, String>> {
    let passes = |part: &Part| {
        let score = recipe.threshold.is_none_or(|threshold| part.statistics.score < threshold);
        score && part.statistics.defect < recipe.defect_threshold
    };
    let measured = |part: &Part| {
        let defect = Some(part.statistics.defect).filter(|value| value.is_finite());
        let features = part.features.clone()?;
        Some(GoodPart { features, passes: passes(part), statistic: defect, score: Some(part.statistics.score) })
    };
    let parts = good.iter().map(measured).collect::<Option<Vec<_>>>()?;
    let baseline = Baseline::of(&parts).map(|baseline| baseline.judged_by(judged_by(recipe, model)));
    Some(baseline.map_err(|error| format!("{error}; changes of the picture will not be told")))
}

impl Setting {
    fn of(recipe: &RecipeSpec) -> Self {
        let thresholds = thresholds(recipe);
        Self {
            recipe: recipe.info.clone(),
            threshold: thresholds.score,
            defect_threshold: thresholds.defect,
            min_area_px: recipe.min_area_px,
        }
    }
}

impl Entry {
    fn of(part: &Part) -> Self {
        Self {
            picture: part.picture.clone(),
            defect: Some(part.statistics.defect).filter(|value| value.is_finite()),
            score: part.statistics.score,
            sha256: hex::encode(part.look.sha256),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::part::Look;
    use crate::calibrate::promise::{Kind, Wanted};
    use crate::calibrate::{Wish, calibrate};
    use crate::event::MemoryInfo;
    use crate::line::recipe::Statistics;

    #[test]
    fn what_is_written_is_read() {
        let recipe = RecipeSpec {
            info: RecipeInfo { id: "caps".into(), version: 1 },
            threshold: None,
            defect_threshold: 0.5,
            min_area_px: 4,
            regions: Vec::new(),
        };
        let part = |i: u8| {
            let defect = if i == 0 { f32::NEG_INFINITY } else { f32::from(i) / 255.0 };
            let look = Look { sha256: [i; 32], thumbnail: vec![f32::from(i); 256] };
            Part { picture: format!("{i}.png"), statistics: Statistics { defect, score: 0.1 }, look, features: None }
        };
        let good: Vec<Part> = (0..70).map(part).collect();
        let wanted = Wanted::new(0.05, 0.95).expect("in range");
        let found = calibrate(&recipe, &good, &[], &Wish { wanted, score: false, kind: Kind::Exact }).expect("enough");
        let by = By { at: Timestamp::UNIX_EPOCH, by: "me".into(), line: "l".into(), camera: "top".into() };
        let text = |text: &str| text.to_owned();
        let memory = Some(MemoryInfo { id: text("7e0cca9a7a95c019"), parts: 16 });
        let (engine, precision) = (text("reference"), text("fp32"));
        let model = Model { name: text("m"), sha256: text("00"), engine, precision, memory };
        let mut record = Record::new(by, model, &recipe, &found, &good, &[]);
        // What is no float of single precision may be read another last digit (serde_json without `float_roundtrip`).
        (record.promise.bound, record.promise.expected) = (0.046875, 0.015625);
        let folder = tempfile::tempdir().expect("temp dir");
        let file = folder.path().join("top.json");
        record.write(&file).expect("written");
        assert_eq!(Record::read(&file).expect("read"), record);
        assert_eq!((record.good[0].defect, record.after.recipe.version), (None, 2));
        std::fs::write(&file, serde_json::to_string(&Record { schema: 9, ..record }).expect("json")).expect("written");
        assert!(Record::read(&file).expect_err("later").to_string().starts_with("schema 9 is not known"));
    }
}
