//! The element-wise parts of the network and their derivatives, each in one pass over memory.

use crate::vcp_clip::simd;

/// Logits further below the largest get no share: e⁻⁴⁰ is far below what a float sum of shares can hold.
const SMALLEST: f32 = -40.0;

/// Normalises rows; `out` gets `(x − mean) / deviation`, the return value is 1 / deviation per row.
pub fn standardize(x: &[f32], width: usize, eps: f32, out: &mut [f32]) -> Vec<f32> {
    let mut inverse = Vec::with_capacity(x.len() / width);
    simd::dispatch(
        #[inline(always)]
        || {
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                let mean = simd::sum(x) / width as f32;
                for (out, x) in out.iter_mut().zip(x) {
                    *out = x - mean;
                }
                let scale = 1.0 / (simd::dot(out, out) / width as f32 + eps).sqrt();
                out.iter_mut().for_each(|out| *out *= scale);
                inverse.push(scale);
            }
        },
    );
    inverse
}

/// `normal · gamma + beta` per row.
pub fn affine(normal: &[f32], gamma: &[f32], beta: &[f32], out: &mut [f32]) {
    let width = gamma.len();
    simd::dispatch(
        #[inline(always)]
        || {
            for (normal, out) in normal.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                for (((out, n), g), b) in out.iter_mut().zip(normal).zip(gamma).zip(beta) {
                    *out = n * g + b;
                }
            }
        },
    );
}

/// Derivative of a layer normalisation: `grad` with respect to its output, `normal` and `inverse` from
/// [`standardize`]. Adds to the gradients of x, gamma and beta.
pub fn layer_norm_back(
    grad: &[f32],
    (normal, inverse): (&[f32], &[f32]),
    gamma: &[f32],
    to_x: &mut [f32],
    (to_gamma, to_beta): (&mut [f32], &mut [f32]),
) {
    let width = gamma.len();
    let share = 1.0 / width as f32;
    let mut scaled = vec![0.0; width];
    simd::dispatch(
        #[inline(always)]
        || {
            let rows = grad.chunks_exact(width).zip(normal.chunks_exact(width)).zip(to_x.chunks_exact_mut(width));
            for (((grad, normal), to_x), &inverse) in rows.zip(inverse) {
                for i in 0..width {
                    to_gamma[i] += grad[i] * normal[i];
                    to_beta[i] += grad[i];
                    scaled[i] = grad[i] * gamma[i];
                }
                let mean = simd::sum(&scaled) * share;
                let along = simd::dot(&scaled, normal) * share;
                for i in 0..width {
                    to_x[i] += inverse * (scaled[i] - mean - normal[i] * along);
                }
            }
        },
    );
}

/// The exact GELU x·Φ(x) and its derivative Φ(x) + x·φ(x); the error function to 1.5e-7 by Abramowitz and Stegun
/// 7.1.26.
pub fn gelu(x: &[f32], out: &mut [f32], slope: &mut [f32]) {
    const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
    const P: f32 = 0.327_591_1;
    const INVERSE_ROOT_TAU: f32 = 0.398_942_3;
    simd::dispatch(
        #[inline(always)]
        || {
            for ((&x, out), slope) in x.iter().zip(out.iter_mut()).zip(slope.iter_mut()) {
                let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
                let bell = simd::exp((-z * z).max(-80.0));
                let t = 1.0 / (1.0 + P * z);
                let tail = ((((A[4] * t + A[3]) * t + A[2]) * t + A[1]) * t + A[0]) * t * bell * 0.5;
                let phi = if x < 0.0 { tail } else { 1.0 - tail };
                *out = x * phi;
                *slope = phi + x * bell * INVERSE_ROOT_TAU;
            }
        },
    );
}

/// Softmax of every row, in place.
pub fn softmax(rows: &mut [f32], width: usize) {
    simd::dispatch(
        #[inline(always)]
        || {
            for row in rows.chunks_exact_mut(width) {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                // What a mask took out must be nothing at all: numbers near the smallest float are slow to compute with.
                row.iter_mut().for_each(|x| {
                    let below = *x - largest;
                    *x = if below < SMALLEST { 0.0 } else { simd::exp(below) };
                });
                let inverse = 1.0 / simd::sum(row);
                row.iter_mut().for_each(|x| *x *= inverse);
            }
        },
    );
}

/// Derivative of a softmax: turns `grad` with respect to the shares into that with respect to the logits, in place.
pub fn softmax_back(shares: &[f32], grad: &mut [f32], width: usize) {
    simd::dispatch(
        #[inline(always)]
        || {
            for (shares, grad) in shares.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
                let along = simd::dot(shares, grad);
                for (grad, share) in grad.iter_mut().zip(shares) {
                    *grad = share * (*grad - along);
                }
            }
        },
    );
}

/// `to += from`
pub fn add(to: &mut [f32], from: &[f32]) {
    simd::dispatch(
        #[inline(always)]
        || to.iter_mut().zip(from).for_each(|(to, from)| *to += from),
    );
}

/// `to += a · b`, element by element.
pub fn add_product(to: &mut [f32], a: &[f32], b: &[f32]) {
    simd::dispatch(
        #[inline(always)]
        || to.iter_mut().zip(a).zip(b).for_each(|((to, a), b)| *to += a * b),
    );
}

/// Adds every row of `rows` to `to`.
pub fn add_rows(to: &mut [f32], rows: &[f32]) {
    let width = to.len();
    simd::dispatch(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(width) {
                to.iter_mut().zip(row).for_each(|(to, x)| *to += x);
            }
        },
    );
}
