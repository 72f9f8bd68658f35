//! The gradient of a convolution's weights by a direct loop.
//!
//! ```text
//! dw[r][j][o] = sum over output pixels p of x[window of p + r * row + j] * dy[p][o]      j runs over k_w * c_in
//! ```
//!
//! The sum runs over pixels, and `vdpbf16ps` wants them in pairs: neighbours in a row of the output, or, where rows have
//! an odd number of pixels, the same pixel of two images. Their gradients are interleaved channel by channel; of the
//! input, each number is followed by the one that the partner's window has in its place, and one such copy serves every
//! tap.
//!
//! The work is cut into chunks of tasks, whose number the shape decides, times groups of blocks of output channels: a
//! group shares the copies of a task's input, and its sums stay in L2. The chunks' sums are added in order at the end.

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{Geometry, MIN_PIXELS, Task, tasks};
use super::kernel::{Kernels, WeightTask};
use super::scratch::{self, Reused, Scratch};
use super::winograd;
use crate::conv::ConvShape;
use crate::vectorise::vectorised;

/// Pieces of work at least, where there are so many images: chunks of tasks times groups of blocks.
const MIN_PIECES: usize = 8;

/// Bytes that the sums of a group and the copies of a task's input may have together: most of an L2 cache.
const GROUP_BYTES: usize = 768 << 10;

/// Units that are summed before the sums go back to memory: their gradients stay in L1.
const UNITS_AT_ONCE: usize = 128;

/// How the work is cut: a function of the shape and the kernels' block and unit.
struct Plan {
    g: Geometry,
    /// Whether `winograd` does it.
    transformed: bool,
    tasks: Vec<Task>,
    n_chunks: usize,
    n_blocks: usize,
    /// Blocks of output channels in a group.
    per_group: usize,
    /// Sums of a block: (k_h, run, block), or (16, c_in, block) where they are transformed.
    sums_len: usize,
}

impl Plan {
    fn new<E: Element>(kernels: &Kernels<E>, s: &ConvShape) -> Self {
        let g = Geometry::of(s);
        let transformed =
            winograd::applies_to_weight_grad(kernels, [g.c_out, g.c_in, g.k_h, g.k_w], g.stride);
        let (row_step, min_pixels) = if transformed { (2, winograd::MIN_PIXELS) } else { (1, MIN_PIXELS) };
        let mut tasks = tasks(s.n, &g, row_step, min_pixels);
        if kernels.unit == 2 && g.w_out % 2 == 1 {
            tasks = with_pairs_of_images(tasks);
        }
        let n_blocks = kernels.n_blocks(g.c_out);
        let sums_per_channel = if transformed { winograd::N_PRODUCTS * g.c_in } else { g.k_h * g.run() };
        let sums_len = sums_per_channel * kernels.block;
        let input = |task: &Task| g.padded_len(task.images.len(), task.rows.len()) * kernels.unit;
        let input_bytes = tasks.iter().map(input).max().unwrap_or(0) * size_of::<E>();
        let group_bytes = match transformed {
            true => winograd::GROUP_BYTES,
            false => GROUP_BYTES.saturating_sub(input_bytes),
        };
        let room = group_bytes / (sums_len * size_of::<f32>());
        let per_group = room.clamp(1, n_blocks);
        let n_groups = n_blocks.div_ceil(per_group);
        let n_chunks = MIN_PIECES.div_ceil(n_groups).min(tasks.len()).max(1);
        Self { g, transformed, tasks, n_chunks, n_blocks, per_group, sums_len }
    }

    /// The tasks of a chunk: as many as of the others, or one more.
    fn chunk(&self, i: usize) -> &[Task] {
        let at = |i: usize| i * self.tasks.len() / self.n_chunks;
        &self.tasks[at(i)..at(i + 1)]
    }

    fn group_len(&self) -> usize {
        self.per_group * self.sums_len
    }
}

