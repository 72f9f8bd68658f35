//! Depthwise convolution without a norm. The block with batch norm is in `depthwise_norm_act.rs`.

use tallow_kernels as kernels;
use tallow_kernels::DepthwiseShape;

use super::{DepthwiseConfig, Layer, in_precision};
use crate::act::{Act, Dims};
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::graph::Constant;
use crate::init::Init;
use crate::map::{Buffer, MapElement};
use crate::params::{Param, Scope};

/// Depthwise convolution with bias: each channel has its own kernel, as in `torch.nn.Conv2d(c, c, k, groups=c)`.
///
/// # Parameters
/// `weight` (c, 1, k, k) and `bias` (c), initially 0, both f32.
///
/// # Source
/// Howard et al. 2017, <https://arxiv.org/abs/1704.04861>
pub struct DepthwiseConv2d {
    config: DepthwiseConfig,
    weight: Param,
    bias: Param,
}

impl DepthwiseConv2d {
    /// Declares the convolution of `c` channels in `scope`.
    ///
    /// # Errors
    /// If a size or the stride is 0, or the name is taken.
    pub fn new(scope: &mut Scope<'_>, c: usize, config: DepthwiseConfig, init: Init) -> Result<Self> {
        let DepthwiseConfig { k, stride, .. } = config;
        if [c, k, stride].contains(&0) {
            return Err(NnError::shape(scope.name(), format!("{c} channels, {config:?}")));
        }
        let weight = scope.param("weight", &[c, 1, k, k], init)?;
        Ok(Self { config, weight, bias: scope.param("bias", &[c], Init::Constant(0.0))? })
    }

    fn forward_kernels<E: MapElement>(&self, x: &Act, shape: DepthwiseShape, ctx: &mut Ctx) -> Result<Act> {
        let (x_needs_grad, x) = (x.needs_grad(), x.as_map::<E>(self.weight.name())?);
        let mut y = Buffer::<E>::dirty(shape.y_len());
        self.bias.read(|bias| {
            self.weight.read(|weight| kernels::depthwise_forward(&shape, &x, weight, Some(bias), &mut y))
        })??;
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let needs_grad = x_needs_grad || !weight.is_frozen() || !bias.is_frozen();
        ctx.push_map(move |dy, grads| {
            let dy = E::of(&dy);
            grads.add_for(&weight, |dweight| kernels::depthwise_weight_grad(&shape, &x, &dy, dweight))?;
            grads.add_for(&bias, |dbias| kernels::channel_sums(&dy, shape.c, dbias))?;
            if !x_needs_grad {
                return Ok(None);
            }
            let mut dx = Buffer::<E>::dirty(shape.x_len());
            weight.read(|weight| kernels::depthwise_input_grad(&shape, &dy, weight, &mut dx))?;
            Ok(Some(dx.into()))
        });
        Ok(Act::host(dims_out(&shape), y, needs_grad))
    }

    fn forward_candle(&self, x: &Act, shape: DepthwiseShape, ctx: &mut Ctx) -> Result<Act> {
        let weight = ctx.weight(&self.weight);
        let y = candle_ops::depthwise_conv2d(x.as_candle(self.weight.name())?, &weight, &shape)?;
        let bias = ctx.weight(&self.bias).to_dtype(y.dtype())?.reshape((1, shape.c, 1, 1))?;
        Ok(Act::candle(dims_out(&shape), y.broadcast_add(&bias)?))
    }
}

fn dims_out(shape: &DepthwiseShape) -> Dims {
    Dims { n: shape.n, c: shape.c, h: shape.h_out(), w: shape.w_out() }
}

impl Layer for DepthwiseConv2d {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let shape = self.config.shape(x.dims(), &self.weight)?;
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x, shape, ctx)),
            Backend::Candle => self.forward_candle(&x, shape, ctx),
            Backend::Graph => self.config.record(&x, &self.weight, Some(Constant::learned(&self.bias)?), ctx),
        }
    }
}
