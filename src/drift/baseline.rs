//! What good parts look like: quantiles of every measure, their mean picture, and the limits of the charts that follow from
//! how many parts they are. The section `picture` of a calibration file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chart::WEIGHT;
use super::features::Features;
use super::measure::Measure;
use super::reduced::{Correlator, Offset, Reduced, Spectrum};
use super::run_length::{Knowledge, limit};
use super::standard::Standard;
use crate::event::ModelInfo;

/// Version of the section; another one is refused.
const VERSION: u32 = 1;
/// Fewer good parts than this tell too little: limits would be so wide that no change passes them.
pub const LEAST_PARTS: usize = 10;
/// All charts of a camera together give at most one false alarm in so many parts.
const WANTED: f64 = 100_000.0;
/// Good parts that are moved by more than this (one deviation, share of a side) have no position that a movement of 2 % could
/// be told from.
const SCATTER: f32 = 0.02;
/// The median likeness of good parts to the mean of the others below which the correlation's peak is chance.
const UNLIKE: f32 = 0.12;

/// A good part, as the line saw it.
#[derive(Clone, Debug)]
pub struct GoodPart {
    /// Of its picture.
    pub features: Features,
    /// Whether the recipe in force passes it. Statistic, score and likeness of those that it rejects are not used, because
    /// on the line only passing parts are watched for them.
    pub passes: bool,
    /// The highest threshold at which the recipe would still find a defect, where it is known.
    pub statistic: Option<f32>,
    /// The image score, where it is known.
    pub score: Option<f32>,
}

/// Good parts that no baseline can be made of, or a file that holds none.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The limits would be so wide that nothing passes them.
    #[error("{parts} good parts are too few to watch the picture; {LEAST_PARTS} are needed, 100 find smaller changes")]
    TooFew {
        /// How many there are.
        parts: usize,
    },
    /// The camera, or a region of interest in it, was set differently.
    #[error("good parts of {first:?} and {other:?} pixels: all must come from the same camera settings")]
    Sizes {
        /// Columns and rows of the first.
        first: (u32, u32),
        /// And of one that differs.
        other: (u32, u32),
    },
    /// The file cannot be read.
    #[error("{file}: {reason}; make it again with `vcp-line calibrate`")]
    File {
        /// Where.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What good parts look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    version: u32,
    /// Good parts it was made of.
    parts: usize,
    /// Columns and rows of their pictures.
    size: (u32, u32),
    watched: Vec<Watched>,
    unwatched: Vec<Unwatched>,
    /// Who has judged the parts, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged_by: Option<JudgedBy>,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    mean: Reduced,
}

/// What a part's statistic and score depend on besides its picture: those of another judge are other numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedBy {
    /// Hash of the regions of interest, hexadecimal.
    pub regions: String,
    /// Smaller defects do not count.
    pub min_area_px: u32,
    /// Model, engine, precision and memory.
    pub model: ModelInfo,
}

impl JudgedBy {
    /// Whether statistics of both can be compared.
    pub fn judges_as(&self, other: &Self) -> bool {
        (&self.regions, self.min_area_px) == (&other.regions, other.min_area_px) && self.scores_as(other)
    }

    /// Whether image scores of both can be compared: those are of the whole picture.
    pub fn scores_as(&self, other: &Self) -> bool {
        self.model.sees_as(&other.model)
    }
}

/// A measure that has a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// Which.
    pub measure: Measure,
    /// Of good parts.
    pub quantiles: Standard,
    /// Of parts that follow each other; 0 where it may be chance.
    pub correlation: f64,
    /// Of the chart, in deviations.
    pub limit: f64,
}

/// A measure that has none, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// Which.
    pub measure: Measure,
    /// A sentence for whoever expects it.
    pub why: String,
}

impl Watched {
    /// The change that is alarmed within `parts` parts on average, in the measure's unit.
    pub fn seen_within(&self, parts: i32) -> f32 {
        let reached = 1.0 - (1.0 - WEIGHT).powi(parts);
        (self.limit / reached) as f32 * self.quantiles.deviation().max(self.measure.least())
    }
}

impl Baseline {
    /// From good parts in the order in which they were seen. How parts follow each other tells how much the light wanders.
    pub fn of(parts: &[GoodPart]) -> Result<Self, BaselineError> {
        if parts.len() < LEAST_PARTS {
            return Err(BaselineError::TooFew { parts: parts.len() });
        }
        let size = parts[0].features.size;
        if let Some(other) = parts.iter().map(|part| part.features.size).find(|other| *other != size) {
            return Err(BaselineError::Sizes { first: size, other });
        }
        let reduced = || parts.iter().map(|part| &part.features.reduced);
        let mean = Reduced::mean(reduced()).ok_or(BaselineError::TooFew { parts: 0 })?;
        let offsets = offsets(&mean, reduced());
        let position = position_is_nothing(&offsets);
        let seen: Vec<_> = parts.iter().zip(&offsets).map(|(part, offset)| part.seen(*offset)).collect();

        let wanted = WANTED * Measure::ALL.len() as f64;
        let mut limits: Vec<(Knowledge, Option<f64>)> = Vec::new();
        let (mut watched, mut unwatched) = (Vec::new(), Vec::new());
        for measure in Measure::ALL {
            let place = matches!(measure, Measure::Across | Measure::Down | Measure::Likeness);
            if let Some(why) = position.as_ref().filter(|_| place) {
                unwatched.push(Unwatched { measure, why: why.clone() });
                continue;
            }
            let values: Vec<f32> =
                seen.iter().filter_map(|seen| seen.value(measure)).filter(|v| v.is_finite()).collect();
            let Some(quantiles) = Standard::of(&values).filter(|_| values.len() >= LEAST_PARTS) else {
                let why = format!("{} of {} good parts tell it, {LEAST_PARTS} are needed", values.len(), parts.len());
                unwatched.push(Unwatched { measure, why });
                continue;
            };
            let scores: Vec<f64> = values.iter().map(|value| quantiles.score(*value, measure.least())).collect();
            let knowledge = Knowledge::of(&scores);
            let known = limits.iter().find(|(other, _)| *other == knowledge).map(|(_, limit)| *limit);
            let limit = known.unwrap_or_else(|| {
                let limit = limit(&knowledge, wanted);
                limits.push((knowledge, limit));
                limit
            });
            match limit {
                Some(limit) => {
                    watched.push(Watched { measure, quantiles, correlation: knowledge.correlation, limit });
                }
                None => unwatched.push(Unwatched {
                    measure,
                    why: format!(
                        "it wanders from part to part (correlation {:.2}) so much that {} parts tell too little; \
                         calibrate with more",
                        knowledge.correlation, knowledge.parts
                    ),
                }),
            }
        }
        Ok(Self { version: VERSION, parts: parts.len(), size, watched, unwatched, judged_by: None, mean })
    }

