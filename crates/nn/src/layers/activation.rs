//! Activation functions, element by element.

use std::sync::Arc;

use tallow_kernels as kernels;

use super::{Layer, in_precision};
use crate::act::Act;
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::Result;
use crate::graph::Op;
use crate::map::{Buffer, MapElement};

/// `max(x, 0)`. The gradient at 0 is 0, as in PyTorch, and a NaN stays NaN.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relu;

impl Relu {
    fn forward_kernels<E: MapElement>(x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, needs_grad) = (x.dims(), x.needs_grad());
        let mut y = Buffer::<E>::dirty(dims.len());
        kernels::relu(&x.as_map::<E>("relu")?, &mut y);
        let y = Arc::new(y);
        let saved = Arc::clone(&y);
        ctx.push_map(move |dy, _| {
            Ok(needs_grad.then(|| {
                let mut dx = Buffer::<E>::dirty(saved.len());
                kernels::relu_backward(&saved, &E::of(&dy), &mut dx);
                dx.into()
            }))
        });
        Ok(Act::host(dims, y, needs_grad))
    }
}

impl Layer for Relu {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => Self::forward_kernels::<E>(&x, ctx)),
            Backend::Candle => Ok(Act::candle(x.dims(), candle_ops::relu(x.as_candle("relu")?)?)),
            Backend::Graph => ctx.map_node(Op::Relu, &x),
        }
    }
}

/// `x * Phi(x)`, with the exact distribution function of the normal distribution, as in `torch.nn.GELU()`.
///
/// # Source
/// Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>
#[derive(Clone, Copy, Debug, Default)]
pub struct Gelu;

impl Gelu {
    fn forward_kernels<E: MapElement>(x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, needs_grad) = (x.dims(), x.needs_grad());
        let x = x.as_map::<E>("gelu")?;
        let mut y = Buffer::<E>::dirty(dims.len());
        kernels::gelu(&x, &mut y);
        ctx.push_map(move |dy, _| {
            Ok(needs_grad.then(|| {
                let mut dx = Buffer::<E>::dirty(x.len());
                kernels::gelu_backward(&x, &E::of(&dy), &mut dx);
                dx.into()
            }))
        });
        Ok(Act::host(dims, y, needs_grad))
    }
}

impl Layer for Gelu {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => Self::forward_kernels::<E>(&x, ctx)),
            Backend::Candle => Ok(Act::candle(x.dims(), x.as_candle("gelu")?.gelu_erf()?)),
            Backend::Graph => ctx.map_node(Op::Gelu, &x),
        }
    }
}
