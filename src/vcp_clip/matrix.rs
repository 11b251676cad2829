//! Products of matrices in slices: a checked door to the `gemm` crate, on the calling thread.

/// Where a matrix lies in a slice: element (r, c) is at `offset + r·row + c·column`.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// First element.
    pub offset: usize,
    /// Distance of rows.
    pub row: usize,
    /// Distance of columns.
    pub column: usize,
}

impl View {
    /// A tight row-major matrix.
    pub fn tight(rows: usize, columns: usize) -> Self {
        Self { rows, columns, offset: 0, row: columns, column: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }

    fn fits(&self, length: usize) -> bool {
        let last = |count: usize, step: usize| count.saturating_sub(1).checked_mul(step);
        let end = last(self.rows, self.row)
            .zip(last(self.columns, self.column))
            .and_then(|(r, c)| self.offset.checked_add(r)?.checked_add(c));
        self.rows == 0 || self.columns == 0 || end.is_some_and(|end| end < length)
    }
}

/// `out = alpha · a · b`, or `out += alpha · a · b` when `add` is set.
///
/// # Panics
/// When sizes do not match or a view reaches beyond its slice.
#[allow(unsafe_code)]
pub fn multiply(out: (&mut [f32], View), a: (&[f32], View), b: (&[f32], View), alpha: f32, add: bool) {
    let ((out, to), (a, left), (b, right)) = (out, a, b);
    assert!(to.rows == left.rows && to.columns == right.columns && left.columns == right.rows, "matrix sizes match");
    assert!(to.fits(out.len()) && left.fits(a.len()) && right.fits(b.len()), "matrices lie in their slices");
    if to.rows == 0 || to.columns == 0 {
        return;
    }
    // SAFETY: every element that the three views reach lies in its slice (asserted above), `out` is borrowed mutably and
    // so overlaps neither input, and strides of a slice in memory fit `isize`.
    unsafe {
        gemm::gemm(
            to.rows,
            to.columns,
            left.columns,
            out.as_mut_ptr().add(to.offset),
            to.column as isize,
            to.row as isize,
            add,
            a.as_ptr().add(left.offset),
            left.column as isize,
            left.row as isize,
            b.as_ptr().add(right.offset),
            right.column as isize,
            right.row as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
