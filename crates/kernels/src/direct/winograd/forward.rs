//! A task of the forward convolution or of an input gradient, with Winograd's transforms.

use super::transform::{Finish, transform_input, transform_output};
use super::{SKEW, Scheme, Tiles, row_offsets};
use crate::direct::element::Element;
use crate::direct::forward::TaskOutput;
use crate::direct::geometry::{Geometry, Task};
use crate::direct::kernel::{ForwardTask, Kernels};
use crate::direct::scratch;

/// Convolves the pixels of `task`, like the `run_task` of the direct loop. `weights` are transformed: (products,
/// blocks, c_in, block); only the blocks of `out` are computed.
#[expect(clippy::too_many_arguments, reason = "the body of one loop")]
pub(in crate::direct) fn run_task<E: Element>(
    kernels: &Kernels<f32>,
    scheme: Scheme,
    g: &Geometry,
    task: &Task,
    x: &[E],
    weights: &[f32],
    y: &mut [E],
    out: TaskOutput<'_, E>,
) {
    let tiles = Tiles::new(scheme, kernels.lanes, g, task, out.offsets);
    let n_padded = out.blocks.len() * kernels.block;
    let (v_row, m_row) = (g.c_in + SKEW, n_padded + SKEW);
    let (v_plane, m_plane) = (tiles.plane_len(v_row), tiles.plane_len(m_row));
    let (v_offsets, m_offsets) = (row_offsets(tiles.at_once, v_row), row_offsets(tiles.at_once, m_row));
    let TaskOutput { blocks, bias, residual, limits, moments, .. } = out;
    let of_blocks = blocks.start * kernels.block * g.c_in..blocks.end * kernels.block * g.c_in;
    let per_product = weights.len() / scheme.n_products();
    let mut finish = Finish { bias, residual, limits, moments };
    scratch::with(|of_maps| {
        scratch::with(|scratch| {
            let [padded] = of_maps.buffers([tiles.padded_len()]);
            let [v, m] = scratch.buffers([v_plane, m_plane].map(|plane| scheme.n_products() * plane));
            tiles.pad(x, padded);
            for (inputs, places) in tiles.groups() {
                transform_input(scheme, padded, inputs, tiles.row(), g.c_in, v, v_row, v_plane);
                let products = weights.chunks_exact(per_product).zip(v.chunks_exact(v_plane));
                for ((weights, v), m) in products.zip(m.chunks_exact_mut(m_plane)) {
                    kernels.run_forward(ForwardTask {
                        x: v,
                        x_offsets: &v_offsets[..inputs.len()],
                        row: 0,
                        k_h: 1,
                        n_units: g.c_in,
                        weights: &weights[of_blocks.clone()],
                        bias: None,
                        residual: None,
                        limits: None,
                        c_out: n_padded,
                        y: m,
                        y_offsets: &m_offsets[..inputs.len()],
                        moments: None,
                    });
                }
                transform_output(scheme, m, m_row, m_plane, g.c_out, places, &mut finish, y);
            }
        });
    });
}
