//! What all servers of an engine are held to, and how long their answers usually take.

use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prost::bytes::Bytes;

use super::spec::RemoteSpec;
use crate::engine::choice::Precision;
use crate::engine::expected::Expected;

/// Answers from which the usual time is told.
const KEPT: usize = 128;
/// Fewer of them say nothing.
const ENOUGH: usize = 16;
/// Nine tenths of answers take less than this times the ninth tenth; a second server is asked then.
const PATIENCE: f64 = 1.25;
/// No second server is asked sooner.
const SOONEST: Duration = Duration::from_millis(5);
/// Bytes of an answer besides map and score, per value of a map: paths and tokens.
const BYTES_PER_VALUE: usize = 64;

pub(super) struct Shared {
    pub spec: RemoteSpec,
    /// `NAME-SHA8`.
    pub model: String,
    /// S.
    pub side: usize,
    /// What was asked for; with `auto` each server is held to what it says of itself.
    pub precision: Precision,
    /// That of the first server that was fit.
    pub found: OnceLock<Precision>,
    /// The picture of the self-test, of the model's size.
    pub self_test: Bytes,
    pub expected: Expected,
    /// Times of the newest answers.
    pub usual: Usual,
}

impl Shared {
    /// Bytes of the largest answer.
    pub fn most_bytes(&self) -> usize {
        self.side * self.side * BYTES_PER_VALUE + (1 << 20)
    }
}

/// Times of the newest answers.
#[derive(Default)]
pub(super) struct Usual(Mutex<VecDeque<Duration>>);

impl Usual {
    pub fn add(&self, took: Duration) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(took);
    }

    /// When a second server is asked: an answer that takes so long is among the slowest tenth.
    pub fn slow(&self) -> Option<Duration> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < ENOUGH {
            return None;
        }
        let mut sorted: Vec<Duration> = kept.iter().copied().collect();
        sorted.sort_unstable();
        // The largest of the other nine tenths, with some patience.
        Some(sorted[sorted.len() * 9 / 10 - 1].mul_f64(PATIENCE).max(SOONEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_tenth_is_slow() {
        let usual = Usual::default();
        for ms in 1..=15 {
            usual.add(Duration::from_millis(ms));
        }
        assert_eq!(usual.slow(), None);
        for ms in 1..=200 {
            usual.add(Duration::from_millis(10 + u64::from(ms % 10 == 0) * 90));
        }
        assert_eq!(usual.slow(), Some(Duration::from_micros(12_500)));
    }
}
