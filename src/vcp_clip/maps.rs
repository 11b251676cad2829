//! From low-resolution difference maps to the anomaly map and the image score.
//!
//! A softmax over two upsampled planes is the sigmoid of their upsampled difference, so each layer and path needs one
//! map of G×G numbers. Upsampling is bilinear with aligned corners, the smoothing SciPy's `gaussian_filter` with its
//! defaults (truncated at four standard deviations, borders reflected as `d c b a | a b c d | d c b a`).

use rayon::prelude::*;

use super::cores::{self, SharedOut};

use super::simd;
use super::{Architecture, Constants};

/// Rows of a map that make one task.
const ROWS: usize = 16;
/// Where SciPy cuts the Gaussian off, in standard deviations.
const TRUNCATE: f32 = 4.0;

/// Weights and positions that depend on the sizes alone.
pub struct MapFusion {
    grid: usize,
    size: usize,
    raw_weight: f32,
    top_k: usize,
    /// Per output coordinate: lower grid coordinate and the weight of the next one.
    taps: Vec<(usize, f32)>,
    /// Half of the symmetric Gaussian, centre first.
    kernel: Vec<f32>,
}

/// Both paths' maps and what is made of them; every map is S×S, row by row.
pub struct Fused {
    /// Mean over the layers of the Pre-VCP path.
    pub raw: Vec<f32>,
    /// Mean over the layers of the Post-VCP path.
    pub new: Vec<f32>,
    /// Blended and smoothed.
    pub map: Vec<f32>,
    /// Sum of the two paths' top-k means, 0 … 2.
    pub score: f32,
}

impl MapFusion {
    /// Prepares for one model.
    pub fn new(arch: &Architecture, constants: &Constants) -> Self {
        let (grid, size) = (arch.grid(), arch.image_size);
        Self {
            grid,
            size,
            raw_weight: constants.raw_weight,
            top_k: constants.top_k.clamp(1, size * size),
            taps: upsampling(grid, size),
            kernel: gaussian(constants.sigma),
        }
    }

    /// Difference maps (abnormal − normal logits, G×G) of both paths, one per layer → maps and score.
    pub fn fuse(&self, raw: &[Vec<f32>], new: &[Vec<f32>]) -> Fused {
        let size = self.size;
        let wide: Vec<Vec<f32>> = raw.par_iter().chain(new).shared_out().map(|layer| self.widened(layer)).collect();
        let (wide_raw, wide_new) = wide.split_at(raw.len());
        let reflect = reflections(size, self.kernel.len() - 1);
        let map = || vec![0.0; size * size];
        let (mut raw, mut new, mut across) = (map(), map(), map());
        raw.par_chunks_mut(ROWS * size)
            .zip(new.par_chunks_mut(ROWS * size))
            .zip(across.par_chunks_mut(ROWS * size))
            .enumerate()
            .shared_out()
            .for_each(|(task, ((raw, new), across))| {
                let mut padded = vec![0.0; reflect.len()];
                simd::dispatch_fused(
                    #[inline(always)]
                    |fused| {
                        let rows = raw.chunks_exact_mut(size).zip(new.chunks_exact_mut(size));
                        for (i, ((raw, new), across)) in rows.zip(across.chunks_exact_mut(size)).enumerate() {
                            let at = self.taps[task * ROWS + i];
                            self.mean_row(fused, wide_raw, at, raw);
                            self.mean_row(fused, wide_new, at, new);
                            self.blend(raw, new, across);
                            smooth_row(fused, across, &mut padded, &reflect, &self.kernel);
                        }
                    },
                );
            });
        let top = || cores::join(|| top_mean(&raw, self.top_k), || top_mean(&new, self.top_k));
        let (map, (top_raw, top_new)) = cores::join(|| smooth_down(&across, size, &reflect, &self.kernel), top);
        Fused { raw, new, map, score: top_raw + top_new }
    }

    /// A layer's map upsampled along its rows alone: G rows of S values.
    fn widened(&self, layer: &[f32]) -> Vec<f32> {
        let mut wide = Vec::with_capacity(self.grid * self.size);
        for row in layer.chunks_exact(self.grid) {
            wide.extend(self.taps.iter().map(|&(low, weight)| {
                let high = (low + 1).min(self.grid - 1);
                row[low] + weight * (row[high] - row[low])
            }));
        }
        wide
    }

