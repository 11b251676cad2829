//! One measure put on a scale on which good parts are standard normal, whatever their distribution is.

use serde::{Deserialize, Serialize};

use super::run_length::{CLIP, normal_quantile};

/// Quantiles that are kept of good parts.
const KNOTS: usize = 64;
/// Half the quartiles' distance of a standard normal variable.
const QUARTILE: f64 = 0.674_490;

/// Quantiles of a measure over good parts: the `j`-th of `m` is that of probability (j − ½) / m, j = 1 … m.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Standard(Vec<f32>);

impl Standard {
    /// From values of good parts; those that are no finite number are left out. `None` without any.
    pub fn of(values: &[f32]) -> Option<Self> {
        let mut sorted: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f32::total_cmp);
        let knots = sorted.len().min(KNOTS);
        let knot = |j: usize| between(&sorted, (j as f64 + 0.5) / knots as f64 * sorted.len() as f64 - 0.5);
        (knots > 0).then(|| Self((0..knots).map(knot).collect()))
    }

    /// Whether it can be used: finite and ascending, as a file may hold anything.
    pub fn is_sound(&self) -> bool {
        let sound = |pair: &[f32]| pair[0] <= pair[1];
        !self.0.is_empty() && self.0.iter().all(|value| value.is_finite()) && self.0.windows(2).all(sound)
    }

    /// The median.
    pub fn median(&self) -> f32 {
        self.at(0.5)
    }

    /// One deviation, from the quartiles.
    pub fn deviation(&self) -> f32 {
        (self.at(0.75) - self.at(0.25)) / (2.0 * QUARTILE) as f32
    }

    fn at(&self, probability: f64) -> f32 {
        between(&self.0, probability * self.0.len() as f64 - 0.5)
    }

    /// The normal score of a value: that of its rank among good parts, beyond the outermost by deviations. At most as far
    /// from 0 as the value is from the median in units of `least`, and never farther than [`CLIP`], so that a single part
    /// that is quite different has no more weight than one that is rather different.
    pub fn score(&self, value: f32, least: f32) -> f64 {
        let (knots, last) = (&self.0, self.0.len() - 1);
        let normal = |knot: usize| normal_quantile((knot as f64 + 0.5) / knots.len() as f64);
        let deviation = f64::from(self.deviation().max(least));
        let from_median = f64::from(value) - f64::from(self.median());
        let below = knots.partition_point(|knot| *knot < value);
        let through = knots.partition_point(|knot| *knot <= value);
        let ranked = if below < through {
            // The mean rank of equal values.
            0.5 * (normal(below) + normal(through - 1))
        } else if below == 0 {
            normal(0) + f64::from(value - knots[0]) / deviation
        } else if below > last {
            normal(last) + f64::from(value - knots[last]) / deviation
        } else {
            let (low, high) = (knots[below - 1], knots[below]);
            let share = f64::from(value - low) / f64::from(high - low);
            normal(below - 1) + share * (normal(below) - normal(below - 1))
        };
        let most = (from_median.abs() / f64::from(least)).min(CLIP);
        let score = if ranked * from_median > 0.0 { ranked.clamp(-most, most) } else { 0.0 };
        if score.is_nan() { 0.0 } else { score }
    }
}

/// The value at a place between elements, at the nearest end beyond them.
fn between(sorted: &[f32], place: f64) -> f32 {
    let last = sorted.len() - 1;
    let place = place.clamp(0.0, last as f64);
    let (low, share) = (place as usize, place.fract() as f32);
    sorted[low] + share * (sorted[(low + 1).min(last)] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn scores_of_any_distribution_are_standard_normal() {
        type Shape = (&'static str, fn(f64) -> f64);
        let shapes: [Shape; 4] = [
            ("normal", |z| z),
            ("skewed", |z| (1.2 * z).exp()),
            ("heavy tails", |z| z * z * z),
            ("two kinds", |z| if z > 0.3 { 10.0 + z } else { z }),
        ];
        for (name, shape) in shapes {
            let mut dice = Dice::new(3, [1, 0, 0]);
            let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| shape(dice.normal()) as f32).collect() };
            let standard = Standard::of(&draw(300)).expect("values");
            let scores: Vec<f64> = draw(20_000).into_iter().map(|value| standard.score(value, 1e-6)).collect();
            let mean = scores.iter().sum::<f64>() / 20_000.0;
            let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / 20_000.0;
            assert!(mean.abs() < 0.15, "{name}: mean {mean}");
            assert!((0.8..1.2).contains(&variance), "{name}: variance {variance}");
        }
    }

    #[test]
    fn small_steps_and_odd_values_count_little() {
        let equal = Standard::of(&[3.0; 40]).expect("values");
        assert_eq!(equal.score(3.0, 0.01), 0.0);
        assert!((equal.score(3.005, 0.01) - 0.5).abs() < 1e-3, "half of the least deviation");
        assert_eq!(equal.score(-1e30, 0.01), -CLIP);
        assert_eq!(equal.score(f32::NAN, 0.01), 0.0);
        let two = Standard::of(&[1.0, 2.0]).expect("values");
        assert!(two.score(1.5, 0.001).abs() < 1e-6);
        assert!(Standard::of(&[f32::NAN]).is_none() && !Standard(vec![2.0, 1.0]).is_sound());
    }
}
