//! Chance that falls the same way on every machine: one stream of numbers per picture and purpose.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// A stream of numbers that depends on its labels and the seed alone.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// Streams with different labels are independent of each other.
    pub fn new(labels: &[&str], seed: u64) -> Self {
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

    /// For the lattices of [`super::field`].
    pub fn seed(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 0 up to, not including, 1.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// 0 up to, not including, `count`, which is small.
    pub fn below(&mut self, count: usize) -> usize {
        ((u64::from(self.0.next_u32()) * count as u64) >> 32) as usize
    }

    pub fn chance(&mut self, share: f32) -> bool {
        self.unit() < share
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One or minus one.
    pub fn sign(&mut self) -> f32 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }
}
