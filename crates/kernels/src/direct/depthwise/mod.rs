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

mod lines;
mod sums;

pub(super) use lines::lines_task;
pub(super) use sums::sums_task;

use super::kernel::Kernels;
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

use for_columns;

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

#[cfg(test)]
mod tests;
