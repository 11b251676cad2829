//! Values of any number of maps in a fixed space: counted in narrow bins, for one ranking over all classes.
//!
//! Bins are 1 / 2¹⁸ wide (3.8e-6) from 0 to 1; what lies outside is counted at the end. A threshold at the lower edge of
//! a bin is exact, values within a bin are equal to each other. On the golden cases the figures are within 5e-6 of the exact
//! ones.

use super::ranking::{Level, Ranked, rank};
use super::regions::{ProCurve, regions};
use super::{Labelled, PIXEL_F1_EPSILON};

/// Number of bins; a power of two, so that finding a bin rounds nothing.
pub const BINS: usize = 1 << 18;
/// Thresholds of the overlap curve, as many as in the exact one.
const STEPS: usize = 200;

/// Counts per bin.
#[derive(Clone)]
pub struct Counts {
    anomalous: Vec<u64>,
    normal: Vec<u64>,
    /// Per bin the sum of each anomalous pixel's share in its region; adds up to the number of regions.
    overlap: Vec<f64>,
    regions: u64,
}

/// What one threshold decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Anomalous, at or above the threshold.
    pub found: u64,
    /// Anomalous, below.
    pub missed: u64,
    /// Normal, at or above.
    pub alarms: u64,
}

impl Decided {
    /// Harmonic mean of precision and recall; NaN where nothing is anomalous and nothing predicted.
    pub fn f1(&self) -> f64 {
        2.0 * self.found as f64 / (2 * self.found + self.missed + self.alarms) as f64
    }

    /// Intersection over union; NaN as for F1.
    pub fn iou(&self) -> f64 {
        self.found as f64 / (self.found + self.missed + self.alarms) as f64
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self { anomalous: vec![0; BINS], normal: vec![0; BINS], overlap: vec![0.0; BINS], regions: 0 }
    }
}

impl Counts {
    /// Counts the pixels of one picture.
    pub fn add(&mut self, picture: &Labelled<'_>) {
        let regions = regions(picture.mask, picture.width);
        for (&value, &anomalous) in picture.map.iter().zip(picture.mask) {
            let counts = if anomalous { &mut self.anomalous } else { &mut self.normal };
            counts[bin(value)] += 1;
        }
        for region in &regions {
            let share = 1.0 / region.len() as f64;
            region.iter().for_each(|&pixel| self.overlap[bin(picture.map[pixel as usize])] += share);
        }
        self.regions += regions.len() as u64;
    }

    /// Adds the counts of other pictures.
    pub fn merge(&mut self, other: &Self) {
        self.anomalous.iter_mut().zip(&other.anomalous).for_each(|(sum, count)| *sum += count);
        self.normal.iter_mut().zip(&other.normal).for_each(|(sum, count)| *sum += count);
        self.overlap.iter_mut().zip(&other.overlap).for_each(|(sum, share)| *sum += share);
        self.regions += other.regions;
    }

    /// Lets go of the regions, a third of the memory: no overlap curve afterwards.
    pub fn forget_regions(&mut self) {
        (self.overlap, self.regions) = (Vec::new(), 0);
    }

    /// AUROC, AP, F1-max, its threshold and IoU over all that was counted.
    pub fn rank(&self) -> Ranked {
        rank(self.levels(), self.anomalous.iter().sum(), self.normal.iter().sum(), PIXEL_F1_EPSILON)
    }

    /// Bins that hold something, largest value first.
    pub fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        let level = |bin: usize| Level { value: edge(bin), anomalous: self.anomalous[bin], normal: self.normal[bin] };
        (0..BINS).rev().map(level).filter(|level| level.anomalous + level.normal > 0)
    }

    /// The overlap curve, thresholds in 200 steps from the least to the largest bin; `None` as for the exact one.
    pub fn pro_curve(&self) -> Option<ProCurve> {
        self.curve_of(&self.overlap, self.regions)
    }

    /// The same over other regions in place of those counted: values with their shares of a region, and how many there are.
    pub fn pro_curve_of(&self, values: impl Iterator<Item = (f32, f32)>, regions: usize) -> Option<ProCurve> {
        let mut overlap = vec![0.0; BINS];
        values.for_each(|(value, share)| overlap[bin(value)] += f64::from(share));
        self.curve_of(&overlap, regions as u64)
    }

    fn curve_of(&self, of: &[f64], regions: u64) -> Option<ProCurve> {
        let holds = |&bin: &usize| self.anomalous[bin] + self.normal[bin] > 0;
        let (least, largest) = ((0..BINS).find(holds)?, (0..BINS).rfind(holds)?);
        let normal: u64 = self.normal.iter().sum();
        if least == largest || normal == 0 || regions == 0 {
            return None;
        }
        let threshold = |step: usize| least + (largest - least) * step / STEPS;
        let mut curve = ProCurve { thresholds: Vec::new(), rates: Vec::new(), overlaps: Vec::new() };
        let (mut alarms, mut overlap, mut from) = (0u64, 0.0, BINS);
        for at in (0..STEPS).rev().map(threshold) {
            // Above the threshold, as in the exact curve: the bin itself does not count.
            alarms += self.normal[at + 1..from].iter().sum::<u64>();
            overlap += of[at + 1..from].iter().sum::<f64>();
            from = at + 1;
            curve.thresholds.push(f64::from(edge(at)));
            curve.rates.push(alarms as f64 / normal as f64);
            curve.overlaps.push(overlap / regions as f64);
        }
        [&mut curve.thresholds, &mut curve.rates, &mut curve.overlaps].into_iter().for_each(|values| values.reverse());
        Some(curve)
    }

    /// What a threshold decides; exact when it is one that [`Counts::rank`] gives.
    pub fn decide(&self, threshold: f32) -> Decided {
        let (below, above) = self.anomalous.split_at(bin(threshold));
        let alarms = self.normal[bin(threshold)..].iter().sum();
        Decided { found: above.iter().sum(), missed: below.iter().sum(), alarms }
    }

    /// Share of normal and of anomalous pixels in `count` equal intervals from 0 to `largest`, what lies above in the last.
    pub fn histogram(&self, count: usize, largest: f32) -> [Vec<f64>; 2] {
        let shares = |counts: &[u64]| {
            let total = counts.iter().sum::<u64>().max(1) as f64;
            let mut shares = vec![0.0; count];
            for (bin, &pixels) in counts.iter().enumerate().filter(|(_, pixels)| **pixels > 0) {
                let at = (edge(bin) / largest * count as f32) as usize;
                shares[at.min(count - 1)] += pixels as f64 / total;
            }
            shares
        };
        [shares(&self.normal), shares(&self.anomalous)]
    }
}

/// Rounding cannot move a value: the factor is a power of two. Below 0 saturates to the first bin.
fn bin(value: f32) -> usize {
    ((value * BINS as f32) as usize).min(BINS - 1)
}

/// Least value of a bin.
fn edge(bin: usize) -> f32 {
    bin as f32 / BINS as f32
}
