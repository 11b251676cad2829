//! The figures of the field, by the definitions of the released evaluation, which differ from the textbook in places.
//!
//! Source: VCP-CLIP, commit 4dd96ec, `calcuate_metric` in `test.py` and `cal_pro_score` in `utils/tools.py`, which lean on
//! scikit-learn and scikit-image. All figures are fractions, 0 … 1.
//!
//! | figure | definition |
//! |---|---|
//! | AUROC | trapezoids between all distinct values; no number where one kind is absent |
//! | AP | Σ (recallₙ − recallₙ₋₁) · precisionₙ, not interpolated; 0 where nothing is anomalous |
//! | F1-max | over all distinct values `v`, predicted where ≥ `v`; pixels: 2PR / (P + R + 1e-8), so never quite 1 |
//! | threshold | the smallest value that reaches F1-max |
//! | IoU | at that threshold, but predicted where **>** threshold; over the pixels of all pictures together |
//! | AUPRO | see [`regions`]; per region of the mask, so a small defect counts as much as a large one |
//!
//! The released evaluation first brings the values of each class to 0 … 1 with [`normalise`]. All figures but the
//! thresholds are the same without, up to rounding: within one class only the order of values matters.

pub mod counts;
mod labelled;
pub mod ranking;
pub mod regions;

use rayon::prelude::*;

pub use labelled::{Labelled, MetricsError};

use labelled::check;
use ranking::{Ranked, Sorted};

/// In the denominator of the released pixel F1, and not of its image F1.
const PIXEL_F1_EPSILON: f64 = 1e-8;

/// What the maps of one class are worth. A figure without a definition, as with one kind of pixel alone, is NaN.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct PixelMetrics {
    /// Area under the ROC curve.
    pub auroc: f64,
    /// Area under the per-region-overlap curve up to a false-positive rate of 0.3, rescaled.
    pub aupro: f64,
    /// Average precision.
    pub ap: f64,
    /// Largest F1.
    pub f1: f64,
    /// Smallest value with that F1, on the scale of the maps.
    pub threshold: f32,
    /// Intersection over union above that value.
    pub iou: f64,
}

/// What the scores of one class are worth. A figure without a definition is NaN.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ImageMetrics {
    /// Area under the ROC curve.
    pub auroc: f64,
    /// Average precision.
    pub ap: f64,
    /// Largest F1.
    pub f1: f64,
    /// Smallest score with that F1.
    pub threshold: f32,
}

/// Measures the maps of one class, all pictures together.
///
/// Needs 4 bytes a pixel besides the maps and is exact: every distinct value is a threshold.
pub fn pixel(pictures: &[Labelled<'_>]) -> Result<PixelMetrics, MetricsError> {
    check(pictures)?;
    let pixels: usize = pictures.iter().map(|picture| picture.map.len()).sum();
    let anomalous = pictures.par_iter().map(|p| p.mask.iter().filter(|&&a| a).count()).sum();
    let all = pictures.iter().flat_map(|picture| picture.map.iter().copied().zip(picture.mask.iter().copied()));
    let sorted = Sorted::new(all, anomalous, pixels - anomalous);
    let Ranked { auroc, ap, f1, threshold, iou } = sorted.rank(PIXEL_F1_EPSILON);
    let (least, largest) = sorted.range();
    drop(sorted);
    let aupro = regions::curve(pictures, least, largest).map_or(f64::NAN, |curve| curve.area());
    Ok(PixelMetrics { auroc, aupro, ap, f1, threshold, iou })
}

/// Measures the scores of one class.
pub fn image(scores: &[f32], anomalous: &[bool]) -> Result<ImageMetrics, MetricsError> {
    if scores.is_empty() {
        return Err(MetricsError::Empty);
    }
    let (values, labels) = (scores.len(), anomalous.len());
    if values != labels {
        return Err(MetricsError::Shape { picture: 0, values, labels, width: 1 });
    }
    if let Some(picture) = scores.iter().position(|score| !score.is_finite()) {
        return Err(MetricsError::NotFinite { picture });
    }
    let bad = anomalous.iter().filter(|&&anomalous| anomalous).count();
    let sorted = Sorted::new(scores.iter().copied().zip(anomalous.iter().copied()), bad, labels - bad);
    let Ranked { auroc, ap, f1, threshold, .. } = sorted.rank(0.0);
    Ok(ImageMetrics { auroc, ap, f1, threshold })
}

/// Brings the maps of a class to 0 … 1 by the least and largest value of all of them, in float32 as the released evaluation
/// does; values that are all the same become 0. Scores are one group. Returns least and largest.
pub fn normalise(groups: &mut [Vec<f32>]) -> (f32, f32) {
    let all = groups.iter().flatten();
    let range =
        all.fold((f32::INFINITY, f32::NEG_INFINITY), |(least, largest), &value| (least.min(value), largest.max(value)));
    groups.iter_mut().flatten().for_each(|value| *value = normalised(*value, range));
    range
}

/// One value as [`normalise`] leaves it, of values that reach from `range.0` to `range.1`.
pub fn normalised(value: f32, (least, largest): (f32, f32)) -> f32 {
    let span = largest - least;
    if span > 0.0 { (value - least) / span } else { 0.0 }
}
