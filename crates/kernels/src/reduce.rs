//! Sums over the rows of a (rows, c) matrix: the gradient of a bias, and the sums inside batch norm.
//!
//! ```text
//! for each chunk of rows, in parallel:
//!     for each block of 32 rows:  block (f32) = sum of its rows;  chunk (f64) += block
//! total (f64) = the chunks, added in order
//! ```
//!
//! Blocks of 32 keep the error of the f32 sums near that of a single addition, and leave the conversions to f64 to
//! every 32nd row.

use crate::chunks::{check_len, check_rows, map_in_order, rows_per_chunk};
use crate::profile;

const ROWS_PER_BLOCK: usize = 32;

/// Overwrites `sums` with the sum over all rows of a (rows, c) matrix: the gradient of a bias.
///
/// Accumulates in f64 over blocks of rows.
///
/// # Shapes
/// `x` (…, c), `sums` (c).
///
/// # Panics
/// If a length does not fit, or there are no channels.
pub fn channel_sums(x: &[f32], c: usize, sums: &mut [f32]) {
    let _span = profile::channels("channel_sums", x.len(), c);
    check_rows("channel_sums", x, c);
    check_len("channel_sums", "sums", sums.len(), c);
    let totals = row_sums(x.len() / c, c, c, |row, block| {
        for (block, &x) in block.iter_mut().zip(&x[row * c..(row + 1) * c]) {
            *block += x;
        }
    });
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum = total as f32;
    }
}

/// Sums of `width` terms over the rows of a matrix with `c` columns; `add_row(row, block)` adds the terms of a row.
pub(crate) fn row_sums(
    n_rows: usize,
    c: usize,
    width: usize,
    add_row: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> Vec<f64> {
    let rows_per_chunk = rows_per_chunk(c);
    let chunks = map_in_order(n_rows.div_ceil(rows_per_chunk), |chunk| {
        let mut sums = vec![0.0f64; width];
        let mut block = vec![0.0f32; width];
        let end = ((chunk + 1) * rows_per_chunk).min(n_rows);
        for start in (chunk * rows_per_chunk..end).step_by(ROWS_PER_BLOCK) {
            block.fill(0.0);
            for row in start..(start + ROWS_PER_BLOCK).min(end) {
                add_row(row, &mut block);
            }
            for (sum, &block) in sums.iter_mut().zip(&block) {
                *sum += f64::from(block);
            }
        }
        sums
    });
    let mut totals = vec![0.0; width];
    for chunk in chunks {
        for (total, sum) in totals.iter_mut().zip(chunk) {
            *total += sum;
        }
    }
    totals
}
