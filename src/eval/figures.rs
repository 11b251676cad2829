//! The figures of one method over all classes, in the two ways of looking at them.
//!
//! **normalised**: values of each class brought to 0 … 1 over the class's own pictures, as in the paper. Comparable with
//! published tables; but a line sees one picture at a time and has no test set to normalise over.
//!
//! **raw**: the model's own values. Within a class AUROC, AUPRO, AP, F1-max and IoU are the same, since only the order
//! counts; thresholds are in the model's unit, as a recipe takes them. What the normalisation hides shows only when
//! classes meet, so there is more in this column: **pooled** puts all pixels (or pictures) of all classes into one ranking,
//! and **shared** says what each class gets from the one threshold that is best for the pool.

use serde::Serialize;

use super::metrics::{ImageMetrics, PixelMetrics};
use super::sizes::BySize;

/// Pixels and pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Of the maps.
    pub pixel: PixelMetrics,
    /// Of the image scores.
    pub image: ImageMetrics,
}

/// What a class gets from one threshold for all classes: predicted where ≥ threshold, in raw values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtSharedThreshold {
    /// F1 of the pixels at the pool's pixel threshold.
    pub pixel_f1: f64,
    /// IoU of the pixels there.
    pub pixel_iou: f64,
    /// F1 of the pictures at the pool's image threshold.
    pub image_f1: f64,
}

/// One class, or the mean of all. A figure that is not defined is NaN, null in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Name of the class.
    pub class: String,
    /// Good pictures looked at.
    pub good: usize,
    /// Anomalous pictures looked at.
    pub anomalous: usize,
    /// Those of them without a mask: they count for the figures of whole pictures alone.
    pub without_mask: usize,
    /// Values normalised over the class: the paper's column.
    pub normalised: Figures,
    /// Values as they are.
    pub raw: Figures,
    /// One threshold for all classes.
    pub shared: AtSharedThreshold,
}

/// One method over all classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodFigures {
    /// `model` or `baseline`.
    pub method: String,
    /// In the order of the data set.
    pub classes: Vec<ClassFigures>,
    /// Mean over the classes for which a figure is defined; each class counts the same.
    pub mean: ClassFigures,
    /// All classes in one ranking, raw values, pixel figures from counts in bins of 2⁻¹⁸.
    pub pooled: Figures,
    /// By the size of the defects.
    pub by_size: BySize,
}

/// Which kinds of pixels or pictures there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kinds {
    pub(super) normal: bool,
    pub(super) anomalous: bool,
}

impl Kinds {
    /// What these labels have.
    pub(super) fn of<'a>(labels: impl IntoIterator<Item = &'a bool>) -> Self {
        let mut kinds = Self::default();
        for &anomalous in labels {
            if anomalous {
                kinds.anomalous = true
            } else {
                kinds.normal = true
            }
            if kinds.both() {
                break;
            }
        }
        kinds
    }

    pub(super) fn both(self) -> bool {
        self.normal && self.anomalous
    }
}

impl PixelMetrics {
    /// No figure at all.
    pub(super) fn none() -> Self {
        let none = f64::NAN;
        Self { auroc: none, aupro: none, ap: none, f1: none, threshold: f32::NAN, iou: none }
    }
}

impl Figures {
    /// Without the figures that mean nothing where one kind is absent: where nothing is anomalous the definitions call
    /// some of them 0, where nothing is normal 1.
    pub(super) fn only_defined(mut self, pixels: Kinds, pictures: Kinds) -> Self {
        if !pixels.both() {
            let PixelMetrics { ap, f1, iou, threshold, .. } = &mut self.pixel;
            (*ap, *f1, *iou, *threshold) = (f64::NAN, f64::NAN, f64::NAN, f32::NAN);
        }
        if !pictures.both() {
            let ImageMetrics { ap, f1, threshold, .. } = &mut self.image;
            (*ap, *f1, *threshold) = (f64::NAN, f64::NAN, f32::NAN);
        }
        self
    }
}

/// The mean over the classes, figure by figure, each over the classes that have it.
pub(super) fn mean(classes: &[ClassFigures]) -> ClassFigures {
    let mean = |figure: &dyn Fn(&ClassFigures) -> f64| {
        let defined: Vec<f64> = classes.iter().map(figure).filter(|value| value.is_finite()).collect();
        if defined.is_empty() { f64::NAN } else { defined.iter().sum::<f64>() / defined.len() as f64 }
    };
    let figures = |of: fn(&ClassFigures) -> &Figures| Figures {
        pixel: PixelMetrics {
            auroc: mean(&|class| of(class).pixel.auroc),
            aupro: mean(&|class| of(class).pixel.aupro),
            ap: mean(&|class| of(class).pixel.ap),
            f1: mean(&|class| of(class).pixel.f1),
            threshold: mean(&|class| of(class).pixel.threshold.into()) as f32,
            iou: mean(&|class| of(class).pixel.iou),
        },
        image: ImageMetrics {
            auroc: mean(&|class| of(class).image.auroc),
            ap: mean(&|class| of(class).image.ap),
            f1: mean(&|class| of(class).image.f1),
            threshold: mean(&|class| of(class).image.threshold.into()) as f32,
        },
    };
    ClassFigures {
        class: "mean".to_owned(),
        good: classes.iter().map(|class| class.good).sum(),
        anomalous: classes.iter().map(|class| class.anomalous).sum(),
        without_mask: classes.iter().map(|class| class.without_mask).sum(),
        normalised: figures(|class| &class.normalised),
        raw: figures(|class| &class.raw),
        shared: AtSharedThreshold {
            pixel_f1: mean(&|class| class.shared.pixel_f1),
            pixel_iou: mean(&|class| class.shared.pixel_iou),
            image_f1: mean(&|class| class.shared.image_f1),
        },
    }
}
