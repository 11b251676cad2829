//! How much of each anomalous region is found: the per-region overlap (PRO), and the area under its curve.
//!
//! As the released evaluation computes it: thresholds from the least value up to the largest in 200 steps (the largest
//! itself left out), predicted where **>** threshold; regions are 8-connected; PRO is the mean over the regions of all
//! pictures of the share that is predicted. Points with a false-positive rate below 0.3 are kept, their rates rescaled
//! to 0 … 1, and the area is summed in trapezoids.

use rayon::prelude::*;

use super::Labelled;

/// Thresholds between the least and the largest value.
const STEPS: usize = 200;
/// False-positive rates from here on do not count.
const LARGEST_RATE: f64 = 0.3;

/// False-positive rate and mean overlap per threshold, ascending thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct ProCurve {
    /// Thresholds on the scale of the maps.
    pub thresholds: Vec<f64>,
    /// Share of the normal pixels above the threshold.
    pub rates: Vec<f64>,
    /// Mean share of the regions above the threshold.
    pub overlaps: Vec<f64>,
}

impl ProCurve {
    /// The AUPRO; NaN where it is not defined: no rate below 0.3, or all of them the same.
    pub fn area(&self) -> f64 {
        let points = self.rates.iter().copied().zip(self.overlaps.iter().copied());
        let kept: Vec<(f64, f64)> = points.filter(|(rate, _)| *rate < LARGEST_RATE).collect();
        let least = kept.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let span = kept.iter().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max) - least;
        if kept.is_empty() || span <= 0.0 {
            return f64::NAN;
        }
        // Rates fall as thresholds rise, so each step goes to the left.
        let rescaled = |rate: f64| (rate - least) / span;
        kept.windows(2).map(|p| (rescaled(p[0].0) - rescaled(p[1].0)) * (p[0].1 + p[1].1) / 2.0).sum()
    }
}

/// The curve of maps whose values reach from `least` to `largest`; `None` when these are equal, or when there is no
/// region, or no normal pixel.
pub fn curve(pictures: &[Labelled<'_>], least: f32, largest: f32) -> Option<ProCurve> {
    let thresholds = thresholds(least, largest)?;
    let parts: Vec<Part> = pictures.par_iter().map(|picture| Part::of(picture, &thresholds)).collect();
    let regions: u64 = parts.iter().map(|part| part.regions).sum();
    let normal: u64 = parts.iter().map(|part| part.normal).sum();
    if regions == 0 || normal == 0 {
        return None;
    }
    let sum = |at: usize| {
        let (alarms, overlap) = parts
            .iter()
            .fold((0, 0.0), |(alarms, overlap), part| (alarms + part.alarms[at], overlap + part.overlap[at]));
        (alarms as f64 / normal as f64, overlap / regions as f64)
    };
    let (rates, overlaps) = (0..thresholds.len()).map(sum).unzip();
    Some(ProCurve { thresholds, rates, overlaps })
}

/// What one picture adds to each point of the curve.
struct Part {
    regions: u64,
    normal: u64,
    /// Normal pixels above each threshold.
    alarms: Vec<u64>,
    /// Sum over the regions of the share above each threshold.
    overlap: Vec<f64>,
}

impl Part {
    fn of(picture: &Labelled<'_>, thresholds: &[f64]) -> Self {
        let step = thresholds.get(1).map_or(1.0, |second| second - thresholds[0]);
        // How many thresholds lie below a value: computed, then put right where rounding missed.
        let below = |value: f32| {
            let value = f64::from(value);
            let mut count = (((value - thresholds[0]) / step).max(0.0) as usize).min(thresholds.len());
            while count < thresholds.len() && thresholds[count] < value {
                count += 1;
            }
            while count > 0 && thresholds[count - 1] >= value {
                count -= 1;
            }
            count
        };
        let mut alarms = vec![0; thresholds.len() + 1];
        let normal_pixels = || picture.map.iter().zip(picture.mask).filter(|(_, anomalous)| !**anomalous);
        normal_pixels().for_each(|(value, _)| alarms[below(*value)] += 1);
        let normal = alarms.iter().sum();
        above(&mut alarms);
        let mut overlap = vec![0.0; thresholds.len()];
        let regions = regions(picture.mask, picture.width);
        for region in &regions {
            let mut found = vec![0; thresholds.len() + 1];
            region.iter().for_each(|&pixel| found[below(picture.map[pixel as usize])] += 1);
            above(&mut found);
            overlap.iter_mut().zip(&found).for_each(|(sum, &found)| *sum += found as f64 / region.len() as f64);
        }
        Self { regions: regions.len() as u64, normal, alarms, overlap }
    }
}

/// Turns "lies above exactly `i` thresholds" into "lies above threshold `i`".
fn above(counts: &mut Vec<u64>) {
    let mut sum = 0;
    for count in counts.iter_mut().rev() {
        (sum, *count) = (sum + *count, sum);
    }
    counts.pop();
}

/// As `numpy.arange(0, 1, 1 / 200)` gives them for the normalised float32 maps of the released evaluation: the step is
/// rounded to float32, what follows is float64. Raw maps may reach over a tiny range far from 0, so the second threshold is
/// not rounded to float32 as NumPy would there.
fn thresholds(least: f32, largest: f32) -> Option<Vec<f64>> {
    let step = (largest - least) / STEPS as f32;
    if step.is_nan() || step <= 0.0 {
        return None;
    }
    let count = f64::from((largest - least) / step).ceil() as usize;
    Some((0..count).map(|i| f64::from(least) + i as f64 * f64::from(step)).collect())
}

/// Pixel indices of each 8-connected region of a mask with `width` columns, in reading order of their first pixels.
pub fn regions(mask: &[bool], width: usize) -> Vec<Vec<u32>> {
    let height = mask.len() / width.max(1);
    let mut seen = vec![false; mask.len()];
    let mut regions = Vec::new();
    for start in 0..mask.len() {
        if !mask[start] || seen[start] {
            continue;
        }
        seen[start] = true;
        let mut region = vec![start as u32];
        let mut next = 0;
        while let Some(&pixel) = region.get(next) {
            next += 1;
            let (x, y) = (pixel as usize % width, pixel as usize / width);
            for y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let neighbour = y * width + x;
                    if mask[neighbour] && !seen[neighbour] {
                        seen[neighbour] = true;
                        region.push(neighbour as u32);
                    }
                }
            }
        }
        regions.push(region);
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_connect() {
        let picture = "#..##\n.#...\n...#.\n#..##";
        let rows: Vec<&str> = picture.lines().collect();
        let mask: Vec<bool> = rows.concat().chars().map(|pixel| pixel == '#').collect();
        assert_eq!(regions(&mask, 5), [vec![0, 6], vec![3, 4], vec![13, 18, 19], vec![15]]);
    }

    #[test]
    fn what_has_no_curve() {
        let (map, mask) = ([0.5f32, 0.5], [true, false]);
        let picture = |map, mask| [Labelled { width: 2, map, mask }];
        assert_eq!(curve(&picture(&map, &mask), 0.5, 0.5), None, "one value");
        assert_eq!(curve(&picture(&[0.1, 0.2], &[false; 2]), 0.1, 0.2), None, "no region");
        assert_eq!(curve(&picture(&[0.1, 0.2], &[true; 2]), 0.1, 0.2), None, "nothing normal");
    }
}
