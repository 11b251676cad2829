//! From low-resolution difference maps to the anomaly map and the image score.
//!
//! A softmax over two upsampled planes is the sigmoid of their upsampled difference, so each layer and path needs one
//! map of G×G numbers. Upsampling is bilinear with aligned corners, the smoothing SciPy's `gaussian_filter` with its
//! defaults (truncated at four standard deviations, borders reflected as `d c b a | a b c d | d c b a`).

use rayon::prelude::*;

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
        let raw = self.mean_map(raw);
        let new = self.mean_map(new);
        let blend: Vec<f32> =
            raw.iter().zip(&new).map(|(raw, new)| self.raw_weight * raw + (1.0 - self.raw_weight) * new).collect();
        let top = || rayon::join(|| top_mean(&raw, self.top_k), || top_mean(&new, self.top_k));
        let (map, (top_raw, top_new)) = rayon::join(|| smooth(&blend, self.size, &self.kernel), top);
        let score = top_raw + top_new;
        Fused { raw, new, map, score }
    }

    /// Mean over the layers of the sigmoid of the upsampled difference.
    fn mean_map(&self, layers: &[Vec<f32>]) -> Vec<f32> {
        let (size, grid) = (self.size, self.grid);
        let share = 1.0 / layers.len() as f32;
        let mut map = vec![0.0; size * size];
        map.par_chunks_mut(ROWS * size).enumerate().for_each(|(task, rows)| {
            let mut mixed = vec![0.0; grid + 1];
            let mut values = vec![0.0; size];
            simd::dispatch(
                #[inline(always)]
                || {
                    for (i, row) in rows.chunks_exact_mut(size).enumerate() {
                        let (low, weight) = self.taps[task * ROWS + i];
                        let high = (low + 1).min(grid - 1);
                        for layer in layers {
                            let (above, below) = (&layer[low * grid..][..grid], &layer[high * grid..][..grid]);
                            for x in 0..grid {
                                mixed[x] = above[x] + weight * (below[x] - above[x]);
                            }
                            // The tap right of the last column has weight 0.
                            mixed[grid] = mixed[grid - 1];
                            // Two loops: picking from anywhere is done number by number, the sigmoid many at a time.
                            for (value, &(low, weight)) in values.iter_mut().zip(&self.taps) {
                                *value = mixed[low] + weight * (mixed[low + 1] - mixed[low]);
                            }
                            for (out, value) in row.iter_mut().zip(&values) {
                                *out += sigmoid(*value);
                            }
                        }
                        row.iter_mut().for_each(|x| *x *= share);
                    }
                },
            );
        });
        map
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

/// Smooths a `size`×`size` map with a [`gaussian`]: separable, rows first as SciPy's axis order does (axis 0, then axis 1).
pub fn smooth(map: &[f32], size: usize, kernel: &[f32]) -> Vec<f32> {
    let radius = kernel.len() - 1;
    let reflect: Vec<usize> = (0..size + 2 * radius).map(|i| reflected(i as isize - radius as isize, size)).collect();

    let mut down = vec![0.0; size * size];
    down.par_chunks_mut(ROWS * size).enumerate().for_each(|(task, rows)| {
        simd::dispatch(
            #[inline(always)]
            || {
                for (i, row) in rows.chunks_exact_mut(size).enumerate() {
                    let y = task * ROWS + i + radius;
                    let line = |y: usize| &map[reflect[y] * size..][..size];
                    simd::accumulate(row, [kernel[0]], [line(y)]);
                    for (d, &weight) in kernel.iter().enumerate().skip(1) {
                        simd::accumulate(row, [weight, weight], [line(y - d), line(y + d)]);
                    }
                }
            },
        );
    });

    let mut across = vec![0.0; size * size];
    across.par_chunks_mut(ROWS * size).zip(down.par_chunks(ROWS * size)).for_each(|(rows, sources)| {
        let mut padded = vec![0.0; size + 2 * radius];
        simd::dispatch(
            #[inline(always)]
            || {
                for (row, source) in rows.chunks_exact_mut(size).zip(sources.chunks_exact(size)) {
                    for (out, &from) in padded.iter_mut().zip(&reflect) {
                        *out = source[from];
                    }
                    simd::accumulate(row, [kernel[0]], [&padded[radius..]]);
                    for (d, &weight) in kernel.iter().enumerate().skip(1) {
                        simd::accumulate(row, [weight, weight], [&padded[radius - d..], &padded[radius + d..]]);
                    }
                }
            },
        );
    });
    across
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + simd::exp(-x))
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
    let mut values = values.to_vec();
    let k = k.min(values.len());
    if k < values.len() {
        values.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    }
    (values[..k].iter().map(|&v| f64::from(v)).sum::<f64>() / k as f64) as f32
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
    }

    #[test]
    fn the_gaussian_sums_to_one() {
        let half = gaussian(8.0);
        assert_eq!(half.len(), 33);
        let total: f32 = half[0] + 2.0 * half[1..].iter().sum::<f32>();
        assert!((total - 1.0).abs() < 1e-6);
    }
}
