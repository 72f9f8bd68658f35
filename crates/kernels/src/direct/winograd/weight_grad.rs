//! A task of the weight gradient with Winograd's transforms.

use super::transform::{transform_gradient, transform_input};
use super::{SKEW, Scheme, Tiles, row_offsets};
use crate::direct::element::Element;
use crate::direct::forward::pixel_offsets;
use crate::direct::geometry::{Geometry, Task};
use crate::direct::kernel::{Kernels, WeightTask};
use crate::direct::scratch;

/// Adds the contribution of the pixels of `task` to `dw` (blocks from `first_block` on, products, c_in, block), or
/// overwrites `dw` with that of the first task.
#[expect(clippy::too_many_arguments, reason = "the body of one loop")]
pub(in crate::direct) fn add_task<E: Element>(
    kernels: &Kernels<f32>,
    scheme: Scheme,
    g: &Geometry,
    task: &Task,
    x: &[E],
    dy: &[E],
    first_block: usize,
    dw: &mut [f32],
    is_first: bool,
) {
    let row_len = g.w_out * g.c_out;
    let first = (task.images.start * g.h_out + task.rows.start) * row_len;
    let dy = &dy[first..first + task.images.len() * task.rows.len() * row_len];
    let offsets = pixel_offsets(task, g, [task.rows.len() * row_len, row_len, g.c_out]);
    let tiles = Tiles::new(scheme, kernels.lanes, g, task, &offsets);
    let (block, n_products) = (kernels.block, scheme.n_products());
    let sums_len = n_products * g.c_in * block;
    let n_blocks = (dw.len() / sums_len).min(kernels.n_blocks(g.c_out) - first_block);
    let v_row = g.c_in + SKEW;
    let v_offsets = row_offsets(tiles.at_once, v_row);
    // D is (blocks, products, tiles, block)
    let (v_plane, d_plane) = (tiles.plane_len(v_row), tiles.plane_len(block));
    let d_block = n_products * d_plane;
    scratch::with(|of_maps| {
        scratch::with(|scratch| {
            let [padded] = of_maps.buffers([tiles.padded_len()]);
            let [v, d] = scratch.buffers([n_products * v_plane, n_blocks * d_block]);
            tiles.pad(x, padded);
            for (i, (inputs, places)) in tiles.groups().enumerate() {
                transform_input(scheme, padded, inputs, tiles.row(), g.c_in, v, v_row, v_plane);
                for (b, d) in d.chunks_exact_mut(d_block).enumerate() {
                    let channel = (first_block + b) * block;
                    let n_channels = block.min(g.c_out - channel);
                    transform_gradient(scheme, &dy[channel..], block, n_channels, places, d, d_plane);
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
                            is_first: is_first && i == 0,
                        });
                    }
                }
            }
        });
    });
}
