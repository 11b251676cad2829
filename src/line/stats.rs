//! How long verdicts take: counters and histograms of fixed size, whatever the line's age.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Latency, VerdictWord};
use crate::verdict::NoVerdictReason;

/// Buckets per doubling: a percentile is at most 1/32, about 3 %, above the true value.
const STEPS: u64 = 32;
/// Below this many microseconds every value has its own bucket; the upper end is far above any deadline.
const BUCKETS: usize = (STEPS as usize) * 28;

/// Durations counted in logarithmic buckets of microseconds, up to about an hour; 7 KiB.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: Duration,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0, sum: Duration::ZERO, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, value: Duration) {
        self.counts[bucket(value)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together, exact.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// How many are at most this, as fine as the buckets.
    pub fn at_most(&self, value: Duration) -> u64 {
        self.counts[..=bucket(value)].iter().sum()
    }

    /// Longest duration, exact.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// Arithmetic mean, exact; zero when nothing was counted.
    pub fn mean(&self) -> Duration {
        u32::try_from(self.count).ok().filter(|&n| n > 0).map_or(Duration::ZERO, |n| self.sum / n)
    }

    /// The smallest bucket end that `share` (0 … 1) of all durations do not exceed: 0.5 is the median. Zero when
    /// nothing was counted.
    pub fn percentile(&self, share: f64) -> Duration {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= wanted && n > 0 {
                return upper_end(index).min(self.max);
            }
        }
        Duration::ZERO
    }
}

/// Values below `2 × STEPS` µs map to themselves; above, the leading five bits after the first choose the bucket.
fn bucket(value: Duration) -> usize {
    let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    if us < 2 * STEPS {
        return us as usize;
    }
    let shift = u64::from(us.ilog2() - STEPS.ilog2());
    ((shift * STEPS + (us >> shift)) as usize).min(BUCKETS - 1)
}

fn upper_end(index: usize) -> Duration {
    let index = index as u64;
    if index < 2 * STEPS {
        return Duration::from_micros(index);
    }
    let shift = index / STEPS - 1;
    let leading = index - shift * STEPS;
    Duration::from_micros(((leading + 1) << shift) - 1)
}

/// A reason as events write it.
pub fn reason_word(reason: NoVerdictReason) -> String {
    serde_json::to_value(reason).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What the line has done since its start.
#[derive(Clone, Debug, Default)]
pub struct LineStats {
    /// Verdict `pass`.
    pub pass: u64,
    /// Verdict `fail`.
    pub fail: u64,
    /// Verdict `no_verdict`, for whatever reason.
    pub no_verdict: u64,
    /// The same by camera and reason.
    pub verdicts: HashMap<(Arc<str>, VerdictWord, Option<NoVerdictReason>), u64>,
    /// Parts and free-running frames refused because the way out was full or closed; none of them is owed an event.
    pub refused: u64,
    /// Calls of the engine.
    pub batches: u64,
    /// Calls of the engine that failed.
    pub failed_batches: u64,
    /// Capture until the inference thread took the frame.
    pub queue: Histogram,
    /// Resize and normalisation, per frame.
    pub preprocess: Histogram,
    /// The network, per frame.
    pub inference: Histogram,
    /// Maps, regions and recipe, per frame.
    pub postprocess: Histogram,
    /// Capture until the event was handed on.
    pub total: Histogram,
}

impl LineStats {
    /// Events of all verdicts.
    pub fn events(&self) -> u64 {
        self.pass + self.fail + self.no_verdict
    }

    /// Counts the stages of one inspected frame.
    pub fn record(&mut self, latency: &Latency) {
        let ms = |ms: f64| Duration::from_secs_f64((ms / 1e3).max(0.0));
        self.queue.record(ms(latency.queue));
        self.preprocess.record(ms(latency.preprocess));
        self.inference.record(ms(latency.inference));
        self.postprocess.record(ms(latency.postprocess));
        self.total.record(ms(latency.total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_stay_within_their_bucket() {
        let mut histogram = Histogram::default();
        for us in 1..=100_000 {
            histogram.record(Duration::from_micros(us));
        }
        for share in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = 100_000.0 * share;
            let got = histogram.percentile(share).as_micros() as f64;
            assert!(got >= exact && got <= exact * (1.0 + 1.0 / 32.0), "{share}: {got} for {exact}");
        }
        assert_eq!(histogram.mean(), Duration::from_nanos(50_000_500));
        assert_eq!(histogram.max(), Duration::from_millis(100));
    }

    #[test]
    fn buckets_are_contiguous() {
        for index in 1..BUCKETS {
            let end = upper_end(index);
            assert_eq!(bucket(end), index);
            assert_eq!(bucket(upper_end(index - 1) + Duration::from_micros(1)), index);
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert!(upper_end(BUCKETS - 1) > Duration::from_secs(3600));
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(Histogram::default().percentile(0.99), Duration::ZERO);
        assert_eq!(Histogram::default().mean(), Duration::ZERO);
    }
}
