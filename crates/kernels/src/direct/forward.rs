//! Forward convolution by the direct loop.

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{Geometry, Task, tasks};
use super::kernel::{ForwardTask, Kernels};
use super::scratch;
use crate::conv::ConvShape;

/// The sums over all pixels of the values and of their squares, per channel: what batch norm's statistics need.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Pixels that were summed over.
    pub count: usize,
    /// Sums of the values.
    pub sums: Vec<f64>,
    /// Sums of the squares.
    pub squares: Vec<f64>,
}

/// `y = conv(x, weight) + bias`; with `want_moments` also the moments of `y` before it is rounded to its type.
pub(crate) fn forward<E: Element>(
    kernels: &Kernels<E>,
    s: &ConvShape,
    x: &[E],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [E],
    want_moments: bool,
) -> Option<Moments> {
    let g = Geometry::of(s);
    let taps = Taps { weight, c_in: s.c_in, k: [s.k_h, s.k_w], first: [0, 0], step: [1, 1], swapped: false };
    let packed = pack(kernels, &g, &taps);
    let bias: Option<Vec<f32>> = bias.map(|bias| {
        let mut padded = bias.to_vec();
        padded.resize(kernels.n_blocks(g.c_out) * kernels.block, 0.0);
        padded
    });
    let row_len = g.w_out * g.c_out;
    let tasks = tasks(s.n, &g, 1);
    let mut pieces = Vec::with_capacity(tasks.len());
    let mut rest = y;
    for task in &tasks {
        let (piece, after) = rest.split_at_mut(task.images.len() * task.rows.len() * row_len);
        rest = after;
        pieces.push((task, piece));
    }
    let n_padded = kernels.n_blocks(g.c_out) * kernels.block;
    let moments: Vec<_> = pieces
        .into_par_iter()
        .map(|(task, y)| {
            let half = if want_moments { n_padded } else { 0 };
            let mut sums = vec![0.0; 2 * half];
            let (first, second) = sums.split_at_mut(half);
            let moments = want_moments.then_some((first, second));
            let y_offsets = pixel_offsets(task, &g, [task.rows.len() * row_len, row_len, g.c_out]);
            run_task(kernels, &g, task, x, &packed, bias.as_deref(), y, &y_offsets, moments);
            sums
        })
        .collect();
    want_moments.then(|| total(&moments, s.n * g.h_out * g.w_out, g.c_out, n_padded))
}

/// Partial sums added in the order of the tasks, in f64.
fn total(parts: &[Vec<f32>], count: usize, c: usize, n_padded: usize) -> Moments {
    let mut moments = Moments { count, sums: vec![0.0; c], squares: vec![0.0; c] };
    for part in parts {
        for i in 0..c {
            moments.sums[i] += f64::from(part[i]);
            moments.squares[i] += f64::from(part[n_padded + i]);
        }
    }
    moments
}

/// Pads what `task` sees of `x` and runs the loop over its pixels, each written at its offset in `y`.
#[expect(clippy::too_many_arguments, reason = "one call with the parts of a ForwardTask, in two places")]
pub(super) fn run_task<E: Element>(
    kernels: &Kernels<E>,
    g: &Geometry,
    task: &Task,
    x: &[E],
    weights: &[E],
    bias: Option<&[f32]>,
    y: &mut [E],
    y_offsets: &[u32],
    moments: Option<(&mut [f32], &mut [f32])>,
) {
    let (rows, row) = (g.padded_h(task.rows.len()), g.padded_w() * g.c_in);
    let len = g.padded_len(task.images.len(), task.rows.len());
    let n_units = g.run().div_ceil(kernels.unit);
    let x_offsets = pixel_offsets(task, g, [rows * row, g.stride * row, g.stride * g.c_in]);
    scratch::with(|scratch| {
        let slack = n_units * kernels.unit - g.run(); // the last unit may read beyond the run, times a weight of 0
        let [padded] = scratch.buffers([len + slack]);
        scratch::pad(x, g, task, &mut padded[..len]);
        padded[len..].fill(E::default());
        kernels.run_forward(ForwardTask {
            x: padded,
            x_offsets: &x_offsets,
            row,
            k_h: g.k_h,
            n_units,
            weights,
            bias,
            c_out: g.c_out,
            y,
            y_offsets,
            moments,
        });
    });
}

/// An offset per output pixel of `task`, with these distances between images, rows and columns.
pub(super) fn pixel_offsets(task: &Task, g: &Geometry, [image, row, column]: [usize; 3]) -> Vec<u32> {
    let mut offsets = Vec::with_capacity(task.images.len() * task.rows.len() * g.w_out);
    for n in 0..task.images.len() {
        for oy in 0..task.rows.len() {
            offsets.extend((0..g.w_out).map(|ox| (n * image + oy * row + ox * column) as u32));
        }
    }
    offsets
}

/// Which taps of an OIHW weight a geometry uses: tap (r, s) of it is tap `first + step * (r, s)` of the weight.
pub(super) struct Taps<'a> {
    pub(super) weight: &'a [f32],
    /// The weight's own input channels.
    pub(super) c_in: usize,
    /// The weight's own size.
    pub(super) k: [usize; 2],
    pub(super) first: [usize; 2],
    /// May be negative: reversed taps.
    pub(super) step: [isize; 2],
    /// Whether the weight's input channels are the geometry's output channels.
    pub(super) swapped: bool,
}

impl Taps<'_> {
    fn at(&self, o: usize, i: usize, r: usize, s: usize) -> f32 {
        let tap = |axis: usize, t: usize| self.first[axis].wrapping_add_signed(self.step[axis] * t as isize);
        let (o, i) = if self.swapped { (i, o) } else { (o, i) };
        self.weight[((o * self.c_in + i) * self.k[0] + tap(0, r)) * self.k[1] + tap(1, s)]
    }
}

/// Weights in the order in which the loop reads them: (blocks, k_h, units, block, unit), zeros where there are none.
pub(super) fn pack<E: Element>(kernels: &Kernels<E>, g: &Geometry, taps: &Taps<'_>) -> Vec<E> {
    let (block, unit) = (kernels.block, kernels.unit);
    let n_units = g.run().div_ceil(unit);
    let mut packed = vec![E::default(); kernels.n_blocks(g.c_out) * g.k_h * n_units * block * unit];
    packed.par_chunks_mut(g.k_h * n_units * block * unit).enumerate().for_each(|(b, packed)| {
        for o in b * block..g.c_out.min((b + 1) * block) {
            for r in 0..g.k_h {
                for j in 0..g.run() {
                    let at = ((r * n_units + j / unit) * block + o - b * block) * unit + j % unit;
                    packed[at] = E::from_f32(taps.at(o, j % g.c_in, r, j / g.c_in));
                }
            }
        }
    });
    packed
}
