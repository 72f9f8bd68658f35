//! Lines of a map that gather from lines of another map.

use super::{STRIP, for_columns};
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

/// A kernel row and the line that it is applied to.
#[derive(Clone, Copy)]
struct Row<E> {
    /// Pointer to the line's first pixel.
    from: *const E,
    /// Pointer to the row's first tap.
    weight: *const f32,
}

/// # Safety
/// As [`lines_task`]; `K`, `S` and `TRANSPOSED` are those of the task.
#[inline(always)]
unsafe fn lines<A: Arch, const K: usize, const S: usize, const TRANSPOSED: bool>(
    task: LinesTask<'_, A::Elem>,
) {
    let LinesTask { g, from, weight, bias, limits, first_line, to } = task;
    // a strip of a transposed gather begins where a window begins
    let start = if TRANSPOSED { -((g.before[1] % S) as isize) } else { 0 };
    for (line, to) in (first_line..).zip(to.chunks_exact_mut(g.line_len())) {
        let mut rows = [Row { from: from.as_ptr(), weight: weight.as_ptr() }; K];
        let mut n_rows = 0;
        for r in 0..K {
            if let Some(row) = g.row(line % g.to[0], r) {
                let pixel = (line / g.to[0] * g.from[0] + row) * g.from[1];
                let (from, weight) = (from.as_ptr().wrapping_add(pixel * g.c), weight.as_ptr());
                rows[n_rows] = Row { from, weight: weight.wrapping_add(r * K * g.c) };
                n_rows += 1;
            }
        }
        for x in (start..g.to[1] as isize).step_by(STRIP) {
            for block in 0..g.c.div_ceil(A::LANES) {
                let channel = (block * A::LANES).min(g.c - A::LANES);
                // SAFETY: each row is as above, `to` is a line, and bias and pixels have a whole vector from
                // `channel` on.
                unsafe {
                    let bias = bias.map_or(A::zero(), |bias| A::load_acc(bias.as_ptr().add(channel)));
                    let mut acc = [bias; STRIP];
                    strip::<A, K, S, TRANSPOSED>(g, &rows[..n_rows], channel, x, &mut acc);
                    finish::<A>(g, acc, limits, channel, x, to);
                }
            }
        }
    }
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

/// Returns the number of columns under a strip's windows.
const fn n_columns(k: usize, stride: usize, transposed: bool) -> usize {
    if transposed { (k - 1) / stride + (STRIP - 1) / stride + 1 } else { (STRIP - 1) * stride + k }
}

/// Adds the products of a strip that begins at column `x`.
///
/// # Safety
/// As [`lines`]; each row points at a line of the source map and at K taps of the weights, and both have a whole
/// vector per pixel or tap from `channel` on.
#[inline(always)]
unsafe fn strip<A: Arch, const K: usize, const S: usize, const TRANSPOSED: bool>(
    g: &Gather,
    rows: &[Row<A::Elem>],
    channel: usize,
    x: isize,
    acc: &mut [A::Acc; STRIP],
) {
    let before = g.before[1] as isize;
    let first = match TRANSPOSED {
        true => (x + before) / S as isize - ((K - 1) / S) as isize,
        false => x * S as isize - before,
    };
    let n_columns = n_columns(K, S, TRANSPOSED);
    let is_inside = first >= 0 && first as usize + n_columns <= g.from[1];
    // SAFETY: as the caller promises; where the loop does not check columns, all of them are on the line.
    unsafe {
        if is_inside {
            add_rows::<A, K, S, TRANSPOSED, true>(g, rows, channel, first, acc);
        } else {
            add_rows::<A, K, S, TRANSPOSED, false>(g, rows, channel, first, acc);
        }
    }
}

/// Adds the products of the columns under a strip's windows, from column `first` on.
///
/// # Safety
/// As [`strip`]; if `INSIDE`, all columns are on the line.
#[inline(always)]
unsafe fn add_rows<A: Arch, const K: usize, const S: usize, const TRANSPOSED: bool, const INSIDE: bool>(
    g: &Gather,
    rows: &[Row<A::Elem>],
    channel: usize,
    first: isize,
    acc: &mut [A::Acc; STRIP],
) {
    let beyond = [A::Elem::default(); 16];
    for row in rows {
        // SAFETY: features as the caller promises; a column is on the line, or replaced by zeros, which are enough
        // for the widest vector.
        unsafe {
            let mut weight = [A::zero(); K];
            for t in 0..K {
                weight[t] = A::load_acc(row.weight.add(t * g.c + channel));
            }
            for_columns!(n_columns(K, S, TRANSPOSED), J, {
                let column = first.wrapping_add_unsigned(J) as usize;
                let from = match INSIDE || column < g.from[1] {
                    true => row.from.add(column * g.c + channel),
                    false => beyond.as_ptr(),
                };
                let from = A::load_wide(from);
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
