//! How the memory's distances and the model's map become one map and one score: good parts decide.

use serde::{Deserialize, Serialize};

use crate::vcp_clip::maps::{gaussian, smooth, upsampling};

/// What is known about one good part: its tokens against the memory without it, and the model's own answer.
pub struct Good<'a> {
    /// Distances per tapped layer, N each.
    pub distances: Vec<Vec<f32>>,
    /// The model's map, S×S.
    pub map: &'a [f32],
    /// The model's score.
    pub score: f32,
}

/// Distances of good parts at one tapped layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Their mean.
    pub mean: f32,
    /// Their standard deviation.
    pub deviation: f32,
}

/// Both maps on one scale, and what each is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fusion {
    grid: usize,
    taps: Vec<Scale>,
    peak: f32,
    weight: f32,
}

impl Fusion {
    /// Decides by what good parts look like.
    pub fn decide(good: &[Good<'_>], grid: usize) -> Self {
        let taps = good.first().map_or(0, |good| good.distances.len());
        let scale = |tap: usize| {
            let values = || good.iter().flat_map(move |good| good.distances[tap].iter().map(|&d| f64::from(d)));
            let count = values().count().max(1) as f64;
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            Scale { mean: mean as f32, deviation: (variance.sqrt() as f32).max(1e-6) }
        };
        let mut fusion = Self { grid, taps: (0..taps).map(scale).collect(), peak: 1.0, weight: 0.1 };
        let size = good.first().map_or(1, |good| good.map.len().isqrt());
        let peaks = good.iter().map(|good| fusion.map(&good.distances, size).into_iter().fold(f32::MIN, f32::max));
        fusion.peak = peaks.fold(1.0, f32::max);
        fusion
    }

    /// Whether it was decided for this many patches and tapped layers.
    pub(super) fn fits(&self, grid: usize, taps: usize) -> bool {
        self.grid == grid && self.taps.len() == taps
    }

    fn map(&self, distances: &[Vec<f32>], size: usize) -> Vec<f32> {
        let share = 1.0 / distances.len() as f32;
        let mut patches = vec![0.0; self.grid * self.grid];
        for (distances, scale) in distances.iter().zip(&self.taps) {
            for (sum, distance) in patches.iter_mut().zip(distances) {
                *sum += share * (distance - scale.mean) / scale.deviation;
            }
        }
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
        smooth(&map, size, &gaussian(8.0 * size as f32 / 192.0))
    }

    /// The fused map, S×S with S = `size`, and the fused score.
    pub fn join(&self, distances: &[Vec<f32>], map: &[f32], size: usize, score: f32) -> (Vec<f32>, f32) {
        let memory = self.map(distances, size);
        let above = |value: f32| self.weight * (value / self.peak - 1.0).max(0.0);
        let fused = map.iter().zip(&memory).map(|(&map, &memory)| (map + above(memory)).min(1.0)).collect();
        let peak = memory.iter().copied().fold(f32::MIN, f32::max);
        (fused, (score + 2.0 * above(peak)).min(2.0))
    }
}
