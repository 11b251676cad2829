//! How many parts pass between two false alarms of an EWMA chart, and the limit that makes them as many as wanted.
//!
//! The chart is a Markov chain over intervals of its statistic (Brook and Evans 1972; for the EWMA Lucas and Saccucci 1990,
//! Technometrics 32, 1–12), whose mean time to absorption is the average run length. What good parts do not tell exactly, mean,
//! deviation and correlation, is taken as unfavourable as it may be with 95 % confidence each, so that the run length is
//! that of the line and not only of those parts (Albers and Kallenberg 2004; Gandy and Kvaløy 2013).

use super::chart::WEIGHT;

/// Normal scores are cut off here.
pub const CLIP: f64 = 2.5;
/// Limits beyond this share of [`CLIP`] are not reached in time by anything.
const REACHED: f64 = 0.8;
/// Intervals of the chart's statistic; odd, so that one has its middle at 0.
const STATES: usize = 121;
/// Standard normal quantile of 95 %.
const CONFIDENT: f64 = 1.644_854;

/// How well the good parts tell what a measure does on the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knowledge {
    /// Good parts.
    pub parts: usize,
    /// Correlation of scores that follow each other, 0 … 1 (1 excluded).
    pub correlation: f64,
}

impl Knowledge {
    /// From the normal scores of good parts in the order in which they came. A correlation that may be chance counts as
    /// none; parts that repel each other lengthen the run length and count as none, too.
    pub fn of(scores: &[f64]) -> Self {
        let parts = scores.len();
        let mean = scores.iter().sum::<f64>() / parts.max(1) as f64;
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        let products: f64 = scores.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
        // Its bias over so many parts is about −1 / n.
        let found = if squares > 0.0 { products / squares + 1.0 / parts as f64 } else { 0.0 };
        let certain = found > CONFIDENT / (parts.max(1) as f64).sqrt();
        Self { parts, correlation: if certain { found.clamp(0.0, 0.99) } else { 0.0 } }
    }

    /// How far the mean may be off, in deviations: Student's quantile over the square root of as many independent parts as
    /// these are worth (first-order autoregression).
    fn offset(&self) -> f64 {
        let worth = self.parts as f64 * (1.0 - self.correlation) / (1.0 + self.correlation);
        let (degrees, z) = ((worth - 1.0).max(1.0), CONFIDENT);
        let student = z
            + (z.powi(3) + z) / (4.0 * degrees)
            + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * degrees * degrees);
        student / worth.max(1.0).sqrt()
    }

    /// By what factor the deviation may be larger (chi-squared quantile after Wilson and Hilferty 1931).
    fn factor(&self) -> f64 {
        let degrees = (self.parts as f64 - 1.0).max(1.0);
        let share = 2.0 / (9.0 * degrees);
        let cube = (1.0 - share - CONFIDENT * share.sqrt()).max(0.05);
        cube.powi(3).recip().sqrt()
    }

    /// By what factor correlation widens the chart's statistic: that of first-order autoregression (Schmid 1997).
    fn widening(&self) -> f64 {
        let carried = self.correlation * (1.0 - WEIGHT);
        ((1.0 + carried) / (1.0 - carried)).sqrt()
    }
}

/// The limit with which a false alarm comes once in `wanted` parts on average, in deviations; `None` when no change could be
/// told from chance with it: there are too few parts, or they depend on each other too much.
pub fn limit(knowledge: &Knowledge, wanted: f64) -> Option<f64> {
    let (mut low, mut high) = (0.0, REACHED * CLIP);
    if run_length(high, knowledge) < wanted {
        return None;
    }
    // To a thousandth of a deviation.
    while high - low > 1e-3 {
        let middle = 0.5 * (low + high);
        if run_length(middle, knowledge) < wanted { low = middle } else { high = middle }
    }
    Some(high)
}

/// Average number of good parts until a chart that begins at 0 passes `limit`, which is more than 0.
pub fn run_length(limit: f64, knowledge: &Knowledge) -> f64 {
    average(limit, knowledge.offset(), knowledge.factor(), knowledge.widening())
}

/// The same where scores have this mean and deviation; cut off, then widened.
fn average(limit: f64, mean: f64, deviation: f64, widening: f64) -> f64 {
    let width = 2.0 * limit / STATES as f64;
    let edge = |state: usize| state as f64 * width - limit;
    // Probability that a score lies below.
    let below = |score: f64| match score / widening {
        score if score <= -CLIP => 0.0,
        score if score > CLIP => 1.0,
        score => normal((score - mean) / deviation),
    };
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(STATES);
    for from in 0..STATES {
        let kept = (1.0 - WEIGHT) * (edge(from) + 0.5 * width);
        let mut before = below((edge(0) - kept) / WEIGHT);
        let mut row = Vec::with_capacity(STATES + 1);
        for to in 0..STATES {
            let through = below((edge(to + 1) - kept) / WEIGHT);
            row.push(f64::from(u8::from(from == to)) - (through - before));
            before = through;
        }
        row.push(1.0);
        rows.push(row);
    }
    solved(rows).map_or(f64::INFINITY, |lengths| lengths[STATES / 2]).max(1.0)
}

