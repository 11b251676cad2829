//! Products of every row of one matrix with every row of another, where rows are long and lie as they are: nothing is copied or
//! turned, which costs more than the products where one side has few rows. Fused multiply-add where the CPU has it.

use pulp::{Simd, WithSimd};

/// `out[r · n + c] = a_r · b_c` for rows of `width` values, n the number of rows in `b`.
///
/// # Panics
/// When a matrix is no whole number of rows, or `out` has another length.
pub fn row_products(out: &mut [f32], a: &[f32], b: &[f32], width: usize) {
    assert!(a.len().is_multiple_of(width) && b.len().is_multiple_of(width), "rows are whole");
    assert_eq!(out.len(), (a.len() / width) * (b.len() / width), "a number for every pair");
    pulp::Arch::new().dispatch(RowProducts { out, a, b, width });
}

struct RowProducts<'a> {
    out: &'a mut [f32],
    a: &'a [f32],
    b: &'a [f32],
    width: usize,
}

impl WithSimd for RowProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Sums that stay in registers, beside the values they are made of.
        if S::REGISTER_COUNT >= 32 { self.tiles::<S, 4>(simd) } else { self.tiles::<S, 2>(simd) }
    }
}

impl RowProducts<'_> {
    /// Tiles of `R` rows of `a` and four of `b`; the rows of `a` stay in the first-level cache for all of `b`.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize>(self, simd: S) {
        let Self { out, a, b, width } = self;
        let columns = b.len() / width;
        for (a, out) in a.chunks(R * width).zip(out.chunks_mut(R * columns)) {
            if a.len() == R * width {
                across::<S, R>(simd, out, a, b, width);
            } else {
                for (a, out) in a.chunks_exact(width).zip(out.chunks_exact_mut(columns)) {
                    across::<S, 1>(simd, out, a, b, width);
                }
            }
        }
    }
}

/// `R` rows with all of `b`.
#[inline(always)]
fn across<S: Simd, const R: usize>(simd: S, out: &mut [f32], a: &[f32], b: &[f32], width: usize) {
    let columns = b.len() / width;
    let mut rows = [a; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &a[r * width..][..width];
    }
    let row = |c: usize| &b[c * width..][..width];
    let mut c = 0;
    while c + 4 <= columns {
        put(out, columns, c, tile(simd, rows, [row(c), row(c + 1), row(c + 2), row(c + 3)]));
        c += 4;
    }
    while c + 2 <= columns {
        put(out, columns, c, tile(simd, rows, [row(c), row(c + 1)]));
        c += 2;
    }
    if c < columns {
        put(out, columns, c, tile(simd, rows, [row(c)]));
    }
}

#[inline(always)]
fn put<const R: usize, const C: usize>(out: &mut [f32], columns: usize, c: usize, sums: [[f32; C]; R]) {
    for (out, sums) in out.chunks_exact_mut(columns).zip(sums) {
        out[c..c + C].copy_from_slice(&sums);
    }
}

/// Loops alone: what is handed to a closure of the standard library is compiled without the instructions that were chosen.
#[inline(always)]
fn tile<S: Simd, const R: usize, const C: usize>(simd: S, a: [&[f32]; R], b: [&[f32]; C]) -> [[f32; C]; R] {
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    let width = a[0].len();
    let whole = width - width % S::F32_LANES;
    let mut at = 0;
    while at < width {
        let mut columns = [simd.splat_f32s(0.0); C];
        for c in 0..C {
            columns[c] = read(simd, b[c], at, whole);
        }
        for r in 0..R {
            let row = read(simd, a[r], at, whole);
            let sums = &mut sums[r];
            for c in 0..C {
                sums[c] = simd.mul_add_e_f32s(row, columns[c], sums[c]);
            }
        }
        at += S::F32_LANES;
    }
    let mut totals = [[0.0; C]; R];
    for r in 0..R {
        for c in 0..C {
            totals[r][c] = simd.reduce_sum_f32s(sums[r][c]);
        }
    }
    totals
}

/// A register of `row` from `at` on; zeros behind its end.
#[inline(always)]
fn read<S: Simd>(simd: S, row: &[f32], at: usize, whole: usize) -> S::f32s {
    if at < whole {
        bytemuck::pod_read_unaligned(bytemuck::cast_slice(&row[at..at + S::F32_LANES]))
    } else {
        simd.partial_load_f32s(&row[at..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_rows_of_any_size() {
        for (rows, columns, width) in [(1, 1, 1), (3, 2, 7), (4, 4, 16), (9, 7, 33), (11, 16, 100), (2, 5, 64)] {
            let value = |i: usize| ((i * 37 + 11) % 17) as f32 - 8.0;
            let a: Vec<f32> = (0..rows * width).map(value).collect();
            let b: Vec<f32> = (0..columns * width).map(|i| value(i + 5)).collect();
            let mut out = vec![f32::NAN; rows * columns];
            row_products(&mut out, &a, &b, width);
            for (at, got) in out.iter().enumerate() {
                let (r, c) = (at / columns, at % columns);
                let exact: f32 = (0..width).map(|i| a[r * width + i] * b[c * width + i]).sum();
                assert_eq!(*got, exact, "{rows}x{columns}x{width}: {r}, {c}");
            }
        }
    }
}
