//! Matrix products of slices. Only this module calls the `gemm` crate.
//!
//! A product runs on the calling thread. Callers divide the work into tasks of a size that does not depend on the
//! number of threads.

use std::ops::Range;

/// A matrix view of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Returns the matrix with the rows of `data` one after the other.
    #[track_caller]
    pub(crate) fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        let len = data.len();
        assert!(rows.checked_mul(cols) == Some(len), "matrix: {len} elements for {rows} x {cols}");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// Returns the transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Returns the matrix of these columns.
    #[track_caller]
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.cols,
            "matrix: columns {range:?} of {}",
            self.cols
        );
        let first = (range.start * self.col_stride).min(self.data.len());
        Self { data: &self.data[first..], cols: range.len(), ..self }
    }

    /// Returns whether all elements lie within the slice.
    fn is_in_bounds(&self) -> bool {
        let (Some(last_row), Some(last_col)) = (self.rows.checked_sub(1), self.cols.checked_sub(1)) else {
            return true; // the matrix is empty
        };
        let last = (last_row.checked_mul(self.row_stride))
            .and_then(|row| last_col.checked_mul(self.col_stride).and_then(|col| row.checked_add(col)));
        last.is_some_and(|last| last < self.data.len())
    }
}

/// What a product does with the numbers in the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// Replaces them.
    Overwrite,
    /// Adds the product to them.
    Add,
}

/// Sets each row of `dst` to the bias, if there is one, and returns how a product must then be stored.
pub(crate) fn begin_with(bias: Option<&[f32]>, dst: &mut [f32]) -> Store {
    let Some(bias) = bias else { return Store::Overwrite };
    dst.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
    Store::Add
}

