//! What a method said about the pictures: gathered class by class, measured at the end of each, pooled at the end of all.

use super::curves::Curves;
use super::figures::{AtSharedThreshold, ClassFigures, Figures, Kinds, MethodFigures, mean};
use super::metrics::counts::{Counts, Decided};
use super::metrics::{Labelled, MetricsError, PixelMetrics, image, normalise, pixel};
use super::sizes::{self, BySize, ClassBySize, MaskedDefect, Sighting, SizeBins};

/// One method's answers. Holds the maps of one class at a time.
pub struct Tally {
    method: String,
    maps: Vec<Vec<f32>>,
    scores: Vec<f32>,
    classes: Vec<Measured>,
    pooled: Counts,
    sizes: SizeBins,
}

/// What is known of a class's pictures, one after another.
#[derive(Clone, Copy)]
pub struct Truth<'a> {
    /// Masks at the model's size, `None` where nobody knows them.
    pub masks: &'a [Option<Vec<bool>>],
    /// Whether it is defective.
    pub anomalous: &'a [bool],
    /// What its mask marks.
    pub defects: &'a [Vec<MaskedDefect>],
}

/// A class that has been measured, but for what needs all of them.
struct Measured {
    class: String,
    normalised: Figures,
    raw: Figures,
    counts: Counts,
    scores: Vec<(f32, bool)>,
    peaks: Vec<(f32, bool)>,
    without_mask: usize,
    curves: Curves,
    sighting: Sighting,
    by_size: ClassBySize,
}

/// The figures of a method, and the curves behind them.
pub struct Outcome {
    /// The figures.
    pub figures: MethodFigures,
    /// Per class, in the order of the figures.
    pub curves: Vec<Curves>,
    /// Of all classes in one ranking.
    pub pooled: Curves,
}

