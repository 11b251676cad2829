//! What n good parts can promise: false-reject rates that order statistics bound with an exact confidence.
//!
//! Statistics of n independent parts are in an order that does not depend on how they are distributed. A threshold just
//! above the (j + 1)-th largest rejects a next part with a probability that is above α with a chance of
//! P(Bin(n, α) ≤ j), for continuous distributions; ties make it smaller (Wilks 1941; Scheffé and Tukey 1945). So j is the
//! largest number for which that chance is at most 1 − confidence: 59 parts with none over promise 5 % at 95 %, 299
//! promise 1 %. Two thresholds cut off blocks one after the other, whose probabilities add up as if they were one cut of
//! as many blocks (Tukey 1947 and 1948).

use serde::{Deserialize, Serialize};

use crate::line::recipe::Statistics;

/// Promises that a next one is chosen from.
const LADDER: [f64; 9] = [0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0001];
/// Nobody collects more.
const MOST_PARTS: usize = 1 << 32;

/// A wanted promise: at most this rate of good parts rejected, with this confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    false_rejects: f64,
    confidence: f64,
}

/// Whether the parts are independent of what judges them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// They are: the confidence is exact, whatever the distribution.
    Exact,
    /// The same parts have made the memory, each judged by what the others have made: the statistics depend on each other.
    Approximate,
}

/// What was promised of a threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Good parts that it rests on.
    pub parts: usize,
    /// The wanted rate α.
    pub false_rejects: f64,
    /// 1 − δ.
    pub confidence: f64,
    /// How many of the parts were allowed to be rejected.
    pub may_be_over: usize,
    /// How many of them are.
    pub over: usize,
    /// The false-reject rate that is promised: at most α.
    pub bound: f64,
    /// The false-reject rate to be expected: (cut-off blocks) / (n + 1), the mean over all such calibrations.
    pub expected: f64,
    /// Whether it is exact.
    pub kind: Kind,
    /// What more parts would promise; none beyond the end of the ladder.
    pub next: Option<Tighter>,
}

/// A tighter promise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tighter {
    /// False-reject rate.
    pub false_rejects: f64,
    /// Good parts it needs on top of those that are there.
    pub more: usize,
}

/// Thresholds of a recipe; `None` is not calibrated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Of the map.
    pub defect: f32,
    /// Of the image score.
    pub score: Option<f32>,
}

/// It cannot be promised.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PromiseError {
    /// No such rate.
    #[error("{what} {found} is out of range; allowed: {allowed}")]
    Range {
        /// Which.
        what: &'static str,
        /// As given.
        found: f64,
        /// What would do.
        allowed: &'static str,
    },
    /// Too few parts.
    #[error(
        "{parts} good parts cannot promise at most {} false rejects with {} confidence: {needed} are needed, {} more; {}",
        percent(*false_rejects), percent(*confidence), needed - parts, possible(*promised)
    )]
    TooFew {
        /// Those that are there.
        parts: usize,
        /// Those that would do, with none over (one of each threshold where there are two).
        needed: usize,
        /// What was wanted.
        false_rejects: f64,
        /// What was wanted.
        confidence: f64,
        /// What they can promise.
        promised: f64,
    },
}

fn possible(promised: f64) -> String {
    match promised < 1.0 {
        true => format!("these promise at most {}", percent((promised * 1e4).ceil() / 1e4)),
        false => "these promise nothing".into(),
    }
}

/// As a person writes it: 5 %, 0.5 %.
pub fn percent(rate: f64) -> String {
    let rounded = (rate * 1e4).round() / 1e2;
    format!("{rounded} %")
}

impl Wanted {
    /// Rates between 0 and 1, both excluded; rejecting half of the good parts is nobody's wish.
    pub fn new(false_rejects: f64, confidence: f64) -> Result<Self, PromiseError> {
        if !(1e-6..=0.5).contains(&false_rejects) {
            let allowed = "0.000001 to 0.5 (a share of good parts, 0.05 is 5 %)";
            return Err(PromiseError::Range { what: "false-reject rate", found: false_rejects, allowed });
        }
        if !(0.5..=0.999_999).contains(&confidence) {
            return Err(PromiseError::Range { what: "confidence", found: confidence, allowed: "0.5 to 0.999999" });
        }
        Ok(Self { false_rejects, confidence })
    }

