//! Forward convolution with the direct loop or with Winograd's transforms.

use std::ops::Range;

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{Geometry, Task, tasks};
use super::kernel::{ForwardTask, Kernels};
use super::pack::{Numbers, PackedWeights};
use super::parts::{Division, join, take};
use super::scratch::{self, Reused};
use super::winograd;
use crate::activation::curve_in_place;
use crate::chunks::cut;
use crate::concat::join_from;
use crate::conv::ConvShape;
use crate::norm_act::After;
use crate::pool::pool_2x2;

/// The sums of the values and of their squares over all pixels, per channel, from which the statistics of batch norm
/// follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Number of pixels in the sums.
    pub count: usize,
    /// Sums of the values.
    pub sums: Vec<f64>,
    /// Sums of the squares.
    pub squares: Vec<f64>,
}

/// Operations on the sums of a convolution before they reach memory, in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a, E> {
    /// One number per output channel.
    pub(crate) bias: Option<&'a [f32]>,
    /// As large as the output. Not allowed together with pooling.
    pub(crate) residual: Option<&'a [E]>,
    /// The operation that follows. A curve is applied to the output of a task, rounded to `E`, while it is in the
    /// cache.
    pub(crate) after: After,
    /// The lower and the upper limit, if they differ from those of `after`.
    pub(crate) limits: Option<[f32; 2]>,
}

impl<'a, E> Epilogue<'a, E> {
    pub(crate) fn bias(bias: Option<&'a [f32]>) -> Self {
        Self { bias, residual: None, after: After::Nothing, limits: None }
    }
}

/// The input of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a, E> {
    /// A map.
    Map(&'a [E]),
    /// Maps with their numbers of channels, which are joined side by side. Only for 1x1 convolutions with stride 1
    /// and without padding.
    Parts(&'a [(&'a [E], usize)]),
}

/// Overwrites `y` with `epilogue(conv(x, weights))`. With `want_moments`, returns the moments of `y` before it is
/// rounded to its type and pooled.
pub(crate) fn forward<E: Element>(
    kernels: &Kernels<E>,
    s: &ConvShape,
    x: Input<'_, E>,
    weights: &PackedWeights<E>,
    epilogue: &Epilogue<'_, E>,
    y: &mut [E],
    want_moments: bool,
) -> Option<Moments> {
    let g = Geometry::of(s);
    let bias: Option<Vec<f32>> = epilogue.bias.map(|bias| {
        let mut padded = bias.to_vec();
        padded.resize(kernels.n_blocks(g.c_out) * kernels.block, 0.0);
        padded
    });
    let bias = bias.as_deref();
    Convolution { kernels, g, x, weights, epilogue, bias, want_moments }.run(s.n, y)
}

/// A convolution with everything but its output.
pub(super) struct Convolution<'a, E> {
    pub(super) kernels: &'a Kernels<E>,
    pub(super) g: Geometry,
    pub(super) x: Input<'a, E>,
    pub(super) weights: &'a PackedWeights<E>,
    pub(super) epilogue: &'a Epilogue<'a, E>,
    /// The bias, padded to whole blocks.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) want_moments: bool,
}

