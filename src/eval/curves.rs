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
    /// What a threshold of the image score costs.
    pub by_score: OperatingPoints,
    /// What one of the map costs, where a single pixel is enough.
    pub by_peak: OperatingPoints,
}

/// What each threshold costs: a picture fails whose value is at least as large. Points are (threshold, share); none where
/// one kind of pictures is absent.
#[derive(Clone, Debug, Default)]
pub struct OperatingPoints {
    /// Anomalous pictures that do not fail, of all anomalous ones.
    pub escapes: Vec<(f64, f64)>,
    /// Good pictures that fail, of all good ones.
    pub false_rejects: Vec<(f64, f64)>,
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
    /// From the pixels' counts, and the image scores and the largest values of the maps with their labels.
    pub fn new(counts: &Counts, scores: &[(f32, bool)], peaks: &[(f32, bool)]) -> Self {
        let (roc, precision_recall) = ranking(counts);
        let overlap = counts.pro_curve().map_or_else(Vec::new, |curve| {
            let points = curve.rates.into_iter().zip(curve.overlaps).rev();
            points.take_while(|(rate, _)| *rate < PRO_RATE).collect()
        });
        let largest = counts.levels().next().map_or(1.0, |level| level.value).max(f32::MIN_POSITIVE);
        let [normal, anomalous] = counts.histogram(BARS, largest);
        let pixels = Distribution { least: 0.0, largest, normal, anomalous };
        let (by_score, by_peak) = (OperatingPoints::of(scores), OperatingPoints::of(peaks));
        Self { roc, precision_recall, overlap, pixels, scores: Distribution::of(scores), by_score, by_peak }
    }
}

impl OperatingPoints {
    fn of(values: &[(f32, bool)]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let anomalous = sorted.iter().filter(|value| value.1).count();
        let good = sorted.len() - anomalous;
        if anomalous == 0 || good == 0 {
            return Self::default();
        }
        let mut points = Self { escapes: Points::new(), false_rejects: Points::new() };
        // Below the threshold, of either kind.
        let (mut escaped, mut passed) = (0, 0);
        for same in sorted.chunk_by(|a, b| a.0 == b.0) {
            points.add(same[0].0.into(), escaped as f64 / anomalous as f64, (good - passed) as f64 / good as f64);
            let bad = same.iter().filter(|value| value.1).count();
            escaped += bad;
            passed += same.len() - bad;
        }
        // Where nothing fails any more.
        if let Some(last) = sorted.last() {
            let above = last.0.next_up().into();
            points.escapes.push((above, 1.0));
            points.false_rejects.push((above, 0.0));
        }
        points
    }

    fn add(&mut self, threshold: f64, escapes: f64, false_rejects: f64) {
        keep(&mut self.escapes, (threshold, escapes));
        keep(&mut self.false_rejects, (threshold, false_rejects));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_threshold_costs_is_counted() {
        let values = [(0.1, false), (0.3, false), (0.3, true), (0.5, false), (0.7, true), (0.9, true)];
        let OperatingPoints { escapes, false_rejects } = OperatingPoints::of(&values);
        let at = |points: &[(f64, f64)], threshold: f64| {
            points.iter().find(|point| (point.0 - threshold).abs() < 1e-6).expect("a point").1
        };
        // Brute force: a picture fails at or above the threshold.
        for threshold in [0.1f32, 0.3, 0.5, 0.7, 0.9] {
            let share = |kind: bool, fails: bool| {
                let of_kind = values.iter().filter(|value| value.1 == kind);
                let found = of_kind.clone().filter(|value| (value.0 >= threshold) == fails).count();
                found as f64 / of_kind.count() as f64
            };
            assert_eq!(at(&escapes, threshold.into()), share(true, false), "{threshold}");
            assert_eq!(at(&false_rejects, threshold.into()), share(false, true), "{threshold}");
        }
        assert_eq!(escapes.last().map(|point| point.1), Some(1.0));
        assert_eq!(false_rejects.last().map(|point| point.1), Some(0.0));
        assert!(OperatingPoints::of(&values[..2]).escapes.is_empty(), "nothing is defective");
    }
}