/// The same images in tasks of an even number of them, but for the last one; bands of rows stay as they are.
fn with_pairs_of_images(tasks: Vec<Task>) -> Vec<Task> {
    let (Some(first), Some(last)) = (tasks.first(), tasks.last()) else { return tasks };
    let (n, per_task) = (last.images.end, first.images.len().next_multiple_of(2));
    if first.rows != last.rows {
        return tasks;
    }
    let images = (0..n).step_by(per_task).map(|start| start..n.min(start + per_task));
    images.map(|images| Task { images, rows: first.rows.clone() }).collect()
}

/// `dweight` (OIHW), overwritten.
pub(crate) fn weight_grad<E: Element>(
    kernels: &Kernels<E>,
    s: &ConvShape,
    x: &[E],
    dy: &[E],
    dweight: &mut [f32],
) {
    let plan = Plan::new(kernels, s);
    let n_groups = plan.n_blocks.div_ceil(plan.per_group);
    // (groups, chunks, (blocks of a group, sums of a block))
    let mut sums = Reused::<f32>::new(n_groups * plan.n_chunks * plan.group_len());
    sums.as_mut_slice().par_chunks_mut(plan.group_len()).enumerate().for_each(|(piece, dw)| {
        dw.fill(0.0);
        scratch::with(|scratch| {
            for task in plan.chunk(piece % plan.n_chunks) {
                let first_block = piece / plan.n_chunks * plan.per_group;
                match plan.transformed {
                    true => winograd::add_task(kernels, &plan.g, task, x, dy, first_block, dw, scratch),
                    false => add_task(kernels, &plan, task, x, dy, first_block, dw, scratch),
                }
            }
        });
    });
    for sums in sums.as_mut_slice().chunks_exact_mut(plan.n_chunks * plan.group_len()) {
        let (total, parts) = sums.split_at_mut(plan.group_len());
        total.par_chunks_mut(plan.sums_len).enumerate().for_each(|(block, total)| {
            let at = block * plan.sums_len;
            for part in parts.chunks_exact(plan.group_len()) {
                add_to::<f32>(total, &part[at..at + plan.sums_len]);
            }
        });
    }
    let (g, sums) = (&plan.g, sums.as_slice());
    dweight.par_chunks_mut(kernels.block * g.c_in * g.k_h * g.k_w).enumerate().for_each(
        |(block, dweight)| {
            let group = block / plan.per_group * plan.n_chunks * plan.group_len();
            let first = group + block % plan.per_group * plan.sums_len;
            let sums = &sums[first..first + plan.sums_len];
            match plan.transformed {
                true => winograd::unpack(sums, g.c_in, kernels.block, dweight),
                false => unpack(g, sums, kernels.block, dweight),
            }
        },
    );
}

/// Input channels that are unpacked together: what is read and what is written stay in L1.
const INPUTS_AT_ONCE: usize = 16;

/// The sums (k_h, run, block) of a block, as OIHW of as many of its channels as there are.
fn unpack(g: &Geometry, sums: &[f32], block: usize, dweight: &mut [f32]) {
    let filters_len = g.c_in * g.k_h * g.k_w;
    for first in (0..g.c_in).step_by(INPUTS_AT_ONCE) {
        let inputs = first..g.c_in.min(first + INPUTS_AT_ONCE);
        for (lane, filters) in dweight.chunks_exact_mut(filters_len).enumerate() {
            for (tap, (r, s)) in (0..g.k_h).flat_map(|r| (0..g.k_w).map(move |s| (r, s))).enumerate() {
                let sums = &sums[(r * g.run() + s * g.c_in) * block + lane..];
                for i in inputs.clone() {
                    filters[i * g.k_h * g.k_w + tap] = sums[i * block];
                }
            }
        }
    }
}

