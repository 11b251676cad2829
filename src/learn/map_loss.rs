//! How wrong the maps are: focal and Dice loss of upsampled anomaly maps, and how each low-resolution logit changes it.
//!
//! The loss of the released training (VCP-CLIP, utils/loss.py): with p the abnormal plane of a map, u the plane of the
//! true state and s the label smoothing,
//! - focal: mean over all pixels of −α(1 − t)ᵞ ln t, where t = 2s + (1 − 2s)·u, γ = 2, α = 1;
//! - Dice: mean over the images of 1 − (2·Σ p·y + d) / (Σ p + Σ y + d), y being 1 on defects, d = 1.
//!
//! The two planes are a softmax of bilinearly upsampled logits, hence a sigmoid of their upsampled difference: a map
//! enters as G×G differences and leaves as G×G derivatives. Everything between is one pass over the S×S pixels, in
//! registers; a general differentiation would keep a dozen S×S planes per map.

use rayon::prelude::*;
use serde::Serialize;

use crate::vcp_clip::simd;

/// The γ that needs no power.
const SQUARE: f32 = 2.0;

/// The numbers in the loss; the default is the released training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossRule {
    /// γ: how little pixels count that are right already (Lin et al. 2017, arXiv 1708.02002).
    pub focal_gamma: f32,
    /// α of defective pixels, 0 to 1; good ones have the rest of 1. `None`: all have 1.
    pub focal_alpha: Option<f32>,
    /// s: how far labels stay from 0 and 1 in the focal loss.
    pub focal_smooth: f32,
    /// d: added to both sides of the Dice quotient.
    pub dice_smooth: f64,
}

impl Default for LossRule {
    fn default() -> Self {
        Self { focal_gamma: 2.0, focal_alpha: None, focal_smooth: 1e-5, dice_smooth: 1.0 }
    }
}

impl LossRule {
    /// Errors with the argument that makes no sense, and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let Self { focal_gamma, focal_alpha, focal_smooth, dice_smooth } = self;
        if !(focal_gamma.is_finite() && *focal_gamma >= 0.0) {
            return Err(format!("--focal-gamma {focal_gamma}: give a number from 0"));
        }
        if let Some(alpha) = focal_alpha.filter(|alpha| !(0.0..=1.0).contains(alpha)) {
            return Err(format!("--focal-alpha {alpha}: give a weight from 0 to 1"));
        }
        if !(0.0..0.5).contains(focal_smooth) {
            return Err(format!("--focal-smooth {focal_smooth}: give a number from 0, less than 0.5"));
        }
        if !(dice_smooth.is_finite() && *dice_smooth > 0.0) {
            return Err(format!("--dice-smooth {dice_smooth}: give a number above 0"));
        }
        Ok(())
    }

    /// α of good and of defective pixels.
    fn weights(&self) -> [f32; 2] {
        self.focal_alpha.map_or([1.0, 1.0], |alpha| [1.0 - alpha, alpha])
    }
}

/// The rule, and positions that depend on the sizes alone.
pub struct MapLoss {
    rule: LossRule,
    grid: usize,
    size: usize,
    /// Per output coordinate: lower grid coordinate and the weight of the next one; bilinear, corners aligned.
    taps: Vec<(usize, f32)>,
}

/// What the maps of a batch cost.
pub struct Losses {
    /// Focal + Dice per map of an image (layers of both paths), summed over the images given.
    pub values: Vec<f64>,
    /// Derivative by every difference, laid out as they were given.
    pub gradient: Vec<f32>,
}

/// Buffers for one map.
struct Work {
    /// The differences stretched along the rows, G×S.
    stretched: Vec<f32>,
    /// Derivatives of the focal loss by the stretched differences.
    focal: Vec<f32>,
    /// dp/dD summed back to the stretched differences, everywhere and on defects.
    slope: Vec<f32>,
    slope_on_defects: Vec<f32>,
    row: Row,
}

/// One row of S pixels.
struct Row {
    focal: Vec<f32>,
    abnormal: Vec<f32>,
    d_focal: Vec<f32>,
    slope: Vec<f32>,
}

impl MapLoss {
    /// For maps of side `size` pixels made of `grid` × `grid` logits.
    pub fn new(rule: LossRule, grid: usize, size: usize) -> Self {
        let step = if size > 1 { (grid as f64 - 1.0) / (size as f64 - 1.0) } else { 0.0 };
        let tap = |i: usize| {
            let at = i as f64 * step;
            let low = (at as usize).min(grid - 1);
            (low, (at - low as f64) as f32)
        };
        Self { rule, grid, size, taps: (0..size).map(tap).collect() }
    }

