//! A task of the forward convolution, or of an input gradient.

use super::transform::{Finish, transform_input, transform_output};
use super::{N_PRODUCTS, TILES_AT_ONCE, Tiles, row_offsets};
use crate::direct::element::Element;
use crate::direct::forward::TaskOutput;
use crate::direct::geometry::{Geometry, Task};
use crate::direct::kernel::{ForwardTask, Kernels};
use crate::direct::scratch;

/// What the direct loop's `run_task` is; `weights` are transformed: (16, blocks, c_in, block).
pub(in crate::direct) fn run_task<E: Element>(
    kernels: &Kernels<E>,
    g: &Geometry,
    task: &Task,
    x: &[E],
    weights: &[E],
    y: &mut [E],
    out: TaskOutput<'_, E>,
) {
    let tiles = Tiles::new(g, task, out.offsets);
    let n_padded = kernels.n_blocks(g.c_out) * kernels.block;
    let (v_offsets, m_offsets) = (row_offsets(g.c_in), row_offsets(n_padded));
    let (v_plane, m_plane) = (TILES_AT_ONCE * g.c_in, TILES_AT_ONCE * n_padded);
    let TaskOutput { bias, residual, limits, moments, .. } = out;
    let mut finish = Finish { bias, residual, limits, moments };
    scratch::with(|scratch| {
        let [padded, v, m] =
            scratch.buffers([tiles.padded_len(), N_PRODUCTS * v_plane, N_PRODUCTS * m_plane]);
        tiles.pad(x, padded);
        for (inputs, places) in tiles.inputs.chunks(TILES_AT_ONCE).zip(tiles.outputs.chunks(TILES_AT_ONCE)) {
            transform_input(padded, inputs, tiles.row(), g.c_in, v);
            let products = weights.chunks_exact(g.c_in * n_padded).zip(v.chunks_exact(v_plane));
            for ((weights, v), m) in products.zip(m.chunks_exact_mut(m_plane)) {
                kernels.run_forward(ForwardTask {
                    x: v,
                    x_offsets: &v_offsets[..inputs.len()],
                    row: 0,
                    k_h: 1,
                    n_units: g.c_in / kernels.unit,
                    weights,
                    bias: None,
                    residual: None,
                    limits: None,
                    c_out: n_padded,
                    y: m,
                    y_offsets: &m_offsets[..inputs.len()],
                    moments: None,
                });
            }
            transform_output(m, n_padded, g.c_out, places, &mut finish, y);
        }
    });
}
