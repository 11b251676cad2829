//! The two resampling filters of Pillow that pictures meet on their way to the model, exact to the last bit.

use rayon::prelude::*;

use super::cores::SharedOut;

use super::simd;

/// Fraction bits of a weight: 8 bits of pixel and 2 bits for weights outside 0 … 1 leave 22 of an `i32`.
const FRACTION_BITS: u32 = 32 - 8 - 2;
/// Added before the fraction is cut off, so that it rounds.
const HALF: i32 = 1 << (FRACTION_BITS - 1);
/// Reach of the bicubic kernel on each side, source pixels at scale 1.
const BICUBIC_REACH: f64 = 2.0;
/// The kernel's free parameter (Keys 1981).
const KEYS_A: f64 = -0.5;
/// Channels summed side by side, as many as the widest format has.
const LANES: usize = 4;

/// The weights with which one axis of `source` pixels becomes `target` pixels.
pub(crate) struct Taps {
    source: usize,
    target: usize,
    /// Per target pixel: the first source pixel, and where its weights lie.
    spans: Vec<Span>,
    fixed: Vec<i32>,
    exact: Vec<f64>,
    single: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Span {
    first: usize,
    at: usize,
    count: usize,
}

impl Taps {
    /// Antialiased bicubic: when shrinking, the kernel widens with the scale.
    pub(crate) fn bicubic(source: usize, target: usize) -> Self {
        let scale = source as f64 / target as f64;
        let stretch = scale.max(1.0);
        let reach = BICUBIC_REACH * stretch;
        let shrink = 1.0 / stretch;
        let mut spans = Vec::with_capacity(target);
        let mut exact = Vec::new();
        for pixel in 0..target {
            let centre = (pixel as f64 + 0.5) * scale;
            // Cutting off after adding a half; below zero both give the border, as `as usize` saturates.
            let first = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(source);
            let at = exact.len();
            exact.extend((first..end).map(|x| keys_kernel((x as f64 - centre + 0.5) * shrink)));
            let sum: f64 = exact[at..].iter().sum();
            if sum != 0.0 {
                exact[at..].iter_mut().for_each(|weight| *weight /= sum);
            }
            spans.push(Span { first, at, count: end - first });
        }
        let one = f64::from(1u32 << FRACTION_BITS);
        let fixed = exact.iter().map(|weight| (weight * one + 0.5f64.copysign(*weight)) as i32).collect();
        let single = exact.iter().map(|weight| *weight as f32).collect();
        Self { source, target, spans, fixed, exact, single }
    }

    pub(super) fn source(&self) -> usize {
        self.source
    }

    pub(super) fn target(&self) -> usize {
        self.target
    }

    /// Per target pixel: the first source pixel, and the weights from there on.
    pub(super) fn weights(&self) -> impl IndexedParallelIterator<Item = (usize, &[f32])> {
        self.spans.par_iter().map(|span| (span.first, &self.single[span.at..span.at + span.count]))
    }

    /// [`Taps::weights`], one after the other.
    pub(super) fn weights_in_order(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.spans.iter().map(|span| (span.first, &self.single[span.at..span.at + span.count]))
    }

    /// Per target pixel: the first source pixel, where its weights start in [`Self::fixed`], and how many there are.
    #[cfg(feature = "cuda")]
    pub(crate) fn spans(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        self.spans.iter().map(|span| (span.first, span.at, span.count))
    }

    /// Weights with 22 bits of fraction.
    #[cfg(feature = "cuda")]
    pub(crate) fn fixed(&self) -> &[i32] {
        &self.fixed
    }

