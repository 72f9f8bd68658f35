//! Lines of a map that gather from lines of another map, and their division into tasks.

use std::ops::Range;

use rayon::prelude::*;

use super::plain;
use crate::chunks::rows_per_chunk;
use crate::direct::{self, Element, Kernels, STRIP};
use crate::isa::isa;

/// The geometry of a gather: which pixels of one map contribute to which pixels of another map, with which tap of a
/// kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gather {
    /// Number of images.
    pub(crate) n: usize,
    pub(crate) c: usize,
    /// Distance of the pixels of the source map, in elements: at least `c`.
    pub(crate) pitch: usize,
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

    /// Returns the source rows that contribute to the rows `to` of an image; other rows may lie between them.
    fn seen(&self, to: &Range<usize>) -> Range<usize> {
        let (before, last_tap) = (self.before[0], self.k - 1);
        let (start, end) = match self.transposed {
            true => {
                let first = (to.start + before).saturating_sub(last_tap).div_ceil(self.stride);
                (first, (to.end - 1 + before) / self.stride + 1)
            }
            false => {
                let end = (to.end - 1) * self.stride + self.k;
                ((to.start * self.stride).saturating_sub(before), end.saturating_sub(before))
            }
        };
        let end = end.min(self.from[0]);
        start.min(end)..end
    }

    /// Returns the gather of the rows `to` of an image from the rows `seen` of a copy of its source.
    fn of_rows(&self, to: &Range<usize>, seen: &Range<usize>, pitch: usize) -> Self {
        let top = match self.transposed {
            true => to.start + self.before[0] - seen.start * self.stride,
            false => (seen.start + self.before[0]).saturating_sub(to.start * self.stride), // 0 only if none is seen
        };
        let (from, to) = ([seen.len(), self.from[1]], [to.len(), self.to[1]]);
        Self { n: 1, pitch, before: [top, self.before[1]], from, to, ..*self }
    }

    /// Returns the number of elements of a destination line.
    pub(crate) fn line_len(&self) -> usize {
        self.to[1] * self.c
    }

    fn read_len(&self) -> usize {
        self.n * self.from[0] * self.from[1] * self.pitch
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
        assert!(g.pitch >= g.c, "a pixel has all channels");
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
        assert_eq!(g.pitch, g.c, "pixels side by side");
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

/// The L1 cache of x86 processors: length of a line in bytes, number of sets of lines, and number of lines of a set.
const LINE_BYTES: usize = 64;
const SETS: usize = 64;
const WAYS: usize = 8;

/// Returns the best distance of the pixels of a map of `c` channels that a k x k kernel gathers from, in elements. That is `c`,
/// or a cache line more where the pixels under a strip's windows would fall on so few sets of L1 that they drive each other
/// out. Powers of two do: a strip of 8 pixels of a 5x5 kernel sees 60 pixels, and of 512 channels 16 fit.
pub(crate) fn pitch<E>(c: usize, k: usize, stride: usize) -> usize {
    let bytes = c * size_of::<E>();
    if !bytes.is_multiple_of(LINE_BYTES) {
        return c;
    }
    let n_sets = SETS >> (bytes / LINE_BYTES).trailing_zeros().min(SETS.trailing_zeros());
    let seen = k * ((STRIP - 1) * stride + k);
    if 2 * seen <= n_sets * WAYS { c } else { c + LINE_BYTES / size_of::<E>() }
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
    let pitch = pitch::<E>(g.c, g.k, g.stride);
    let run = |(i, to): (usize, &mut [E])| {
        let task = LinesTask { g, from, weight, bias, limits, first_line: i * n_lines, to: &mut *to };
        match &kernels {
            Some(kernels) if pitch == g.c => kernels.run_lines(task),
            Some(kernels) => run_apart(kernels, task, pitch),
            None => plain::lines(task),
        }
        finish(to)
    };
    to.par_chunks_mut(n_lines * g.line_len()).enumerate().map(run).collect()
}

/// Computes the lines of a task from a copy of their source rows, whose pixels lie `pitch` elements apart.
fn run_apart<E: Element>(kernels: &Kernels<E>, task: LinesTask<'_, E>, pitch: usize) {
    let LinesTask { g, from, weight, bias, limits, first_line, to } = task;
    let (image_len, n_rows) = (g.from[0] * g.from[1] * g.c, g.to[0]);
    let mut line = first_line;
    let mut rest = to;
    while !rest.is_empty() {
        let (image, first) = (line / n_rows, line % n_rows);
        let rows = first..n_rows.min(first + rest.len() / g.line_len());
        let (to, after) = rest.split_at_mut(rows.len() * g.line_len());
        let seen = g.seen(&rows);
        let source = &from[image * image_len..][seen.start * g.from[1] * g.c..seen.end * g.from[1] * g.c];
        direct::with_buffer(seen.len() * g.from[1] * pitch, |copy: &mut [E]| {
            for (copy, pixel) in copy.chunks_exact_mut(pitch).zip(source.chunks_exact(g.c)) {
                copy[..g.c].copy_from_slice(pixel);
            }
            let g = g.of_rows(&rows, &seen, pitch);
            kernels.run_lines(LinesTask { g: &g, from: copy, weight, bias, limits, first_line: 0, to });
        });
        (line, rest) = (line + rows.len(), after);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::direct::emulated;

    /// Compares the lines from `first_line` on, computed from a copy, with those computed from the map itself.
    fn agrees<E: Element>(kernels: &Kernels<E>, g: &Gather, first_line: usize, n_lines: usize) {
        let number = |i: usize| E::from_f32((i * 7 % 64) as f32 / 32.0 - 1.0);
        let from: Vec<E> = (0..g.read_len()).map(number).collect();
        let weight: Vec<f32> = (0..g.k * g.k * g.c).map(|i| (i % 13) as f32 / 8.0 - 0.7).collect();
        let lines = |pitch: Option<usize>| {
            let mut to = vec![E::from_f32(f32::NAN); n_lines * g.line_len()];
            let (weight, to_) = (&weight, &mut to);
            let task = LinesTask { g, from: &from, weight, bias: None, limits: ANY, first_line, to: to_ };
            match pitch {
                Some(pitch) => run_apart(kernels, task, pitch),
                None => kernels.run_lines(task),
            }
            to.into_iter().map(|v| v.to_f32().to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(lines(Some(g.c + 16)), lines(None), "{n_lines} lines from {first_line} on of {g:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_copy_of_the_rows_gives_the_same_bits(
            n in 1usize..=3, k in prop_oneof![Just(3usize), Just(5), Just(7)], stride in 1usize..=2,
            before in (0usize..=6, 0usize..=4), from in (1usize..=12, 1usize..=12), to in (1usize..=9, 1usize..=12),
            transposed in any::<bool>(), share in (0.0..1.0, 0.0..1.0),
        ) {
            let (before, from, to) = ([before.0, before.1], [from.0, from.1], [to.0, to.1]);
            let g = Gather { n, c: 32, pitch: 32, k, stride, before, from, to, transposed };
            let first_line = (share.0 * g.n_lines() as f64) as usize;
            let n_lines = 1 + (share.1 * (g.n_lines() - first_line) as f64) as usize;
            let n_lines = n_lines.min(g.n_lines() - first_line);
            agrees(&emulated::f32_kernels(), &g, first_line, n_lines);
            agrees::<bf16>(&emulated::bf16_kernels(), &g, first_line, n_lines);
        }
    }

    #[test]
    fn only_pixels_that_compete_for_the_same_places_are_moved_apart() {
        for (c, k, stride) in [(160, 3, 1), (160, 7, 1), (48, 5, 2), (136, 7, 1), (96, 5, 1), (128, 3, 1)] {
            assert_eq!(pitch::<f32>(c, k, stride), c, "{c} {k} {stride}");
        }
        for (c, k, stride) in [(256, 5, 1), (1024, 3, 1), (128, 7, 1), (512, 3, 1), (320, 7, 1)] {
            assert_eq!(pitch::<f32>(c, k, stride), c + 16, "{c} {k} {stride}");
            assert_eq!(pitch::<bf16>(2 * c, k, stride), 2 * c + 32, "{c} {k} {stride}, of half the size");
        }
    }
}
