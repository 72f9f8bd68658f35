//! Transposition of matrices whose rows may lie apart.

use std::ops::Range;

use crate::isa::{Isa, isa};

/// Side of the tiles that are transposed in registers.
const TILE: usize = 8;

/// Side of the blocks of numbers that are moved one after the other: 16 floats are one cache line.
const BLOCK: usize = 16;

/// A matrix to read, and the place of its transpose.
struct Matrices<'a> {
    from: &'a [f32],
    /// Distance from a row of `from` to the next.
    from_step: usize,
    to: &'a mut [f32],
    /// Distance from a row of `to` to the next.
    to_step: usize,
}

/// Writes the transpose of a (rows, cols) matrix: `to[col * to_step + row] = from[row * from_step + col]`. The numbers
/// between the rows of `to` stay as they are.
///
/// # Panics
/// If a matrix reaches beyond its slice.
pub(crate) fn transpose(
    from: &[f32],
    from_step: usize,
    to: &mut [f32],
    to_step: usize,
    [rows, cols]: [usize; 2],
) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!((rows - 1) * from_step + cols <= from.len(), "the matrix reaches beyond its slice");
    assert!((cols - 1) * to_step + rows <= to.len(), "the transpose reaches beyond its slice");
    let mut m = Matrices { from, from_step, to, to_step };
    let tiled = transpose_tiles(&mut m, [rows, cols]);
    transpose_plainly(&mut m, 0..rows, tiled[1]..cols);
    transpose_plainly(&mut m, tiled[0]..rows, 0..tiled[1]);
}

fn transpose_plainly(m: &mut Matrices<'_>, rows: Range<usize>, cols: Range<usize>) {
    for first in rows.clone().step_by(BLOCK) {
        for col in cols.clone() {
            for row in first..rows.end.min(first + BLOCK) {
                m.to[col * m.to_step + row] = m.from[row * m.from_step + col];
            }
        }
    }
}

/// Transposes the whole tiles of the matrix with the processor's shuffles. Returns the rows and columns that are done.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // calls the function below after the match on the instruction set
fn transpose_tiles(m: &mut Matrices<'_>, [rows, cols]: [usize; 2]) -> [usize; 2] {
    let tiled = [rows - rows % TILE, cols - cols % TILE];
    match isa() {
        // SAFETY: `isa` returns only instruction sets that the processor has; these have AVX2. The caller checked that
        // the rows and columns exist in both slices.
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => unsafe { avx2::transpose_tiles(m, tiled) },
        _ => return [0, 0],
    }
    tiled
}

#[cfg(not(target_arch = "x86_64"))]
fn transpose_tiles(_: &mut Matrices<'_>, _: [usize; 2]) -> [usize; 2] {
    [0, 0]
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // reads and writes vectors inside bounds that `transpose` checked
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Matrices, TILE};

    /// Transposes a matrix of whole tiles.
    ///
    /// # Safety
    /// `rows` and `cols` are multiples of `TILE`, and that many rows and columns lie inside both slices.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn transpose_tiles(m: &mut Matrices<'_>, [rows, cols]: [usize; 2]) {
        // Where a step is a power of two, the lines of a column fall on few sets of L1. So few of them are in use at a
        // time: those of a tile, until the tile beside it has the rest of their numbers.
        let (outer, inner, by_rows) =
            if m.from_step > m.to_step { (rows, cols, true) } else { (cols, rows, false) };
        for first in (0..inner).step_by(BLOCK) {
            for i in (0..outer).step_by(TILE) {
                for j in (first..inner.min(first + BLOCK)).step_by(TILE) {
                    let (row, col) = if by_rows { (i, j) } else { (j, i) };
                    // SAFETY: the tile lies inside the rows and columns that the caller promises.
                    unsafe { transpose_tile(m, row, col) }
                }
            }
        }
    }

    /// # Safety
    /// The tile that begins at (row, col) lies inside both slices.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn transpose_tile(m: &mut Matrices<'_>, row: usize, col: usize) {
        // SAFETY: as the caller promises.
        unsafe {
            let from = m.from.as_ptr().add(row * m.from_step + col);
            let to = m.to.as_mut_ptr().add(col * m.to_step + row);
            let rows: [__m256; TILE] = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * m.from_step)));
            for (i, column) in columns(rows).into_iter().enumerate() {
                _mm256_storeu_ps(to.add(i * m.to_step), column);
            }
        }
    }

    /// Returns the columns of a tile: swaps single numbers, then pairs, then halves.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn columns(r: [__m256; TILE]) -> [__m256; TILE] {
        let low = |i: usize| _mm256_unpacklo_ps(r[i], r[i + 1]);
        let high = |i: usize| _mm256_unpackhi_ps(r[i], r[i + 1]);
        let r = [low(0), high(0), low(2), high(2), low(4), high(4), low(6), high(6)];
        let low = |i: usize| _mm256_shuffle_ps::<0x44>(r[i], r[i + 2]);
        let high = |i: usize| _mm256_shuffle_ps::<0xee>(r[i], r[i + 2]);
        let r = [low(0), high(0), low(1), high(1), low(4), high(4), low(5), high(5)];
        let low = |i: usize| _mm256_permute2f128_ps::<0x20>(r[i], r[i + 4]);
        let high = |i: usize| _mm256_permute2f128_ps::<0x31>(r[i], r[i + 4]);
        [low(0), low(1), low(2), low(3), high(0), high(1), high(2), high(3)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swaps_the_indices_at_any_size_and_distance() {
        for [rows, cols] in
            [[1, 1], [2, 3], [8, 8], [16, 24], [17, 33], [1, 40], [40, 1], [31, 8], [300, 200]]
        {
            for [from_gap, to_gap] in [[0, 0], [3, 0], [0, 5], [64, 1]] {
                let (from_step, to_step) = (cols + from_gap, rows + to_gap);
                let from: Vec<f32> = (0..rows * from_step).map(|i| i as f32).collect();
                let mut to = vec![-1.0; cols * to_step];
                transpose(&from, from_step, &mut to, to_step, [rows, cols]);
                for (i, &number) in to.iter().enumerate() {
                    let (col, row) = (i / to_step, i % to_step);
                    let expected = if row < rows { from[row * from_step + col] } else { -1.0 };
                    assert_eq!(number, expected, "{rows} x {cols}, {from_step} and {to_step} apart");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "the transpose reaches beyond its slice")]
    fn refuses_a_transpose_beyond_the_slice() {
        transpose(&[0.0; 64], 8, &mut [0.0; 63], 8, [8, 8]);
    }
}
