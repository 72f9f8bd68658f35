//! The gradient of a convolution's weights, with a direct loop or with Winograd's transforms.
//!
//! ```text
//! dw[r][j][o] = sum over output pixels p of x[window of p + r * row + j] * dy[p][o]      j runs over k_w * c_in
//! ```
//!
//! The sum runs over pixels, and `vdpbf16ps` takes them in pairs: neighbours in a row of the output, or the same
//! pixel of two images if rows have an odd number of pixels. The gradients of a pair are interleaved channel by
//! channel. In the input, each number is followed by the number at the same place of the partner's window. One such
//! copy serves every tap.
//!
//! The work is divided into chunks of tasks times groups of blocks of output channels. The shape decides the number
//! of chunks. A group shares the copies of a task's input, and its sums stay in L2. At the end, the chunks' sums are
//! added in order.

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{Geometry, MIN_PIXELS, Task, tasks};
use super::kernel::{Kernels, WeightTask};
use super::method::{Method, Pass};
use super::scratch::{self, Reused};
use super::units::Units;
use super::winograd;
use crate::conv::ConvShape;
use crate::transpose::transpose;
use crate::vectorise::vectorised;

/// Least number of pieces of work, if there are enough images: chunks of tasks times groups of blocks.
const MIN_PIECES: usize = 8;

/// Largest total size in bytes of a group's sums and the copies of a task's input: most of an L2 cache.
const GROUP_BYTES: usize = 768 << 10;

/// Number of units summed before the sums go back to memory: the gradients of these units stay in L1.
const UNITS_AT_ONCE: usize = 128;

/// Largest total size in bytes of the gradients that are packed together, if that is more than one block's: reading
/// several blocks' channels of a pixel in a row is faster, and what was packed first is still in L2.
const PACKED_BYTES: usize = 128 << 10;

/// The division of the work: depends only on the shape and on the kernels' block and unit.
struct Plan {
    g: Geometry,
    method: Method,
    tasks: Vec<Task>,
    n_chunks: usize,
    n_blocks: usize,
    /// Number of blocks of output channels in a group.
    per_group: usize,
    /// Number of sums of a block: (k_h, run, block), or (products, c_in, block) with Winograd's transforms.
    sums_len: usize,
}

impl Plan {
    fn new<E: Element>(kernels: &Kernels<E>, s: &ConvShape) -> Self {
        let g = Geometry::of(s);
        let method = Method::of(kernels, Pass::WeightGrad, &g);
        let (row_step, min_pixels) = match method {
            Method::Direct => (1, MIN_PIXELS),
            Method::Winograd(scheme) => (scheme.out(), scheme.min_pixels()),
        };
        let mut tasks = tasks(s.n, &g, row_step, min_pixels);
        if method == Method::Direct && kernels.unit == 2 && g.w_out % 2 == 1 {
            tasks = with_pairs_of_images(tasks);
        }
        let n_blocks = kernels.n_blocks(g.c_out);
        let sums_per_channel = match method {
            Method::Direct => g.k_h * g.run(),
            Method::Winograd(scheme) => scheme.n_products() * g.c_in,
        };
        let sums_len = sums_per_channel * kernels.block;
        let input = |task: &Task| Units::new(&g, task, kernels.unit).len * kernels.unit;
        let input_bytes = tasks.iter().map(input).max().unwrap_or(0) * size_of::<E>();
        let group_bytes = match method {
            Method::Direct => GROUP_BYTES.saturating_sub(input_bytes),
            Method::Winograd(_) => winograd::GROUP_BYTES,
        };
        let room = group_bytes / (sums_len * size_of::<f32>());
        let per_group = room.clamp(1, n_blocks);
        let n_groups = n_blocks.div_ceil(per_group);
        let n_chunks = MIN_PIECES.div_ceil(n_groups).min(tasks.len()).max(1);
        Self { g, method, tasks, n_chunks, n_blocks, per_group, sums_len }
    }

    /// Returns the tasks of a chunk. Chunks differ by at most one task.
    fn chunk(&self, i: usize) -> &[Task] {
        let at = |i: usize| i * self.tasks.len() / self.n_chunks;
        &self.tasks[at(i)..at(i + 1)]
    }

