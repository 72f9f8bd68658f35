//! Forward convolution with the direct loop or with Winograd's transforms.

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{Geometry, Task, tasks};
use super::kernel::{ForwardTask, Kernels};
use super::pack::{Numbers, PackedWeights};
use super::scratch;
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
    let n_padded = kernels.n_blocks(g.c_out) * kernels.block;
    let bias: Option<Vec<f32>> = epilogue.bias.map(|bias| {
        let mut padded = bias.to_vec();
        padded.resize(n_padded, 0.0);
        padded
    });
    let row_len = g.w_out * g.c_out;
    let (after, is_pooled) = (epilogue.after, epilogue.after == After::ReluPool);
    let (row_step, min_pixels) = weights.cut(if is_pooled { 2 } else { 1 });
    let tasks = tasks(s.n, &g, row_step, min_pixels);
    let numbers = |task: &Task| match is_pooled {
        true => task.images.len() * (task.rows.len() / 2) * (g.w_out / 2) * g.c_out,
        false => task.images.len() * task.rows.len() * row_len,
    };
    let pieces = cut(y, tasks.iter().map(numbers));
    let moments: Vec<_> = tasks
        .par_iter()
        .zip(pieces)
        .map(|(task, y)| {
            let half = if want_moments { n_padded } else { 0 };
            let mut sums = vec![0.0; 2 * half];
            let (first, second) = sums.split_at_mut(half);
            let first_number = (task.images.start * g.h_out + task.rows.start) * row_len;
            let len = task.images.len() * task.rows.len() * row_len;
            let out = TaskOutput {
                bias: bias.as_deref(),
                residual: epilogue.residual.map(|residual| &residual[first_number..first_number + len]),
                limits: epilogue.limits.or(after.limits()),
                offsets: &pixel_offsets(task, &g, [task.rows.len() * row_len, row_len, g.c_out]),
                moments: want_moments.then_some((first, second)),
            };
            if is_pooled {
                scratch::with(|scratch| {
                    let [whole] = scratch.buffers([len]);
                    run_on(kernels, &g, task, x, weights, whole, out);
                    pool_2x2(whole, task.images.len(), task.rows.len(), g.w_out, g.c_out, y);
                });
            } else {
                run_on(kernels, &g, task, x, weights, y, out);
                if after.is_curved() {
                    curve_in_place(after, y);
                }
            }
            sums
        })
        .collect();
    want_moments.then(|| total(&moments, s.n * g.h_out * g.w_out, g.c_out, n_padded))
}

/// Adds partial sums in the order of the tasks, in f64.
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

/// The destination of a task's sums, and the operations on them.
pub(super) struct TaskOutput<'a, E> {
    /// Padded to whole blocks.
    pub(super) bias: Option<&'a [f32]>,
    /// The residual of the task's pixels, in the layout of its output.
    pub(super) residual: Option<&'a [E]>,
    pub(super) limits: Option<[f32; 2]>,
    /// Start of each pixel in the task's output.
    pub(super) offsets: &'a [u32],
    pub(super) moments: Option<(&'a mut [f32], &'a mut [f32])>,
}

/// Convolves the pixels of `task`. Parts are first joined for the pixels of the task; the joined map stays in L2.
fn run_on<E: Element>(
    kernels: &Kernels<E>,
    g: &Geometry,
    task: &Task,
    x: Input<'_, E>,
    weights: &PackedWeights<E>,
    y: &mut [E],
    out: TaskOutput<'_, E>,
) {
    let parts = match x {
        Input::Map(x) => return run_task(kernels, g, task, x, weights, y, out),
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
        run_task(kernels, &of_task, &whole, joined, weights, y, out);
    });
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
        Numbers::Plain(weights) => run_directly(kernels, g, task, x, weights.as_slice(), y, out),
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