vectorised! {
    fn add_to<E: Element>(total: &mut [E], part: &[E]) {
        for (total, part) in total.iter_mut().zip(part) {
            *total = E::from_f32(total.to_f32() + part.to_f32());
        }
    }
}

vectorised! {
    /// `pairs = a0 b0 a1 b1 …`
    fn interleave<E: Element>(a: &[E], b: &[E], pairs: &mut [E]) {
        let (pairs, rest) = pairs.as_chunks_mut::<32>();
        let n_whole = pairs.len();
        let whole = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
        for (pairs, (a, b)) in pairs.iter_mut().zip(whole) {
            for i in 0..16 {
                pairs[2 * i] = a[i];
                pairs[2 * i + 1] = b[i];
            }
        }
        let left = a[16 * n_whole..].iter().zip(&b[16 * n_whole..]);
        for (pair, (&a, &b)) in rest.chunks_exact_mut(2).zip(left) {
            pair[0] = a;
            pair[1] = b;
        }
    }
}

/// Which pixels make a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Partner {
    /// Every one is its own unit.
    None,
    /// The next one of the row.
    Column,
    /// The same one of the next image.
    Image,
}

/// Adds what the pixels of `task` give to `dw` (blocks of the group, k_h, run, block).
#[expect(clippy::too_many_arguments, reason = "the body of one loop")]
fn add_task<E: Element>(
    kernels: &Kernels<E>,
    plan: &Plan,
    task: &Task,
    x: &[E],
    dy: &[E],
    first_block: usize,
    dw: &mut [f32],
    scratch: &mut Scratch,
) {
    let (g, unit, block) = (&plan.g, kernels.unit, kernels.block);
    let (n_images, n_rows) = (task.images.len(), task.rows.len());
    let partner = match (unit, g.w_out % 2, n_images % 2) {
        (1, ..) => Partner::None,
        (_, 1, 0) => Partner::Image,
        _ => Partner::Column,
    };
    let is_pixelwise = partner == Partner::None && g.k_h * g.k_w == 1 && g.sees_only_the_input(task);
    let (rows, row) = (g.padded_h(n_rows), g.padded_w() * g.c_in);
    let (image_len, len) = (rows * row, g.padded_len(n_images, n_rows));
    // what a pair that reaches beyond the row's end reads, times 0
    let reach = if partner == Partner::Column { g.stride * g.c_in } else { 0 };
    let units_per_row = if partner == Partner::Column { g.w_out.div_ceil(2) } else { g.w_out };
    let n_unit_images = if partner == Partner::Image { n_images / 2 } else { n_images };
    let n_units = n_unit_images * n_rows * units_per_row;
    let skewed = g.c_in + SKEW;
    let len = if is_pixelwise { n_units * skewed } else { len };
    let [padded, pairs, packed] = scratch.buffers([len + reach, len * unit, n_units * block * unit]);
    if is_pixelwise {
        copy_pixels(x, g, task, skewed, padded);
    } else {
        scratch::pad(x, g, task, &mut padded[..len]);
        padded[len..].fill(E::default());
    }
    let x_units: &[E] = match partner {
        Partner::None => &padded[..len],
        Partner::Column => {
            interleave(&padded[..len], &padded[reach..], pairs);
            pairs
        }
        Partner::Image => {
            for (images, pairs) in
                padded.chunks_exact(2 * image_len).zip(pairs.chunks_exact_mut(2 * image_len))
            {
                interleave(&images[..image_len], &images[image_len..], pairs);
            }
            &pairs[..len]
        }
    };
    let step = if partner == Partner::Column { 2 } else { 1 };
    let mut offsets = Vec::with_capacity(n_units);
    for n in 0..n_unit_images {
        for oy in 0..n_rows {
            let start = n * image_len + oy * g.stride * row;
            offsets.extend((0..units_per_row).map(|u| (start + u * step * g.stride * g.c_in) as u32));
        }
    }
    if is_pixelwise {
        offsets.iter_mut().enumerate().for_each(|(i, offset)| *offset = (i * skewed) as u32);
    }
    let blocks = first_block..plan.n_blocks.min(first_block + plan.per_group);
    for (output_block, dw) in blocks.zip(dw.chunks_exact_mut(plan.sums_len)) {
        pack_gradient(g, task, dy, output_block * block, block, partner, packed);
        for (offsets, dy) in offsets.chunks(UNITS_AT_ONCE).zip(packed.chunks(UNITS_AT_ONCE * block * unit)) {
            kernels.run_weight_grad(WeightTask {
                x: x_units,
                x_offsets: offsets,
                row,
                k_h: g.k_h,
                run: g.run(),
                dy,
                dw,
            });
        }
    }
}