    /// Losses of `differences` `[maps, images, G·G]` (abnormal − normal logits) against one mask of S·S bytes per
    /// image, 1 on defects and 0 elsewhere. `batch` images share the means, of which these may be a part.
    ///
    /// # Panics
    /// When the lengths do not fit each other.
    pub fn run(&self, differences: &[f32], masks: &[&[u8]], batch: usize) -> Losses {
        let cells = self.grid * self.grid;
        assert!(masks.iter().all(|mask| mask.len() == self.size * self.size), "a mask has one byte per pixel");
        assert_eq!(differences.len() % (cells * masks.len()), 0, "every image has the same maps");
        let mut gradient = vec![0.0; differences.len()];
        let each: Vec<f64> = gradient
            .par_chunks_mut(cells)
            .zip(differences.par_chunks(cells))
            .enumerate()
            .map_init(
                || Work::new(self.grid, self.size),
                |work, (at, (gradient, map))| self.one(work, map, masks[at % masks.len()], batch, gradient),
            )
            .collect();
        Losses { values: each.chunks(masks.len()).map(|images| images.iter().sum()).collect(), gradient }
    }

    /// One map's share of the loss; its derivatives go into `gradient`.
    fn one(&self, work: &mut Work, map: &[f32], mask: &[u8], batch: usize, gradient: &mut [f32]) -> f64 {
        let (rule, grid, size) = (&self.rule, self.grid, self.size);
        work.clear();
        for (line, stretched) in map.chunks_exact(grid).zip(work.stretched.chunks_exact_mut(size)) {
            for (value, &(low, weight)) in stretched.iter_mut().zip(&self.taps) {
                let high = (low + 1).min(grid - 1);
                *value = line[low] + weight * (line[high] - line[low]);
            }
        }

        let (mut focal, mut abnormal, mut hit, mut defect) = (0.0, 0.0, 0.0, 0_u32);
        for (y, mask) in mask.chunks_exact(size).enumerate() {
            let (low, weight) = self.taps[y];
            let high = (low + 1).min(grid - 1);
            let row = &mut work.row;
            let (above, below) = (&work.stretched[low * size..][..size], &work.stretched[high * size..][..size]);
            simd::dispatch(
                #[inline(always)]
                || match rule.focal_gamma == SQUARE {
                    true => row.fill::<true>(rule, above, below, weight, mask),
                    false => row.fill::<false>(rule, above, below, weight, mask),
                },
            );
            let on_defects: u32 = mask.iter().map(|&byte| u32::from(byte)).sum();
            defect += on_defects;
            simd::dispatch(
                #[inline(always)]
                || {
                    focal += f64::from(simd::sum(&row.focal));
                    abnormal += f64::from(simd::sum(&row.abnormal));
                    for (at, share) in [(low, 1.0 - weight), (high, weight)] {
                        let lines = at * size..(at + 1) * size;
                        simd::accumulate(&mut work.focal[lines.clone()], [share], [&row.d_focal]);
                        simd::accumulate(&mut work.slope[lines], [share], [&row.slope]);
                    }
                },
            );
            if on_defects > 0 {
                for (x, &byte) in mask.iter().enumerate() {
                    if byte != 0 {
                        hit += f64::from(row.abnormal[x]);
                        work.slope_on_defects[low * size + x] += (1.0 - weight) * row.slope[x];
                        work.slope_on_defects[high * size + x] += weight * row.slope[x];
                    }
                }
            }
        }

        let images = batch as f64;
        let pixels = (size * size) as f64;
        let numerator = 2.0 * hit + rule.dice_smooth;
        let denominator = abnormal + f64::from(defect) + rule.dice_smooth;
        // d(1 − n/d) = (n·dd − d·dn) / d², with dd = dp and dn = 2·y·dp.
        let everywhere = (numerator / (denominator * denominator) / images) as f32;
        let on_defects = (2.0 / denominator / images) as f32;
        let focal_share = (1.0 / (images * pixels)) as f32;
        for (line, gradient) in gradient.chunks_exact_mut(grid).enumerate() {
            let lines = line * size..(line + 1) * size;
            let (focal, slope) = (&work.focal[lines.clone()], &work.slope[lines.clone()]);
            let slope_on_defects = &work.slope_on_defects[lines];
            for (x, &(low, weight)) in self.taps.iter().enumerate() {
                let value = focal_share * focal[x] + everywhere * slope[x] - on_defects * slope_on_defects[x];
                gradient[low] += (1.0 - weight) * value;
                gradient[(low + 1).min(grid - 1)] += weight * value;
            }
        }
        (focal / pixels + 1.0 - numerator / denominator) / images
    }
}

