//! Inverted residual blocks for inference, fused: the maps between the layers stay in L2.
//!
//! ```text
//! for each task (some small images, an image, or a part of one), in parallel:
//!     for each band of its output rows:
//!         wide   = after(expand(x))                for the input rows under the band that the previous band did not compute
//!         middle = after(depthwise(wide))
//!         y      = after(project(middle) + residual)
//! ```
//!
//! The loops are those of the separate layers, so the bits are the same.

use std::ops::Range;

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{MIN_PIXELS, MIN_TASKS, Task, images_per_task};
use super::kernel::{ForwardTask, Kernels};
use super::pack::PackedWeights;
use super::scratch;
use crate::activation::curve_in_place;
use crate::chunks::cut;
use crate::depthwise::{ANY, DepthwiseShape, Gather, LinesTask};
use crate::norm_act::After;

/// Largest size in bytes of the maps of a band: they stay in L2 beside weights and input.
const MAX_BAND_BYTES: usize = 768 << 10;

/// A 1x1 convolution.
#[derive(Clone, Copy)]
pub(crate) struct Pointwise<'a, E> {
    pub(crate) c_in: usize,
    pub(crate) c_out: usize,
    pub(crate) weights: &'a PackedWeights<E>,
    pub(crate) bias: &'a [f32],
    pub(crate) after: After,
}

/// The layers of a block.
pub(crate) struct Block<'a, E> {
    pub(crate) depthwise: &'a DepthwiseShape,
    pub(crate) expand: Option<Pointwise<'a, E>>,
    /// (k, k, c).
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) after: After,
    pub(crate) project: Pointwise<'a, E>,
    /// As large as the output.
    pub(crate) residual: Option<&'a [E]>,
}

/// Returns whether there are loops for all layers, and no window lies entirely beyond the map's last row.
pub(crate) fn can_fuse<E: Element>(kernels: &Kernels<E>, g: &DepthwiseShape, c_in: usize) -> bool {
    let whole_units = |c: usize| c.is_multiple_of(kernels.unit);
    kernels.serves(&g.gather())
        && whole_units(g.c)
        && whole_units(c_in)
        && (g.h_out() * g.w_out() > 0)
        && (g.h_out() - 1) * g.stride < g.h + g.zeros_before()[0]
}

/// Overwrites `y` with the output of the block for `x`. [`can_fuse`] must be true.
pub(crate) fn inverted_residual<E: Element>(
    kernels: &Kernels<E>,
    block: &Block<'_, E>,
    x: &[E],
    y: &mut [E],
) {
    let g = block.depthwise;
    let row_len = g.w_out() * block.project.c_out;
    let band = band::<E>(g);
    let tasks = tasks(g, band);
    let pieces = cut(y, tasks.iter().map(|task| task.images.len() * task.rows.len() * row_len));
    let padded = |part: &Pointwise<'_, E>| {
        let mut bias = part.bias.to_vec();
        bias.resize(kernels.n_blocks(part.c_out) * kernels.block, 0.0);
        bias
    };
    let biases = (block.expand.as_ref().map(padded), padded(&block.project));
    tasks.par_iter().zip(pieces).for_each(|(task, y)| {
        Run { kernels, block, band, expand_bias: biases.0.as_deref(), project_bias: &biases.1 }
            .task(task, x, y);
    });
}

/// Returns whether an image is one band.
#[cfg(test)]
pub(crate) fn is_one_band<E>(g: &DepthwiseShape) -> bool {
    band::<E>(g) == g.h_out()
}

/// Returns the number of rows of a band: the most that fit, reduced so that all bands have about the same height.
fn band<E>(g: &DepthwiseShape) -> usize {
    let bytes = |rows: usize| {
        let seen = ((rows - 1) * g.stride + g.k).min(g.h);
        (seen * g.w + rows * g.w_out()) * g.c * size_of::<E>()
    };
    let most = (1..=g.h_out()).take_while(|&rows| bytes(rows) <= MAX_BAND_BYTES).last().unwrap_or(1);
    g.h_out().div_ceil(g.h_out().div_ceil(most))
}

/// Divides the work into whole images if an image is one band. Otherwise a task is an image, or a part of it in whole
/// bands if there would be few tasks.
fn tasks(g: &DepthwiseShape, band: usize) -> Vec<Task> {
    let h_out = g.h_out();
    if band == h_out {
        let per_task = images_per_task(g.n, h_out * g.w_out(), MIN_PIXELS, usize::MAX);
        let images = (0..g.n).step_by(per_task).map(|first| first..g.n.min(first + per_task));
        return images.map(|images| Task { images, rows: 0..h_out }).collect();
    }
    let n_parts = MIN_TASKS.div_ceil(g.n).min(h_out.div_ceil(band));
    let rows = h_out.div_ceil(band).div_ceil(n_parts) * band;
    let parts = (0..h_out).step_by(rows).map(|first| first..h_out.min(first + rows));
    (0..g.n).flat_map(|i| parts.clone().map(move |rows| Task { images: i..i + 1, rows })).collect()
}