    /// The rate.
    pub fn false_rejects(&self) -> f64 {
        self.false_rejects
    }

    /// The confidence.
    pub fn confidence(&self) -> f64 {
        self.confidence
    }

    /// How many of `parts` may be over the threshold; `None` when even none over promises too little.
    pub fn may_be_over(&self, parts: usize) -> Option<usize> {
        let holds = |over: usize| at_most(over, parts, self.false_rejects) <= 1.0 - self.confidence;
        if parts == 0 || !holds(0) {
            return None;
        }
        // The chance grows with `over`: bisection between what holds and what does not.
        let (mut low, mut high) = (0, parts);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(middle) { low = middle } else { high = middle }
        }
        Some(low)
    }

    /// The fewest parts for the promise with `over` of them over the threshold.
    pub fn parts_needed(&self, over: usize) -> usize {
        let holds = |parts: usize| at_most(over, parts, self.false_rejects) <= 1.0 - self.confidence;
        let mut high = over + 1;
        while !holds(high) && high < MOST_PARTS {
            high *= 2;
        }
        let mut low = over;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if holds(middle) { high = middle } else { low = middle }
        }
        high
    }

    /// The rate that `parts` with `over` of them over the threshold promise with this confidence: the upper limit of Clopper
    /// and Pearson (1934).
    pub fn promised(&self, parts: usize, over: usize) -> f64 {
        upper_limit(over, parts, self.confidence)
    }

    /// Thresholds just above order statistics, as low as the promise allows, and what is promised of them together. With
    /// `both`, a part that the first threshold cuts off does not count for the second.
    pub fn thresholds(
        &self,
        statistics: &[Statistics],
        both: bool,
        kind: Kind,
    ) -> Result<(Thresholds, Promise), PromiseError> {
        let parts = statistics.len();
        let least = usize::from(both);
        let over = self.may_be_over(parts).filter(|over| *over >= least).ok_or_else(|| PromiseError::TooFew {
            parts,
            needed: self.parts_needed(least),
            false_rejects: self.false_rejects,
            confidence: self.confidence,
            promised: self.promised(parts, least),
        })?;
        // `over` parts cut off are `over + 1` blocks: those beyond the largest part that stays have one more.
        let of_score = if both { over.div_ceil(2) } else { 0 };
        let of_defect = over + 1 - of_score;
        let mut order: Vec<&Statistics> = statistics.iter().collect();
        order.sort_by(|a, b| b.defect.total_cmp(&a.defect));
        let defect = above(order[of_defect - 1].defect);
        let score = both.then(|| {
            let mut rest: Vec<f32> = order[of_defect..].iter().map(|part| part.score).collect();
            rest.sort_by(|a, b| b.total_cmp(a));
            above(rest[of_score - 1])
        });
        let thresholds = Thresholds { defect, score };
        let promise = Promise {
            parts,
            false_rejects: self.false_rejects,
            confidence: self.confidence,
            may_be_over: over,
            over: statistics.iter().filter(|part| thresholds.reject(part)).count(),
            bound: self.promised(parts, over),
            expected: (over + 1) as f64 / (parts + 1) as f64,
            kind,
            next: self.next(parts, least),
        };
        Ok((thresholds, promise))
    }

    /// The first promise of the ladder that is tighter than the wanted one and that the parts do not reach yet.
    fn next(&self, parts: usize, over: usize) -> Option<Tighter> {
        let tighter = |&&rate: &&f64| rate < self.false_rejects;
        let needed = |&false_rejects: &f64| {
            let needed = Self { false_rejects, ..*self }.parts_needed(over);
            (needed > parts).then(|| Tighter { false_rejects, more: needed - parts })
        };
        LADDER.iter().filter(tighter).find_map(needed)
    }
}

