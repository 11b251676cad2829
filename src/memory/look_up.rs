//! How far each token of a picture is from the nearest of a memory.

use rayon::prelude::*;

use crate::vcp_clip::matrix::{View, multiply};
use crate::vcp_clip::simd;

/// How precisely products are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// In f32.
    Single,
    /// In bfloat16 where the processor has matrix tiles for it, else in f32.
    Bfloat,
}

impl Arithmetic {
    /// As precisely as the network was run: with tokens in bfloat16 nothing is gained by more.
    pub fn of(precision: &str) -> Self {
        if precision == "bf16" { Self::Bfloat } else { Self::Single }
    }
}

/// Tokens of the memory that make one task: their products with a whole picture's tokens stay in a core's cache.
const TASK: usize = 192;

/// Tokens of length 1, one after the other; tokens of zeros stay zeros, which are at distance 1 from all.
pub fn normalised(tokens: &[f32], width: usize) -> Vec<f32> {
    let mut rows = tokens.to_vec();
    rows.par_chunks_mut(width).for_each(|row| {
        simd::dispatch(
            #[inline(always)]
            || {
                let length = simd::dot(row, row).sqrt();
                if length > 0.0 {
                    row.iter_mut().for_each(|x| *x /= length);
                }
            },
        );
    });
    rows
}

/// Cosine distance, 0 … 2, of each of `tokens` to the nearest of `memory`; both hold rows of `width` numbers and length 1.
/// Tokens of the memory whose index `left_out` names are passed over. Without any token in the memory all are at 2.
pub fn nearest(tokens: &[f32], memory: &[f32], width: usize, left_out: impl Fn(usize) -> bool + Sync) -> Vec<f32> {
    nearest_in(Arithmetic::Single, tokens, memory, width, left_out)
}

/// The same as precisely as is asked for.
pub fn nearest_in(
    arithmetic: Arithmetic,
    tokens: &[f32],
    memory: &[f32],
    width: usize,
    left_out: impl Fn(usize) -> bool + Sync,
) -> Vec<f32> {
    let cosines = match arithmetic {
        Arithmetic::Single => None,
        Arithmetic::Bfloat => in_tiles(tokens, memory, width, &left_out),
    };
    let cosines = cosines.unwrap_or_else(|| largest(tokens, memory, width, &left_out));
    cosines.into_iter().map(|cosine| (1.0 - cosine).clamp(0.0, 2.0)).collect()
}

#[cfg(target_arch = "x86_64")]
use super::tiles::largest as in_tiles;

#[cfg(not(target_arch = "x86_64"))]
fn in_tiles(_: &[f32], _: &[f32], _: usize, _: &(impl Fn(usize) -> bool + Sync)) -> Option<Vec<f32>> {
    None
}

/// For each of `tokens` its largest product with a row of `memory`, −1 without any.
fn largest(tokens: &[f32], memory: &[f32], width: usize, left_out: &(impl Fn(usize) -> bool + Sync)) -> Vec<f32> {
    let count = tokens.len() / width;
    let none = || vec![-1.0_f32; count];
    memory
        .par_chunks(TASK * width)
        .enumerate()
        .fold(
            || (none(), Vec::new()),
            |(mut best, mut products), (task, rows)| {
                let height = rows.len() / width;
                products.resize(TASK * count, 0.0);
                let products_here = &mut products[..height * count];
                let to = View::tight(height, count);
                let right = View::tight(count, width).transposed();
                multiply((products_here, to), (rows, View::tight(height, width)), (tokens, right), 1.0, false);
                for (i, row) in products_here.chunks_exact(count).enumerate() {
                    if !left_out(task * TASK + i) {
                        simd::dispatch(
                            #[inline(always)]
                            || best.iter_mut().zip(row).for_each(|(best, &value)| *best = best.max(value)),
                        );
                    }
                }
                (best, products)
            },
        )
        .map(|(best, _)| best)
        .reduce(none, |mut a, b| {
            a.iter_mut().zip(&b).for_each(|(a, &b)| *a = a.max(b));
            a
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn the_nearest_is_found_and_may_be_left_out() {
        let (width, count) = (33, 50);
        let mut dice = Dice::new(3, [0; 3]);
        let mut rows = |count: usize| {
            let values: Vec<f32> = (0..count * width).map(|_| dice.normal() as f32).collect();
            normalised(&values, width)
        };
        let (tokens, memory) = (rows(count), rows(3 * TASK + 5));
        let brute = |out: usize| -> Vec<f32> {
            let near = |token: &[f32]| {
                let others = memory.chunks_exact(width).enumerate().filter(|(i, _)| i % 3 != out);
                let cosines = others.map(|(_, row)| row.iter().zip(token).map(|(a, b)| a * b).sum::<f32>());
                1.0 - cosines.fold(-1.0, f32::max)
            };
            tokens.chunks_exact(width).map(near).collect()
        };
        for (arithmetic, most) in [(Arithmetic::Single, 1e-5), (Arithmetic::Bfloat, 5e-3)] {
            for out in [0, 1, 9] {
                let found = nearest_in(arithmetic, &tokens, &memory, width, |i| i % 3 == out);
                let worst = found.iter().zip(brute(out)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < most, "{arithmetic:?} off by {worst}");
            }
            assert_eq!(nearest_in(arithmetic, &tokens, &tokens, width, |_| true), vec![2.0; count]);
            assert!(nearest_in(arithmetic, &tokens, &tokens, width, |_| false).iter().all(|&d| d < most));
        }
    }

    #[test]
    fn a_token_of_zeros_is_far_from_all() {
        assert_eq!(nearest(&normalised(&[0.0, 0.0], 2), &[1.0, 0.0], 2, |_| false), [1.0]);
    }
}
