//! Figures by the size of defects: how many are found at the threshold that fails a share of the good parts.
//!
//! A defect is an 8-connected piece of a picture's mask, and its size the diameter of the circle with as many pixels of the
//! picture as it was captured; where it lies on the map follows from the picture's pixels, so that a defect counts which is
//! too small to be left of it in the mask at the model's size.

use std::collections::BTreeMap;
use std::f32::consts::PI;

use serde::Serialize;

use super::metrics::counts::Counts;
use super::metrics::regions::regions;
use crate::dataset::Mask;

/// Which sizes are told apart, and at which thresholds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeBins {
    /// Sizes in pixels at which the next bin begins, ascending.
    pub edges_px: Vec<f32>,
    /// Share of each class's good pictures that may fail, 0 … 1; of fewer than its inverse none may.
    pub good_failing: f64,
}

impl Default for SizeBins {
    fn default() -> Self {
        Self { edges_px: vec![20.0, 40.0, 60.0], good_failing: 0.01 }
    }
}

/// A connected piece of a mask.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedDefect {
    /// Diameter of the circle with its area, pixels of the picture.
    pub size_px: f32,
    /// Pixels of the map that show it, and the share of it that each shows; adds up to 1.
    pub shares: Vec<(u32, f32)>,
}

/// The defects that a mask marks, as a map of `width` × `height` shows them.
pub fn defects(mask: &Mask, width: usize, height: usize) -> Vec<MaskedDefect> {
    let (columns, rows) = (mask.width as usize, mask.height as usize);
    let on_map = |pixel: u32| {
        let (x, y) = (pixel as usize % columns, pixel as usize / columns);
        (y * height / rows * width + x * width / columns) as u32
    };
    let defect = |region: Vec<u32>| {
        let one = 1.0 / region.len() as f32;
        let mut shares = BTreeMap::new();
        region.iter().for_each(|&pixel| *shares.entry(on_map(pixel)).or_insert(0.0) += one);
        MaskedDefect { size_px: (region.len() as f32 * 4.0 / PI).sqrt(), shares: shares.into_iter().collect() }
    };
    regions(&mask.anomalous, columns).into_iter().map(defect).collect()
}

/// Figures of the defects of one bin. A figure without a definition is NaN.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeFigures {
    /// Smallest size, pixels.
    pub from_px: f32,
    /// All are smaller than this, if there is a larger bin.
    pub below_px: Option<f32>,
    /// Pictures whose largest defect is in the bin.
    pub parts: usize,
    /// Share of them whose score exceeds the class's threshold.
    pub recall: f64,
    /// Defects in the bin, several in one picture each for itself.
    pub defects: usize,
    /// Share of them at which the map exceeds its threshold, which the same share of the good pictures exceed anywhere.
    pub recall_on_map: f64,
    /// Area under the per-region-overlap curve of these defects, over the false-positive rate of all normal pixels.
    pub aupro: f64,
}

impl SizeFigures {
    /// The bin in words: `< 20`, `20–40`, `≥ 60`, or `all`.
    pub fn name(&self) -> String {
        match (self.from_px, self.below_px) {
            (0.0, None) => "all".to_owned(),
            (0.0, Some(below)) => format!("< {below}"),
            (from, Some(below)) => format!("{from}–{below}"),
            (from, None) => format!("≥ {from}"),
        }
    }
}

/// One class by size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassBySize {
    /// Name of the class.
    pub class: String,
    /// Good pictures, which the thresholds come from.
    pub good: usize,
    /// Those that fail at them.
    pub good_failing: usize,
    /// A part with a larger score fails; NaN without good pictures.
    pub score_threshold: f32,
    /// A larger value of the map marks a defect.
    pub map_threshold: f32,
    /// Bins that have defects, ascending.
    pub bins: Vec<SizeFigures>,
}

/// One method by size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BySize {
    /// What was asked for.
    #[serde(flatten)]
    pub settings: SizeBins,
    /// Classes that have masks or good pictures, in the order of the data set.
    pub classes: Vec<ClassBySize>,
    /// All defects of all classes, each at its class's thresholds; AUPRO over raw values in one ranking.
    pub all: Vec<SizeFigures>,
}

/// A defect as a method saw it.
struct Seen {
    size_px: f32,
    /// Largest of its picture, and whether that fails.
    part_fails: Option<bool>,
    marked: bool,
    /// Values of the map, and shares of the defect.
    values: Vec<(f32, f32)>,
}

