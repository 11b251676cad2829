//! The product's memory of parts of the pool, without making it anew: its fusion is decided and used with distances that
//! are known already. [`same`] says how far that is from a memory that is really made.

use std::convert::Infallible;

use vcp_line::anomaly::{AnomalyMap, Prediction, StageTimes};
use vcp_line::calibrate::crossfit;
use vcp_line::line::recipe::Statistics;
use vcp_line::memory::fusion::{Fusion, Good};
use vcp_line::memory::{Learner, Settings};

use crate::distances::Distances;
use crate::pool::{Pool, SIDE, model};
use crate::recipe;

/// As many as the product compares with each other.
const COMPARED: usize = 32;
/// The memory's Gaussian is cut at so many standard deviations.
const TRUNCATE: f32 = 4.0;
/// Room for roundings.
const SLACK: f32 = 1e-3;

pub struct Simulated<'a> {
    pub pool: &'a Pool,
    pub distances: &'a Distances,
    /// The model's largest value over each cell between four patches, row by row, of each part.
    peaks: Vec<Vec<f32>>,
}

/// A memory that keeps every token of its parts.
pub struct Made {
    pub parts: Vec<usize>,
    fusion: Fusion,
    /// What [`Fusion`] says of itself, to know beforehand which parts need no exact look.
    means: Vec<f32>,
    middle: f32,
    peak: f32,
    sigma: f32,
}

impl<'a> Simulated<'a> {
    pub fn new(pool: &'a Pool, distances: &'a Distances) -> Self {
        let cell = |at: usize| at * (pool.grid - 1) / (pool.size - 1);
        let peaks = pool.parts.iter().map(|part| {
            let mut peaks = vec![0.0f32; pool.patches()];
            for (at, value) in part.map.iter().enumerate() {
                let peak = &mut peaks[cell(at / pool.size) * pool.grid + cell(at % pool.size)];
                *peak = value.max(*peak);
            }
            peaks
        });
        Self { pool, distances, peaks: peaks.collect() }
    }

    /// The statistic of a part to a memory that it is no part of, or to one that it is, as the naive would have it.
    pub fn statistics(&self, memory: &Made, part: usize) -> Statistics {
        let pooled = &self.pool.parts[part];
        let distances = self.distances.of(part, memory.parts.iter().copied());
        let (values, score) = memory.fusion.join(&distances, &pooled.map, self.pool.size, pooled.statistics.score);
        let map = AnomalyMap::new(self.pool.size, values);
        let joined = Prediction { map, score, times: StageTimes::default(), tokens: None };
        recipe().statistics(&joined, SIDE, SIDE).unwrap()
    }

    /// Whether the part's map reaches the threshold; most are so far below it that their smoothed maps need not be made.
    pub fn is_rejected(&self, memory: &Made, part: usize, threshold: f32) -> bool {
        let distances = self.distances.of(part, memory.parts.iter().copied());
        self.most(memory, part, &distances) >= threshold && self.statistics(memory, part).defect >= threshold
    }

    /// No pixel of the joined map is above this: within a cell neither the model's map is above its peak there, nor the
    /// memory's above the farthest patch within reach of the Gaussian.
    fn most(&self, memory: &Made, part: usize, distances: &[Vec<f32>]) -> f32 {
        let (grid, size) = (self.pool.grid, self.pool.size);
        let reach = (memory.sigma * TRUNCATE + 0.5) * (grid - 1) as f32 / (size - 1) as f32;
        let reach = reach.ceil() as usize;
        let mut patches = vec![0.0f32; grid * grid];
        for (distances, mean) in distances.iter().zip(&memory.means) {
            let share = 1.0 / (mean * memory.means.len() as f32);
            patches.iter_mut().zip(distances).for_each(|(sum, distance)| *sum += share * distance);
        }
        let span = |at: usize| at.saturating_sub(reach)..(at + reach + 2).min(grid);
        let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, f32::max);
        let across: Vec<f32> =
            (0..grid * grid).map(|at| largest(&mut span(at % grid).map(|x| patches[at / grid * grid + x]))).collect();
        let weights = memory.fusion.weights();
        let at_most = |at: usize| {
            let patch = largest(&mut span(at / grid).map(|y| across[y * grid + at % grid]));
            let above = (patch * (1.0 + SLACK) - memory.middle) / (memory.peak - memory.middle).max(1e-6);
            let p = self.peaks[part][at].clamp(1e-6, 1.0 - 1e-6);
            let odds = p * (above.max(0.05) / 1.5).powf(4.0 * weights.map);
            let fourth = above.max(0.0).powi(4);
            odds / (odds + 1.0 - p) + weights.alone * fourth / (fourth + 1.5f32.powi(4))
        };
        (0..grid * grid).map(at_most).fold(0.0, f32::max) * (1.0 + SLACK)
    }

    /// The largest difference of statistics between this and the product's memory of these parts, and whether no bound was
    /// broken.
    pub fn same(&self, parts: &[usize], later: &[usize]) -> f32 {
        let refs: Vec<&usize> = parts.iter().collect();
        let Ok(made) = crossfit::Learner::learn(self, &refs);
        let memory = product(self.pool, parts, parts.len());
        let size = (SIDE, SIDE);
        let difference = |&part: &usize| {
            let joined = memory.look(self.pool.prediction(part), size).unwrap();
            let exact = recipe().statistics(&joined, SIDE, SIDE).unwrap().defect;
            let distances = self.distances.of(part, parts.iter().copied());
            assert!(exact <= self.most(&made, part, &distances), "a part is passed over that would be rejected");
            (exact - self.statistics(&made, part).defect).abs()
        };
        later.iter().map(difference).fold(0.0, f32::max)
    }
}

/// A memory as `vcp-line learn` makes it.
pub fn product(pool: &Pool, parts: &[usize], pictures_of_tokens: usize) -> vcp_line::memory::Memory {
    let settings = Settings {
        model: model(),
        size: pool.size,
        sigma: pool.sigma,
        pictures_of_tokens,
        by: "commissioning".into(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let mut learner = Learner::new(settings);
    for part in parts {
        let prediction = pool.prediction(*part);
        learner.take(prediction.tokens.as_ref().unwrap(), prediction.score, (SIDE, SIDE)).unwrap();
    }
    learner.finish().unwrap()
}

impl crossfit::Learner for Simulated<'_> {
    type Part = usize;
    type Memory = Made;
    type Error = Infallible;

    fn learn(&self, parts: &[&usize]) -> Result<Made, Infallible> {
        let parts: Vec<usize> = parts.iter().map(|part| **part).collect();
        let others = |part: usize| parts.iter().copied().filter(move |other| *other != part);
        let good: Vec<Good> = parts
            .iter()
            .take(COMPARED)
            .map(|&part| {
                let distances = self.distances.of(part, others(part));
                Good { distances, score: self.pool.parts[part].statistics.score }
            })
            .collect();
        let fusion = Fusion::decide(&good, parts.len(), self.pool.grid, self.pool.size, self.pool.sigma);
        let said = serde_json::to_value(&fusion).unwrap();
        let number = |key: &str| said[key].as_f64().unwrap() as f32;
        let means = said["means"].as_array().unwrap().iter().map(|mean| mean.as_f64().unwrap() as f32).collect();
        let (middle, peak, sigma) = (number("middle"), number("peak"), number("sigma"));
        Ok(Made { parts, fusion, means, middle, peak, sigma })
    }

    fn judge(&self, memory: &Made, part: &usize) -> Result<Statistics, Infallible> {
        Ok(self.statistics(memory, *part))
    }
}
