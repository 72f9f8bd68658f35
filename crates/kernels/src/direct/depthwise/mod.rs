//! The inner loops of depthwise convolution, generic over the instruction set, and the safe functions around them.
//!
//! ```text
//! for each line of the output, for each strip of its pixels, for each vector of channels:
//!     acc[pixel] = bias
//!     for each kernel row that lies on the map:
//!         for each column that the strip sees:      loaded once, zeros beyond the map
//!             acc[pixel] += x * weight[tap]         for every pixel that has the column under one of its taps
//! ```
//!
//! Kernel, stride and strip are constants, so that the compiler knows which tap of which pixel a column is under, and the
//! sums live in registers. Where vectors do not divide the channels, the last one overlaps the one before. Other kernels
//! and strides, and fewer channels than a vector has, are left to the plain loops of `depthwise`.

use super::kernel::{Arch, Kernels};
use crate::depthwise::{Gather, LinesTask, SumsTask};

/// Pixels of a strip: beside their sums there is room in the registers for the weights of a kernel row.
const STRIP: usize = 8;

/// Calls `$body` with the constant `$j` = 0, 1, … below `$n`, which is at most 21: the columns that a strip sees of a 7x7
/// kernel with stride 2. A loop would not be unrolled so far, and sums whose places are unknown are kept in memory.
macro_rules! for_columns {
    ($n:expr, $j:ident, $body:block) => {
        for_columns!(@[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20] $n, $j, $body)
    };
    (@[$($column:literal)*] $n:expr, $j:ident, $body:block) => {
        $(if $column < $n {
            const $j: usize = $column;
            $body
        })*
    };
}

impl<E> Kernels<E> {
    /// Whether the loops are compiled for this kernel and stride, and there are as many channels as lanes.
    pub(crate) fn serves(&self, g: &Gather) -> bool {
        matches!(g.k, 3 | 5 | 7) && matches!(g.stride, 1 | 2) && g.c >= self.lanes
    }

    /// Computes the lines of a task after checking every bound that the loop relies on.
    pub(crate) fn run_lines(&self, task: LinesTask<'_, E>) {
        task.check();
        assert!(self.serves(task.g), "no loop is compiled for this kernel");
        // SAFETY: the instruction set was detected before `Kernels` was made. The loop is compiled for this kernel and
        // stride, a vector fits into the channels of a pixel, and the task's slices are as long as its geometry says:
        // checked above. `to` is borrowed exclusively.
        unsafe { (self.lines)(task) }
    }

    /// Sums over the lines of a task after checking every bound that the loop relies on.
    pub(crate) fn run_sums(&self, task: SumsTask<'_, E>) {
        task.check();
        assert!(self.serves(task.g), "no loop is compiled for this kernel");
        // SAFETY: as in `run_lines`; `sums` are borrowed exclusively.
        unsafe { (self.sums)(task) }
    }
}