/// A class's defects as a method saw them.
pub struct Sighting {
    good: usize,
    good_failing: usize,
    score_threshold: f32,
    map_threshold: f32,
    seen: Vec<Seen>,
}

impl Sighting {
    /// From the raw maps and scores of a class, its labels, and its defects picture by picture.
    pub fn new(
        maps: &[Vec<f32>],
        scores: &[f32],
        anomalous: &[bool],
        defects: &[Vec<MaskedDefect>],
        settings: &SizeBins,
    ) -> Self {
        let good = |index: &usize| !anomalous[*index];
        let good: Vec<usize> = (0..scores.len()).filter(good).collect();
        let largest = |index: usize| maps[index].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let score_threshold = threshold(good.iter().map(|&index| scores[index]), settings.good_failing);
        let map_threshold = threshold(good.iter().map(|&index| largest(index)), settings.good_failing);
        let good_failing = good.iter().filter(|&&index| scores[index] > score_threshold).count();
        let mut seen = Vec::new();
        for (index, defects) in defects.iter().enumerate() {
            let first = seen.len();
            for defect in defects {
                let value = |&(pixel, share): &(u32, f32)| (maps[index][pixel as usize], share);
                let values: Vec<(f32, f32)> = defect.shares.iter().map(value).collect();
                let marked = values.iter().any(|(value, _)| *value > map_threshold);
                seen.push(Seen { size_px: defect.size_px, part_fails: None, marked, values });
            }
            let of_part = seen[first..].iter_mut();
            if let Some(largest) = of_part.max_by(|a, b| a.size_px.total_cmp(&b.size_px)) {
                largest.part_fails = Some(scores[index] > score_threshold);
            }
        }
        Self { good: good.len(), good_failing, score_threshold, map_threshold, seen }
    }

    /// The class's figures; `counts` are those of its raw maps.
    pub fn figures(&self, class: &str, counts: &Counts, settings: &SizeBins) -> ClassBySize {
        ClassBySize {
            class: class.to_owned(),
            good: self.good,
            good_failing: self.good_failing,
            score_threshold: self.score_threshold,
            map_threshold: self.map_threshold,
            bins: figures(&[self], counts, settings),
        }
    }
}

/// Bins that have defects, of all these classes together; `counts` are those of all their raw maps.
pub fn figures(classes: &[&Sighting], counts: &Counts, settings: &SizeBins) -> Vec<SizeFigures> {
    let edges = &settings.edges_px;
    let bin_of = |size: f32| edges.iter().filter(|&&edge| size >= edge).count();
    let bins = (0..=edges.len()).filter_map(|bin| {
        let seen = || classes.iter().flat_map(|class| class.seen.iter().map(|seen| (*class, seen)));
        let of_bin: Vec<(&Sighting, &Seen)> = seen().filter(|(_, seen)| bin_of(seen.size_px) == bin).collect();
        if of_bin.is_empty() {
            return None;
        }
        // Without good pictures there is no threshold, and nothing is found or missed.
        let judged = || of_bin.iter().filter(|(class, _)| class.good > 0).map(|(_, seen)| *seen);
        let parts = || of_bin.iter().filter(|(_, seen)| seen.part_fails.is_some());
        let values = of_bin.iter().flat_map(|(_, seen)| seen.values.iter().copied());
        let curve = counts.pro_curve_of(values, of_bin.len());
        Some(SizeFigures {
            from_px: if bin == 0 { 0.0 } else { edges[bin - 1] },
            below_px: edges.get(bin).copied(),
            parts: parts().count(),
            recall: share(judged().filter_map(|seen| seen.part_fails)),
            defects: of_bin.len(),
            recall_on_map: share(judged().map(|seen| seen.marked)),
            aupro: curve.map_or(f64::NAN, |curve| curve.area()),
        })
    });
    bins.collect()
}

/// Share of what is true; NaN of nothing.
fn share(of: impl Iterator<Item = bool>) -> f64 {
    let (all, set) = of.fold((0u64, 0u64), |(all, set), one| (all + 1, set + u64::from(one)));
    set as f64 / all as f64
}

