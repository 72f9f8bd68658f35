//! Lines of a map that gather from lines of another map, and their division into tasks.

use std::ops::Range;

use rayon::prelude::*;

use super::plain;
use crate::chunks::rows_per_chunk;
use crate::direct::{Element, Kernels};
use crate::isa::isa;

/// The geometry of a gather: which pixels of one map contribute to which pixels of another map, with which tap of a
/// kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gather {
    /// Number of images.
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) k: usize,
    pub(crate) stride: usize,
    /// Zeros above and to the left of the convolution's input.
    pub(crate) before: [usize; 2],
    /// Rows and columns of the source map.
    pub(crate) from: [usize; 2],
    /// Rows and columns of the destination map.
    pub(crate) to: [usize; 2],
    /// Whether the destination is the convolution's input (an input gradient).
    pub(crate) transposed: bool,
}

impl Gather {
    /// Returns the source row that contributes to row `to` with kernel row `tap`, if there is one.
    #[inline(always)]
    pub(crate) fn row(&self, to: usize, tap: usize) -> Option<usize> {
        self.place(0, to, tap)
    }

    /// Returns the source column that contributes to column `to` with kernel column `tap`, if there is one.
    #[inline(always)]
    pub(crate) fn column(&self, to: usize, tap: usize) -> Option<usize> {
        self.place(1, to, tap)
    }

    #[inline(always)]
    fn place(&self, axis: usize, to: usize, tap: usize) -> Option<usize> {
        let from = if self.transposed {
            let window = (to + self.before[axis]).checked_sub(tap)?;
            (window % self.stride == 0).then_some(window / self.stride)?
        } else {
            (to * self.stride + tap).checked_sub(self.before[axis])?
        };
        (from < self.from[axis]).then_some(from)
    }

    /// Returns the number of elements of a destination line.
    pub(crate) fn line_len(&self) -> usize {
        self.to[1] * self.c
    }

    fn read_len(&self) -> usize {
        self.n * self.from[0] * self.from[1] * self.c
    }

    /// Returns the number of destination lines.
    pub(super) fn n_lines(&self) -> usize {
        self.n * self.to[0]
    }

    /// Returns the number of lines that together have at least `len` elements.
    pub(super) fn lines_of(&self, len: usize) -> usize {
        len.div_ceil(self.line_len().max(1)).max(1)
    }
}

/// A task that computes some lines.
pub(crate) struct LinesTask<'a, E> {
    pub(crate) g: &'a Gather,
    /// The whole source map.
    pub(crate) from: &'a [E],
    /// (k, k, c).
    pub(crate) weight: &'a [f32],
    /// One number per channel.
    pub(crate) bias: Option<&'a [f32]>,
    /// The lower and the upper limit of the numbers that are written.
    pub(crate) limits: [f32; 2],
    /// Index of the first line, counted over all images.
    pub(crate) first_line: usize,
    pub(crate) to: &'a mut [E],
}

impl<E> LinesTask<'_, E> {
    /// Panics unless all slices have the lengths that the loops rely on.
    pub(crate) fn check(&self) {
        let g = self.g;
        assert_eq!(self.from.len(), g.read_len(), "the map that is read");
        assert_eq!(self.weight.len(), g.k * g.k * g.c, "weights");
        assert!(self.bias.is_none_or(|bias| bias.len() == g.c), "bias");
        assert!(g.line_len() > 0 && self.to.len().is_multiple_of(g.line_len()), "whole lines");
        assert!(self.first_line + self.to.len() / g.line_len() <= g.n_lines(), "lines of the map");
    }
}

/// A task that sums the products of some lines of the gradient `dy` with `x`. `g` is that of the forward pass.
pub(crate) struct SumsTask<'a, E> {
    pub(crate) g: &'a Gather,
    pub(crate) x: &'a [E],
    pub(crate) dy: &'a [E],
    /// The lines of `dy`, counted over all images.
    pub(crate) lines: Range<usize>,
    /// (k, k, c), overwritten.
    pub(crate) sums: &'a mut [f32],
}

impl<E> SumsTask<'_, E> {
    /// Panics unless all slices have the lengths that the loops rely on.
    pub(crate) fn check(&self) {
        let g = self.g;
        assert_eq!(self.x.len(), g.read_len(), "the map that is read");
        assert_eq!(self.dy.len(), g.n_lines() * g.line_len(), "the gradient");
        assert_eq!(self.sums.len(), g.k * g.k * g.c, "sums");
        assert!(self.lines.end <= g.n_lines() && !g.transposed, "lines of the gradient");
    }
}

/// The inputs that all tasks of a call share.
pub(super) struct Inputs<'a, E> {
    pub(super) g: Gather,
    pub(super) from: &'a [E],
    /// (k, k, c).
    pub(super) weight: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) limits: [f32; 2],
}

/// Limits that change no number.
pub(crate) const ANY: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// Overwrites `to` in tasks, calls `finish` on the lines of each task, and returns its results in order.
pub(super) fn gather<E: Element, T: Send>(
    inputs: &Inputs<'_, E>,
    to: &mut [E],
    finish: impl Fn(&mut [E]) -> T + Sync,
) -> Vec<T> {
    let Inputs { ref g, from, weight, bias, limits } = *inputs;
    if to.is_empty() {
        return Vec::new();
    }
    let kernels = Kernels::<E>::of(isa()).filter(|kernels| kernels.serves(g));
    let n_lines = rows_per_chunk(g.line_len());
    let run = |(i, to): (usize, &mut [E])| {
        let task = LinesTask { g, from, weight, bias, limits, first_line: i * n_lines, to: &mut *to };
        match &kernels {
            Some(kernels) => kernels.run_lines(task),
            None => plain::lines(task),
        }
        finish(to)
    };
    to.par_chunks_mut(n_lines * g.line_len()).enumerate().map(run).collect()
}
