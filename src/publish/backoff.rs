//! How long to wait before the next connection attempt: doubling, with jitter, so that a plant full of lines does not
//! knock at a restarted broker in step.

use std::time::Duration;

/// Doubling pauses between `min` and `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `min`; `min` is raised to 10 ms so that a failing attempt never spins, `max` to at least `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(10));
        Self { min, max: max.max(min), next: min }
    }

    /// The next pause, between half of it and all of it as `random` decides.
    pub fn pause(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.max);
        let share = (random >> 11) as f64 / (1u64 << 53) as f64;
        whole.mul_f64(0.5 + 0.5 * share)
    }

    /// A connection was accepted: the next failure starts again at the shortest pause.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let pauses: Vec<_> = (0..4).map(|_| backoff.pause(u64::MAX).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.pause(0), Duration::from_millis(50), "jitter takes at most half away");
    }

    #[test]
    fn a_zero_pause_is_not_possible() {
        assert!(Backoff::new(Duration::ZERO, Duration::ZERO).pause(0) >= Duration::from_millis(5));
    }
}
