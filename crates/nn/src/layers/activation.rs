//! Activation functions, element by element.

use std::sync::Arc;

use tallow_kernels as kernels;

use super::Layer;
use crate::act::Act;
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::device::Path;
use crate::error::Result;
use crate::map::Buffer;

/// `max(x, 0)`; the gradient at 0 is 0, as in PyTorch, and a NaN stays one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relu;

impl Layer for Relu {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, needs_grad) = (x.dims(), x.needs_grad());
        if ctx.path() == Path::Candle {
            return Ok(Act::candle(dims, candle_ops::relu(x.as_candle("relu")?)?));
        }
        let mut y = vec![0.0; dims.len()];
        kernels::relu(&x.as_host("relu")?, &mut y);
        let y = Arc::new(Buffer::from(y));
        let saved = Arc::clone(&y);
        ctx.push(move |dy, _| {
            Ok(needs_grad.then(|| {
                let mut dx = vec![0.0; dy.len()];
                kernels::relu_backward(&saved, &dy, &mut dx);
                dx
            }))
        });
        Ok(Act::host(dims, y, needs_grad))
    }
}

/// `x * Phi(x)`, with the exact distribution function of the normal distribution, as `torch.nn.GELU()`.
///
/// # Source
/// Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>
#[derive(Clone, Copy, Debug, Default)]
pub struct Gelu;

impl Layer for Gelu {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, needs_grad) = (x.dims(), x.needs_grad());
        if ctx.path() == Path::Candle {
            return Ok(Act::candle(dims, x.as_candle("gelu")?.gelu_erf()?));
        }
        let x = x.as_host("gelu")?;
        let mut y = vec![0.0; dims.len()];
        kernels::gelu(&x, &mut y);
        ctx.push(move |dy, _| {
            Ok(needs_grad.then(|| {
                let mut dx = vec![0.0; dy.len()];
                kernels::gelu_backward(&x, &dy, &mut dx);
                dx
            }))
        });
        Ok(Act::host(dims, y, needs_grad))
    }
}