/// All lines of a task.
///
/// # Safety
/// The processor has the features of `A`, and the task passed the checks of [`Kernels::run_lines`].
#[inline(always)]
pub(super) unsafe fn lines_task<A: Arch>(task: LinesTask<'_, A::Elem>) {
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

/// A row of the kernel over a line.
#[derive(Clone, Copy)]
struct Row<E> {
    /// The line's first pixel.
    from: *const E,
    /// The row's first tap.
    weight: *const f32,
}

/// # Safety
/// As [`lines_task`]; `K`, `S` and `TRANSPOSED` are those of the task.
#[inline(always)]
unsafe fn lines<A: Arch, const K: usize, const S: usize, const TRANSPOSED: bool>(
    task: LinesTask<'_, A::Elem>,
) {
    let LinesTask { g, from, weight, bias, limits, first_line, to } = task;
    // a strip of a transposed one begins where a window does
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
                // SAFETY: each row is as above, `to` is a line, and bias and pixels have a vector from `channel` on.
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

/// Writes a strip that begins at column `x`, as much of it as lies on the line `to`.
///
/// # Safety
/// As [`lines`]; pixels have a vector from `channel` on.
#[inline(always)]
unsafe fn finish<A: Arch>(
    g: &Gather,
    mut acc: [A::Acc; STRIP],
    [low, high]: [f32; 2],
    channel: usize,
    x: isize,
    to: &mut [A::Elem],
) {
    // SAFETY: features as the caller promises; a pixel that is written is one of the line.
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

/// Adds the products of a strip that begins at column `x`.
///
/// # Safety
/// As [`lines`]; each row points at a line of the map that is read and at K taps of the weights, whose pixels have a
/// vector from `channel` on.
#[inline(always)]
unsafe fn strip<A: Arch, const K: usize, const S: usize, const TRANSPOSED: bool>(
    g: &Gather,
    rows: &[Row<A::Elem>],
    channel: usize,
    x: isize,
    acc: &mut [A::Acc; STRIP],
) {
    let before = g.before[1] as isize;
    let (first, n_columns) = match TRANSPOSED {
        true => ((x + before) / S as isize - ((K - 1) / S) as isize, (K - 1) / S + (STRIP - 1) / S + 1),
        false => (x * S as isize - before, (STRIP - 1) * S + K),
    };
    let beyond = [A::Elem::default(); 16];
    for row in rows {
        // SAFETY: features as the caller promises; a column is of the line, or replaced by as many zeros as the widest
        // vector has lanes.
        unsafe {
            let mut weight = [A::zero(); K];
            for t in 0..K {
                weight[t] = A::load_acc(row.weight.add(t * g.c + channel));
            }
            for_columns!(n_columns, J, {
                let column = first.wrapping_add_unsigned(J) as usize;
                let from =
                    if column < g.from[1] { row.from.add(column * g.c + channel) } else { beyond.as_ptr() };
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

/// The sums of a task.
///
/// # Safety
/// The processor has the features of `A`, and the task passed the checks of [`Kernels::run_sums`].
#[inline(always)]
pub(super) unsafe fn sums_task<A: Arch>(task: SumsTask<'_, A::Elem>) {
    // SAFETY: as the caller promises; the constants are those of the task.
    unsafe {
        match (task.g.k, task.g.stride) {
            (3, 1) => sums::<A, 3, 1>(task),
            (3, _) => sums::<A, 3, 2>(task),
            (5, 1) => sums::<A, 5, 1>(task),
            (5, _) => sums::<A, 5, 2>(task),
            (_, 1) => sums::<A, 7, 1>(task),
            (_, _) => sums::<A, 7, 2>(task),
        }
    }
}

/// A row of the kernel at a time: its taps' sums, one for even pixels and one for odd ones, so that an addition need not
/// wait for the one before.
///
/// # Safety
/// As [`sums_task`]; `K` and `S` are those of the task.
#[inline(always)]
unsafe fn sums<A: Arch, const K: usize, const S: usize>(task: SumsTask<'_, A::Elem>) {
    let SumsTask { g, x, dy, lines, sums } = task;
    for block in 0..g.c.div_ceil(A::LANES) {
        let channel = (block * A::LANES).min(g.c - A::LANES);
        for r in 0..K {
            // SAFETY: features as the caller promises.
            let mut acc = unsafe { [[A::zero(); K]; 2] };
            for line in lines.clone() {
                let Some(row) = g.row(line % g.to[0], r) else { continue };
                let pixel = (line / g.to[0] * g.from[0] + row) * g.from[1];
                let x = x.as_ptr().wrapping_add(pixel * g.c + channel);
                let dy = dy.as_ptr().wrapping_add(line * g.line_len() + channel);
                for first in (0..g.to[1]).step_by(STRIP) {
                    // SAFETY: both are lines of their maps, of which a vector from `channel` on is part of each pixel.
                    unsafe { sums_strip::<A, K, S>(g, x, dy, first, &mut acc) }
                }
            }
            for t in 0..K {
                // SAFETY: the sums are (K, K, c).
                unsafe {
                    let sums = sums.as_mut_ptr().add((r * K + t) * g.c + channel);
                    A::store_acc(sums, A::add(acc[0][t], acc[1][t]));
                }
            }
        }
    }
}

/// Adds the products of a strip that begins at column `first` of `dy`.
///
/// # Safety
/// As [`sums`]; `x` and `dy` point at lines of their maps.
#[inline(always)]
unsafe fn sums_strip<A: Arch, const K: usize, const S: usize>(
    g: &Gather,
    x: *const A::Elem,
    dy: *const A::Elem,
    first: usize,
    acc: &mut [[A::Acc; K]; 2],
) {
    let beyond = [A::Elem::default(); 16];
    let at = |line: *const A::Elem, column: usize, len: usize| {
        // SAFETY: the column is one of the line.
        if column < len { unsafe { line.add(column * g.c) } } else { beyond.as_ptr() }
    };
    // SAFETY: features as the caller promises; a column is of its line, or replaced by zeros.
    unsafe {
        let mut gradient = [A::zero(); STRIP];
        for p in 0..STRIP {
            gradient[p] = A::load_wide(at(dy, first + p, g.to[1]));
        }
        for_columns!((STRIP - 1) * S + K, J, {
            let x = A::load_wide(at(x, (first * S + J).wrapping_sub(g.before[1]), g.from[1]));
            for p in 0..STRIP {
                let t = J.wrapping_sub(p * S);
                if t < K {
                    acc[p % 2][t] = A::mul_add(x, gradient[p], acc[p % 2][t]);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