impl Tally {
    /// Nothing yet.
    pub fn new(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            maps: Vec::new(),
            scores: Vec::new(),
            classes: Vec::new(),
            pooled: Counts::default(),
            sizes: SizeBins::default(),
        }
    }

    /// One answer about the next picture of the class: its map, and its score.
    pub fn add(&mut self, map: Vec<f32>, score: f32) {
        self.maps.push(map);
        self.scores.push(score);
    }

    /// Measures the class whose pictures were added since the last one; their truth in the same order. A
    /// picture whose mask nobody knows does not count for the figures of pixels.
    ///
    /// Afterwards [`Tally::normalised`] gives the class's maps normalised, until [`Tally::forget`].
    pub fn end_class(
        &mut self,
        class: &str,
        width: usize,
        truth: Truth<'_>,
        sizes: &SizeBins,
    ) -> Result<(), MetricsError> {
        let Truth { masks, anomalous, defects } = truth;
        let raw = self.measure(width, masks, anomalous)?;
        let mut counts = Counts::default();
        labelled(width, &self.maps, masks).iter().for_each(|picture| counts.add(picture));
        let scores: Vec<_> = self.scores.iter().copied().zip(anomalous.iter().copied()).collect();
        let peak = |map: &Vec<f32>| map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let peaks: Vec<_> = self.maps.iter().map(peak).zip(anomalous.iter().copied()).collect();
        let curves = Curves::new(&counts, &scores, &peaks);
        self.pooled.merge(&counts);
        let sighting = Sighting::new(&self.maps, &self.scores, anomalous, defects, sizes);
        let by_size = sighting.figures(class, &counts, sizes);
        self.sizes = sizes.clone();
        counts.forget_regions();
        normalise(&mut self.maps);
        normalise(std::slice::from_mut(&mut self.scores));
        let normalised = self.measure(width, masks, anomalous)?;
        let without_mask = masks.iter().filter(|mask| mask.is_none()).count();
        self.classes.push(Measured {
            class: class.to_owned(),
            normalised,
            raw,
            counts,
            scores,
            peaks,
            without_mask,
            curves,
            sighting,
            by_size,
        });
        Ok(())
    }

    fn measure(&self, width: usize, masks: &[Option<Vec<bool>>], anomalous: &[bool]) -> Result<Figures, MetricsError> {
        let known = labelled(width, &self.maps, masks);
        let pixel = if known.is_empty() { PixelMetrics::none() } else { pixel(&known)? };
        let figures = Figures { pixel, image: image(&self.scores, anomalous)? };
        Ok(figures.only_defined(Kinds::of(masks.iter().flatten().flatten()), Kinds::of(anomalous)))
    }

    /// Name of the method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Normalised maps of the class that has just ended, the threshold of F1-max among them, and the raw scores.
    pub fn normalised(&self) -> (&[Vec<f32>], f32, impl Fn(usize) -> f32) {
        let last = self.classes.last();
        let threshold = last.map_or(f32::NAN, |class| class.normalised.pixel.threshold);
        (&self.maps, threshold, move |picture| last.map_or(f32::NAN, |class| class.scores[picture].0))
    }

    /// Lets go of the maps of the class that has ended.
    pub fn forget(&mut self) {
        self.maps.clear();
        self.scores.clear();
    }

    /// Everything, once all classes have ended; an error if there was none.
    pub fn finish(self) -> Result<Outcome, MetricsError> {
        let ranked = self.pooled.rank();
        let scores: Vec<(f32, bool)> = self.classes.iter().flat_map(|class| class.scores.iter().copied()).collect();
        let peaks: Vec<(f32, bool)> = self.classes.iter().flat_map(|class| class.peaks.iter().copied()).collect();
        let (values, labels): (Vec<f32>, Vec<bool>) = scores.iter().copied().unzip();
        let aupro = self.pooled.pro_curve().map_or(f64::NAN, |curve| curve.area());
        let pooled = Figures {
            pixel: PixelMetrics {
                auroc: ranked.auroc,
                aupro,
                ap: ranked.ap,
                f1: ranked.f1,
                threshold: ranked.threshold,
                iou: ranked.iou,
            },
            image: image(&values, &labels)?,
        };
        let any = self.pooled.decide(0.0);
        let pixels = Kinds { normal: any.alarms > 0, anomalous: any.found > 0 };
        let pooled = pooled.only_defined(pixels, Kinds::of(&labels));
        let sightings: Vec<&Sighting> = self.classes.iter().map(|class| &class.sighting).collect();
        let all = sizes::figures(&sightings, &self.pooled, &self.sizes);
        let of_classes = self.classes.iter().map(|class| class.by_size.clone()).collect();
        let by_size = BySize { settings: self.sizes, classes: of_classes, all };
        let (mut classes, mut curves) = (Vec::new(), Vec::new());
        for measured in self.classes {
            let shared = shared(&measured, &pooled);
            let Measured { class, normalised, raw, scores, without_mask, curves: drawn, .. } = measured;
            let anomalous = scores.iter().filter(|score| score.1).count();
            let good = scores.len() - anomalous;
            classes.push(ClassFigures { class, good, anomalous, without_mask, normalised, raw, shared });
            curves.push(drawn);
        }
        let figures = MethodFigures { method: self.method, mean: mean(&classes), classes, pooled, by_size };
        Ok(Outcome { figures, curves, pooled: Curves::new(&self.pooled, &scores, &peaks) })
    }
}

/// What the class gets from the pool's thresholds; NaN where one kind is absent, which makes every threshold look good or bad.
fn shared(class: &Measured, pooled: &Figures) -> AtSharedThreshold {
    let mut pictures = Decided::default();
    for &(score, anomalous) in &class.scores {
        match (score >= pooled.image.threshold, anomalous) {
            (true, true) => pictures.found += 1,
            (true, false) => pictures.alarms += 1,
            (false, true) => pictures.missed += 1,
            (false, false) => {}
        }
    }
    let pixels = class.counts.decide(pooled.pixel.threshold);
    let both = |kinds: Decided| kinds.found > 0 && kinds.alarms > 0;
    let defined = |both: bool, figure: f64| if both { figure } else { f64::NAN };
    let (any_pixels, kinds) = (both(class.counts.decide(0.0)), class.scores.iter().map(|score| &score.1));
    AtSharedThreshold {
        pixel_f1: defined(any_pixels, pixels.f1()),
        pixel_iou: defined(any_pixels, pixels.iou()),
        image_f1: defined(Kinds::of(kinds).both(), pictures.f1()),
    }
}

/// Maps whose truth is known.
fn labelled<'a>(width: usize, maps: &'a [Vec<f32>], masks: &'a [Option<Vec<bool>>]) -> Vec<Labelled<'a>> {
    let known = maps.iter().zip(masks).filter_map(|(map, mask)| Some((map, mask.as_deref()?)));
    known.map(|(map, mask)| Labelled { width, map, mask }).collect()
}
