//! The gradient of a convolution's input, with the forward loop.
//!
//! Row `iy` of the input met tap `r` at output row `(iy + padding - r) / stride` if that is a whole number. So the
//! input's rows fall into `stride` phases. Each phase meets every stride-th tap, in reverse order and with stride 1.
//! The same holds for columns.

use rayon::prelude::*;

use super::element::Element;
use super::forward::{Convolution, Epilogue, Input, TaskOutput, pixel_offsets, run_task};
use super::geometry::{Geometry, MIN_PIXELS, Task, tasks};
use super::kernel::Kernels;
use super::pack::{PackedWeights, Taps};
use crate::chunks::cut;
use crate::conv::ConvShape;

/// The rows (or columns) `first, first + stride, …` of the input, and the taps that met them.
#[derive(Clone, Copy)]
struct Phase {
    first: usize,
    /// Number of rows of the phase.
    n: usize,
    /// The first of its taps.
    tap: usize,
    n_taps: usize,
    /// Number of zeros before the output's gradient.
    before: isize,
}

impl Phase {
    fn new(first: usize, size: usize, k: usize, stride: usize, padding: usize) -> Self {
        let tap = (first + padding) % stride;
        let n_taps = k.saturating_sub(tap).div_ceil(stride);
        let base = ((first + padding - tap) / stride) as isize;
        let n = size.saturating_sub(first).div_ceil(stride);
        Self { first, n, tap, n_taps, before: n_taps as isize - 1 - base }
    }
}

/// Overwrites `dx` with the gradient of the input, computed from the gradient `dy` of the output.
pub(crate) fn input_grad<E: Element>(
    kernels: &Kernels<E>,
    s: &ConvShape,
    dy: &[E],
    weight: &[f32],
    dx: &mut [E],
) {
    let [top, left] = s.zeros_before();
    let phases: Vec<(Geometry, Phase, Phase, PackedWeights<E>)> = (0..s.stride)
        .flat_map(|py| (0..s.stride).map(move |px| (py, px)))
        .filter_map(|(py, px)| {
            let rows = Phase::new(py, s.h, s.k_h, s.stride, top);
            let columns = Phase::new(px, s.w, s.k_w, s.stride, left);
            if rows.n * rows.n_taps * columns.n * columns.n_taps == 0 {
                return None;
            }
            let g = geometry(s, &rows, &columns);
            let last = |p: &Phase| p.tap + s.stride * (p.n_taps - 1);
            let taps = Taps {
                weight,
                c_in: s.c_in,
                k: [s.k_h, s.k_w],
                first: [last(&rows), last(&columns)],
                step: [-(s.stride as isize); 2],
                swapped: true,
                scale: None,
            };
            let packed = PackedWeights::of_taps(kernels, &g, &taps);
            Some((g, rows, columns, packed))
        })
        .collect();
    if let ([(g, .., packed)], 1) = (&phases[..], s.stride) {
        let (x, epilogue) = (Input::Map(dy), Epilogue::bias(None));
        Convolution {
            kernels,
            g: *g,
            x,
            weights: packed,
            epilogue: &epilogue,
            bias: None,
            want_moments: false,
        }
        .run(s.n, dx);
        return;
    }
    let has_gaps = phases.len() < s.stride.min(s.h) * s.stride.min(s.w);
    // divided by the rows of dx, in steps that contain the same rows of every phase
    let whole = Geometry { h_out: s.h, w_out: s.w, stride: 1, ..geometry(s, &FULL, &FULL) };
    let (row_step, min_pixels) =
        phases.first().map_or((s.stride, MIN_PIXELS), |(.., packed)| packed.cut(s.stride));
    let tasks = tasks(s.n, &whole, row_step, min_pixels);
    let row_len = s.w * s.c_in;
    let pieces = cut(dx, tasks.iter().map(|task| task.images.len() * task.rows.len() * row_len));
    tasks.par_iter().zip(pieces).for_each(|(task, dx)| {
        if has_gaps {
            dx.fill(E::default());
        }
        for (g, rows, columns, packed) in &phases {
            let part = phase_rows(task, rows, s.stride);
            if part.rows.is_empty() {
                continue;
            }
            let image = task.rows.len() * row_len;
            let mut offsets = pixel_offsets(&part, g, [image, s.stride * row_len, s.stride * s.c_in]);
            let first_row = part.rows.start * s.stride + rows.first - task.rows.start;
            let start = (first_row * row_len + columns.first * s.c_in) as u32;
            offsets.iter_mut().for_each(|offset| *offset += start);
            let out = TaskOutput {
                blocks: 0..kernels.n_blocks(g.c_out),
                bias: None,
                residual: None,
                limits: None,
                offsets: &offsets,
                moments: None,
            };
            run_task(kernels, g, &part, dy, packed, dx, out);
        }
    });
}

/// A phase with all taps, for the division into tasks only.
const FULL: Phase = Phase { first: 0, n: 1, tap: 0, n_taps: 3, before: 0 };

fn geometry(s: &ConvShape, rows: &Phase, columns: &Phase) -> Geometry {
    Geometry {
        h: s.h_out(),
        w: s.w_out(),
        c_in: s.c_out,
        h_out: rows.n,
        w_out: columns.n,
        c_out: s.c_in,
        k_h: rows.n_taps,
        k_w: columns.n_taps,
        stride: 1,
        top: rows.before,
        left: columns.before,
    }
}

/// Returns the rows of `phase` within the rows of `task`, which start at a multiple of the stride.
fn phase_rows(task: &Task, phase: &Phase, stride: usize) -> Task {
    let start = task.rows.start / stride;
    let end = task.rows.end.saturating_sub(phase.first).div_ceil(stride);
    Task { images: task.images.clone(), rows: start..end.min(phase.n).max(start) }
}