    /// A row of the map: mean over the layers of the sigmoid of the upsampled difference.
    #[inline(always)]
    fn mean_row(&self, fused: bool, wide: &[Vec<f32>], (low, weight): (usize, f32), row: &mut [f32]) {
        let size = row.len();
        let high = (low + 1).min(self.grid - 1);
        for layer in wide {
            let (above, below) = (&layer[low * size..][..size], &layer[high * size..][..size]);
            for x in 0..size {
                row[x] += sigmoid(fused, simd::multiply_add(fused, weight, below[x] - above[x], above[x]));
            }
        }
        let share = 1.0 / wide.len() as f32;
        for x in row.iter_mut() {
            *x *= share;
        }
    }

    #[inline(always)]
    fn blend(&self, raw: &[f32], new: &[f32], out: &mut [f32]) {
        for ((out, raw), new) in out.iter_mut().zip(raw).zip(new) {
            *out = self.raw_weight * raw + (1.0 - self.raw_weight) * new;
        }
    }
}

/// Bilinear upsampling with aligned corners: per output coordinate the lower grid coordinate and the weight of the next.
pub fn upsampling(grid: usize, size: usize) -> Vec<(usize, f32)> {
    let step = if size > 1 { (grid as f64 - 1.0) / (size as f64 - 1.0) } else { 0.0 };
    (0..size)
        .map(|i| {
            let at = i as f64 * step;
            let low = (at as usize).min(grid - 1);
            (low, (at - low as f64) as f32)
        })
        .collect()
}

/// Which pixel stands at each place of a line of `size` pixels that reaches `radius` pixels beyond both ends.
fn reflections(size: usize, radius: usize) -> Vec<usize> {
    (0..size + 2 * radius).map(|i| reflected(i as isize - radius as isize, size)).collect()
}

/// Smooths a `size`×`size` map with a [`gaussian`].
pub fn smooth(map: &[f32], size: usize, kernel: &[f32]) -> Vec<f32> {
    let reflect = reflections(size, kernel.len() - 1);
    let mut smooth = smooth_down(map, size, &reflect, kernel);
    smooth.par_chunks_mut(ROWS * size).shared_out().for_each(|rows| {
        let mut padded = vec![0.0; reflect.len()];
        simd::dispatch_fused(
            #[inline(always)]
            |fused| {
                for row in rows.chunks_exact_mut(size) {
                    smooth_row(fused, row, &mut padded, &reflect, kernel);
                }
            },
        );
    });
    smooth
}

/// Smooths a row in place with a [`gaussian`].
#[inline(always)]
fn smooth_row(fused: bool, row: &mut [f32], padded: &mut [f32], reflect: &[usize], kernel: &[f32]) {
    let (size, radius) = (row.len(), kernel.len() - 1);
    padded[radius..radius + size].copy_from_slice(row);
    for i in (0..radius).chain(radius + size..padded.len()) {
        padded[i] = row[reflect[i]];
    }
    weigh(
        fused,
        row,
        kernel,
        #[inline(always)]
        |d| [&padded[radius - d..][..size], &padded[radius + d..][..size]],
    );
}

/// Smooths a map along its columns with a [`gaussian`].
fn smooth_down(map: &[f32], size: usize, reflect: &[usize], kernel: &[f32]) -> Vec<f32> {
    let radius = kernel.len() - 1;
    let mut down = vec![0.0; size * size];
    down.par_chunks_mut(ROWS * size).enumerate().shared_out().for_each(|(task, rows)| {
        simd::dispatch_fused(
            #[inline(always)]
            |fused| {
                for (i, row) in rows.chunks_exact_mut(size).enumerate() {
                    let y = task * ROWS + i + radius;
                    weigh(
                        fused,
                        row,
                        kernel,
                        #[inline(always)]
                        |d| [&map[reflect[y - d] * size..][..size], &map[reflect[y + d] * size..][..size]],
                    );
                }
            },
        );
    });
    down
}

/// `row = Σ kernel_d · (left_d + right_d)`, where `sides` gives both sides at a distance; at distance 0 they are one.
#[inline(always)]
fn weigh<'a>(fused: bool, row: &mut [f32], kernel: &[f32], sides: impl Fn(usize) -> [&'a [f32]; 2]) {
    // So many sums stay in registers while the kernel is gone through.
    const BLOCK: usize = 64;
    let mut x = 0;
    while x < row.len() {
        let count = BLOCK.min(row.len() - x);
        let mut sums = [0.0; BLOCK];
        for (d, &weight) in kernel.iter().enumerate() {
            let [left, right] = sides(d);
            let (left, right) = (&left[x..], &right[x..]);
            let weight = if d == 0 { 0.5 * weight } else { weight };
            if let (Some(left), Some(right)) = (left.first_chunk::<BLOCK>(), right.first_chunk::<BLOCK>()) {
                for i in 0..BLOCK {
                    sums[i] = simd::multiply_add(fused, weight, left[i] + right[i], sums[i]);
                }
            } else {
                for i in 0..count {
                    sums[i] = simd::multiply_add(fused, weight, left[i] + right[i], sums[i]);
                }
            }
        }
        row[x..x + count].copy_from_slice(&sums[..count]);
        x += count;
    }
}

