//! Loops for any kernel, stride, number of channels and instruction set, pixel by pixel.

use super::gather::{LinesTask, SumsTask};
use crate::direct::Element;
use crate::norm_act::lanes::{at, at_mut, for_lanes, limited};
use crate::vectorise::vectorised;

vectorised! {
    /// Computes the lines of a task.
    fn lines<E: Element>(task: LinesTask<'_, E>) {
        let LinesTask { g, from, weight, bias, limits, first_line, to } = task;
        for (line, to) in (first_line..).zip(to.chunks_exact_mut(g.line_len())) {
            for (x, to) in to.chunks_exact_mut(g.c).enumerate() {
                for_lanes!(g.c, i, N, {
                    let mut sums = bias.map_or([0.0; N], |bias| *at::<f32, N>(bias, i));
                    for r in 0..g.k {
                        let Some(row) = g.row(line % g.to[0], r) else { continue };
                        let row = (line / g.to[0] * g.from[0] + row) * g.from[1];
                        for t in 0..g.k {
                            let Some(column) = g.column(x, t) else { continue };
                            let from = at::<E, N>(from, (row + column) * g.c + i);
                            let weight = at::<f32, N>(weight, (r * g.k + t) * g.c + i);
                            for j in 0..N {
                                sums[j] += from[j].to_f32() * weight[j];
                            }
                        }
                    }
                    let to = at_mut::<E, N>(to, i);
                    for j in 0..N {
                        to[j] = E::from_f32(limited(sums[j], limits));
                    }
                });
            }
        }
    }
}

vectorised! {
    /// Sums the products of a task.
    fn sums<E: Element>(task: SumsTask<'_, E>) {
        let SumsTask { g, x, dy, lines, sums } = task;
        sums.fill(0.0);
        for line in lines {
            let dy = &dy[line * g.line_len()..][..g.line_len()];
            for (r, sums) in sums.chunks_exact_mut(g.k * g.c).enumerate() {
                let Some(row) = g.row(line % g.to[0], r) else { continue };
                let row = (line / g.to[0] * g.from[0] + row) * g.from[1];
                for (ox, dy) in dy.chunks_exact(g.c).enumerate() {
                    for (t, sums) in sums.chunks_exact_mut(g.c).enumerate() {
                        let Some(column) = g.column(ox, t) else { continue };
                        let x = &x[(row + column) * g.c..][..g.c];
                        for_lanes!(g.c, i, N, {
                            let (x, dy, sums) = (at::<E, N>(x, i), at::<E, N>(dy, i), at_mut::<f32, N>(sums, i));
                            for j in 0..N {
                                sums[j] += x[j].to_f32() * dy[j].to_f32();
                            }
                        });
                    }
                }
            }
        }
    }
}