/// Computes `dst = lhs * rhs` or `dst += lhs * rhs`, with `dst` row-major.
///
/// # Panics
/// If the shapes do not fit.
#[expect(unsafe_code, reason = "the gemm crate takes pointers")]
#[track_caller]
pub(crate) fn multiply(dst: &mut [f32], store: Store, lhs: Matrix, rhs: Matrix) {
    let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
    assert!(rhs.rows == k, "multiply: {m} x {k} by {} x {n}", rhs.rows);
    let len = dst.len();
    assert!(m.checked_mul(n) == Some(len), "multiply: destination has {len} elements, expected {m} x {n}");
    assert!(lhs.is_in_bounds() && rhs.is_in_bounds(), "multiply: an operand reaches beyond its slice");
    if k == 0 && store == Store::Overwrite {
        dst.fill(0.0);
    }
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    // SAFETY: `gemm` reads m x k elements of `lhs` and k x n of `rhs` and writes m x n of `dst` (and reads them if
    // `read_dst`) at the given strides. All lie within their slices: `dst` is dense with a length of m * n, and the
    // operands were checked above. A slice spans less than isize::MAX bytes, so the strides fit. f32 has no padding
    // or invalid bits. `dst` is borrowed mutably, so it overlaps neither operand, and its elements are distinct.
    // Instruction sets: the crate detects at run time which ones it may use.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            n as isize,
            store == Store::Add,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i % 7) as f32 - 3.0).collect()
    }

    fn at(m: &Matrix, row: usize, col: usize) -> f32 {
        m.data[row * m.row_stride + col * m.col_stride]
    }

    /// Checks products of small whole numbers, which are exact in any order of the sums.
    fn check(lhs: Matrix, rhs: Matrix) {
        for store in [Store::Overwrite, Store::Add] {
            let before = numbered(lhs.rows * rhs.cols);
            let mut dst = before.clone();
            multiply(&mut dst, store, lhs, rhs);
            for row in 0..lhs.rows {
                for col in 0..rhs.cols {
                    let product: f32 = (0..lhs.cols).map(|i| at(&lhs, row, i) * at(&rhs, i, col)).sum();
                    let start = if store == Store::Add { before[row * rhs.cols + col] } else { 0.0 };
                    assert_eq!(
                        dst[row * rhs.cols + col],
                        start + product,
                        "({row}, {col}) {store:?} {lhs:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn products_of_every_layout_and_of_awkward_sizes() {
        let sizes = [1, 2, 3, 5, 16, 17, 33, 70];
        for m in sizes {
            for n in sizes {
                for k in [0, 1, 2, 3, 8, 31] {
                    let (a, b) = (numbered(m * k), numbered(k * n));
                    let (lhs, lhs_t) =
                        (Matrix::row_major(&a, m, k), Matrix::row_major(&a, k, m).transposed());
                    let (rhs, rhs_t) =
                        (Matrix::row_major(&b, k, n), Matrix::row_major(&b, n, k).transposed());
                    for (lhs, rhs) in [(lhs, rhs), (lhs_t, rhs), (lhs, rhs_t), (lhs_t, rhs_t)] {
                        check(lhs, rhs);
                    }
                }
            }
        }
    }

    #[test]
    fn products_with_some_columns() {
        let (a, b) = (numbered(6 * 10), numbered(6 * 9));
        let rhs = Matrix::row_major(&b, 6, 9);
        check(Matrix::row_major(&a, 6, 10).columns(3..8).transposed(), rhs);
        check(Matrix::row_major(&a, 6, 10).columns(9..10).transposed(), rhs.columns(8..9));
        check(Matrix::row_major(&a, 6, 10).columns(10..10).transposed(), rhs);
    }

    #[test]
    fn what_is_overwritten_is_not_read() {
        let mut dst = [f32::NAN; 4];
        multiply(
            &mut dst,
            Store::Overwrite,
            Matrix::row_major(&[1.0; 6], 2, 3),
            Matrix::row_major(&[1.0; 6], 3, 2),
        );
        assert_eq!(dst, [3.0; 4]);
        multiply(&mut dst, Store::Overwrite, Matrix::row_major(&[], 2, 0), Matrix::row_major(&[], 0, 2));
        assert_eq!(dst, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "multiply: 2 x 3 by 2 x 3")]
    fn inner_sizes_must_agree() {
        let a = Matrix { data: &[1.0; 6], rows: 2, cols: 3, row_stride: 3, col_stride: 1 };
        multiply(&mut [0.0; 6], Store::Overwrite, a, a);
    }

    #[test]
    #[should_panic(expected = "destination has 5 elements, expected 2 x 3")]
    fn the_destination_must_fit() {
        let a = Matrix::row_major(&[1.0; 4], 2, 2);
        multiply(&mut [0.0; 5], Store::Overwrite, a, Matrix::row_major(&[1.0; 6], 2, 3));
    }

    #[test]
    #[should_panic(expected = "an operand reaches beyond its slice")]
    fn operands_must_lie_within_their_slices() {
        let short = Matrix { data: &[1.0; 5], rows: 2, cols: 3, row_stride: 3, col_stride: 1 };
        multiply(&mut [0.0; 4], Store::Overwrite, short, Matrix::row_major(&[1.0; 6], 3, 2));
    }

    #[test]
    #[should_panic(expected = "an operand reaches beyond its slice")]
    fn sizes_that_overflow_are_beyond_too() {
        let rows = usize::MAX / 4 + 2; // (rows - 1) * 4 is 0 in wrapping arithmetic
        let huge = Matrix { data: &[1.0; 4], rows, cols: 4, row_stride: 4, col_stride: 1 };
        multiply(&mut [], Store::Overwrite, huge, Matrix::row_major(&[], 4, 0));
    }

    #[test]
    #[should_panic(expected = "an operand reaches beyond its slice")]
    fn right_operands_too() {
        let short = Matrix { data: &[1.0; 5], rows: 3, cols: 2, row_stride: 1, col_stride: 3 };
        multiply(&mut [0.0; 4], Store::Overwrite, Matrix::row_major(&[1.0; 6], 2, 3), short);
    }
}
