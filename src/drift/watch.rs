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

/// The charts of one camera.
pub struct Watch {
    baseline: Arc<Baseline>,
    correlator: Correlator,
    mean: Spectrum,
    charts: Vec<Followed>,
    /// Pictures of another size come: nothing can be compared.
    resized: bool,
}

struct Followed {
    /// Which of the baseline's.
    at: usize,
    chart: Chart,
    /// Distances of the last parts from the median of good ones.
    lately: VecDeque<f32>,
}

impl Watch {
    /// Nothing has been seen yet.
    pub fn new(baseline: Arc<Baseline>) -> Self {
        let correlator = Correlator::default();
        let mean = correlator.spectrum(baseline.mean());
        let follow = |(at, watched): (usize, &Watched)| Followed {
            at,
            chart: Chart::new(watched.limit),
            lately: VecDeque::with_capacity(LATELY),
        };
        let charts = baseline.watched().iter().enumerate().map(follow).collect();
        Self { baseline, correlator, mean, charts, resized: false }
    }

    /// What it compares with.
    pub fn baseline(&self) -> &Arc<Baseline> {
        &self.baseline
    }

    /// Whether this alarm stands.
    pub fn stands(&self, suspect: Suspect) -> bool {
        let of = |chart: &&Followed| self.baseline.watched()[chart.at].measure.suspect() == suspect;
        (self.resized && suspect == Suspect::Drift) || self.charts.iter().filter(of).any(|one| one.chart.stands())
    }

    /// The next part. Says which alarms begin or end with it.
    pub fn look(&mut self, features: &Features, seen: Seen) -> Vec<Change> {
        let before = Suspect::ALL.map(|suspect| self.stands(suspect));
        self.resized = features.size != self.baseline.size();
        let mut begun: Vec<(Measure, f32)> = Vec::new();
        if !self.resized {
            let offset = self.offset(features);
            let Seen { passes, statistic, score } = seen;
            let measured = Measured { features, offset, passes, statistic, score };
            for followed in &mut self.charts {
                let watched = &self.baseline.watched()[followed.at];
                let value = measured.value(watched.measure).filter(|value| value.is_finite());
                let Some(by) = value.and_then(|value| followed.step(watched, value)) else { continue };
                begun.push((watched.measure, by));
            }
        }
        let mut changes = Vec::new();
        for (suspect, before) in Suspect::ALL.into_iter().zip(before) {
            match (before, self.stands(suspect)) {
                (false, true) => {
                    changes.push(Change { suspect, message: Some(self.message(suspect, &begun, features)) })
                }
                (true, false) => changes.push(Change { suspect, message: None }),
                _ => {}
            }
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

    fn message(&self, suspect: Suspect, begun: &[(Measure, f32)], features: &Features) -> String {
        let parts = self.baseline.parts();
        let what = if self.resized {
            let ((width, height), (was, high)) = (features.size, self.baseline.size());
            format!("pictures of {width}x{height} pixels come, those of the good parts have {was}x{high}")
        } else {
            let of = begun.iter().filter(|(measure, _)| measure.suspect() == suspect);
            of.map(|(measure, by)| measure.change(*by)).collect::<Vec<_>>().join(", ")
        };
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
