//! How the memory's distances and the model's map become one map and one score: good parts decide.
//!
//! Both are opinions about the same pixel. The model's is a probability A; the memory's is how far the pixel lies above what
//! good parts reach when they are compared with each other, never with themselves. They are multiplied as experts are (a sum
//! of logarithms of odds; Hinton 2002), so that each can speak against the other, and the memory's word counts the more
//! the more good parts stand behind it.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::tokens::Joining;
use crate::vcp_clip::maps::{gaussian, smooth, upsampling};

/// Pixels of a map whose mean is its peak, as a share of all: 40 of 192×192.
const PEAK_SHARE: f32 = 0.0011;
/// A distance that is so many times as far above the middle as a good part's peak says nothing about the part.
const NEUTRAL: f32 = 1.5;
/// What lies below this is no better than what lies at it: nothing is so good that it proves a pixel good.
const FLOOR: f32 = 0.05;
/// The least spread of the model's scores of good parts that is believed.
const LEAST_DEVIATION: f32 = 0.05;
/// Spread of the model's scores of good parts at which the memory's own score gets half of the word.
const HALF_TRUST: f32 = 1.0;
/// Of one good part alone: how much farther its patches are expected to be from those of another part than from the nearest
/// patch of the same picture outside their neighbourhood. The middle of what 20 products show (1.2 … 27), hence [`ALONE`].
const ELSEWHERE: f32 = 6.0;
/// How much the word of one good part counts in the map.
const ALONE: f32 = 0.01;
/// No map is as wide as what this Gaussian smooths over.
const MOST_SIGMA: f32 = 1024.0;
/// Patches on each side of one that are too much like it to say how far another part's is.
pub(super) const NEIGHBOURHOOD: usize = 2;

/// What is known about one good part: its tokens against the memory without it, and the model's own score.
pub struct Good {
    /// Distances per tapped layer, N each. Of one part alone: to the nearest patch of the same picture that is no neighbour.
    pub distances: Vec<Vec<f32>>,
    /// The model's score, 0 … 2.
    pub score: f32,
}

/// How much the memory's word counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Exponent of the memory's odds in the map.
    pub map: f32,
    /// Height of what the memory alone finds.
    pub alone: f32,
    /// Exponent of the memory's odds in the score.
    pub score: f32,
    /// Share of the memory's own score.
    pub own: f32,
}

impl Weights {
    /// Of a memory of `parts` good ones, whose scores by the model spread by `deviation`.
    pub(super) fn of(parts: usize, deviation: f32) -> Self {
        if parts < 2 {
            return Self { map: ALONE, alone: 0.0, score: 0.0, own: 0.0 };
        }
        let parts = parts.min(16) as f32;
        let (growing, by_count) = (parts / (parts + 12.0), (parts - 1.0) / 15.0);
        let takeover = ((parts - 4.0) / 12.0).clamp(0.0, 1.0);
        let spread = deviation.max(LEAST_DEVIATION).powi(2);
        let own = takeover * spread / (spread + HALF_TRUST * HALF_TRUST);
        Self { map: 0.15 * by_count, alone: 0.02 * takeover, score: 0.35 * growing, own }
    }
}

/// Both maps on one scale, and what each is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fusion {
    grid: usize,
    /// Standard deviation of the Gaussian over the memory's map, pixels of the model's input.
    sigma: f32,
    /// Mean distance of good parts per tapped layer.
    means: Vec<f32>,
    /// Of good parts' maps: the middle of all pixels, and of their peaks.
    middle: f32,
    peak: f32,
    weights: Weights,
}

impl Fusion {
    /// Decides by what good parts look like: `good` are those that were compared, `parts` all that the memory is made of.
    /// `size` is the side S of the model's map, `sigma` its own Gaussian, pixels.
    pub fn decide(good: &[Good], parts: usize, grid: usize, size: usize, sigma: f32) -> Self {
        let alone = if parts < 2 { ELSEWHERE } else { 1.0 };
        let taps = good.first().map_or(0, |good| good.distances.len());
        let mean = |tap: usize| {
            let values = || good.iter().flat_map(move |good| good.distances[tap].iter().map(|&d| f64::from(d)));
            ((values().sum::<f64>() / values().count().max(1) as f64) as f32).max(1e-6)
        };
        let means: Vec<f32> = (0..taps).map(mean).collect();
        let scores: Vec<f32> = good.iter().map(|good| good.score).collect();
        let weights = Weights::of(parts, deviation(&scores));
        let mut fusion = Self { grid, sigma: sigma / 2.0, means, middle: 0.0, peak: 1.0, weights };
        let maps: Vec<Vec<f32>> = good.par_iter().map(|good| fusion.map(&good.distances, size)).collect();
        fusion.middle = median(maps.iter().flatten().copied().collect());
        fusion.peak = median(maps.iter().map(|map| peak(map)).collect());
        // Copies are at no distance from each other.
        fusion.peak = fusion.peak.max(1.05 * fusion.middle).max(fusion.middle + 1e-6);
        fusion.means.iter_mut().for_each(|mean| *mean *= alone);
        fusion
    }

    /// How much the memory's word counts.
    pub fn weights(&self) -> Weights {
        self.weights
    }