    /// An axis that keeps its length is not filtered at all.
    fn is_identity(&self) -> bool {
        self.source == self.target
    }
}

fn keys_kernel(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((KEYS_A + 2.0) * x - (KEYS_A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * KEYS_A
    } else {
        0.0
    }
}

/// `sum + byte · weight`. The weights of a pixel add up to 1 and their magnitudes to less than 2, so nothing overflows;
/// saying so keeps the checks of a test build out of the inner loops.
#[inline(always)]
fn add_product(sum: i32, byte: u8, weight: i32) -> i32 {
    sum.wrapping_add(i32::from(byte).wrapping_mul(weight))
}

#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

/// Resizes interleaved 8-bit pixels of `N` channels; `between` holds what the first pass leaves.
pub(super) fn bicubic_8bit<const N: usize>(
    pixels: &[u8],
    across: &Taps,
    down: &Taps,
    between: &mut Vec<u8>,
    out: &mut [u8],
) {
    two_passes(pixels, N, across, down, between, out, across_8bit::<N>, down_8bit);
}

/// Resizes little-endian 16-bit grey: weights in double precision, each pass rounded to 16 bits.
pub(super) fn bicubic_16bit(pixels: &[u8], across: &Taps, down: &Taps, between: &mut Vec<u8>, out: &mut [u8]) {
    two_passes(pixels, 2, across, down, between, out, across_16bit, down_16bit);
}

/// Pillow 13 shrinks the height first when that takes away more than twice as many rows as columns. Each pass
/// rounds, so the order shows in the result.
pub(crate) fn is_down_first(width: usize, height: usize, target: usize) -> bool {
    let rows_lost = height as i64 - target as i64;
    let columns_lost = width as i64 - target as i64;
    rows_lost > 0 && rows_lost > 2 * columns_lost
}

#[allow(clippy::too_many_arguments)] // Both bit depths share the order of the passes and nothing else.
fn two_passes(
    pixels: &[u8],
    step: usize,
    across: &Taps,
    down: &Taps,
    between: &mut Vec<u8>,
    out: &mut [u8],
    pass_across: impl Fn(&[u8], &Taps, &mut [u8]),
    pass_down: impl Fn(&[u8], usize, &Taps, &mut [u8]),
) {
    let (wide_row, narrow_row) = (across.source * step, across.target * step);
    if across.is_identity() {
        pass_down(pixels, wide_row, down, out);
    } else if down.is_identity() {
        pass_across(pixels, across, out);
    } else if is_down_first(across.source, down.source, down.target) {
        between.resize(wide_row * down.target, 0);
        pass_down(pixels, wide_row, down, between);
        pass_across(between, across, out);
    } else {
        between.resize(narrow_row * down.source, 0);
        pass_across(pixels, across, between);
        pass_down(between, narrow_row, down, out);
    }
}

fn down_8bit(pixels: &[u8], row: usize, down: &Taps, out: &mut [u8]) {
    out.par_chunks_exact_mut(row).zip(&down.spans).shared_out().for_each_init(
        || vec![0i32; row],
        |sums, (out, span)| {
            simd::dispatch(
                #[inline(always)]
                || {
                    sums.fill(HALF);
                    // Whole rows at a time, so that the inner loop runs over neighbouring bytes.
                    for (tap, &weight) in down.fixed[span.at..span.at + span.count].iter().enumerate() {
                        let start = (span.first + tap) * row;
                        for (sum, byte) in sums.iter_mut().zip(&pixels[start..start + row]) {
                            *sum = add_product(*sum, *byte, weight);
                        }
                    }
                    for (byte, sum) in out.iter_mut().zip(sums.iter()) {
                        *byte = to_byte(*sum);
                    }
                },
            );
        },
    );
}

fn across_8bit<const N: usize>(pixels: &[u8], across: &Taps, out: &mut [u8]) {
    let rows = pixels.par_chunks_exact(across.source * N);
    rows.zip(out.par_chunks_exact_mut(across.target * N)).shared_out().for_each_init(
        || vec![0; across.source * N + LANES],
        |padded, (row, out)| {
            padded[..row.len()].copy_from_slice(row);
            simd::dispatch(
                #[inline(always)]
                || across_row::<N>(padded, across, out),
            );
        },
    );
}

/// One row, with [`LANES`] bytes after its end.
#[inline(always)]
fn across_row<const N: usize>(row: &[u8], across: &Taps, out: &mut [u8]) {
    for (pixel, span) in out.chunks_exact_mut(N).zip(&across.spans) {
        let weights = &across.fixed[span.at..span.at + span.count];
        if N == 1 {
            let bytes = &row[span.first..span.first + span.count];
            pixel[0] =
                to_byte(bytes.iter().zip(weights).fold(HALF, |sum, (byte, weight)| add_product(sum, *byte, *weight)));
            continue;
        }
        // A whole register per source pixel; what lies beyond its channels belongs to the next one and is dropped.
        let bytes = &row[span.first * N..(span.first + span.count) * N + LANES];
        let mut sums = [HALF; LANES];
        for (source, &weight) in bytes.windows(LANES).step_by(N).zip(weights) {
            let source: &[u8; LANES] = source.try_into().expect("a window of this length");
            for (sum, byte) in sums.iter_mut().zip(source) {
                *sum = add_product(*sum, *byte, weight);
            }
        }
        for (byte, sum) in pixel.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    }
}

fn level(row: &[u8], x: usize) -> f64 {
    f64::from(u16::from_le_bytes([row[2 * x], row[2 * x + 1]]))
}

fn across_16bit(pixels: &[u8], across: &Taps, out: &mut [u8]) {
    let rows = pixels.par_chunks_exact(across.source * 2);
    rows.zip(out.par_chunks_exact_mut(across.target * 2)).shared_out().for_each(|(row, out)| {
        for (out, span) in out.chunks_exact_mut(2).zip(&across.spans) {
            let weights = across.exact[span.at..span.at + span.count].iter().enumerate();
            let sum = weights.fold(0.0, |sum, (tap, weight)| sum + level(row, span.first + tap) * weight);
            out.copy_from_slice(&to_two_bytes(sum));
        }
    });
}

fn down_16bit(pixels: &[u8], row: usize, down: &Taps, out: &mut [u8]) {
    out.par_chunks_exact_mut(row).zip(&down.spans).shared_out().for_each(|(out, span)| {
        for (x, out) in out.chunks_exact_mut(2).enumerate() {
            let weights = down.exact[span.at..span.at + span.count].iter().enumerate();
            let sum =
                weights.fold(0.0, |sum, (tap, weight)| sum + level(&pixels[(span.first + tap) * row..], x) * weight);
            out.copy_from_slice(&to_two_bytes(sum));
        }
    });
}

/// Low and high byte are clipped one by one: an overshoot above 65535 keeps the low byte of the sum.
fn to_two_bytes(sum: f64) -> [u8; 2] {
    let rounded = (sum + 0.5f64.copysign(sum)) as i32;
    [(rounded % 256).clamp(0, 255) as u8, (rounded >> 8).clamp(0, 255) as u8]
}

/// Which source column and row each target pixel is taken from.
pub(super) struct NearestMap {
    source_width: usize,
    columns: Vec<usize>,
    rows: Vec<usize>,
}

impl NearestMap {
    pub(super) fn new(width: usize, height: usize, size: usize) -> Self {
        Self { source_width: width, columns: centres(width, size), rows: centres(height, size) }
    }
}

/// The source pixel under the centre of each target pixel. The position is a running sum, because its rounding
/// decides where a centre falls on the border of two pixels.
fn centres(source: usize, target: usize) -> Vec<usize> {
    let scale = source as f64 / target as f64;
    let mut position = scale * 0.5;
    let mut taken = Vec::with_capacity(target);
    for _ in 0..target {
        taken.push((position as usize).min(source - 1));
        position += scale;
    }
    taken
}

/// Picks whole pixels of `step` bytes.
pub(super) fn nearest(pixels: &[u8], step: usize, map: &NearestMap, out: &mut [u8]) {
    for (out, row) in out.chunks_exact_mut(map.columns.len() * step).zip(&map.rows) {
        let row = &pixels[row * map.source_width * step..][..map.source_width * step];
        for (out, column) in out.chunks_exact_mut(step).zip(&map.columns) {
            out.copy_from_slice(&row[column * step..(column + 1) * step]);
        }
    }
}
