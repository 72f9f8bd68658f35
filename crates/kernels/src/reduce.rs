//! Sums over the rows of a (rows, c) matrix: the gradient of a bias, and the sums of batch norm.
//!
//! ```text
//! for each chunk of rows, in parallel:
//!     for each block of 32 rows:  block (f32) = sum of its rows;  chunk (f64) += block
//! total (f64) = the chunks, added in order
//! ```
//!
//! Blocks of 32 rows keep the error of the f32 sums near that of a single addition, and need a conversion to f64 only
//! once per 32 rows.

use crate::chunks::{check_len, check_rows, map_in_order, rows_per_chunk};
use crate::direct::{Element, Moments};
use crate::norm_act::lanes::{at, at_mut, for_lanes};
use crate::profile;
use crate::vectorise::vectorised;

const ROWS_PER_BLOCK: usize = 32;

/// Overwrites `sums` with the sums over all rows of a (rows, c) matrix: the gradient of a bias.
///
/// Accumulates in f64 over blocks of rows.
///
/// # Shapes
/// `x` (…, c), `sums` (c).
///
/// # Panics
/// If a length does not fit, or there are no channels.
pub fn channel_sums<E: Element>(x: &[E], c: usize, sums: &mut [f32]) {
    let _span = profile::channels("channel_sums", x.len(), c);
    check_rows("channel_sums", x, c);
    check_len("channel_sums", "sums", sums.len(), c);
    let totals = row_sums(x.len() / c, c, c, |row, block| {
        for (block, &x) in block.iter_mut().zip(&x[row * c..(row + 1) * c]) {
            *block += x.to_f32();
        }
    });
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum = total as f32;
    }
}

/// Returns the moments of each channel of a (rows, c) matrix, from which the statistics of batch norm follow. Sums
/// within a chunk of rows are f32, sums over the chunks f64.
///
/// # Panics
/// If the length of `x` is not a multiple of `c`, or if `c` is 0.
pub fn channel_moments<E: Element>(x: &[E], c: usize) -> Moments {
    let _span = profile::channels("channel_moments", x.len(), c);
    check_rows("channel_moments", x, c);
    let piece = rows_per_chunk(c) * c;
    let parts = map_in_order(x.len().div_ceil(piece), |i| {
        let mut sums = vec![0.0; 2 * c];
        add_moments(&x[i * piece..x.len().min((i + 1) * piece)], &mut sums);
        sums
    });
    total_moments(&parts, x.len() / c, c)
}

/// Returns the moments of `count` pixels from partial sums (2, c), which are added in order.
pub(crate) fn total_moments(parts: &[Vec<f32>], count: usize, c: usize) -> Moments {
    let total = |at: usize| parts.iter().map(|sums| f64::from(sums[at])).sum();
    Moments { count, sums: (0..c).map(total).collect(), squares: (c..2 * c).map(total).collect() }
}

vectorised! {
    /// Adds the values and their squares to `sums` (2, c).
    fn add_moments<E: Element>(x: &[E], sums: &mut [f32]) {
        let c = sums.len() / 2;
        let (sums, squares) = sums.split_at_mut(c);
        for x in x.chunks_exact(c) {
            for_lanes!(c, i, N, {
                let (x, sums, squares) = (at::<E, N>(x, i), at_mut::<f32, N>(sums, i), at_mut::<f32, N>(squares, i));
                for j in 0..N {
                    let x = x[j].to_f32();
                    sums[j] += x;
                    squares[j] += x * x;
                }
            });
        }
    }
}

/// Returns `width` sums over the rows of a matrix with `c` columns. `add_row(row, block)` adds the terms of a row.
pub(crate) fn row_sums(
    n_rows: usize,
    c: usize,
    width: usize,
    add_row: impl Fn(usize, &mut [f32]) + Send + Sync,
) -> Vec<f64> {
    let rows_per_chunk = rows_per_chunk(c).max(ROWS_PER_BLOCK); // the sums of a chunk cost about as much as some rows
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
