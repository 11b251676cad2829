//! The vision position embedding at another image size: bicubic with antialias, in 64-bit floats.

/// Parameter of the cubic kernel; torch uses −0.5 with antialias.
const A: f64 = -0.5;

/// Resizes a position embedding of `from`² + 1 rows of `width` to `to`² + 1 rows. The class row comes first and stays.
///
/// `None` if `rows` has another length.
pub fn resize(rows: &[f32], width: usize, from: usize, to: usize) -> Option<Vec<f32>> {
    if rows.len() != (from * from + 1) * width || from == 0 || width == 0 {
        return None;
    }
    let (class, grid) = rows.split_at(width);
    let taps: Vec<Taps> = (0..to).map(|at| Taps::new(at, from, to)).collect();
    // Along x: from rows of `to` columns each.
    let mut wide = vec![0.0f64; from * to * width];
    for (out, place) in wide.chunks_exact_mut(width).zip(0..) {
        let (y, x) = (place / to, place % to);
        for (weight, source) in taps[x].weights.iter().zip(taps[x].first..) {
            let source = &grid[(y * from + source) * width..][..width];
            for (sum, &value) in out.iter_mut().zip(source) {
                *sum += weight * f64::from(value);
            }
        }
    }
    let mut result = class.to_vec();
    result.reserve(to * to * width);
    let mut sums = vec![0.0f64; width];
    for place in 0..to * to {
        let (y, x) = (place / to, place % to);
        sums.fill(0.0);
        for (weight, source) in taps[y].weights.iter().zip(taps[y].first..) {
            let source = &wide[(source * to + x) * width..][..width];
            for (sum, value) in sums.iter_mut().zip(source) {
                *sum += weight * value;
            }
        }
        result.extend(sums.iter().map(|&sum| sum as f32));
    }
    Some(result)
}

/// Which inputs one output reads, and how much of each.
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

impl Taps {
    fn new(at: usize, from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = 2.0 * stretch;
        let centre = scale * (at as f64 + 0.5);
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let mut weights: Vec<f64> =
            (first..end).map(|source| cubic((source as f64 - centre + 0.5) / stretch)).collect();
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
        Self { first, weights }
    }
}

fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_grid_stays_as_it_is() {
        let rows: Vec<f32> = (0..(9 + 1) * 2).map(|i| (i as f32).sin()).collect();
        assert_eq!(resize(&rows, 2, 3, 3).unwrap(), rows);
    }

    #[test]
    fn a_constant_stays_constant_when_growing_and_shrinking() {
        for to in [1, 2, 5, 9] {
            let resized = resize(&[0.25; 17], 1, 4, to).unwrap();
            assert_eq!(resized.len(), to * to + 1);
            assert!(resized.iter().all(|value| (value - 0.25).abs() < 1e-7));
        }
    }
}