    /// Whether it was decided for this many patches and tapped layers, and by numbers that good parts can have.
    pub(super) fn fits(&self, grid: usize, taps: usize) -> bool {
        let Weights { map, alone, score, own } = self.weights;
        let shares = [map, alone, score, own].iter().all(|share| (0.0..=1.0).contains(share));
        let above_zero = |value: f32| value > 0.0 && value.is_finite();
        let scale = self.middle >= 0.0 && self.peak > self.middle && self.peak.is_finite();
        let sizes = self.grid == grid && self.means.len() == taps && (0.0..=MOST_SIGMA).contains(&self.sigma);
        sizes && scale && shares && self.means.iter().copied().all(above_zero)
    }

    /// The memory's map, `size`×`size`: root of the smoothed square of the distances, each relative to good parts'.
    fn map(&self, distances: &[Vec<f32>], size: usize) -> Vec<f32> {
        let share = 1.0 / distances.len().max(1) as f32;
        let mut patches = vec![0.0; self.grid * self.grid];
        for (distances, mean) in distances.iter().zip(&self.means) {
            patches.iter_mut().zip(distances).for_each(|(sum, distance)| *sum += share * distance / mean);
        }
        patches.iter_mut().for_each(|value| *value *= *value);
        let taps = upsampling(self.grid, size);
        let at = |x: usize, y: usize| patches[y * self.grid + x];
        let mut map = Vec::with_capacity(size * size);
        for &(y, down) in &taps {
            let below = (y + 1).min(self.grid - 1);
            for &(x, right) in &taps {
                let next = (x + 1).min(self.grid - 1);
                let upper = at(x, y) + right * (at(next, y) - at(x, y));
                let lower = at(x, below) + right * (at(next, below) - at(x, below));
                map.push(upper + down * (lower - upper));
            }
        }
        let mut map = smooth(&map, size, &gaussian(self.sigma));
        map.iter_mut().for_each(|value| *value = value.max(0.0).sqrt());
        map
    }

    /// How far above the middle, in units of a good part's peak.
    fn above(&self, value: f32) -> f32 {
        (value - self.middle) / self.reach()
    }

    fn reach(&self) -> f32 {
        (self.peak - self.middle).max(1e-6)
    }

    /// The numbers of [`Self::join`] for maps of side `size`, for a card that does the same.
    pub fn joining(&self, size: usize) -> Joining<'_> {
        let Weights { map: map_exponent, alone, score: score_exponent, own } = self.weights;
        Joining {
            means: &self.means,
            sigma: self.sigma,
            middle: self.middle,
            reach: self.reach(),
            neutral: NEUTRAL,
            floor: FLOOR,
            top: peak_pixels(size * size),
            map_exponent,
            alone,
            score_exponent,
            own,
        }
    }

    /// The fused map, S×S with S = `size`, and the fused score.
    pub fn join(&self, distances: &[Vec<f32>], map: &[f32], size: usize, score: f32) -> (Vec<f32>, f32) {
        let (fused, above) = self.join_map(distances, map, size);
        (fused, self.join_score(score, above))
    }

    /// The fused map, and how far the peak of the memory's own lies above the middle, in units of a good part's.
    pub fn join_map(&self, distances: &[Vec<f32>], map: &[f32], size: usize) -> (Vec<f32>, f32) {
        let Weights { map: exponent, alone, .. } = self.weights;
        let memory = self.map(distances, size);
        let mut fused = vec![0.0; map.len()];
        let rows = fused.par_chunks_mut(size).zip(map.par_chunks(size)).zip(memory.par_chunks(size));
        rows.for_each(|((fused, map), memory)| {
            for ((fused, &model), &memory) in fused.iter_mut().zip(map).zip(memory) {
                let above = self.above(memory);
                let fourth = above.max(0.0).powi(4);
                let found = alone * fourth / (fourth + NEUTRAL.powi(4));
                *fused = (multiplied(model, exponent, above) + found).clamp(0.0, 1.0);
            }
        });
        (fused, self.above(peak(&memory)))
    }

    /// The fused score of a part whose memory's peak is so far `above` the middle.
    pub fn join_score(&self, score: f32, above: f32) -> f32 {
        let Weights { score: of_score, own, .. } = self.weights;
        let together = multiplied(score / 2.0, of_score, above);
        let of_memory = above.max(0.0) / (above.max(0.0) + 2.0);
        let score = 2.0 * ((1.0 - own) * together + own * of_memory);
        score.clamp(0.0, 2.0)
    }
}

/// A probability whose odds are multiplied by the memory's, to the power of 4·`exponent`.
fn multiplied(probability: f32, exponent: f32, above: f32) -> f32 {
    let p = probability.clamp(1e-6, 1.0 - 1e-6);
    let odds = p * (above.max(FLOOR) / NEUTRAL).powf(4.0 * exponent);
    odds / (odds + 1.0 - p)
}

/// Pixels whose mean is the peak, of so many.
fn peak_pixels(all: usize) -> usize {
    ((all as f32 * PEAK_SHARE).round() as usize).clamp(1, all.max(1))
}

/// Mean of the largest values.
fn peak(map: &[f32]) -> f32 {
    let count = peak_pixels(map.len());
    let mut values = map.to_vec();
    if count < values.len() {
        values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    }
    values.iter().take(count).sum::<f32>() / count as f32
}

fn median(mut values: Vec<f32>) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Sample standard deviation; 0 of fewer than two.
fn deviation(values: &[f32]) -> f32 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f32>();
    (squares / (values.len() - 1) as f32).sqrt()
}
