//! The gradient of the weights of a depthwise convolution: sums of products of two maps.

use super::{STRIP, for_columns};
use crate::depthwise::{Gather, SumsTask};
use crate::direct::kernel::Arch;

/// Computes the sums of a task.
///
/// # Safety
/// The processor has the features of `A`, and the task passed the checks of `run_sums`.
#[inline(always)]
pub(in crate::direct) unsafe fn sums_task<A: Arch>(task: SumsTask<'_, A::Elem>) {
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

/// Computes the sums of a task, one kernel row at a time. Each tap has two sums, one for even pixels and one for odd
/// pixels, so that an addition need not wait for the previous one.
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
                    // SAFETY: both point at lines of their maps; each pixel has a whole vector from `channel` on.
                    unsafe { sums_strip::<A, K, S>(g, x, dy, first, &mut acc) }
                }
            }
            for t in 0..K {
                // SAFETY: `sums` is (K, K, c).
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
        if column < len { line.wrapping_add(column * g.c) } else { beyond.as_ptr() }
    };
    // SAFETY: features as the caller promises; a column is on its line, or replaced by zeros.
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
