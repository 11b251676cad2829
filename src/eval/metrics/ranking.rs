//! What follows from the order of values alone: how well the anomalous ones stand above the normal ones.

use rayon::prelude::*;

/// One distinct value, and how many of each kind have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The value.
    pub value: f32,
    /// Anomalous pixels or pictures with it.
    pub anomalous: u64,
    /// Normal ones.
    pub normal: u64,
}

/// Figures of one ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Area under the ROC curve.
    pub auroc: f64,
    /// Average precision.
    pub ap: f64,
    /// Largest F1, predicted where the value is at least the threshold.
    pub f1: f64,
    /// Smallest value with that F1.
    pub threshold: f32,
    /// Intersection over union where the value is larger than the threshold.
    pub iou: f64,
}

/// Computes the figures from all levels, **largest value first**. `epsilon` is added to the denominator of F1.
pub fn rank(levels: impl Iterator<Item = Level>, anomalous: u64, normal: u64, epsilon: f64) -> Ranked {
    let (mut hits, mut alarms) = (0u64, 0u64);
    // Twice the area in units of one anomalous × one normal value: whole numbers lose nothing.
    let mut area = 0u128;
    let (mut ap, mut recall_before) = (0.0, 0.0);
    let mut best = (f64::NEG_INFINITY, f32::NAN, f64::NAN);
    for level in levels {
        let iou = hits as f64 / (anomalous + alarms) as f64;
        area += u128::from(level.normal) * u128::from(2 * hits + level.anomalous);
        hits += level.anomalous;
        alarms += level.normal;
        let precision = hits as f64 / (hits + alarms) as f64;
        // scikit-learn calls the recall 1 where there is nothing to find.
        let recall = if anomalous == 0 { 1.0 } else { hits as f64 / anomalous as f64 };
        ap += (recall - recall_before) * precision;
        recall_before = recall;
        let f1 = 2.0 * precision * recall / (precision + recall + epsilon);
        // A later level is a smaller threshold, which is the one wanted among equals. NaN (0 / 0) never is.
        if f1 >= best.0 {
            best = (f1, level.value, iou);
        }
    }
    let auroc = area as f64 / 2.0 / (anomalous as f64 * normal as f64);
    Ranked { auroc, ap, f1: best.0.max(0.0), threshold: best.1, iou: best.2 }
}

/// Values of both kinds, sorted.
pub struct Sorted {
    anomalous: Vec<u32>,
    normal: Vec<u32>,
}

impl Sorted {
    /// Takes finite values with their labels; the two numbers say how many of each kind will come.
    pub fn new(values: impl Iterator<Item = (f32, bool)>, anomalous: usize, normal: usize) -> Self {
        let mut sorted = Self { anomalous: Vec::with_capacity(anomalous), normal: Vec::with_capacity(normal) };
        for (value, is_anomalous) in values {
            if is_anomalous { sorted.anomalous.push(key(value)) } else { sorted.normal.push(key(value)) }
        }
        sorted.anomalous.par_sort_unstable();
        sorted.normal.par_sort_unstable();
        sorted
    }

    /// The figures, every distinct value a threshold.
    pub fn rank(&self, epsilon: f64) -> Ranked {
        rank(self.levels(), self.anomalous.len() as u64, self.normal.len() as u64, epsilon)
    }

    /// Distinct values, largest first.
    pub fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        let (mut anomalous, mut normal) = (self.anomalous.as_slice(), self.normal.as_slice());
        std::iter::from_fn(move || {
            let largest = anomalous.last().copied().max(normal.last().copied())?;
            let (anomalous_had, normal_had) = (anomalous.len(), normal.len());
            for rest in [&mut anomalous, &mut normal] {
                while let Some((_, less)) = rest.split_last().filter(|(last, _)| **last == largest) {
                    *rest = less;
                }
            }
            Some(Level {
                value: value(largest),
                anomalous: (anomalous_had - anomalous.len()) as u64,
                normal: (normal_had - normal.len()) as u64,
            })
        })
    }

    /// Least and largest value.
    ///
    /// # Panics
    /// When there is no value at all.
    pub fn range(&self) -> (f32, f32) {
        let least = self.anomalous.first().into_iter().chain(self.normal.first()).min();
        let largest = self.anomalous.last().into_iter().chain(self.normal.last()).max();
        (value(*least.expect("a value")), value(*largest.expect("a value")))
    }
}

/// Unsigned integers in the order of the numbers. −0 and 0 are one value.
fn key(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The number of a [`key`].
fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order() {
        let values = [f32::MIN, -2.5, -f32::MIN_POSITIVE, 0.0, f32::MIN_POSITIVE, 0.1, 1.0, f32::MAX];
        assert!(values.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert!(values.iter().all(|&number| value(key(number)) == number));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn equal_values_are_one_level() {
        let values = [(0.5, true), (0.25, false), (0.5, false), (0.75, true), (0.25, false)];
        let sorted = Sorted::new(values.into_iter(), 2, 3);
        let levels: Vec<_> = sorted.levels().map(|level| (level.value, level.anomalous, level.normal)).collect();
        assert_eq!(levels, [(0.75, 1, 0), (0.5, 1, 1), (0.25, 0, 2)]);
        assert_eq!(sorted.range(), (0.25, 0.75));
    }
}
