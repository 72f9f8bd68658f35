//! The gradient of a convolution's weights by a direct loop.
//!
//! ```text
//! dw[r][j][o] = sum over output pixels p of x[window of p + r * row + j] * dy[p][o]      j runs over k_w * c_in
//! ```
//!
//! The sum runs over pixels, and `vdpbf16ps` wants them in pairs: neighbours in a row of the output. Their gradients
//! are interleaved channel by channel; of the input, each number is followed by the one that the neighbour's
//! window has in its place, `stride` pixels on, and one such copy serves every tap.
//!
//! Each block of output channels is summed over the tasks of a chunk in order, and the chunks, whose number the shape
//! decides, in order at the end.

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{Geometry, Task, tasks};
use super::kernel::{Kernels, WeightTask};
use super::scratch;
use crate::conv::ConvShape;
use crate::vectorise::vectorised;

/// Pieces of work at least, where there are so many images: chunks of tasks times blocks of output channels.
const MIN_PIECES: usize = 16;

/// Units that are summed before the sums go back to memory: their gradients stay in L1.
const UNITS_AT_ONCE: usize = 128;

/// `dweight` (OIHW), overwritten.
pub(crate) fn weight_grad<E: Element>(
    kernels: &Kernels<E>,
    s: &ConvShape,
    x: &[E],
    dy: &[E],
    dweight: &mut [f32],
) {
    let g = Geometry::of(s);
    let tasks = tasks(s.n, &g, 1);
    let (block, n_blocks) = (kernels.block, kernels.n_blocks(g.c_out));
    // few chunks where there are many blocks: their sums have to be added up
    let per_chunk = tasks.len().div_ceil(MIN_PIECES.div_ceil(n_blocks)).max(1);
    let chunks: Vec<&[Task]> = tasks.chunks(per_chunk).collect();
    let sums_len = g.k_h * g.run() * block;
    scratch::with_sums(chunks.len() * n_blocks * sums_len, |sums| {
        // (blocks, chunks, (k_h, run, block)): what is added up lies together
        sums.par_chunks_mut(sums_len).enumerate().for_each(|(piece, dw)| {
            dw.fill(0.0);
            scratch::with(|scratch| {
                for task in chunks[piece % chunks.len()] {
                    add_task(kernels, &g, task, x, dy, piece / chunks.len(), dw, scratch);
                }
            });
        });
        let of_blocks = sums.par_chunks_mut(chunks.len() * sums_len);
        of_blocks.zip(dweight.par_chunks_mut(block * g.c_in * g.k_h * g.k_w)).for_each(|(sums, dweight)| {
            let (total, parts) = sums.split_at_mut(sums_len);
            parts.chunks_exact(sums_len).for_each(|part| add_to::<f32>(total, part));
            unpack(&g, total, block, dweight);
        });
    });
}

/// The sums (k_h, run, block) of one block of output channels, as OIHW.
fn unpack(g: &Geometry, sums: &[f32], block: usize, dweight: &mut [f32]) {
    for (o, dweight) in dweight.chunks_exact_mut(g.c_in * g.k_h * g.k_w).enumerate() {
        for (i, plane) in dweight.chunks_exact_mut(g.k_h * g.k_w).enumerate() {
            for (r, line) in plane.chunks_exact_mut(g.k_w).enumerate() {
                for (s, dweight) in line.iter_mut().enumerate() {
                    *dweight = sums[(r * g.run() + s * g.c_in + i) * block + o];
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

/// Adds what the pixels of `task` give to `dw` (k_h, run, block) of one block of output channels.
#[expect(clippy::too_many_arguments, reason = "the body of one loop")]
fn add_task<E: Element>(
    kernels: &Kernels<E>,
    g: &Geometry,
    task: &Task,
    x: &[E],
    dy: &[E],
    output_block: usize,
    dw: &mut [f32],
    scratch: &mut scratch::Scratch,
) {
    let (unit, block) = (kernels.unit, kernels.block);
    let (rows, row) = (g.padded_h(task.rows.len()), g.padded_w() * g.c_in);
    let units_per_row = g.w_out.div_ceil(unit);
    let n_units = task.images.len() * task.rows.len() * units_per_row;
    let len = g.padded_len(task.images.len(), task.rows.len());
    let reach = (unit - 1) * g.stride * g.c_in; // what a pair that reaches beyond the row's end reads, times 0
    let [padded, pairs, packed] = scratch.buffers([len + reach, len * unit, n_units * block * unit]);
    scratch::pad(x, g, task, &mut padded[..len]);
    padded[len..].fill(E::default());
    let x_units: &[E] = match unit {
        1 => &padded[..len],
        _ => {
            interleave(&padded[..len], &padded[reach..], pairs);
            pairs
        }
    };
    let mut offsets = Vec::with_capacity(n_units);
    for n in 0..task.images.len() {
        for oy in 0..task.rows.len() {
            let start = n * rows * row + oy * g.stride * row;
            offsets.extend((0..units_per_row).map(|u| (start + u * unit * g.stride * g.c_in) as u32));
        }
    }
    pack_gradient(g, task, dy, output_block * block, block, unit, packed);
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

/// The gradients of `block` channels from `first` on: (units, block, unit), zeros beyond a row's end and the last channel.
fn pack_gradient<E: Element>(
    g: &Geometry,
    task: &Task,
    dy: &[E],
    first: usize,
    block: usize,
    unit: usize,
    packed: &mut [E],
) {
    let n_channels = block.min(g.c_out - first);
    let mut units = packed.chunks_exact_mut(block * unit);
    for image in task.images.clone() {
        for oy in task.rows.clone() {
            let line = &dy[(image * g.h_out + oy) * g.w_out * g.c_out..][..g.w_out * g.c_out];
            for pixels in line.chunks(unit * g.c_out) {
                let Some(out) = units.next() else { return };
                let second =
                    if pixels.len() > g.c_out { &pixels[g.c_out + first..][..n_channels] } else { &[] };
                let own = &pixels[first..first + n_channels];
                match (unit, second.len()) {
                    (1, _) => out[..n_channels].copy_from_slice(own),
                    (_, 0) => own.iter().zip(out.chunks_exact_mut(2)).for_each(|(&a, out)| {
                        out[0] = a;
                        out[1] = E::default();
                    }),
                    _ => interleave(own, second, &mut out[..2 * n_channels]),
                }
                out[n_channels * unit..].fill(E::default());
            }
        }
    }
}