impl<E: Element> Convolution<'_, E> {
    /// Computes the output of `n` images, and its moments if they are wanted.
    pub(super) fn run(&self, n: usize, y: &mut [E]) -> Option<Moments> {
        let Self { kernels, ref g, weights, .. } = *self;
        let is_pooled = self.epilogue.after == After::ReluPool;
        let (row_step, min_pixels) = weights.cut(if is_pooled { 2 } else { 1 });
        let by_pixels = tasks(n, g, row_step, min_pixels);
        let n_blocks = kernels.n_blocks(g.c_out);
        let division = match is_pooled {
            true => Division::by_pixels(by_pixels, n_blocks),
            false => Division::new(n, g, (n_blocks, weights.len()), by_pixels),
        };
        let moments = if division.is_by_pixels() {
            self.run_all(&division, y)
        } else {
            let mut apart = Reused::new(y.len());
            let moments = self.run_all(&division, apart.as_mut_slice());
            let pixels: Vec<usize> =
                division.tasks.iter().map(|task| task.images.len() * g.h_out * g.w_out).collect();
            let channels: Vec<_> = division.parts.iter().map(|blocks| self.channels(blocks)).collect();
            join(apart.as_slice(), &pixels, &channels, g.c_out, y);
            moments
        };
        self.want_moments.then(|| total(&moments, n * g.h_out * g.w_out, g.c_out))
    }

    /// Returns the output channels of these blocks.
    fn channels(&self, blocks: &Range<usize>) -> Range<usize> {
        let block = self.kernels.block;
        blocks.start * block..self.g.c_out.min(blocks.end * block)
    }

    /// Computes the parts of all tasks, one after the other in `y`. Returns the sums of each, from the channel that is given on.
    fn run_all(&self, division: &Division, y: &mut [E]) -> Vec<(usize, Vec<f32>)> {
        let items: Vec<(&Task, &Range<usize>)> = division
            .tasks
            .iter()
            .flat_map(|task| division.parts.iter().map(move |part| (task, part)))
            .collect();
        let is_pooled = self.epilogue.after == After::ReluPool;
        let numbers = |&(task, blocks): &(&Task, &Range<usize>)| {
            let pixels = match is_pooled {
                true => (task.rows.len() / 2) * (self.g.w_out / 2),
                false => task.rows.len() * self.g.w_out,
            };
            task.images.len() * pixels * self.channels(blocks).len()
        };
        let pieces = cut(y, items.iter().map(numbers));
        items.par_iter().zip(pieces).map(|((task, blocks), y)| self.run_part(task, blocks, y)).collect()
    }

    /// Computes the channels of `blocks` for the pixels of `task`. Returns the first channel, and the sums and sums of squares.
    fn run_part(&self, task: &Task, blocks: &Range<usize>, y: &mut [E]) -> (usize, Vec<f32>) {
        let (whole, channels, block) = (&self.g, self.channels(blocks), self.kernels.block);
        let g = Geometry { c_out: channels.len(), ..*whole };
        let half = if self.want_moments { blocks.len() * block } else { 0 };
        let mut sums = vec![0.0; 2 * half];
        let (first, second) = sums.split_at_mut(half);
        let row_len = g.w_out * g.c_out;
        let n_pixels = task.images.len() * task.rows.len() * g.w_out;
        let first_pixel = (task.images.start * g.h_out + task.rows.start) * g.w_out;
        let after = self.epilogue.after;
        let offsets = pixel_offsets(task, &g, [task.rows.len() * row_len, row_len, g.c_out]);
        let out = TaskOutput {
            blocks: blocks.clone(),
            bias: self.bias.map(|bias| &bias[blocks.start * block..blocks.end * block]),
            residual: None,
            limits: self.epilogue.limits.or(after.limits()),
            offsets: &offsets,
            moments: self.want_moments.then_some((first, second)),
        };
        let residual = self
            .epilogue
            .residual
            .map(|residual| &residual[first_pixel * whole.c_out..][..n_pixels * whole.c_out]);
        scratch::with(|scratch| match residual {
            _ if after == After::ReluPool => {
                let [unpooled] = scratch.buffers([n_pixels * g.c_out]);
                self.run_on(&g, task, unpooled, out);
                pool_2x2(unpooled, task.images.len(), task.rows.len(), g.w_out, g.c_out, y);
            }
            Some(residual) if g.c_out < whole.c_out => {
                let [part] = scratch.buffers([n_pixels * g.c_out]);
                take(residual, whole.c_out, &channels, part);
                self.run_on(&g, task, y, TaskOutput { residual: Some(part), ..out });
            }
            residual => self.run_on(&g, task, y, TaskOutput { residual, ..out }),
        });
        if after.is_curved() {
            curve_in_place(after, y);
        }
        (channels.start, sums)
    }

    /// Convolves the pixels of `task`. Input parts are first joined for the pixels of the task; the joined map stays in L2.
    fn run_on(&self, g: &Geometry, task: &Task, y: &mut [E], out: TaskOutput<'_, E>) {
        let parts = match self.x {
            Input::Map(x) => return run_task(self.kernels, g, task, x, self.weights, y, out),
            Input::Parts(parts) => parts,
        };
        let (n_images, n_rows) = (task.images.len(), task.rows.len());
        scratch::with(|scratch| {
            let [joined] = scratch.buffers([n_images * n_rows * g.w * g.c_in]);
            for (image, joined) in task.images.clone().zip(joined.chunks_exact_mut(n_rows * g.w * g.c_in)) {
                join_from(parts, (image * g.h + task.rows.start) * g.w, joined);
            }
            let (of_task, whole) =
                (Geometry { h: n_rows, h_out: n_rows, ..*g }, Task { images: 0..n_images, rows: 0..n_rows });
            run_task(self.kernels, &of_task, &whole, joined, self.weights, y, out);
        });
    }
}