impl Thresholds {
    /// Whether a part with these statistics fails.
    pub fn reject(&self, part: &Statistics) -> bool {
        part.defect >= self.defect || self.score.is_some_and(|threshold| part.score >= threshold)
    }
}

/// The lowest threshold that a part with this statistic passes.
fn above(statistic: f32) -> f32 {
    statistic.max(0.0).next_up()
}

/// P(Bin(n, p) ≤ over).
pub fn at_most(over: usize, n: usize, p: f64) -> f64 {
    if over >= n {
        return 1.0;
    }
    let odds = p.ln() - (-p).ln_1p();
    // In logarithms, because the first terms of many parts are smaller than any float.
    let mut term = n as f64 * (-p).ln_1p();
    let mut sum = term.exp();
    for i in 0..over {
        term += ((n - i) as f64 / (i + 1) as f64).ln() + odds;
        sum += term.exp();
    }
    sum.min(1.0)
}

/// The largest rate at which `over` or fewer of `n` are not yet less probable than 1 − confidence.
pub fn upper_limit(over: usize, n: usize, confidence: f64) -> f64 {
    if over >= n {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // As often as a float can be halved to any use.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at_most(over, n, middle) <= 1.0 - confidence { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn wanted(false_rejects: f64, confidence: f64) -> Wanted {
        Wanted::new(false_rejects, confidence).expect("in range")
    }

    fn part(defect: f32) -> Statistics {
        Statistics { defect, score: 0.0 }
    }

    /// From tables of one-sided nonparametric tolerance limits (Conover 1999, table A6; Odeh and Owen 1980).
    #[test]
    fn the_numbers_of_the_tables() {
        let needed = |rate, confidence, over| wanted(rate, confidence).parts_needed(over);
        assert_eq!([needed(0.05, 0.95, 0), needed(0.01, 0.95, 0), needed(0.1, 0.95, 0)], [59, 299, 29]);
        assert_eq!([needed(0.05, 0.95, 1), needed(0.01, 0.95, 1), needed(0.05, 0.99, 0)], [93, 473, 90]);
        let over = |parts| wanted(0.05, 0.95).may_be_over(parts);
        assert_eq!([58, 59, 92, 93, 100, 300].map(over), [None, Some(0), Some(0), Some(1), Some(1), Some(8)]);
        assert_eq!(wanted(0.01, 0.95).may_be_over(298), None);
        assert!((upper_limit(0, 59, 0.95) - 0.0495).abs() < 1e-4);
        assert!((upper_limit(8, 300, 0.95) - 0.0477).abs() < 1e-3, "{}", upper_limit(8, 300, 0.95));
        assert!((at_most(2, 10, 0.3) - 0.382_782_786_4).abs() < 1e-9);
        assert!(at_most(50_000, 1_000_000, 0.05) > 0.49 && at_most(50_000, 1_000_000, 0.05) < 0.51);
    }

    #[test]
    fn too_few_parts_are_told_the_missing_number() {
        let parts: Vec<Statistics> = (0..100).map(|i| part(i as f32 / 100.0)).collect();
        let error = wanted(0.01, 0.95).thresholds(&parts, false, Kind::Exact).expect_err("too few");
        assert_eq!(
            error.to_string(),
            "100 good parts cannot promise at most 1 % false rejects with 95 % confidence: 299 are needed, 199 more; \
             these promise at most 2.96 %"
        );
        let error = wanted(0.01, 0.95).thresholds(&[], false, Kind::Exact).expect_err("none");
        assert!(error.to_string().ends_with("299 are needed, 299 more; these promise nothing"), "{error}");
        let (thresholds, promise) = wanted(0.05, 0.95).thresholds(&parts, false, Kind::Exact).expect("enough");
        assert_eq!(thresholds.defect, 0.98f32.next_up());
        assert_eq!((promise.may_be_over, promise.over, promise.expected), (1, 1, 2.0 / 101.0));
        assert_eq!(promise.next, Some(Tighter { false_rejects: 0.02, more: 49 }));
        assert!(
            Wanted::new(0.0, 0.95).is_err() && Wanted::new(0.05, 1.0).is_err() && Wanted::new(f64::NAN, 0.9).is_err()
        );
    }

    #[test]
    fn parts_that_tie_pass_together() {
        let parts = [vec![part(0.2); 90], vec![part(0.7); 10]].concat();
        let (thresholds, promise) = wanted(0.05, 0.95).thresholds(&parts, false, Kind::Exact).expect("enough");
        assert_eq!((thresholds.defect, promise.over), (0.7f32.next_up(), 0));
        assert!(!thresholds.reject(&part(0.7)) && thresholds.reject(&part(thresholds.defect)));
    }

    /// A thousand simulated commissionings: the true false-reject rate is at most α in 95 % of them, within three standard
    /// deviations of the binomial count, for continuous and discrete distributions and for two thresholds that depend.
    #[test]
    fn the_promise_is_kept() {
        const RUNS: usize = 1000;
        let smooth = |u: f32| u;
        let steps = |u: f32| (u * 12.0).floor() / 12.0;
        let atom = |u: f32| if u < 0.93 { 0.1 } else { u };
        let all: [(&str, &dyn Fn(f32) -> f32); 3] = [("smooth", &smooth), ("steps", &steps), ("atom", &atom)];
        for (name, shape) in all {
            for (n, rate) in [(59, 0.05), (100, 0.05), (300, 0.05), (300, 0.01)] {
                let mut kept = 0;
                for run in 0..RUNS {
                    let mut dice = Dice::new(7, [n as u64, run as u64, (rate * 100.0) as u64]);
                    let parts: Vec<Statistics> = (0..n).map(|_| part(shape(dice.unit()))).collect();
                    let (thresholds, promise) =
                        wanted(rate, 0.95).thresholds(&parts, false, Kind::Exact).expect("enough");
                    // u is uniform: the rate above the threshold is a count over a fine grid of it.
                    let rejected = (0..10_000).filter(|u| shape((*u as f32 + 0.5) / 1e4) >= thresholds.defect).count();
                    assert!(promise.bound <= rate);
                    kept += usize::from(rejected as f64 / 1e4 <= rate);
                }
                assert!(kept >= RUNS * 95 / 100 - 21, "{name}, n = {n}: kept in {kept} of {RUNS}");
                if name == "smooth" && n == 59 {
                    // Not only by being far too high.
                    assert!(kept <= 975, "kept in {kept}");
                }
            }
        }
    }

    #[test]
    fn two_thresholds_keep_one_promise_together() {
        const RUNS: usize = 1000;
        for dependence in [0.0f32, 0.5, 1.0] {
            let draw = |dice: &mut Dice| {
                let (a, b) = (dice.unit(), dice.unit());
                Statistics { defect: a, score: 2.0 * (dependence * a + (1.0 - dependence) * b) }
            };
            let mut kept = 0;
            for run in 0..RUNS {
                let mut dice = Dice::new(8, [run as u64, 0, 0]);
                let parts: Vec<Statistics> = (0..100).map(|_| draw(&mut dice)).collect();
                let (thresholds, promise) = wanted(0.05, 0.95).thresholds(&parts, true, Kind::Exact).expect("enough");
                assert!(promise.over <= promise.may_be_over);
                let rejected = (0..2000).filter(|_| thresholds.reject(&draw(&mut dice))).count();
                kept += usize::from(rejected <= 110);
            }
            assert!(kept >= 950 - 21, "dependence {dependence}: kept in {kept}");
        }
        let few: Vec<Statistics> = (0..92).map(|i| part(i as f32 / 92.0)).collect();
        let error = wanted(0.05, 0.95).thresholds(&few, true, Kind::Exact).expect_err("two need 93");
        assert!(error.to_string().contains("93 are needed, 1 more"), "{error}");
    }
}
