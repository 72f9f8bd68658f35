//! A task of the weight gradient.

use super::transform::{transform_gradient, transform_input};
use super::{N_PRODUCTS, TILES_AT_ONCE, Tiles, row_offsets};
use crate::direct::element::Element;
use crate::direct::forward::pixel_offsets;
use crate::direct::geometry::{Geometry, Task};
use crate::direct::kernel::{Kernels, WeightTask};
use crate::direct::scratch::Scratch;

/// Adds what the pixels of `task` give to `dw` (blocks from `first_block` on, 16, c_in, block).
#[expect(clippy::too_many_arguments, reason = "the body of one loop")]
pub(in crate::direct) fn add_task<E: Element>(
    kernels: &Kernels<E>,
    g: &Geometry,
    task: &Task,
    x: &[E],
    dy: &[E],
    first_block: usize,
    dw: &mut [f32],
    scratch: &mut Scratch,
) {
    let row_len = g.w_out * g.c_out;
    let first = (task.images.start * g.h_out + task.rows.start) * row_len;
    let dy = &dy[first..first + task.images.len() * task.rows.len() * row_len];
    let tiles = Tiles::new(g, task, &pixel_offsets(task, g, [task.rows.len() * row_len, row_len, g.c_out]));
    let block = kernels.block;
    let sums_len = N_PRODUCTS * g.c_in * block;
    let n_blocks = (dw.len() / sums_len).min(kernels.n_blocks(g.c_out) - first_block);
    let v_offsets = row_offsets(g.c_in);
    // D is (blocks, 16, tiles, block)
    let (v_plane, d_plane) = (TILES_AT_ONCE * g.c_in, TILES_AT_ONCE * block);
    let d_block = N_PRODUCTS * d_plane;
    let [padded, v, d] = scratch.buffers([tiles.padded_len(), N_PRODUCTS * v_plane, n_blocks * d_block]);
    tiles.pad(x, padded);
    for (inputs, places) in tiles.inputs.chunks(TILES_AT_ONCE).zip(tiles.outputs.chunks(TILES_AT_ONCE)) {
        transform_input(padded, inputs, tiles.row(), g.c_in, v);
        for (b, d) in d.chunks_exact_mut(d_block).enumerate() {
            let channel = (first_block + b) * block;
            transform_gradient(&dy[channel..], block, block.min(g.c_out - channel), places, d);
        }
        // product by product: V[e] stays in L2 for all blocks
        for (e, v) in v.chunks_exact(v_plane).enumerate() {
            for (d, dw) in d.chunks_exact(d_block).zip(dw.chunks_exact_mut(sums_len)) {
                kernels.run_weight_grad(WeightTask {
                    x: v,
                    x_offsets: &v_offsets[..inputs.len()],
                    row: 0,
                    k_h: 1,
                    run: g.c_in,
                    dy: &d[e * d_plane..][..inputs.len() * block],
                    dw: &mut dw[e * g.c_in * block..][..g.c_in * block],
                });
            }
        }
    }
}
