//! Curves and distributions for the report: few enough points to draw, taken from the counts.

use super::metrics::counts::Counts;

/// A point is kept when it is this far from the last one on one of the axes.
const RESOLUTION: f64 = 1.0 / 250.0;
/// Bars of a distribution.
pub const BARS: usize = 40;
/// False-positive rate up to which the overlap curve is drawn; what is beyond does not count for AUPRO.
pub const PRO_RATE: f64 = 0.3;

/// What a class, or the pool, looks like. Points are (x, y).
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// False-positive rate, true-positive rate of the pixels.
    pub roc: Vec<(f64, f64)>,
    /// Recall, precision of the pixels.
    pub precision_recall: Vec<(f64, f64)>,
    /// False-positive rate, mean overlap with the regions.
    pub overlap: Vec<(f64, f64)>,
    /// Raw map values: shares of the normal and the anomalous pixels.
    pub pixels: Distribution,
    /// Raw image scores: shares of the good and the anomalous pictures.
    pub scores: Distribution,
}

/// Shares of two kinds in [`BARS`] equal intervals.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    /// Left end of the first interval.
    pub least: f32,
    /// Right end of the last.
    pub largest: f32,
    /// Shares of what is normal; they add up to 1, or 0 if there is nothing.
    pub normal: Vec<f64>,
    /// Shares of what is anomalous.
    pub anomalous: Vec<f64>,
}

impl Curves {
    /// From the pixels' counts and the image scores with their labels.
    pub fn new(counts: &Counts, scores: &[(f32, bool)]) -> Self {
        let (roc, precision_recall) = ranking(counts);
        let overlap = counts.pro_curve().map_or_else(Vec::new, |curve| {
            let points = curve.rates.into_iter().zip(curve.overlaps).rev();
            points.take_while(|(rate, _)| *rate < PRO_RATE).collect()
        });
        let largest = counts.levels().next().map_or(1.0, |level| level.value).max(f32::MIN_POSITIVE);
        let [normal, anomalous] = counts.histogram(BARS, largest);
        let pixels = Distribution { least: 0.0, largest, normal, anomalous };
        Self { roc, precision_recall, overlap, pixels, scores: Distribution::of(scores) }
    }
}

impl Distribution {
    fn of(values: &[(f32, bool)]) -> Self {
        let least = values.iter().map(|value| value.0).fold(f32::INFINITY, f32::min);
        let largest = values.iter().map(|value| value.0).fold(f32::NEG_INFINITY, f32::max);
        let shares = |kind: bool| {
            let mut shares = vec![0.0; BARS];
            let of_kind = values.iter().filter(|value| value.1 == kind);
            let share = 1.0 / of_kind.clone().count().max(1) as f64;
            for (value, _) in of_kind {
                let at = ((value - least) / (largest - least).max(f32::MIN_POSITIVE) * BARS as f32) as usize;
                shares[at.min(BARS - 1)] += share;
            }
            shares
        };
        Self { least, largest, normal: shares(false), anomalous: shares(true) }
    }
}

type Points = Vec<(f64, f64)>;

fn ranking(counts: &Counts) -> (Points, Points) {
    let everything = counts.decide(0.0);
    let (anomalous, normal) = (everything.found as f64, everything.alarms as f64);
    let (mut roc, mut precision_recall) = (vec![(0.0, 0.0)], Points::new());
    let (mut hits, mut alarms) = (0, 0);
    for level in counts.levels() {
        hits += level.anomalous;
        alarms += level.normal;
        let recall = hits as f64 / anomalous;
        keep(&mut roc, (alarms as f64 / normal, recall));
        keep(&mut precision_recall, (recall, hits as f64 / (hits + alarms) as f64));
    }
    roc.push((1.0, 1.0));
    if anomalous == 0.0 || normal == 0.0 { (Vec::new(), Vec::new()) } else { (roc, precision_recall) }
}

fn keep(points: &mut Points, point: (f64, f64)) {
    let far = |last: &(f64, f64)| (last.0 - point.0).abs().max((last.1 - point.1).abs()) >= RESOLUTION;
    if points.last().is_none_or(far) {
        points.push(point);
    }
}
