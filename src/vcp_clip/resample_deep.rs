//! The bicubic filter for values of 16 bits with levels: in single precision, and nothing is rounded on the way.
//!
//! Pillow has no such path; the weights are those of its 8-bit one. Overshoots stay until the levels clip them.

use rayon::prelude::*;

use super::cores::SharedOut;

use super::resample::{Taps, is_down_first};
use super::simd;

/// Channels summed side by side.
const LANES: usize = 4;

/// Little-endian 16-bit values as numbers.
pub(super) fn widened(pixels: &[u8], out: &mut [f32]) {
    for (number, pair) in out.iter_mut().zip(pixels.chunks_exact(2)) {
        *number = f32::from(u16::from_le_bytes([pair[0], pair[1]]));
    }
}

/// Resizes interleaved little-endian 16-bit pixels of `N` channels; `between` holds what the first pass leaves.
pub(super) fn bicubic_deep<const N: usize>(
    pixels: &[u8],
    across: &Taps,
    down: &Taps,
    between: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (wide_row, narrow_row) = (across.source() * N, across.target() * N);
    if across.source() == across.target() {
        down_values(pixels, wide_row, down, out);
    } else if down.source() == down.target() {
        across_values::<N>(pixels, across, out);
    } else if is_down_first(across.source(), down.source(), down.target()) {
        between.resize(wide_row * down.target(), 0.0);
        down_values(pixels, wide_row, down, between);
        let rows = between.par_chunks_exact(wide_row);
        rows.zip(out.par_chunks_exact_mut(narrow_row)).shared_out().for_each_init(
            || vec![0.0; wide_row + LANES],
            |padded, (row, out)| {
                padded[..wide_row].copy_from_slice(row);
                simd::dispatch(
                    #[inline(always)]
                    || across_row::<N>(padded, across, out),
                );
            },
        );
    } else {
        between.resize(narrow_row * down.source(), 0.0);
        across_values::<N>(pixels, across, between);
        let between = &*between;
        out.par_chunks_exact_mut(narrow_row).zip(down.weights()).shared_out().for_each(|(out, (first, weights))| {
            simd::dispatch(
                #[inline(always)]
                || {
                    out.fill(0.0);
                    for (row, weight) in between[first * narrow_row..].chunks_exact(narrow_row).zip(weights) {
                        out.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * weight);
                    }
                },
            );
        });
    }
}

fn down_values(pixels: &[u8], row: usize, down: &Taps, out: &mut [f32]) {
    out.par_chunks_exact_mut(row).zip(down.weights()).shared_out().for_each(|(out, (first, weights))| {
        simd::dispatch(
            #[inline(always)]
            || {
                out.fill(0.0);
                for (values, weight) in pixels[first * row * 2..].chunks_exact(row * 2).zip(weights) {
                    for (sum, pair) in out.iter_mut().zip(values.chunks_exact(2)) {
                        *sum += f32::from(u16::from_le_bytes([pair[0], pair[1]])) * weight;
                    }
                }
            },
        );
    });
}

fn across_values<const N: usize>(pixels: &[u8], across: &Taps, out: &mut [f32]) {
    let wide = across.source() * N;
    let rows = pixels.par_chunks_exact(wide * 2);
    rows.zip(out.par_chunks_exact_mut(across.target() * N)).shared_out().for_each_init(
        || vec![0.0; wide + LANES],
        |padded, (row, out)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    widened(row, padded);
                    across_row::<N>(padded, across, out);
                },
            );
        },
    );
}

/// One row, with [`LANES`] values after its end.
#[inline(always)]
fn across_row<const N: usize>(row: &[f32], across: &Taps, out: &mut [f32]) {
    for (pixel, (first, weights)) in out.chunks_exact_mut(N).zip(across.weights_in_order()) {
        // As many sums as a register holds: of neighbouring values for one channel, of a pixel's channels for more.
        let mut sums = [0.0; LANES];
        if N == 1 {
            let values = &row[first..first + weights.len()];
            let (fours, rest) = values.as_chunks::<LANES>();
            let (of_fours, of_rest) = weights.as_chunks::<LANES>();
            for (four, weights) in fours.iter().zip(of_fours) {
                for lane in 0..LANES {
                    sums[lane] += four[lane] * weights[lane];
                }
            }
            let rest: f32 = rest.iter().zip(of_rest).map(|(value, weight)| value * weight).sum();
            pixel[0] = sums.iter().sum::<f32>() + rest;
            continue;
        }
        let values = &row[first * N..(first + weights.len()) * N + LANES];
        for (source, weight) in values.windows(LANES).step_by(N).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(source) {
                *sum += value * weight;
            }
        }
        pixel.copy_from_slice(&sums[..N]);
    }
}
