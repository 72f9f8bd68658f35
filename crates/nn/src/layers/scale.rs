//! A constant factor.

use super::Layer;
use crate::act::Act;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::Result;
use crate::graph::Op;
use crate::map::Buffer;

/// `y = factor * x`, in f32. It is meant for logits, which are few.
///
/// After a dense layer with weights of standard deviation 1, the factor `1 / f_in` makes initial logits small, of the order of
/// `1 / sqrt(f_in)`. The same factor multiplies the gradient of the dense layer's weights.
///
/// # Source
/// Jordan 2024, <https://arxiv.org/abs/2404.00498>
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The factor of all values.
    pub factor: f32,
}

impl Layer for Scale {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, needs_grad, factor) = (x.dims(), x.needs_grad(), self.factor);
        match ctx.backend() {
            Backend::Kernels => {
                let y = scaled(&x.as_host("scale")?, factor);
                ctx.push(move |dy, _| Ok(needs_grad.then(|| scaled(&dy, factor))));
                Ok(Act::host(dims, y, needs_grad))
            }
            Backend::Candle => Ok(Act::candle(dims, (x.as_candle("scale")? * f64::from(factor))?)),
            Backend::Graph => ctx.map_node(Op::Scale(factor), &x),
        }
    }
}

fn scaled(x: &[f32], factor: f32) -> Buffer<f32> {
    let mut y = Buffer::dirty(x.len());
    y.iter_mut().zip(x).for_each(|(y, x)| *y = factor * x);
    y
}
