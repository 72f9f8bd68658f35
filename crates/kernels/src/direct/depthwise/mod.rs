//! The inner loops of depthwise convolution, generic over the instruction set, and the safe functions around them.
//!
//! ```text
//! for each line of the output, for each strip of its pixels, for each vector of channels:
//!     acc[pixel] = bias
//!     for each kernel row that lies on the map:
//!         for each column under the strip's windows:    loaded once, zeros beyond the map
//!             acc[pixel] += x * weight[tap]             for every pixel that has the column under one of its taps
//! ```
//!
//! Kernel, stride and strip are constants, so the compiler knows which tap of which pixel a column belongs to, and
//! the sums stay in registers. If the number of channels is not a multiple of a vector, the last vector overlaps the
//! previous one. The plain loops of `depthwise` do other kernels and strides, and fewer channels than a vector has.

mod lines;
mod sums;

pub(super) use lines::lines_task;
pub(super) use sums::sums_task;

use super::kernel::Kernels;
use crate::depthwise::{Gather, LinesTask, SumsTask};

/// Number of pixels in a strip: beside their sums the registers have room for the weights of a kernel row.
const STRIP: usize = 8;

/// Largest number of columns under a strip's windows: those of a 7x7 kernel with stride 2.
const MAX_COLUMNS: usize = 21;

/// Runs `$body` with the constant `$j` = 0, 1, … below `$n`, which is at most [`MAX_COLUMNS`]. The compiler would not unroll
/// a loop so far, and without constant indices it would keep the sums in memory.
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

use for_columns;

impl<E> Kernels<E> {
    /// Returns whether the loops are compiled for this kernel and stride, and whether there are enough channels for a
    /// vector.
    pub(crate) fn serves(&self, g: &Gather) -> bool {
        matches!(g.k, 3 | 5 | 7) && matches!(g.stride, 1 | 2) && g.c >= self.lanes
    }

    /// Computes the lines of a task, after a check of every bound that the loop relies on.
    pub(crate) fn run_lines(&self, task: LinesTask<'_, E>) {
        task.check();
        assert!(self.serves(task.g), "no loop is compiled for this kernel");
        // SAFETY: the instruction set was detected before `Kernels` was made. The loop is compiled for this kernel
        // and stride, a vector fits into the channels of a pixel, and the task's slices have the lengths of its
        // geometry: all checked above. `to` is borrowed exclusively.
        unsafe { (self.lines)(task) }
    }

    /// Computes the sums of a task, after a check of every bound that the loop relies on.
    pub(crate) fn run_sums(&self, task: SumsTask<'_, E>) {
        task.check();
        assert!(self.serves(task.g), "no loop is compiled for this kernel");
        // SAFETY: as in `run_lines`; `sums` is borrowed exclusively.
        unsafe { (self.sums)(task) }
    }
}

#[cfg(test)]
mod tests;