/// Adds partial sums in the order of the tasks, in f64. Each has sums and sums of squares from a channel on.
fn total(parts: &[(usize, Vec<f32>)], count: usize, c: usize) -> Moments {
    let mut moments = Moments { count, sums: vec![0.0; c], squares: vec![0.0; c] };
    for (first, part) in parts {
        let (sums, squares) = part.split_at(part.len() / 2);
        for (i, channel) in (*first..c).take(sums.len()).enumerate() {
            moments.sums[channel] += f64::from(sums[i]);
            moments.squares[channel] += f64::from(squares[i]);
        }
    }
    moments
}

/// The destination of a task's sums, and the operations on them.
pub(super) struct TaskOutput<'a, E> {
    /// The blocks of output channels that are computed. All else has their channels alone.
    pub(super) blocks: Range<usize>,
    /// Padded to whole blocks.
    pub(super) bias: Option<&'a [f32]>,
    /// The residual of the task's pixels, in the layout of its output.
    pub(super) residual: Option<&'a [E]>,
    pub(super) limits: Option<[f32; 2]>,
    /// Start of each pixel in the task's output.
    pub(super) offsets: &'a [u32],
    pub(super) moments: Option<(&'a mut [f32], &'a mut [f32])>,
}

/// Convolves the pixels of `task`.
pub(super) fn run_task<E: Element>(
    kernels: &Kernels<E>,
    g: &Geometry,
    task: &Task,
    x: &[E],
    weights: &PackedWeights<E>,
    y: &mut [E],
    out: TaskOutput<'_, E>,
) {
    match &weights.numbers {
        Numbers::Plain(weights) => {
            let len = g.k_h * g.run().div_ceil(kernels.unit) * kernels.unit * kernels.block;
            let weights = &weights.as_slice()[out.blocks.start * len..out.blocks.end * len];
            run_directly(kernels, g, task, x, weights, y, out);
        }
        Numbers::Transformed(scheme, weights) => {
            winograd::run_task(&(kernels.wide)(), *scheme, g, task, x, weights.as_slice(), y, out);
        }
    }
}

/// Runs the direct loop over the pixels of `task`: on `x` itself if no window reaches beyond it, otherwise on a
/// padded copy of the input under the task's windows.
fn run_directly<E: Element>(
    kernels: &Kernels<E>,
    g: &Geometry,
    task: &Task,
    x: &[E],
    weights: &[E],
    y: &mut [E],
    out: TaskOutput<'_, E>,
) {
    let n_units = g.run().div_ceil(kernels.unit);
    let slack = n_units * kernels.unit - g.run(); // the last unit may read beyond the run, times a weight of 0
    let run = |x: &[E], rows: usize, row: usize| {
        let x_offsets = pixel_offsets(task, g, [rows * row, g.stride * row, g.stride * g.c_in]);
        kernels.run_forward(ForwardTask {
            x,
            x_offsets: &x_offsets,
            row,
            k_h: g.k_h,
            n_units,
            weights,
            bias: out.bias,
            residual: out.residual,
            limits: out.limits,
            c_out: g.c_out,
            y,
            y_offsets: out.offsets,
            moments: out.moments,
        });
    };
    if slack == 0 && g.sees_only_the_input(task) {
        let row = g.w * g.c_in;
        let first = (task.images.start * g.h + task.rows.start * g.stride) * row;
        return run(&x[first..], g.h, row);
    }
    let (rows, row) = (g.padded_h(task.rows.len()), g.padded_w() * g.c_in);
    let len = g.padded_len(task.images.len(), task.rows.len());
    scratch::with(|scratch| {
        let [padded] = scratch.buffers([len + slack]);
        scratch::pad(x, g, task, &mut padded[..len]);
        padded[len..].fill(E::default());
        run(padded, rows, row);
    });
}

/// Returns the offset of each output pixel of `task`, with these distances between images, rows and columns.
pub(super) fn pixel_offsets(task: &Task, g: &Geometry, [image, row, column]: [usize; 3]) -> Vec<u32> {
    let mut offsets = Vec::with_capacity(task.images.len() * task.rows.len() * g.w_out);
    for n in 0..task.images.len() {
        for oy in 0..task.rows.len() {
            offsets.extend((0..g.w_out).map(|ox| (n * image + oy * row + ox * column) as u32));
        }
    }
    offsets
}