/// The values that all tasks of a call share.
struct Run<'a, E> {
    kernels: &'a Kernels<E>,
    block: &'a Block<'a, E>,
    band: usize,
    /// Padded to whole blocks of channels.
    expand_bias: Option<&'a [f32]>,
    project_bias: &'a [f32],
}

impl<E: Element> Run<'_, E> {
    fn task(&self, task: &Task, x: &[E], y: &mut [E]) {
        let (g, project) = (self.block.depthwise, &self.block.project);
        let n = task.images.len();
        let (wide_row, middle_row, y_row) = (g.w * g.c, g.w_out() * g.c, g.w_out() * project.c_out);
        let c_in = self.block.expand.map_or(g.c, |expand| expand.c_in);
        let x_rows = |rows: &Range<usize>| {
            let first = (task.images.start * g.h + rows.start) * g.w * c_in;
            &x[first..first + n * rows.len() * g.w * c_in]
        };
        let is_whole = self.band == g.h_out();
        let seen_at_most = if is_whole { g.h } else { ((self.band - 1) * g.stride + g.k).min(g.h) };
        scratch::with(|scratch| {
            let n_wide = if self.block.expand.is_some() { n * seen_at_most * wide_row } else { 0 };
            let [wide, middle] = scratch.buffers([n_wide, n * self.band * middle_row]);
            let mut held = 0..0;
            for (y, first) in y.chunks_mut(n * self.band * y_row).zip(task.rows.clone().step_by(self.band)) {
                let rows = first..task.rows.end.min(first + self.band);
                let seen = self.seen(&rows);
                let wide = match (self.block.expand, self.expand_bias) {
                    (Some(expand), Some(bias)) => {
                        let kept = seen.start.max(held.start)..held.end.max(seen.start);
                        if !kept.is_empty() {
                            let from = (kept.start - held.start) * wide_row;
                            wide.copy_within(from..from + kept.len() * wide_row, 0);
                        }
                        let new = kept.end..seen.end;
                        if !new.is_empty() {
                            let to = &mut wide[kept.len() * wide_row..][..n * new.len() * wide_row];
                            self.pointwise(&expand, bias, x_rows(&new), None, to);
                        }
                        held = seen.clone();
                        &wide[..n * seen.len() * wide_row]
                    }
                    _ => x_rows(&seen),
                };
                let middle = &mut middle[..n * rows.len() * middle_row];
                self.depthwise(n, &rows, &seen, wide, middle);
                let first_number = (task.images.start * g.h_out() + rows.start) * y_row;
                let residual = self.block.residual.map(|all| &all[first_number..first_number + y.len()]);
                self.pointwise(project, self.project_bias, middle, residual, y);
            }
        });
    }

    /// Returns the input rows under these output rows. For all output rows, returns all input rows.
    fn seen(&self, rows: &Range<usize>) -> Range<usize> {
        let g = self.block.depthwise;
        if rows.len() == g.h_out() {
            return 0..g.h;
        }
        let top = g.zeros_before()[0];
        let end = ((rows.end - 1) * g.stride + g.k).saturating_sub(top);
        (rows.start * g.stride).saturating_sub(top)..end.min(g.h)
    }

    fn depthwise(&self, n: usize, rows: &Range<usize>, seen: &Range<usize>, from: &[E], to: &mut [E]) {
        let Block { depthwise: s, weight, bias, after, .. } = *self.block;
        let [top, left] = s.zeros_before();
        let g = Gather {
            n,
            before: [seen.start + top - rows.start * s.stride, left],
            from: [seen.len(), s.w],
            to: [rows.len(), s.w_out()],
            ..s.gather()
        };
        let (bias, limits) = (Some(bias), after.limits().unwrap_or(ANY));
        self.kernels.run_lines(LinesTask { g: &g, from, weight, bias, limits, first_line: 0, to: &mut *to });
        if after.is_curved() {
            curve_in_place(after, to);
        }
    }

    /// Runs a 1x1 convolution on pixels that lie side by side.
    fn pointwise(&self, part: &Pointwise<'_, E>, bias: &[f32], x: &[E], residual: Option<&[E]>, y: &mut [E]) {
        let offsets =
            |c: usize| (0..y.len() / part.c_out).map(|pixel| (pixel * c) as u32).collect::<Vec<_>>();
        let (x_offsets, y_offsets) = (offsets(part.c_in), offsets(part.c_out));
        self.kernels.run_forward(ForwardTask {
            x,
            x_offsets: &x_offsets,
            row: 0,
            k_h: 1,
            n_units: part.c_in / self.kernels.unit,
            weights: part.weights.plain(),
            bias: Some(bias),
            residual,
            limits: part.after.limits(),
            c_out: part.c_out,
            y,
            y_offsets: &y_offsets,
            moments: None,
        });
        if part.after.is_curved() {
            curve_in_place(part.after, y);
        }
    }
}
