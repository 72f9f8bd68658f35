//! Lines of a map that gather from lines of another map.

use super::{MAX_COLUMNS, STRIP, for_columns};
use crate::depthwise::{Gather, LinesTask};
use crate::direct::kernel::Arch;

/// Computes all lines of a task.
///
/// # Safety
/// The processor has the features of `A`, and the task passed the checks of `run_lines`.
#[inline(always)]
pub(in crate::direct) unsafe fn lines_task<A: Arch>(task: LinesTask<'_, A::Elem>) {
    // SAFETY: as the caller promises; the constants are those of the task.
    unsafe {
        match (task.g.k, task.g.stride, task.g.transposed) {
            (3, 1, false) => lines::<A, 3, 1, false>(task),
            (3, 1, true) => lines::<A, 3, 1, true>(task),
            (3, _, false) => lines::<A, 3, 2, false>(task),
            (3, _, true) => lines::<A, 3, 2, true>(task),
            (5, 1, false) => lines::<A, 5, 1, false>(task),
            (5, 1, true) => lines::<A, 5, 1, true>(task),
            (5, _, false) => lines::<A, 5, 2, false>(task),
            (5, _, true) => lines::<A, 5, 2, true>(task),
            (_, 1, false) => lines::<A, 7, 1, false>(task),
            (_, 1, true) => lines::<A, 7, 1, true>(task),
            (_, _, false) => lines::<A, 7, 2, false>(task),
            (_, _, true) => lines::<A, 7, 2, true>(task),
        }
    }
}

/// A kernel row and the columns that it is applied to.
#[derive(Clone, Copy)]
struct Row<E> {
    /// Pointer to the line's first pixel.
    from: *const E,
    /// Pointer to the row's first tap.
    weight: *const f32,
    /// Pointers to the pixels under a strip's windows, or to zeros where they lie beyond the line. They serve all channels: a
    /// check for each vector of channels would cost more than the products.
    columns: [*const E; MAX_COLUMNS],
}

/// # Safety
/// As [`lines_task`]; `K`, `S` and `TRANSPOSED` are those of the task.
#[inline(always)]
unsafe fn lines<A: Arch, const K: usize, const S: usize, const TRANSPOSED: bool>(
    task: LinesTask<'_, A::Elem>,
) {
    let LinesTask { g, from, weight, bias, limits, first_line, to } = task;
    let zeros = vec![A::Elem::default(); g.c];
    // a strip of a transposed gather begins where a window begins
    let start = if TRANSPOSED { -((g.before[1] % S) as isize) } else { 0 };
    let mut rows =
        [Row { from: from.as_ptr(), weight: weight.as_ptr(), columns: [zeros.as_ptr(); MAX_COLUMNS] }; K];
    for (line, to) in (first_line..).zip(to.chunks_exact_mut(g.line_len())) {
        let mut n_rows = 0;
        for r in 0..K {
            if let Some(row) = g.row(line % g.to[0], r) {
                let pixel = (line / g.to[0] * g.from[0] + row) * g.from[1];
                rows[n_rows].from = from.as_ptr().wrapping_add(pixel * g.c);
                rows[n_rows].weight = weight.as_ptr().wrapping_add(r * K * g.c);
                n_rows += 1;
            }
        }
        let rows = &mut rows[..n_rows];
        for x in (start..g.to[1] as isize).step_by(STRIP) {
            let first = first_column::<K, S, TRANSPOSED>(g, x);
            for row in &mut *rows {
                for (j, pixel) in row.columns[..n_columns(K, S, TRANSPOSED)].iter_mut().enumerate() {
                    let column = first.wrapping_add_unsigned(j) as usize;
                    let is_inside = column < g.from[1];
                    *pixel = if is_inside { row.from.wrapping_add(column * g.c) } else { zeros.as_ptr() };
                }
            }
            for block in 0..g.c.div_ceil(A::LANES) {
                let channel = (block * A::LANES).min(g.c - A::LANES);
                // SAFETY: each column points at c numbers, `to` is a line, and bias and pixels have a whole vector from
                // `channel` on.
                unsafe {
                    let bias = bias.map_or(A::zero(), |bias| A::load_acc(bias.as_ptr().add(channel)));
                    let mut acc = [bias; STRIP];
                    add_rows::<A, K, S, TRANSPOSED>(g.c, rows, channel, &mut acc);
                    finish::<A>(g, acc, limits, channel, x, to);
                }
            }
        }
    }
}

/// Returns the first column under the windows of a strip that begins at column `x`. It may lie beyond the line.
fn first_column<const K: usize, const S: usize, const TRANSPOSED: bool>(g: &Gather, x: isize) -> isize {
    let before = g.before[1] as isize;
    match TRANSPOSED {
        true => (x + before) / S as isize - ((K - 1) / S) as isize,
        false => x * S as isize - before,
    }
}

/// Returns the number of columns under a strip's windows.
const fn n_columns(k: usize, stride: usize, transposed: bool) -> usize {
    if transposed { (k - 1) / stride + (STRIP - 1) / stride + 1 } else { (STRIP - 1) * stride + k }
}

/// Writes a strip that begins at column `x`, except for pixels beyond the line `to`.
///
/// # Safety
/// As [`lines`]; pixels have a whole vector from `channel` on.
#[inline(always)]
unsafe fn finish<A: Arch>(
    g: &Gather,
    mut acc: [A::Acc; STRIP],
    [low, high]: [f32; 2],
    channel: usize,
    x: isize,
    to: &mut [A::Elem],
) {
    // SAFETY: features as the caller promises; only pixels of the line are written.
    unsafe {
        let (low, high) = (A::splat(low), A::splat(high));
        for p in 0..STRIP {
            acc[p] = A::at_most(A::at_least(acc[p], low), high);
        }
        for p in 0..STRIP {
            let pixel = x.wrapping_add_unsigned(p) as usize;
            if pixel < g.to[1] {
                A::store(to.as_mut_ptr().add(pixel * g.c + channel), acc[p]);
            }
        }
    }
}

/// Adds the products of the columns under a strip's windows. Taps of `c` channels lie side by side.
///
/// # Safety
/// As [`lines`]; each row has its columns, and points at K taps of the weights; columns and taps have a whole vector from
/// `channel` on.
#[inline(always)]
unsafe fn add_rows<A: Arch, const K: usize, const S: usize, const TRANSPOSED: bool>(
    c: usize,
    rows: &[Row<A::Elem>],
    channel: usize,
    acc: &mut [A::Acc; STRIP],
) {
    for row in rows {
        // SAFETY: as the caller promises.
        unsafe {
            let mut weight = [A::zero(); K];
            for t in 0..K {
                weight[t] = A::load_acc(row.weight.add(t * c + channel));
            }
            for_columns!(n_columns(K, S, TRANSPOSED), J, {
                let from = A::load_wide(row.columns[J].add(channel));
                for p in 0..STRIP {
                    let t = match TRANSPOSED {
                        true => (p + (K - 1) / S * S).wrapping_sub(J * S),
                        false => J.wrapping_sub(p * S),
                    };
                    if t < K {
                        acc[p] = A::mul_add(from, weight[t], acc[p]);
                    }
                }
            });
        }
    }
}
