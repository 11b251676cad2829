//! The charts of one camera at work: every part is looked at, and alarms that begin or end are told.

use std::collections::VecDeque;
use std::sync::Arc;

use super::baseline::{Baseline, Measured, Watched};
use super::chart::Chart;
use super::features::Features;
use super::measure::Measure;
use super::reduced::{Correlator, Offset, Spectrum};
use crate::verdict::Suspect;

/// Parts whose median says how large a change is.
const LATELY: usize = 9;

/// What the line knows of a part beside its picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Whether it passed.
    pub passes: bool,
    /// Its statistic, where it is known.
    pub statistic: Option<f32>,
    /// Its image score, where it is known.
    pub score: Option<f32>,
}

/// An alarm has begun, or is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which.
    pub suspect: Suspect,
    /// What has changed and what to do; `None` when it is over.
    pub message: Option<String>,
}

/// The charts of one camera, in the order of the baseline's measures.
pub struct Watch {
    baseline: Arc<Baseline>,
    correlator: Correlator,
    mean: Spectrum,
    charts: Vec<Followed>,
    /// Pictures of another size come: nothing can be compared.
    resized: bool,
}

struct Followed {
    chart: Chart,
    /// Distances of the last parts from the median of good ones.
    lately: VecDeque<f32>,
}

impl Watch {
    /// Nothing has been seen yet.
    pub fn new(baseline: Arc<Baseline>) -> Self {
        let correlator = Correlator::default();
        let mean = correlator.spectrum(baseline.mean());
        let follow =
            |watched: &Watched| Followed { chart: Chart::new(watched.limit), lately: VecDeque::with_capacity(LATELY) };
        let charts = baseline.watched().iter().map(follow).collect();
        Self { baseline, correlator, mean, charts, resized: false }
    }

    /// What it compares with.
    pub fn baseline(&self) -> &Arc<Baseline> {
        &self.baseline
    }

    /// Whether this alarm stands.
    pub fn stands(&self, suspect: Suspect) -> bool {
        let all = self.charts.iter().zip(self.baseline.watched());
        let mut of = all.filter(|(_, watched)| watched.measure.suspect() == suspect);
        (self.resized && suspect == Suspect::Drift) || of.any(|(followed, _)| followed.chart.stands())
    }

    /// The next part. Says which alarms begin or end with it.
    pub fn look(&mut self, features: &Features, seen: Seen) -> Vec<Change> {
        if features.size == self.baseline.size() {
            let values = self.measure(features, seen);
            return self.step(&values);
        }
        // Nothing can be compared: what stands goes on standing.
        let before = self.stands(Suspect::Drift);
        self.resized = true;
        let ((width, height), (was, high)) = (features.size, self.baseline.size());
        let what = format!("pictures of {width}x{height} pixels come, those of the good parts have {was}x{high}");
        let change = Change { suspect: Suspect::Drift, message: Some(self.message(Suspect::Drift, &what)) };
        if before { Vec::new() } else { vec![change] }
    }

    /// What the charts look at, in the order of [`Baseline::watched`]; `None` where this part tells nothing of it.
    pub fn measure(&self, features: &Features, seen: Seen) -> Vec<Option<f32>> {
        let Seen { passes, statistic, score } = seen;
        let measured = Measured { features, offset: self.offset(features), passes, statistic, score };
        let value = |watched: &Watched| measured.value(watched.measure).filter(|value| value.is_finite());
        self.baseline.watched().iter().map(value).collect()
    }

    /// The next part by its measures. Says which alarms begin or end with it.
    pub fn step(&mut self, values: &[Option<f32>]) -> Vec<Change> {
        let before = Suspect::ALL.map(|suspect| self.stands(suspect));
        self.resized = false;
        let mut begun: Vec<(Measure, f32)> = Vec::new();
        for ((followed, watched), value) in self.charts.iter_mut().zip(self.baseline.watched()).zip(values) {
            if let Some(by) = value.and_then(|value| followed.step(watched, value)) {
                begun.push((watched.measure, by));
            }
        }
        let mut changes = Vec::new();
        for (suspect, before) in Suspect::ALL.into_iter().zip(before) {
            let message = match (before, self.stands(suspect)) {
                (false, true) => {
                    let of = begun.iter().filter(|(measure, _)| measure.suspect() == suspect);
                    let what: Vec<String> = of.map(|(measure, by)| measure.change(*by)).collect();
                    Some(self.message(suspect, &what.join(", ")))
                }
                (true, false) => None,
                _ => continue,
            };
            changes.push(Change { suspect, message });
        }
        changes
    }

    /// Only where it is watched: it costs two transforms.
    fn offset(&self, features: &Features) -> Offset {
        let placed = |watched: &Watched| matches!(watched.measure, Measure::Across | Measure::Down | Measure::Likeness);
        if self.baseline.watched().iter().any(placed) {
            self.correlator.offset(&self.correlator.spectrum(&features.reduced), &self.mean)
        } else {
            Offset { across: 0.0, down: 0.0, likeness: 0.0 }
        }
    }

    fn message(&self, suspect: Suspect, what: &str) -> String {
        let parts = self.baseline.parts();
        let look = match suspect {
            Suspect::Light => "look at the lamp and its supply, stray light, exposure, gain and aperture",
            Suspect::Focus => "look at the lens: focus ring, distance to the part, dirt, moisture",
            Suspect::Position => "look at the camera's mount and at what places the parts",
            Suspect::Drift => "look at lens, zoom and camera settings, and whether other parts come",
        };
        format!(
            "the picture changed against the {parts} good parts: {what}; {look}; if it is meant to be so, calibrate anew"
        )
    }
}

impl Followed {
    /// How far the last parts lie from good ones when an alarm begins with this value.
    fn step(&mut self, watched: &Watched, value: f32) -> Option<f32> {
        if self.lately.len() == LATELY {
            self.lately.pop_front();
        }
        self.lately.push_back(value - watched.quantiles.median());
        let began = self.chart.step(watched.quantiles.score(value, watched.measure.least())) == Some(true);
        began.then(|| {
            let mut sorted: Vec<f32> = self.lately.iter().copied().collect();
            sorted.sort_by(f32::total_cmp);
            sorted[sorted.len() / 2]
        })
    }
}