    fn group_len(&self) -> usize {
        self.per_group * self.sums_len
    }
}

/// Returns the same images in tasks with an even number of images, except perhaps the last task. Bands of rows stay
/// as they are.
fn with_pairs_of_images(tasks: Vec<Task>) -> Vec<Task> {
    let (Some(first), Some(last)) = (tasks.first(), tasks.last()) else { return tasks };
    let (n, per_task) = (last.images.end, first.images.len().next_multiple_of(2));
    if first.rows != last.rows {
        return tasks;
    }
    let images = (0..n).step_by(per_task).map(|start| start..n.min(start + per_task));
    images.map(|images| Task { images, rows: first.rows.clone() }).collect()
}

/// Overwrites `dweight` (OIHW) with the gradient of the weight.
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
        let first_block = piece / plan.n_chunks * plan.per_group;
        for (i, task) in plan.chunk(piece % plan.n_chunks).iter().enumerate() {
            let is_first = i == 0;
            match plan.method {
                Method::Direct => add_task(kernels, &plan, task, x, dy, first_block, dw, is_first),
                Method::Winograd(scheme) => {
                    let kernels = &(kernels.wide)();
                    winograd::add_task(kernels, scheme, &plan.g, task, x, dy, first_block, dw, is_first);
                }
            }
        }
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
            match plan.method {
                Method::Direct => unpack(g, sums, kernels.block, dweight),
                Method::Winograd(scheme) => {
                    winograd::unpack(scheme, sums, g.c_in, kernels.block, dweight);
                }
            }
        },
    );
}

/// Number of input channels unpacked together: the numbers read and written stay in L1.
const INPUTS_AT_ONCE: usize = 16;

/// Writes the sums (k_h, run, block) of a block as OIHW, for the channels of the block that exist.
fn unpack(g: &Geometry, sums: &[f32], block: usize, dweight: &mut [f32]) {
    let filters_len = g.c_in * g.k_h * g.k_w;
    if g.k_h * g.k_w == 1 {
        return transpose(sums, block, dweight, g.c_in, [g.c_in, dweight.len() / g.c_in]);
    }
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

/// Adds the contribution of the pixels of `task` to `dw` (blocks of the group, k_h, run, block), or overwrites `dw`
/// with that of the first task.
#[expect(clippy::too_many_arguments, reason = "the body of one loop")]
fn add_task<E: Element>(
    kernels: &Kernels<E>,
    plan: &Plan,
    task: &Task,
    x: &[E],
    dy: &[E],
    first_block: usize,
    dw: &mut [f32],
    is_first: bool,
) {
    let (g, unit, block) = (&plan.g, kernels.unit, kernels.block);
    let units = Units::new(g, task, unit);
    let pairs_len = if unit == 1 { 0 } else { units.len * unit };
    let blocks = first_block..plan.n_blocks.min(first_block + plan.per_group);
    let packed_len = units.n() * block * unit;
    let n_at_once = (PACKED_BYTES / (packed_len * size_of::<E>())).clamp(1, blocks.len());
    let lens = [units.len + units.reach, pairs_len, packed_len * n_at_once];
    scratch::with(|scratch| {
        let [padded, pairs, packed] = scratch.buffers(lens);
        let (x, offsets) = (units.copy(x, padded, pairs), units.offsets());
        let groups = blocks.clone().step_by(n_at_once).zip(dw.chunks_mut(n_at_once * plan.sums_len));
        for (first, dw) in groups {
            let n = n_at_once.min(blocks.end - first);
            units.pack_gradient(dy, first * block, block, &mut packed[..n * packed_len]);
            for (dy, dw) in packed.chunks_exact(packed_len).zip(dw.chunks_exact_mut(plan.sums_len)) {
                let pieces = offsets.chunks(UNITS_AT_ONCE).zip(dy.chunks(UNITS_AT_ONCE * block * unit));
                for (i, (offsets, dy)) in pieces.enumerate() {
                    kernels.run_weight_grad(WeightTask {
                        x,
                        x_offsets: offsets,
                        row: units.row,
                        k_h: g.k_h,
                        run: g.run(),
                        dy,
                        dw,
                        is_first: is_first && i == 0,
                    });
                }
            }
        }
    });
}