impl Work {
    fn new(grid: usize, size: usize) -> Self {
        let plane = || vec![0.0; grid * size];
        let line = || vec![0.0; size];
        Self {
            stretched: plane(),
            focal: plane(),
            slope: plane(),
            slope_on_defects: plane(),
            row: Row { focal: line(), abnormal: line(), d_focal: line(), slope: line() },
        }
    }

    fn clear(&mut self) {
        for plane in [&mut self.focal, &mut self.slope, &mut self.slope_on_defects] {
            plane.fill(0.0);
        }
    }
}

impl Row {
    /// The pixels between two stretched rows: what each adds to the focal loss, its abnormal plane, and both derivatives
    /// by the pixel's difference. `SQUARED` when γ is 2, which needs no logarithm of its own.
    #[inline(always)]
    fn fill<const SQUARED: bool>(&mut self, rule: &LossRule, above: &[f32], below: &[f32], weight: f32, mask: &[u8]) {
        let (gamma, smooth, [good, bad]) = (rule.focal_gamma, rule.focal_smooth, rule.weights());
        let span = 1.0 - 2.0 * smooth;
        let n = mask.len();
        let (above, below) = (&above[..n], &below[..n]);
        let (focal, abnormal) = (&mut self.focal[..n], &mut self.abnormal[..n]);
        let (d_focal, slope) = (&mut self.d_focal[..n], &mut self.slope[..n]);
        for x in 0..n {
            let difference = above[x] + weight * (below[x] - above[x]);
            let defect = f32::from(mask[x]);
            let sign = 2.0 * defect - 1.0;
            // u = 1 / (1 + e) and 1 − u = e·u, both without cancellation.
            let e = simd::exp(-sign * difference);
            let u = 1.0 / (1.0 + e);
            let wrong = e * u;
            let d_sigmoid = wrong * u;
            let t = 2.0 * smooth + span * u;
            let miss = span * wrong;
            let ln = simd::ln(t);
            let alpha = defect * bad + (1.0 - defect) * good;
            let (share, slope_of_share) = if SQUARED {
                (-miss * miss * ln, sign * span * miss * (2.0 * ln - miss / t) * d_sigmoid)
            } else {
                // span·d_sigmoid·missᵞ⁻¹ = u·missᵞ, which is finite for every γ.
                let power = simd::exp(gamma * simd::ln(miss.max(f32::MIN_POSITIVE)));
                (-power * ln, sign * u * power * (gamma * ln - miss / t))
            };
            focal[x] = alpha * share;
            d_focal[x] = alpha * slope_of_share;
            abnormal[x] = defect * u + (1.0 - defect) * wrong;
            slope[x] = d_sigmoid;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: usize = 3;
    const SIZE: usize = 11;

    /// The same loss as written down, in float64: planes, softmax, one-hot labels.
    fn plain(rule: &LossRule, map: &[f64], mask: &[u8]) -> f64 {
        let at = |i: usize| {
            let at = i as f64 * (GRID - 1) as f64 / (SIZE - 1) as f64;
            let low = (at as usize).min(GRID - 2);
            (low, at - low as f64)
        };
        let (smooth, gamma) = (f64::from(rule.focal_smooth), f64::from(rule.focal_gamma));
        let alphas = rule.weights().map(f64::from);
        let (mut focal, mut hit, mut sum) = (0.0, 0.0, 0.0);
        for (i, &defect) in mask.iter().enumerate() {
            let ((y, v), (x, h)) = (at(i / SIZE), at(i % SIZE));
            let cell = |y: usize, x: usize| map[y * GRID + x];
            let difference = (1.0 - v) * ((1.0 - h) * cell(y, x) + h * cell(y, x + 1))
                + v * ((1.0 - h) * cell(y + 1, x) + h * cell(y + 1, x + 1));
            let abnormal = difference.exp() / (1.0 + difference.exp());
            let label = f64::from(defect).clamp(smooth, 1.0 - smooth);
            let normal_label = (1.0 - f64::from(defect)).clamp(smooth, 1.0 - smooth);
            let t = label * abnormal + normal_label * (1.0 - abnormal) + smooth;
            focal -= alphas[usize::from(defect)] * (1.0 - t).powf(gamma) * t.ln();
            hit += abnormal * f64::from(defect);
            sum += abnormal + f64::from(defect);
        }
        focal / mask.len() as f64 + 1.0 - (2.0 * hit + rule.dice_smooth) / (sum + rule.dice_smooth)
    }

    #[test]
    fn values_and_derivatives_are_those_of_the_formula() {
        let released = LossRule::default();
        follows_the_formula(&released);
        follows_the_formula(&LossRule { focal_alpha: Some(0.25), dice_smooth: 0.1, ..released });
        for focal_gamma in [0.0, 0.5, 1.0, 3.5] {
            follows_the_formula(&LossRule { focal_gamma, ..released });
        }
        follows_the_formula(&LossRule { focal_gamma: 1.5, focal_alpha: Some(0.9), focal_smooth: 0.02, ..released });
        follows_the_formula(&LossRule { focal_smooth: 0.0, ..released });
    }

    fn follows_the_formula(rule: &LossRule) {
        let maps: Vec<f32> = (0..4 * GRID * GRID).map(|i| ((i * 37 % 23) as f32 - 11.0) * 0.6).collect();
        let defect: Vec<u8> = (0..SIZE * SIZE).map(|i| u8::from((30..55).contains(&i) && i % SIZE > 3)).collect();
        let good = vec![0; SIZE * SIZE];
        let masks: [&[u8]; 2] = [&defect, &good];
        let found = MapLoss::new(*rule, GRID, SIZE).run(&maps, &masks, 2);
        let cells = GRID * GRID;
        for (kind, value) in found.values.iter().enumerate() {
            let exact = |image: usize| {
                let map: Vec<f64> = maps[(2 * kind + image) * cells..][..cells].iter().map(|&v| f64::from(v)).collect();
                plain(rule, &map, masks[image])
            };
            let expected = (exact(0) + exact(1)) / 2.0;
            assert!((value - expected).abs() < 1e-6, "{rule:?}, map {kind}: {value} {expected}");
        }
        for (at, found) in found.gradient.iter().enumerate() {
            let mut map: Vec<f64> = maps[at / cells * cells..][..cells].iter().map(|&v| f64::from(v)).collect();
            let mut moved = |by: f64| {
                map[at % cells] += by;
                plain(rule, &map, masks[at / cells % 2])
            };
            let h = 1e-5;
            let (up, down) = (moved(h), moved(-2.0 * h));
            let expected = (up - down) / (2.0 * h) / 2.0;
            assert!((f64::from(*found) - expected).abs() < 1e-7, "{rule:?}, {at}: {found} {expected}");
        }
    }

    #[test]
    fn a_part_of_a_batch_adds_up_to_the_whole() {
        let maps: Vec<f32> = (0..4 * GRID * GRID).map(|i| (i as f32).sin()).collect();
        let masks = [vec![1; SIZE * SIZE], vec![0; SIZE * SIZE]];
        let loss = MapLoss::new(LossRule::default(), GRID, SIZE);
        let whole = loss.run(&maps, &[&masks[0], &masks[1]], 2);
        let cells = GRID * GRID;
        let first: Vec<f32> = [&maps[..cells], &maps[2 * cells..3 * cells]].concat();
        let second: Vec<f32> = [&maps[cells..2 * cells], &maps[3 * cells..]].concat();
        let (first, second) = (loss.run(&first, &[&masks[0]], 2), loss.run(&second, &[&masks[1]], 2));
        for kind in 0..2 {
            assert_eq!(whole.values[kind], first.values[kind] + second.values[kind]);
        }
        assert_eq!(whole.gradient[..cells], first.gradient[..cells]);
        assert_eq!(whole.gradient[3 * cells..], second.gradient[cells..]);
    }

    #[test]
    fn huge_differences_stay_finite() {
        for (focal_gamma, focal_smooth) in [(2.0, 1e-5), (2.0, 0.0), (0.0, 0.0), (0.5, 0.0), (7.5, 1e-5)] {
            let rule = LossRule { focal_gamma, focal_smooth, ..LossRule::default() };
            let loss = MapLoss::new(rule, GRID, SIZE);
            for value in [1e4, -1e4, 80.0, -80.0] {
                let found = loss.run(&[value; GRID * GRID], &[&[1; SIZE * SIZE]], 1);
                let finite = found.values[0].is_finite() && found.gradient.iter().all(|g| g.is_finite());
                assert!(finite, "{rule:?} at {value}");
            }
        }
    }
}