/// Gauss's elimination; the matrix is diagonally dominant, so that no pivot is sought. `None` where absorption is so rare that
/// doubles cannot tell it from never.
fn solved(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let count = rows.len();
    for pivot in 0..count {
        let (above, rest) = rows.split_at_mut(pivot + 1);
        let row = &above[pivot];
        if row[pivot] < 1e-13 {
            return None;
        }
        for other in rest {
            let factor = other[pivot] / row[pivot];
            if factor != 0.0 {
                other[pivot..].iter_mut().zip(&row[pivot..]).for_each(|(value, from)| *value -= factor * from);
            }
        }
    }
    let mut solution = vec![0.0; count];
    for at in (0..count).rev() {
        let known: f64 = (at + 1..count).map(|column| rows[at][column] * solution[column]).sum();
        solution[at] = (rows[at][count] - known) / rows[at][at];
    }
    solution.iter().all(|length| length.is_finite() && *length > 0.0).then_some(solution)
}

/// Standard normal distribution function.
pub(super) fn normal(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Standard normal quantile: Wichura 1988 (AS 241, PPND7), seven digits.
pub(super) fn normal_quantile(probability: f64) -> f64 {
    let q = probability - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * (((59.109_374_72 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9)
            / (((67.187_563_6 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0);
    }
    let tail = if q < 0.0 { probability } else { 1.0 - probability };
    let r = (-tail.max(f64::MIN_POSITIVE).ln()).sqrt();
    let value = if r <= 5.0 {
        let r = r - 1.6;
        (((0.170_238_21 * r + 1.306_728_481_6) * r + 2.756_815_39) * r + 1.423_437_277_7)
            / ((0.120_211_328 * r + 0.737_001_642_50) * r + 1.0)
    } else {
        let r = r - 5.0;
        (((0.017_337_203_997 * r + 0.428_682_948_37) * r + 3.081_226_385_7) * r + 6.657_905_115_0)
            / ((0.012_258_202_635 * r + 0.241_978_942_25) * r + 1.0)
    };
    if q < 0.0 { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    const SURE: Knowledge = Knowledge { parts: 1_000_000_000, correlation: 0.0 };

    #[test]
    fn quantiles_and_distribution_undo_each_other() {
        for p in [1e-6, 0.001, 0.07, 0.075, 0.3, 0.5, 0.9, 0.999_9] {
            assert!((normal(normal_quantile(p)) - p).abs() < 1e-6 * (p / 1e-3).min(1.0), "{p}");
        }
    }

    /// Lucas and Saccucci 1990, table of average run lengths: weight 0.05, limit 2.615 deviations of the statistic gives 500
    /// in control. They do not cut scores off, which at 2.5 makes runs longer.
    #[test]
    fn run_lengths_are_those_of_the_literature() {
        let deviation = (WEIGHT / (2.0 - WEIGHT)).sqrt();
        let found = average(2.615 * deviation, 0.0, 1.0, 1.0);
        assert!((470.0..600.0).contains(&found), "{found}");
    }

    #[test]
    fn run_lengths_are_those_of_a_simulation() {
        for (limit, offset, factor) in [(0.6, 0.0, 1.0), (0.5, 0.1, 1.1), (1.0, 0.5, 1.2)] {
            let computed = average(limit, offset, factor, 1.0);
            let mut dice = Dice::new(9, [4, 4, 4]);
            let runs = 1500;
            let mut parts = 0u64;
            for _ in 0..runs {
                let mut statistic: f64 = 0.0;
                while statistic.abs() < limit {
                    let score = (offset + factor * dice.normal()).clamp(-CLIP, CLIP);
                    statistic += WEIGHT * (score - statistic);
                    parts += 1;
                }
            }
            let simulated = parts as f64 / f64::from(runs);
            assert!((computed / simulated - 1.0).abs() < 0.1, "limit {limit}: {computed}, simulated {simulated}");
        }
    }

    #[test]
    fn fewer_parts_have_wider_limits_and_too_few_none() {
        let limits: Vec<Option<f64>> = [2, 10, 50, 100, 300, 1000]
            .into_iter()
            .map(|parts| limit(&Knowledge { parts, correlation: 0.0 }, 1e6))
            .collect();
        assert_eq!(limits[0], None, "{limits:?}");
        assert!(limits[1..].windows(2).all(|pair| pair[0] > pair[1]), "{limits:?}");
        let sure = limit(&SURE, 1e6).expect("a limit");
        assert!(limits[5].is_some_and(|limit| limit < 1.2 * sure), "{limits:?}, {sure}");
        let correlated = limit(&Knowledge { parts: 300, correlation: 0.5 }, 1e6);
        assert!(correlated > limits[4], "{correlated:?}");
        assert_eq!(limit(&Knowledge { parts: 300, correlation: 0.95 }, 1e6), None);
    }

    #[test]
    fn correlation_is_found_in_what_is_correlated() {
        let mut dice = Dice::new(5, [1, 1, 1]);
        let mut last = 0.0;
        let mut scores = |phi: f64| -> Vec<f64> {
            let mut next = || {
                last = phi * last + (1.0 - phi * phi).sqrt() * dice.normal();
                last
            };
            (0..300).map(|_| next()).collect()
        };
        assert!((Knowledge::of(&scores(0.6)).correlation - 0.6).abs() < 0.15);
        assert_eq!(Knowledge::of(&scores(-0.5)).correlation, 0.0);
        assert_eq!(Knowledge::of(&[0.0; 30]).correlation, 0.0);
    }
}
