//! Chance that can be repeated: streams of numbers that depend on a seed and on what they are for, not on when they are
//! drawn nor on the machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

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

    /// The stream of a synthetic picture for these labels under `seed`. Streams with different labels are independent
    /// of each other.
    pub fn labelled(labels: &[&str], seed: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"vcp-line synth");
        for label in labels {
            hash.update([0]);
            hash.update(label.as_bytes());
        }
        hash.update([0]);
        hash.update(seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// A seed for something that makes its own numbers.
    pub fn seed(&mut self) -> u32 {
        self.0.next_u32()
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

    /// Any of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One or minus one.
    pub fn sign(&mut self) -> f32 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let unit = |dice: &mut Self| ((f64::from(dice.0.next_u32()) + 0.5) / f64::from(u32::MAX)).min(1.0);
        let radius = (-2.0 * unit(self).ln()).sqrt();
        radius * (std::f64::consts::TAU * unit(self)).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_own_and_the_same_every_time() {
        let first = |mut dice: Dice| [dice.seed(), dice.seed()];
        assert_eq!(first(Dice::new(1, [2, 3, 4])), first(Dice::new(1, [2, 3, 4])));
        assert_ne!(first(Dice::new(1, [2, 3, 4])), first(Dice::new(1, [2, 3, 5])));
        assert_ne!(first(Dice::labelled(&["a", "b"], 1)), first(Dice::labelled(&["ab"], 1)));
        assert_ne!(first(Dice::labelled(&["a"], 1)), first(Dice::labelled(&["a"], 2)));
    }
}