#[inline(always)]
fn sigmoid(fused: bool, x: f32) -> f32 {
    1.0 / (1.0 + simd::exp_fused(fused, -x))
}

/// Normalised half Gaussian with `sigma` pixels, centre first, cut at four standard deviations as SciPy does.
pub fn gaussian(sigma: f32) -> Vec<f32> {
    let sigma = f64::from(sigma);
    let radius = (f64::from(TRUNCATE) * sigma + 0.5) as usize;
    let weight = |d: usize| if sigma > 0.0 { (-0.5 * (d as f64 / sigma).powi(2)).exp() } else { 1.0 };
    let half: Vec<f64> = (0..=radius).map(weight).collect();
    let total = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    half.iter().map(|w| (w / total) as f32).collect()
}

/// [`smooth`] along one axis as a matrix, `size`×`size`.
pub fn smoothing_matrix(size: usize, sigma: f32) -> Vec<f32> {
    let kernel = gaussian(sigma);
    let mut matrix = vec![0.0; size * size];
    for (at, row) in matrix.chunks_exact_mut(size).enumerate() {
        row[at] += kernel[0];
        for (d, weight) in kernel.iter().enumerate().skip(1) {
            let (at, d) = (at as isize, d as isize);
            row[reflected(at - d, size)] += weight;
            row[reflected(at + d, size)] += weight;
        }
    }
    matrix
}

/// Index `i` mirrored into `0 .. n` with the border repeated, as often as needed.
fn reflected(i: isize, n: usize) -> usize {
    let period = 2 * n as isize;
    let i = i.rem_euclid(period) as usize;
    if i < n { i } else { 2 * n - 1 - i }
}

/// Mean of the `k` largest values, without sorting the rest.
fn top_mean(values: &[f32], k: usize) -> f32 {
    let k = k.min(values.len());
    let mut values = candidates(values, k);
    if k < values.len() {
        values.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    }
    (values[..k].iter().map(|&v| f64::from(v)).sum::<f64>() / k as f64) as f32
}

/// Some of the values, the `k` largest among them: of `k` groups that have the largest maxima, each has one that is no smaller than
/// the least of these maxima.
fn candidates(values: &[f32], k: usize) -> Vec<f32> {
    const GROUP: usize = 16;
    let mut maxima = Vec::with_capacity(values.len().div_ceil(GROUP));
    simd::dispatch(
        #[inline(always)]
        || {
            for group in values.chunks(GROUP) {
                let mut largest = i32::MIN;
                for value in group {
                    largest = largest.max(order(*value));
                }
                maxima.push(largest);
            }
        },
    );
    if k == 0 || k >= maxima.len() {
        return values.to_vec();
    }
    let mut sorted = maxima.clone();
    let (_, &mut least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    let groups = values.chunks(GROUP).zip(&maxima).filter(|(_, largest)| **largest >= least);
    groups.flat_map(|(group, _)| group.iter().copied().filter(|value| order(*value) >= least)).collect()
}

/// A number that orders as `total_cmp` does: what is not a number is the largest, and seen.
#[inline(always)]
fn order(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_repeats_the_border() {
        let seen: Vec<usize> = (-5..8).map(|i| reflected(i, 3)).collect();
        assert_eq!(seen, [1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
    }

    #[test]
    fn top_mean_takes_the_largest() {
        assert_eq!(top_mean(&[1.0, 5.0, 3.0, 4.0], 2), 4.5);
        assert_eq!(top_mean(&[1.0, 5.0, 3.0, 4.0], 9), 3.25);
        let values: Vec<f32> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 - 1e6).collect();
        let mut sorted = values.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        for k in [1, 2, 100, 312, 313, 4999, 5000] {
            let exact = sorted[..k].iter().map(|&v| f64::from(v)).sum::<f64>() / k as f64;
            assert!((f64::from(top_mean(&values, k)) / exact - 1.0).abs() < 1e-6, "{k}");
        }
    }

    #[test]
    fn what_is_no_number_is_seen_in_the_score() {
        let mut values = vec![0.25; 4000];
        values[1234] = f32::NAN;
        assert!(top_mean(&values, 20).is_nan());
    }

    #[test]
    fn the_gaussian_sums_to_one() {
        let half = gaussian(8.0);
        assert_eq!(half.len(), 33);
        let total: f32 = half[0] + 2.0 * half[1..].iter().sum::<f32>();
        assert!((total - 1.0).abs() < 1e-6);
    }
}
