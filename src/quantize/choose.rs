//! The scales of one layer: how much of the activations' range moves into the weight, and where rounding clips, by the smallest
//! error of the layer's own output.

use rayon::prelude::*;

use super::seen::Layer as Seen;
use crate::engine::scales::{LARGEST, Layer, round};
use crate::vcp_clip::matrix::{View, multiply};

/// Shares that are tried; Xiao et al. (SmoothQuant, ICML 2023) take 0.5 for most models and search where it does not do.
const ALPHAS: [f32; 8] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Largest values that are kept whole, as shares of the largest that was seen; the others are clipped.
const CLIPS: [f32; 3] = [0.9, 0.75, 0.6];
/// A channel whose range is less than this share of the widest is taken for one of that range: what never varied in the pictures
/// may do so later.
const LEAST_RANGE: f32 = 1e-3;

/// Scales for the weight `[out, columns]` of a layer with this input.
pub(super) fn layer(seen: &Seen, weight: &[f32]) -> Layer {
    let columns = seen.largest.len();
    let exact = product(&seen.rows, weight, columns);
    let try_one = |alpha: Option<f32>, clip: f32| {
        let migration = alpha.map_or_else(|| vec![1.0; columns], |alpha| migration(seen, weight, alpha));
        let widest = seen.largest.iter().zip(&migration).fold(0.0_f32, |most, (x, m)| most.max(x / m));
        let step = (clip * widest / LARGEST).max(f32::MIN_POSITIVE * 1e6);
        let mut layer = Layer { migration, step, alpha: alpha.unwrap_or(0.0), error: 0.0 };
        layer.error = error(&layer, seen, weight, &exact);
        layer
    };
    let better = |a: Layer, b: Layer| if b.error < a.error { b } else { a };
    let alphas: Vec<Option<f32>> = std::iter::once(None).chain(ALPHAS.map(Some)).collect();
    let whole = alphas.into_par_iter().map(|alpha| try_one(alpha, 1.0)).reduce_with(better);
    let whole = whole.unwrap_or_else(|| try_one(None, 1.0));
    let alpha = (whole.alpha > 0.0).then_some(whole.alpha);
    let clipped = CLIPS.into_par_iter().map(|clip| try_one(alpha, clip)).reduce_with(better);
    clipped.into_iter().fold(whole, better)
}

/// m_c = max|x_c|^α / max|w_c|^(1−α), with a geometric mean of 1.
fn migration(seen: &Seen, weight: &[f32], alpha: f32) -> Vec<f32> {
    let columns = seen.largest.len();
    let mut of_weight = vec![0.0_f32; columns];
    for row in weight.chunks_exact(columns) {
        of_weight.iter_mut().zip(row).for_each(|(most, w)| *most = most.max(w.abs()));
    }
    let floored = |ranges: &[f32]| {
        let least = LEAST_RANGE * ranges.iter().copied().fold(f32::MIN_POSITIVE * 1e6, f32::max);
        ranges.iter().map(|range| range.max(least)).collect::<Vec<f32>>()
    };
    let (x, w) = (floored(&seen.largest), floored(&of_weight));
    let logarithms: Vec<f32> = x.iter().zip(&w).map(|(x, w)| alpha * x.ln() - (1.0 - alpha) * w.ln()).collect();
    let mean = logarithms.iter().sum::<f32>() / columns.max(1) as f32;
    logarithms.iter().map(|logarithm| (logarithm - mean).exp()).collect()
}

/// ‖ŷ − y‖ / ‖y‖ over the rows.
fn error(layer: &Layer, seen: &Seen, weight: &[f32], exact: &[f32]) -> f32 {
    let columns = layer.migration.len();
    let rounded: Vec<f32> = seen
        .rows
        .chunks_exact(columns)
        .flat_map(|row| {
            row.iter().zip(&layer.migration).map(|(x, m)| f32::from(round(x / (m * layer.step))) * layer.step)
        })
        .collect();
    let int8 = layer.weight(weight);
    let weight: Vec<f32> = int8
        .values
        .chunks_exact(columns)
        .zip(&int8.steps)
        .flat_map(|(row, step)| row.iter().map(move |&w| f32::from(w) * step))
        .collect();
    let (mut off, mut all) = (0.0_f64, f64::MIN_POSITIVE);
    for (a, b) in product(&rounded, &weight, columns).iter().zip(exact) {
        off += f64::from(a - b).powi(2);
        all += f64::from(*b).powi(2);
    }
    (off / all).sqrt() as f32
}

/// `x · Wᵀ`.
fn product(x: &[f32], weight: &[f32], columns: usize) -> Vec<f32> {
    let (rows, out) = (x.len() / columns, weight.len() / columns);
    let mut y = vec![0.0; rows * out];
    let to = (y.as_mut_slice(), View::tight(rows, out));
    multiply(to, (x, View::tight(rows, columns)), (weight, View::tight(out, columns).transposed()), 1.0, false);
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    /// Rows of which some channels are fifty times the others.
    fn seen(columns: usize, outliers: &[usize]) -> (Seen, Vec<f32>) {
        let mut dice = Dice::labelled(&["quantize"], 7);
        let mut normal = |scale: f32| dice.normal() as f32 * scale;
        let rows: Vec<f32> =
            (0..64 * columns).map(|at| normal(if outliers.contains(&(at % columns)) { 50.0 } else { 1.0 })).collect();
        let weight: Vec<f32> = (0..32 * columns).map(|_| normal(0.1)).collect();
        let mut largest = vec![0.0_f32; columns];
        for row in rows.chunks_exact(columns) {
            largest.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(x.abs()));
        }
        (Seen { largest, rows }, weight)
    }

    #[test]
    fn channels_fifty_times_the_others_move_into_the_weight() {
        let (even, weight) = seen(64, &[]);
        let calm = layer(&even, &weight);
        assert!(calm.error < 0.02, "{}", calm.error);
        let (odd, weight) = seen(64, &[3, 40]);
        let moved = layer(&odd, &weight);
        let plain = Layer {
            migration: vec![1.0; 64],
            step: odd.largest.iter().fold(0.0_f32, |a, &b| a.max(b)) / LARGEST,
            ..calm
        };
        let exact = product(&odd.rows, &weight, 64);
        // The large channels carry nearly all of the output, so that the error of the others hardly shows in it: it is the
        // others' share that a plain rounding loses.
        assert!(moved.error < error(&plain, &odd, &weight, &exact), "{}", moved.error);
        assert!(moved.alpha > 0.0 && moved.migration[3] > 3.0 * moved.migration[4], "{:?}", moved.alpha);
    }

    #[test]
    fn a_channel_that_never_moved_has_a_scale_all_the_same() {
        let (mut dead, weight) = seen(16, &[]);
        dead.rows.iter_mut().skip(5).step_by(16).for_each(|x| *x = 0.0);
        dead.largest[5] = 0.0;
        let layer = layer(&dead, &weight);
        assert!(layer.migration.iter().all(|m| m.is_finite() && *m > 0.0) && layer.step > 0.0);
        let nothing = Seen { largest: vec![0.0; 16], rows: vec![0.0; 160] };
        let layer = super::layer(&nothing, &weight);
        assert!(layer.migration.iter().all(|m| m.is_finite() && *m > 0.0) && layer.step > 0.0 && layer.error == 0.0);
    }
}
