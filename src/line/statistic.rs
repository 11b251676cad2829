//! The statistic of a part: the highest defect threshold at which the recipe would still fail it, exactly.

use super::exceeding::{Exceeding, Mask, exceeding, row_peaks};
use crate::anomaly::AnomalyMap;

/// Pixels looked at first, as a multiple of the minimal area: a defect's peak is mostly one spot.
const FIRST_LOOK: usize = 4;
/// How many times more are looked at when those did not make one region that is large enough.
const NEXT_LOOK: usize = 8;

/// The largest t at which {scaled map ≥ t} inside the mask has an 8-connected region of at least `min_area_px` pixels; 0
/// counts as 1, as everywhere. A recipe whose `defect_threshold` is t finds a defect, and with the next larger float it
/// finds none, on the very values that [`exceeding`] compares. −∞ where no threshold finds one (the mask has no such
/// region); NaN where the map holds no finite numbers.
///
/// One sweep over the pixels from the largest value down, joining neighbours (union-find), ends at the first region that
/// is large enough: every higher threshold has only smaller ones. Pixels below are never sorted, rows below never scaled.
pub fn part_statistic(map: &AnomalyMap, mask: &Mask, min_area_px: u32) -> f32 {
    if !map.values().iter().all(|value| value.is_finite()) {
        return f32::NAN;
    }
    let needed = (min_area_px as usize).max(1);
    let [_, _, width, height] = map.place_in(mask.size());
    if needed > mask.pixels() {
        return f32::NEG_INFINITY;
    }
    let mut sorted = map.values().to_vec();
    let per_value = f64::from(width) * f64::from(height) / sorted.len() as f64;
    let mut looked_at = (((needed * FIRST_LOOK) as f64 / per_value) as usize).max(FIRST_LOOK);
    loop {
        // All pixels from `floor` up are seen, so that a region among them is the first one.
        let floor = match looked_at < sorted.len() {
            true => *sorted.select_nth_unstable_by(looked_at, |a, b| b.total_cmp(a)).1,
            false => f32::NEG_INFINITY,
        };
        if let Some(found) = exceeding(map, mask, floor).and_then(|pixels| first_region(&pixels, map, mask, needed)) {
            return found;
        }
        if floor == f32::NEG_INFINITY {
            return f32::NEG_INFINITY;
        }
        looked_at = looked_at.saturating_mul(NEXT_LOOK);
    }
}

/// The value at which the first region of `needed` pixels is whole.
fn first_region(pixels: &Exceeding, map: &AnomalyMap, mask: &Mask, needed: usize) -> Option<f32> {
    let peaks = row_peaks(map, mask);
    let mut order: Vec<(f32, u32)> = Vec::new();
    for (y, row) in pixels.bits.chunks_exact(pixels.width).enumerate() {
        // Interpolation in floats may exceed its neighbours by a rounding; the recipe does not look at such a row.
        let peak = peaks[pixels.top + y];
        let at = y * pixels.width;
        let counted = row.iter().enumerate().filter(|(_, bit)| **bit == 1);
        order.extend(counted.map(|(x, _)| (pixels.values[at + x].min(peak), (at + x) as u32)));
    }
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let mut forest = Forest::new(pixels.width, pixels.height);
    order.into_iter().find(|&(_, at)| forest.add(at as usize) >= needed).map(|(value, _)| value)
}

/// Pixels joined with their eight neighbours as they come.
struct Forest {
    width: usize,
    height: usize,
    /// [`Forest::ABSENT`] before the pixel has come.
    parents: Vec<u32>,
    /// Of roots.
    areas: Vec<u32>,
}

impl Forest {
    const ABSENT: u32 = u32::MAX;

    fn new(width: usize, height: usize) -> Self {
        let count = width * height;
        Self { width, height, parents: vec![Self::ABSENT; count], areas: vec![0; count] }
    }

    /// Adds a pixel; returns the area of the region it is in now.
    fn add(&mut self, at: usize) -> usize {
        self.parents[at] = at as u32;
        self.areas[at] = 1;
        let (x, y) = (at % self.width, at / self.width);
        let mut own = at;
        for row in y.saturating_sub(1)..(y + 2).min(self.height) {
            for column in x.saturating_sub(1)..(x + 2).min(self.width) {
                let other = row * self.width + column;
                if self.parents[other] != Self::ABSENT {
                    own = self.join(own, other);
                }
            }
        }
        self.areas[own] as usize
    }