/// The least threshold that at most this share of the values exceeds; NaN of none.
fn threshold(values: impl Iterator<Item = f32>, exceeding: f64) -> f32 {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(|a, b| b.total_cmp(a));
    // 0.01 of 100 is 1, however it is rounded.
    let most = (exceeding * values.len() as f64 + 1e-9) as usize;
    values.get(most.min(values.len().saturating_sub(1))).copied().unwrap_or(f32::NAN)
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Labelled;
    use super::*;

    fn mask(rows: &[&str]) -> Mask {
        let anomalous = rows.concat().chars().map(|pixel| pixel == '#').collect();
        Mask { width: rows[0].len() as u32, height: rows.len() as u32, anomalous }
    }

    #[test]
    fn a_defect_smaller_than_a_pixel_of_the_map_lies_on_that_pixel() {
        let mask = mask(&["........", ".#......", "......##", "......##"]);
        let found = defects(&mask, 4, 2);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].shares, [(0, 1.0)]);
        assert_eq!(found[1].shares, [(7, 1.0)]);
        assert!((found[0].size_px - 1.128).abs() < 1e-3 && (found[1].size_px - 2.257).abs() < 1e-3);
        let whole = defects(&mask, 8, 4);
        assert_eq!(whole[1].shares.iter().map(|share| share.0).collect::<Vec<_>>(), [22, 23, 30, 31]);
        assert_eq!(whole[1].shares.iter().map(|share| share.1).sum::<f32>(), 1.0);
    }

    #[test]
    fn of_a_hundred_good_parts_one_may_fail_and_of_ninety_nine_none() {
        let values = |count: u16| (1..=count).map(f32::from);
        assert_eq!(threshold(values(100), 0.01), 99.0);
        assert_eq!(threshold(values(99), 0.01), 99.0);
        assert_eq!(threshold(values(200), 0.05), 190.0);
        assert_eq!(threshold(values(3), 1.0), 1.0);
        assert!(threshold(values(0), 0.01).is_nan());
    }

    #[test]
    fn small_and_large_defects_are_counted_apart() {
        // Two good pictures, one with a small defect that is seen, one with a small and a large one, seen in part.
        let maps = vec![vec![0.1; 16], vec![0.2; 16], vec![0.1; 16], vec![0.1; 16]];
        let mut maps = maps;
        maps[2][0] = 0.9;
        for pixel in [8, 9, 12] {
            maps[3][pixel] = 0.5;
        }
        let scores = [0.1, 0.2, 0.9, 0.15];
        let anomalous = [false, false, true, true];
        let one = mask(&["#...", "....", "....", "...."]);
        let two = mask(&["...#", "....", "##..", "##.."]);
        let found = [Vec::new(), Vec::new(), defects(&one, 4, 4), defects(&two, 4, 4)];
        let settings = SizeBins { edges_px: vec![2.0, 9.0], good_failing: 0.01 };
        let mut counts = Counts::default();
        let none = vec![false; 16];
        let masks = [&none, &none, &one.anomalous, &two.anomalous];
        for (map, mask) in maps.iter().zip(masks) {
            counts.add(&Labelled { width: 4, map, mask });
        }
        let sighting = Sighting::new(&maps, &scores, &anomalous, &found, &settings);
        let class = sighting.figures("ring", &counts, &settings);
        assert_eq!((class.good, class.good_failing, class.score_threshold, class.map_threshold), (2, 0, 0.2, 0.2));
        let [small, large] = class.bins.as_slice() else { panic!("{:?}", class.bins) };
        assert_eq!((small.from_px, small.below_px, small.parts, small.defects), (0.0, Some(2.0), 1, 2));
        assert_eq!((small.recall, small.recall_on_map), (1.0, 0.5));
        assert_eq!((large.from_px, large.below_px, large.parts, large.defects), (2.0, Some(9.0), 1, 1));
        assert_eq!((large.recall, large.recall_on_map), (0.0, 1.0));
        assert!(large.aupro > small.aupro, "{large:?} {small:?}");
        // All regions together are what the whole curve is made of.
        let settings = SizeBins { edges_px: Vec::new(), ..settings };
        let [all] = figures(&[&sighting], &counts, &settings).try_into().expect("one bin");
        let whole = counts.pro_curve().expect("regions").area();
        assert!((all.aupro - whole).abs() < 1e-6, "{} {whole}", all.aupro);
    }

    #[test]
    fn without_good_parts_nothing_is_found_or_missed() {
        let found = [defects(&mask(&["#..."]), 4, 1)];
        let settings = SizeBins::default();
        let sighting = Sighting::new(&[vec![0.5, 0.1, 0.2, 0.1]], &[0.4], &[true], &found, &settings);
        let [bin] = sighting.figures("ring", &Counts::default(), &settings).bins.try_into().expect("one bin");
        assert!(bin.recall.is_nan() && bin.recall_on_map.is_nan() && bin.aupro.is_nan());
        assert_eq!((bin.parts, bin.defects), (1, 1));
    }
}
