//! Converts feature maps to feature vectors.

use rayon::prelude::*;

use super::{Layer, in_precision};
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::Result;
use crate::map::{Buffer, MapElement};

/// Converts (n, c, h, w) to (n, c*h*w). Features are in C, H, W order on both paths, so a dense layer's weights have the same
/// meaning on both paths and in PyTorch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flatten;

impl Layer for Flatten {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x = ctx.watch(x)?;
        let Dims { n, c, h, w } = x.dims();
        let dims = Dims { n, c: c * h * w, h: 1, w: 1 };
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => forward_kernels::<E>(&x, dims, ctx)),
            Backend::Candle => Ok(Act::candle(dims, x.as_candle("flatten")?.reshape((n, c * h * w, 1, 1))?)),
            Backend::Graph => ctx.flat(&x),
        }
    }
}

fn forward_kernels<E: MapElement>(x: &Act, dims: Dims, ctx: &mut Ctx) -> Result<Act> {
    let (Dims { c, h, w, .. }, needs_grad) = (x.dims(), x.needs_grad());
    let y = transpose_each::<E>(&*x.as_map("flatten")?, h * w, c);
    ctx.push_map(move |dy, _| Ok(needs_grad.then(|| transpose_each::<E>(&E::of(&dy), c, h * w).into())));
    Ok(Act::host(dims, y, needs_grad))
}

/// Transposes each (rows, columns) matrix of `x`.
fn transpose_each<E: MapElement>(x: &Buffer<E>, rows: usize, columns: usize) -> Buffer<E> {
    let mut y = Buffer::<E>::dirty(x.len());
    let len = (rows * columns).max(1);
    y.par_chunks_mut(len).zip(x.par_chunks(len)).for_each(|(y, x)| {
        for (row, values) in x.chunks_exact(columns).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                y[column * rows + row] = value;
            }
        }
    });
    y
}
