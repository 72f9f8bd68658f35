//! Zero padding on two sides of a map.

use tallow_kernels as kernels;

use super::{Layer, in_precision};
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::Result;
use crate::graph::Op;
use crate::map::{Buffer, MapElement};

/// Rows of zeros below a map and columns of zeros on its right, as with `torch.nn.functional.pad(x, (0, right, 0, bottom))`. It
/// is for layers that must read zeros there, such as max pooling: its own padding is minus infinity.
#[derive(Clone, Copy, Debug)]
pub struct ZeroPad2d {
    /// Number of rows below.
    pub bottom: usize,
    /// Number of columns on the right.
    pub right: usize,
}

impl ZeroPad2d {
    fn forward_kernels<E: MapElement>(self, x: &Act, out: Dims, ctx: &mut Ctx) -> Result<Act> {
        let (Dims { n, c, h, w }, needs_grad) = (x.dims(), x.needs_grad());
        let (dims, after) = ([n, h, w, c], [self.bottom, self.right]);
        let mut y = Buffer::<E>::dirty(out.len());
        kernels::zero_pad(dims, after, &x.as_map::<E>("zero_pad2d")?, &mut y);
        ctx.push_map(move |dy, _| {
            Ok(needs_grad.then(|| {
                let mut dx = Buffer::<E>::dirty(dims.iter().product());
                kernels::zero_pad_backward(dims, after, &E::of(&dy), &mut dx);
                dx.into()
            }))
        });
        Ok(Act::host(out, y, needs_grad))
    }
}

impl Layer for ZeroPad2d {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let Self { bottom, right } = *self;
        let dims = x.dims();
        let out = Dims { h: dims.h + bottom, w: dims.w + right, ..dims };
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x, out, ctx)),
            Backend::Candle => {
                let x = x.as_candle("zero_pad2d")?;
                Ok(Act::candle(out, x.pad_with_zeros(2, 0, bottom)?.pad_with_zeros(3, 0, right)?))
            }
            Backend::Graph => {
                let pad = Op::Pad { before: vec![0; 3], after: vec![0, bottom, right] };
                ctx.node(pad, &[&x], vec![out.c, out.h, out.w])
            }
        }
    }
}
