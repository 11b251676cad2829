//! Chance that can be repeated: numbers that depend on a seed and on what they are for, not on when they are drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of random numbers.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream for `purpose` under `seed`; `purpose` might be (what, step, item).
    pub fn new(seed: u64, purpose: [u64; 3]) -> Self {
        let mut key = [0; 32];
        let words = [seed, purpose[0], purpose[1], purpose[2]];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in 0 … 1, 1 excluded.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `low` … `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0 … `count` − 1; `count` is at least 1 and far below 2³².
    pub fn below(&mut self, count: usize) -> usize {
        ((u64::from(self.0.next_u32()) * count as u64) >> 32) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let unit = |dice: &mut Self| ((f64::from(dice.0.next_u32()) + 0.5) / f64::from(u32::MAX)).min(1.0);
        let radius = (-2.0 * unit(self).ln()).sqrt();
        radius * (std::f64::consts::TAU * unit(self)).cos()
    }
}