    /// The section `picture` of a calibration file; `None` where the file has none.
    pub fn read(file: &Path) -> Result<Option<Self>, BaselineError> {
        #[derive(Deserialize)]
        struct Calibration {
            picture: Option<Baseline>,
        }
        let failed = |reason: String| BaselineError::File { file: file.to_owned(), reason };
        let bytes = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        let found: Calibration = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
        let Some(baseline) = found.picture else { return Ok(None) };
        if baseline.version != VERSION {
            let version = baseline.version;
            return Err(failed(format!("section 'picture' has version {version}, this program reads {VERSION}")));
        }
        let sound =
            |watched: &Watched| watched.quantiles.is_sound() && watched.limit.is_finite() && watched.limit > 0.0;
        if !baseline.watched.iter().all(sound) {
            return Err(failed("section 'picture' holds quantiles or limits that no good parts have".into()));
        }
        Ok(Some(baseline))
    }

    /// With statistics and scores of this judge.
    pub fn judged_by(self, judge: JudgedBy) -> Self {
        Self { judged_by: Some(judge), ..self }
    }

    /// Whose statistics and scores these are; `None` where nobody knows, so that none can be compared.
    pub fn judge(&self) -> Option<&JudgedBy> {
        self.judged_by.as_ref()
    }

    /// Good parts it was made of.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Columns and rows of their pictures.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Their mean picture.
    pub fn mean(&self) -> &Reduced {
        &self.mean
    }

    /// What has a chart.
    pub fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// What has none.
    pub fn unwatched(&self) -> &[Unwatched] {
        &self.unwatched
    }
}

/// What charts look at, of one part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured<'a> {
    pub features: &'a Features,
    pub offset: Offset,
    pub passes: bool,
    pub statistic: Option<f32>,
    pub score: Option<f32>,
}

impl GoodPart {
    fn seen(&self, offset: Offset) -> Measured<'_> {
        let Self { features, passes, statistic, score } = self;
        Measured { features, offset, passes: *passes, statistic: *statistic, score: *score }
    }
}

impl Measured<'_> {
    /// The value of a measure, where this part tells it.
    pub fn value(&self, measure: Measure) -> Option<f32> {
        if measure.of_passing_parts() && !self.passes {
            return None;
        }
        let [dark, middle, bright] = self.features.brightness;
        match measure {
            Measure::Dark => Some(dark),
            Measure::Middle => Some(middle),
            Measure::Bright => Some(bright),
            Measure::Sharpness => Some(self.features.sharpness),
            Measure::Across => Some(self.offset.across),
            Measure::Down => Some(self.offset.down),
            Measure::Noise => Some(self.features.noise),
            Measure::Likeness => Some(self.offset.likeness),
            // Without any defect at any threshold it is below every map value.
            Measure::Statistic => self.statistic.map(|statistic| statistic.max(0.0)),
            Measure::Score => self.score,
        }
    }
}

/// Each part against the mean of the others: against a mean that holds its own picture it lies where it lies.
fn offsets<'a>(mean: &Reduced, pictures: impl ExactSizeIterator<Item = &'a Reduced>) -> Vec<Offset> {
    let correlator = Correlator::default();
    let (mean, count): (Spectrum, usize) = (correlator.spectrum(mean), pictures.len());
    let offset = |picture| {
        let own = correlator.spectrum(picture);
        correlator.offset(&own, &mean.without(&own, count))
    };
    pictures.map(offset).collect()
}

/// Why the position of good parts means nothing, if so.
fn position_is_nothing(offsets: &[Offset]) -> Option<String> {
    let of = |value: fn(&Offset) -> f32| Standard::of(&offsets.iter().map(value).collect::<Vec<_>>());
    let (across, down) = (of(|offset| offset.across)?.deviation(), of(|offset| offset.down)?.deviation());
    let likeness = of(|offset| offset.likeness)?.median();
    if across.max(down) > SCATTER {
        return Some(format!(
            "good parts lie differently, by {:.1} % of the width and {:.1} % of the height (one deviation), so that their \
             position means nothing",
            across * 100.0,
            down * 100.0
        ));
    }
    (likeness < UNLIKE).then(|| {
        format!("good parts are too unlike each other ({likeness:.2}) for a position to be found; it means nothing")
    })
}

fn to_hex<S: Serializer>(mean: &Reduced, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mean.to_hex())
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reduced, D::Error> {
    let text = String::deserialize(deserializer)?;
    Reduced::from_hex(&text).ok_or_else(|| serde::de::Error::custom("the mean picture is no reduced picture"))
}
