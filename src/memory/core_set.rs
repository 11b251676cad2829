//! A few tokens that lie close to all: the greedy k-centre core-set.
//!
//! Each step takes the token that is farthest from those taken so far (Gonzalez 1985, at most twice the best radius; as
//! coreset for memories: Sener and Savarese, ICLR 2018; Roth et al., "Towards total recall in industrial anomaly detection",
//! CVPR 2022). Distances are those of random projections, which keep them within a few percent (Johnson and Lindenstrauss).

use rayon::prelude::*;

use crate::dice::Dice;
use crate::vcp_clip::matrix::{View, multiply};
use crate::vcp_clip::simd;

/// Numbers of a projected token.
const PROJECTED: usize = 128;
/// Tokens that make one task.
const TASK: usize = 2048;

/// Rows of `tokens` (`width` numbers each, length 1) that are kept, `most` of them or all, in the order they were taken.
/// The first is the one nearest to the mean of all, so that the answer depends on nothing but the tokens.
pub fn core_set(tokens: &[f32], width: usize, most: usize) -> Vec<usize> {
    let count = tokens.len() / width;
    if count <= most {
        return (0..count).collect();
    }
    let (points, width) = projected(tokens, width);
    let dot = |a: &[f32], b: &[f32]| {
        simd::dispatch(
            #[inline(always)]
            || simd::dot(a, b),
        )
    };
    let point = |at: usize| &points[at * width..][..width];
    let squares: Vec<f32> = points.par_chunks(width).map(|row| dot(row, row)).collect();

    let mut mean = vec![0.0; width];
    for row in points.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value / count as f32);
    }
    let nearness = |at: usize| squares[at] - 2.0 * dot(point(at), &mean);
    let first = (0..count).min_by(|&a, &b| nearness(a).total_cmp(&nearness(b))).unwrap_or(0);

    let mut taken = vec![first];
    let mut distances = vec![f32::INFINITY; count];
    while taken.len() < most {
        let last = taken[taken.len() - 1];
        let centre = point(last);
        let farthest = distances
            .par_chunks_mut(TASK)
            .enumerate()
            .map(|(task, distances)| {
                let from = task * TASK;
                simd::dispatch(
                    #[inline(always)]
                    || {
                        let mut best = (f32::NEG_INFINITY, from);
                        for (i, distance) in distances.iter_mut().enumerate() {
                            let at = from + i;
                            let row = &points[at * width..][..width];
                            let to_last = squares[at] + squares[last] - 2.0 * simd::dot(row, centre);
                            *distance = distance.min(to_last);
                            if *distance > best.0 {
                                best = (*distance, at);
                            }
                        }
                        best
                    },
                )
            })
            // The lowest index among equals: the answer does not depend on how the work was divided.
            .reduce(
                || (f32::NEG_INFINITY, usize::MAX),
                |a, b| if b.0 > a.0 || (b.0 == a.0 && b.1 < a.1) { b } else { a },
            );
        // What is taken already has the distance of a rounding error; all that is left is a copy of something taken.
        if farthest.0 <= 1e-6 {
            break;
        }
        taken.push(farthest.1);
    }
    taken
}

/// The tokens times a fixed Gaussian matrix, when that makes them shorter.
fn projected(tokens: &[f32], width: usize) -> (Vec<f32>, usize) {
    if width <= PROJECTED {
        return (tokens.to_vec(), width);
    }
    let mut dice = Dice::new(0, [u64::from_le_bytes(*b"core set"), width as u64, 0]);
    let scale = 1.0 / (PROJECTED as f32).sqrt();
    let matrix: Vec<f32> = (0..width * PROJECTED).map(|_| dice.normal() as f32 * scale).collect();
    let mut points = vec![0.0; tokens.len() / width * PROJECTED];
    points.par_chunks_mut(TASK * PROJECTED).zip(tokens.par_chunks(TASK * width)).for_each(|(points, tokens)| {
        let rows = tokens.len() / width;
        let (to, left) = (View::tight(rows, PROJECTED), View::tight(rows, width));
        multiply((points, to), (tokens, left), (&matrix, View::tight(width, PROJECTED)), 1.0, false);
    });
    (points, PROJECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(dice: &mut Dice, width: usize) -> Vec<f32> {
        let row: Vec<f32> = (0..width).map(|_| dice.normal() as f32).collect();
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(|x| x / length).collect()
    }

    #[test]
    fn one_of_each_cluster_is_kept() {
        for width in [16, 300] {
            let mut dice = Dice::new(1, [0; 3]);
            let centres: Vec<Vec<f32>> = (0..7).map(|_| unit(&mut dice, width)).collect();
            let noisy =
                |dice: &mut Dice, row: &[f32]| row.iter().map(|x| x + 0.01 * dice.normal() as f32).collect::<Vec<_>>();
            let rows: Vec<f32> = (0..700).flat_map(|i| noisy(&mut dice, &centres[i % 7])).collect();
            let kept = core_set(&rows, width, 7);
            let mut clusters: Vec<usize> = kept.iter().map(|at| at % 7).collect();
            clusters.sort_unstable();
            assert_eq!(clusters, [0, 1, 2, 3, 4, 5, 6], "width {width}");
            assert_eq!(core_set(&rows, width, 7), kept);
        }
    }

    #[test]
    fn copies_are_kept_once_and_few_tokens_all() {
        let mut dice = Dice::new(2, [0; 3]);
        let row = unit(&mut dice, 8);
        let other = unit(&mut dice, 8);
        let copies = [row.clone(), row.clone(), other, row].concat();
        assert_eq!(core_set(&copies, 8, 3).len(), 2);
        assert_eq!(core_set(&copies, 8, 4), [0, 1, 2, 3]);
        assert!(core_set(&[], 8, 4).is_empty());
    }
}
