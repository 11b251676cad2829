//! The largest of many values, found while they come, without keeping the others.

/// Values looked at together: most of them are all too small.
const GROUP: usize = 32;
/// Values gathered beyond those that count, at least, before the smaller half is thrown away.
const SPARE: usize = 1024;

/// The `count` largest of the values offered so far, exactly, in memory for at most `2·count + 1024` of them and the values of one
/// offer.
pub(super) struct Largest {
    count: usize,
    /// As many as count are known to be no smaller than this: only what is larger still matters.
    least: f32,
    kept: Vec<f32>,
}

impl Largest {
    /// Of nothing yet. −∞ is never among them, what is not a number always.
    pub fn new(count: usize) -> Self {
        Self { count: count.max(1), least: f32::NEG_INFINITY, kept: Vec::new() }
    }

    /// Looks for what may join those of `self`, and leaves out what cannot.
    pub fn helper(&self) -> Self {
        Self { count: self.count, least: self.least, kept: Vec::new() }
    }

    /// Takes what counts of `values`.
    #[inline(always)]
    pub fn offer(&mut self, values: &[f32]) {
        // What is no number is not below anything, and stays.
        let least = self.least;
        let too_small = |value: f32| value <= least;
        for group in values.chunks(GROUP) {
            if !group.iter().fold(true, |all, value| all & too_small(*value)) {
                self.kept.extend(group.iter().copied().filter(|value| !too_small(*value)));
            }
        }
        if self.kept.len() >= 2 * self.count + SPARE {
            self.prune();
        }
    }

    /// Takes what a helper has found.
    pub fn join(&mut self, helper: Self) {
        self.offer(&helper.kept);
    }

    fn prune(&mut self) {
        if self.kept.len() > self.count {
            let (_, least, _) = self.kept.select_nth_unstable_by(self.count - 1, |a, b| order(*b).cmp(&order(*a)));
            self.least = *least;
            self.kept.truncate(self.count);
        }
    }

    /// Their mean; of all, where fewer came. 0 when none came.
    pub fn mean(mut self) -> f32 {
        self.prune();
        (self.kept.iter().map(|&value| f64::from(value)).sum::<f64>() / self.kept.len().max(1) as f64) as f32
    }
}

/// A number that orders as floats do; what is not a number is the largest, whatever its sign, and so is seen.
#[inline(always)]
fn order(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if value.is_nan() { i32::MAX } else { bits ^ ((bits >> 31) as u32 >> 1) as i32 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn they_are_those_that_sorting_finds(
            count in 1usize..3000, length in 1usize..20_000, levels in 1u32..5000, helpers in 1usize..4, seed in any::<u32>(),
        ) {
            let value = |i: usize| {
                let mixed = (i as u32).wrapping_add(seed).wrapping_mul(2_654_435_761);
                ((mixed >> 7) % levels) as f32 / levels as f32 - 0.25
            };
            let values: Vec<f32> = (0..length).map(value).collect();
            let mut largest = Largest::new(count);
            for part in values.chunks(2000) {
                let mut found = Vec::new();
                for part in part.chunks(part.len().div_ceil(helpers)) {
                    let mut helper = largest.helper();
                    part.chunks(300).for_each(|values| helper.offer(values));
                    found.push(helper);
                }
                found.into_iter().for_each(|helper| largest.join(helper));
            }
            prop_assert!(largest.kept.len() <= 2 * count + SPARE + 2000);
            let mut sorted = values;
            sorted.sort_by(|a, b| b.total_cmp(a));
            sorted.truncate(count);
            let mean = sorted.iter().map(|&value| f64::from(value)).sum::<f64>() / sorted.len() as f64;
            prop_assert!((f64::from(largest.mean()) - mean).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_no_number_is_seen_and_what_is_infinitely_small_is_not() {
        for odd in [f32::NAN, -f32::NAN] {
            let mut largest = Largest::new(2);
            largest.offer(&[vec![0.5; 4000], vec![odd], vec![1.0; 4000]].concat());
            assert!(largest.mean().is_nan());
        }
        let mut largest = Largest::new(3);
        largest.offer(&[f32::NEG_INFINITY, 0.25, f32::NEG_INFINITY, 0.75]);
        assert_eq!(largest.mean(), 0.5);
        assert_eq!(Largest::new(3).mean(), 0.0);
    }
}