/// Numbers between the pixels of a 1x1 convolution: at a distance of a power of two they would fight for places in L1.
const SKEW: usize = 16;

/// Copies the pixels that a 1x1 convolution without padding sees, `skewed` numbers apart.
fn copy_pixels<E: Element>(x: &[E], g: &Geometry, task: &Task, skewed: usize, out: &mut [E]) {
    let mut out = out.chunks_exact_mut(skewed);
    for image in task.images.clone() {
        for oy in task.rows.clone() {
            let line = &x[(image * g.h + oy * g.stride) * g.w * g.c_in..][..g.w * g.c_in];
            for (pixel, out) in line.chunks_exact(g.c_in).step_by(g.stride).take(g.w_out).zip(&mut out) {
                out[..g.c_in].copy_from_slice(pixel);
            }
        }
    }
}

/// The gradients of `block` channels from `first` on: (units, block, unit), zeros where a pixel has no partner, and
/// beyond the last channel.
fn pack_gradient<E: Element>(
    g: &Geometry,
    task: &Task,
    dy: &[E],
    first: usize,
    block: usize,
    partner: Partner,
    packed: &mut [E],
) {
    let n_channels = block.min(g.c_out - first);
    let line_len = g.w_out * g.c_out;
    let line = |image: usize, oy: usize| &dy[(image * g.h_out + oy) * line_len..][..line_len];
    let channels = first..first + n_channels;
    let step = if partner == Partner::Image { 2 } else { 1 };
    let unit = if partner == Partner::None { 1 } else { 2 };
    let mut units = packed.chunks_exact_mut(block * unit);
    for image in task.images.clone().step_by(step) {
        for oy in task.rows.clone() {
            let own = line(image, oy);
            match partner {
                Partner::None => {
                    for (pixel, out) in own.chunks_exact(g.c_out).zip(&mut units) {
                        out[..n_channels].copy_from_slice(&pixel[channels.clone()]);
                        out[n_channels..].fill(E::default());
                    }
                }
                Partner::Column => {
                    for (pixels, out) in own.chunks(2 * g.c_out).zip(&mut units) {
                        let (pixel, next) = pixels.split_at(g.c_out);
                        let next = next.get(channels.clone()).unwrap_or_default();
                        pack_unit(&pixel[channels.clone()], next, out);
                    }
                }
                Partner::Image => {
                    let pixels = own.chunks_exact(g.c_out).zip(line(image + 1, oy).chunks_exact(g.c_out));
                    for ((pixel, next), out) in pixels.zip(&mut units) {
                        pack_unit(&pixel[channels.clone()], &next[channels.clone()], out);
                    }
                }
            }
        }
    }
}

/// A pixel's gradients and its partner's (or zeros), interleaved.
fn pack_unit<E: Element>(own: &[E], next: &[E], out: &mut [E]) {
    let (pairs, rest) = out.split_at_mut(2 * own.len());
    if next.is_empty() {
        for (pair, &a) in pairs.chunks_exact_mut(2).zip(own) {
            pair[0] = a;
            pair[1] = E::default();
        }
    } else {
        interleave(own, next, pairs);
    }
    rest.fill(E::default());
}