    /// The smaller tree goes below the larger one; `root` is one.
    fn join(&mut self, root: usize, other: usize) -> usize {
        let other = self.root(other);
        if root == other {
            return root;
        }
        let (above, below) = if self.areas[root] >= self.areas[other] { (root, other) } else { (other, root) };
        self.parents[below] = above as u32;
        self.areas[above] += self.areas[below];
        above
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parents[at] as usize != at {
            self.parents[at] = self.parents[self.parents[at] as usize];
            at = self.parents[at] as usize;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::anomaly::{Prediction, StageTimes};
    use crate::event::RecipeInfo;
    use crate::line::recipe::{Recipe, RecipeSpec};
    use crate::line::regions_plain::regions;
    use crate::verdict::Verdict;

    /// Every threshold that could matter is tried: all scaled values, and all values of the map.
    fn by_trying(map: &AnomalyMap, mask: &Mask, min_area: u32) -> f32 {
        let mut thresholds = map.values().to_vec();
        thresholds.extend(exceeding(map, mask, f32::NEG_INFINITY).map(|all| all.values).unwrap_or_default());
        thresholds.sort_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        let finds = |threshold: &f32| {
            exceeding(map, mask, *threshold)
                .is_some_and(|found| !regions(&found, min_area as usize).expect("plain Rust does not fail").is_empty())
        };
        thresholds.into_iter().find(finds).unwrap_or(f32::NEG_INFINITY)
    }

    fn recipe(defect_threshold: f32, min_area_px: u32, regions: &[Vec<[f32; 2]>]) -> Recipe {
        let info = RecipeInfo { id: "caps".into(), version: 1 };
        Recipe::new(RecipeSpec { info, threshold: None, defect_threshold, min_area_px, regions: regions.to_vec() })
    }

    #[derive(Clone, Debug)]
    struct Case {
        map: AnomalyMap,
        width: u32,
        height: u32,
        regions: Vec<Vec<[f32; 2]>>,
        min_area: u32,
    }

    fn case() -> impl Strategy<Value = Case> {
        // Few levels make ties; the others are what a network's sigmoid gives.
        let value =
            prop_oneof![Just(0.0f32), Just(0.5), Just(1.0), 0.0f32..=1.0, (0u8..6).prop_map(|v| f32::from(v) / 7.0)];
        let sizes = (1usize..7, 1u32..18, 1u32..18);
        sizes
            .prop_flat_map(move |(size, width, height)| {
                let corner = (0..=width, 0..=height).prop_map(|(x, y)| [x as f32, y as f32]);
                let polygons = prop::collection::vec(prop::collection::vec(corner, 3..6), 0..3);
                let values = prop::collection::vec(value.clone(), size * size);
                let area = prop_oneof![0u32..6, 0u32..(width * height + 2)];
                (Just((size, width, height)), values, polygons, area)
            })
            .prop_map(|((size, width, height), values, regions, min_area)| Case {
                map: AnomalyMap::new(size, values),
                width,
                height,
                regions,
                min_area,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_sweep_finds_what_trying_all_thresholds_finds(case in case()) {
            let mask = Mask::new(case.width, case.height, &case.regions);
            let found = part_statistic(&case.map, &mask, case.min_area);
            prop_assert_eq!(found, by_trying(&case.map, &mask, case.min_area));
        }

        #[test]
        fn the_recipe_fails_at_the_statistic_and_passes_above(case in case()) {
            let mask = Mask::new(case.width, case.height, &case.regions);
            let found = part_statistic(&case.map, &mask, case.min_area);
            let prediction = Prediction { map: case.map.clone(), score: 0.0, times: StageTimes::default(), tokens: None };
            let verdict = |threshold: f32| {
                let mut recipe = recipe(threshold, case.min_area, &case.regions);
                recipe.inspect(&prediction, case.width, case.height).expect("inspected").verdict
            };
            if found == f32::NEG_INFINITY {
                prop_assert_eq!(verdict(0.0), Verdict::Pass);
            } else {
                prop_assert_eq!(verdict(found), Verdict::Fail);
                prop_assert_eq!(verdict(found.next_up()), Verdict::Pass);
            }
        }
    }

    #[test]
    fn a_large_frame_is_looked_at_in_steps() {
        let mut values = vec![0.1; 64 * 64];
        (0..64).for_each(|i| values[i * 65] = 0.9 - i as f32 * 1e-3);
        let map = AnomalyMap::new(64, values);
        let mask = Mask::new(300, 200, &[]);
        for min_area in [1, 9, 40, 400, 4000, 60_000] {
            assert_eq!(part_statistic(&map, &mask, min_area), by_trying(&map, &mask, min_area), "{min_area}");
        }
        assert_eq!(part_statistic(&map, &mask, 60_001), f32::NEG_INFINITY);
    }

    #[test]
    fn what_is_no_number_has_no_statistic() {
        let map = AnomalyMap::new(2, vec![0.0, f32::NAN, 0.0, 0.0]);
        assert!(part_statistic(&map, &Mask::new(4, 4, &[]), 1).is_nan());
    }
}
