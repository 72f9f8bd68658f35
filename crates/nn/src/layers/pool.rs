//! Pooling: the largest or the mean value of each window.

use tallow_kernels as kernels;
use tallow_kernels::PoolShape;

use super::{Layer, in_precision};
use crate::act::{Act, Dims};
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::graph::Op;
use crate::map::{Buffer, MapElement};

/// The largest value of each `k` x `k` window. Of equal values, the first in reading order gets the gradient. Pixels outside
/// the map count as minus infinity. Windows that do not fit are left out, as in `torch.nn.MaxPool2d`.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    /// Rows and columns of the window.
    pub k: usize,
    /// Step of the window.
    pub stride: usize,
    /// Pixels added on each side; at most `k / 2`.
    pub padding: usize,
}

/// The mean of each `k` x `k` window, without padding, as in `torch.nn.AvgPool2d(k, stride)`.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d {
    /// Rows and columns of the window.
    pub k: usize,
    /// Step of the window.
    pub stride: usize,
}

/// The mean of each whole map: from (n, c, h, w) to (n, c) features, as with `AdaptiveAvgPool2d(1)` and `flatten(1)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalAvgPool;

fn pool_shape(
    layer: &str,
    x: Dims,
    k: (usize, usize),
    stride: usize,
    padding: usize,
) -> Result<(PoolShape, Dims)> {
    let (k_h, k_w) = k;
    if k_h * k_w * stride == 0 || 2 * padding > k_h.min(k_w) {
        let problem = format!(
            "window {k_h} x {k_w}, stride {stride}, padding {padding}: sizes must be above 0, padding at most half a window"
        );
        return Err(NnError::shape(layer, problem));
    }
    let shape = PoolShape { n: x.n, h: x.h, w: x.w, c: x.c, k_h, k_w, stride, padding };
    let dims = Dims { n: x.n, c: x.c, h: shape.h_out(), w: shape.w_out() };
    if dims.h * dims.w == 0 {
        return Err(NnError::shape(layer, format!("a {k_h} x {k_w} window does not fit into {x}")));
    }
    Ok((shape, dims))
}

impl MaxPool2d {
    fn forward_kernels<E: MapElement>(x: &Act, shape: PoolShape, dims: Dims, ctx: &mut Ctx) -> Result<Act> {
        let needs_grad = x.needs_grad();
        let mut y = Buffer::<E>::dirty(shape.y_len());
        let mut winners = Buffer::dirty(if ctx.is_training() { shape.y_len() } else { 0 });
        kernels::max_pool2d(&shape, &x.as_map::<E>("max_pool2d")?, &mut y, &mut winners);
        ctx.push_map(move |dy, _| {
            Ok(needs_grad.then(|| {
                let mut dx = Buffer::<E>::dirty(shape.x_len());
                kernels::max_pool2d_backward(&shape, &E::of(&dy), &winners, &mut dx);
                dx.into()
            }))
        });
        Ok(Act::host(dims, y, needs_grad))
    }
}

impl Layer for MaxPool2d {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let (shape, dims) = pool_shape("max_pool2d", x.dims(), (self.k, self.k), self.stride, self.padding)?;
        if self.k > 16 {
            return Err(NnError::shape(
                "max_pool2d",
                format!("windows have 16 x 16 pixels at most, not {}", self.k),
            ));
        }
        let x = if dims.h * dims.w == 1 { ctx.watch(x)? } else { x };
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => Self::forward_kernels::<E>(&x, shape, dims, ctx)),
            Backend::Candle => {
                Ok(Act::candle(dims, candle_ops::max_pool2d(x.as_candle("max_pool2d")?, &shape)?))
            }
            Backend::Graph => {
                let Self { k, stride, padding } = *self;
                ctx.node(Op::MaxPool2d { k, stride, padding }, &[&x], vec![dims.c, dims.h, dims.w])
            }
        }
    }
}

impl Layer for AvgPool2d {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let (shape, dims) = pool_shape("avg_pool2d", x.dims(), (self.k, self.k), self.stride, 0)?;
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => avg_pool_kernels::<E>(&x, shape, dims, ctx)),
            Backend::Candle => {
                Ok(Act::candle(dims, candle_ops::avg_pool2d(x.as_candle("avg_pool2d")?, &shape)?))
            }
            Backend::Graph => {
                let Self { k, stride } = *self;
                ctx.node(Op::AvgPool2d { k, stride }, &[&x], vec![dims.c, dims.h, dims.w])
            }
        }
    }
}

impl Layer for GlobalAvgPool {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x = ctx.watch(x)?;
        let Dims { h, w, .. } = x.dims();
        let (shape, dims) = pool_shape("global_avg_pool", x.dims(), (h, w), 1, 0)?;
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => avg_pool_kernels::<E>(&x, shape, dims, ctx)),
            Backend::Candle => Ok(Act::candle(dims, x.as_candle("global_avg_pool")?.mean_keepdim((2, 3))?)),
            Backend::Graph if ctx.shape_of(&x)?.len() == 1 => Ok(x), // a vector already
            Backend::Graph => {
                let mean = ctx.node(Op::GlobalAvgPool, &[&x], vec![dims.c, 1, 1])?;
                ctx.flat(&mean)
            }
        }
    }
}

fn avg_pool_kernels<E: MapElement>(x: &Act, shape: PoolShape, dims: Dims, ctx: &mut Ctx) -> Result<Act> {
    let needs_grad = x.needs_grad();
    let mut y = Buffer::<E>::dirty(shape.y_len());
    kernels::avg_pool2d(&shape, &x.as_map::<E>("avg_pool2d")?, &mut y);
    ctx.push_map(move |dy, _| {
        Ok(needs_grad.then(|| {
            let mut dx = Buffer::<E>::dirty(shape.x_len());
            kernels::avg_pool2d_backward(&shape, &E::of(&dy), &mut dx);
            dx.into()
        }))
    });
    Ok(Act::host(dims, y, needs_grad))
}
