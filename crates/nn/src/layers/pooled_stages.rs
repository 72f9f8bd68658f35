//! Features from several depths of a network, side by side.

use candle_core::Tensor;

use super::residual::total;
use super::{GlobalAvgPool, Layer, Sequential, in_precision};
use crate::act::{Act, Dims};
use crate::ctx::{Ctx, Tape};
use crate::device::Backend;
use crate::error::Result;
use crate::graph::Op;
use crate::map::{Buffer, HostMap, MapElement};

/// Stages of a network in a row. The features (n, c) are the means of the whole output maps of selected stages, side by side in
/// the order of the stages.
///
/// Late stages represent objects, early stages textures and colours. For small images, both help to tell classes apart.
#[derive(Default)]
pub struct PooledStages(Vec<Stage>);

struct Stage {
    layers: Sequential,
    is_pooled: bool,
}

/// The tape of a stage; if its mean is a feature, also the tape of the mean, with its number of channels.
struct StageTape {
    layers: Tape,
    pool: Option<(Tape, usize)>,
}

impl PooledStages {
    /// Returns a network without stages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a stage. Its output is the input of the next stage. If `is_pooled`, the mean of its output is a feature.
    pub fn push(&mut self, layers: Sequential, is_pooled: bool) {
        self.0.push(Stage { layers, is_pooled });
    }
}

impl Layer for PooledStages {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x_needs_grad = x.needs_grad();
        let (mut x, mut means, mut tapes) = (x, Vec::new(), Vec::new());
        for stage in &self.0 {
            let (y, layers) = ctx.branch(|ctx| stage.layers.forward(x, ctx))?;
            let mut pool = None;
            if stage.is_pooled {
                let (mean, tape) = ctx.branch(|ctx| GlobalAvgPool.forward(y.clone(), ctx))?;
                pool = Some((tape, mean.dims().c));
                means.push(mean);
            }
            tapes.push(StageTape { layers, pool });
            x = y;
        }
        let (n, c) = (x.dims().n, means.iter().map(|mean| mean.dims().c).sum());
        let dims = Dims { n, c, h: 1, w: 1 };
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => {
                ctx.push_map(move |dy, grads| {
                    let (dy, mut end, mut below) = (E::of(&dy), c, None);
                    for StageTape { layers, pool } in tapes.into_iter().rev() {
                        if let Some((tape, width)) = pool {
                            let dmean = columns::<E>(&dy, c, end - width, width);
                            end -= width;
                            below = total::<E>(below, tape.backward(dmean, grads)?);
                        }
                        below = match below {
                            Some(grad) => layers.backward(grad, grads)?,
                            None => None,
                        };
                    }
                    Ok(below.filter(|_| x_needs_grad))
                });
                side_by_side::<E>(&means, dims)
            }),
            Backend::Candle => {
                let means = means.iter().map(|mean| mean.as_candle("pooled_stages"));
                Ok(Act::candle(dims, Tensor::cat(&means.collect::<Result<Vec<_>>>()?, 1)?))
            }
            Backend::Graph => match means.as_slice() {
                [only] => Ok(only.clone()),
                _ => ctx.node(Op::Concat { axis: 1 }, &means.iter().collect::<Vec<_>>(), vec![c]),
            },
        }
    }
}

/// Concatenates the rows of all `parts`.
fn side_by_side<E: MapElement>(parts: &[Act], dims: Dims) -> Result<Act> {
    let needs_grad = parts.iter().any(Act::needs_grad);
    let mut joined = Buffer::<E>::dirty(dims.len());
    let mut first = 0;
    for part in parts {
        let width = part.dims().c;
        let rows = part.as_map::<E>("pooled_stages")?;
        for (row, joined) in rows.chunks_exact(width).zip(joined.chunks_exact_mut(dims.c)) {
            joined[first..first + width].copy_from_slice(row);
        }
        first += width;
    }
    Ok(Act::host(dims, joined, needs_grad))
}

/// Returns `width` values from `first` on, of each row of `c` values.
fn columns<E: MapElement>(rows: &[E], c: usize, first: usize, width: usize) -> HostMap {
    let mut part = Buffer::<E>::dirty(rows.len() / c * width);
    for (row, part) in rows.chunks_exact(c).zip(part.chunks_exact_mut(width)) {
        part.copy_from_slice(&row[first..first + width]);
    }
    part.into()
}
