//! The part of a fused block between convolution and activation: a batch norm, a learned scale, or nothing.

use super::batch_norm::NormParams;
use super::norm_act::Statistics;
use super::{BatchNorm2d, Layer as _};
use crate::act::Act;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::Result;
use crate::graph::{Constant, Op};
use crate::params::Param;

/// The operation on each output channel of a fused block's convolution.
pub(super) enum Norm {
    /// A batch norm.
    Batch(BatchNorm2d),
    /// A learned scale.
    Scale(Param),
    /// Nothing; holds the number of channels.
    Nothing(usize),
}

impl Norm {
    /// Returns the batch norm, if it uses the statistics of the batch.
    pub(super) fn of_batch(&self, ctx: &Ctx) -> Option<&BatchNorm2d> {
        match self {
            Self::Batch(norm) => Some(norm).filter(|norm| norm.takes_batch(ctx)),
            Self::Scale(_) | Self::Nothing(_) => None,
        }
    }

    /// Returns constant statistics: the running ones of a batch norm, or mean 0 and `inv_std` 1, which change nothing.
    pub(super) fn constants(&self) -> Result<Statistics> {
        let c = match self {
            Self::Batch(norm) => return norm.running(),
            Self::Scale(scale) => scale.shape()[0],
            Self::Nothing(c) => *c,
        };
        Ok(Statistics { mean: vec![0.0; c], inv_std: vec![1.0; c], frozen: true })
    }

    /// Returns the learned parameters.
    pub(super) fn params(&self) -> NormParams {
        match self {
            Self::Batch(norm) => norm.params(),
            Self::Scale(scale) => NormParams { weight: Some(scale.clone()), bias: None },
            Self::Nothing(_) => NormParams { weight: None, bias: None },
        }
    }

    pub(super) fn learns(&self) -> bool {
        match self {
            Self::Batch(norm) => norm.learns(),
            Self::Scale(scale) => !scale.is_frozen(),
            Self::Nothing(_) => false,
        }
    }

    /// Applies the operation on a path that fuses nothing.
    pub(super) fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        match self {
            Self::Batch(norm) => norm.forward(x, ctx),
            Self::Scale(scale) if ctx.backend() == Backend::Graph => {
                let c = scale.shape()[0];
                ctx.map_node(Op::MulConstant(Constant::learned(scale)?.reshaped(&[c, 1, 1])), &x)
            }
            Self::Scale(scale) => {
                let tensor = x.as_candle(scale.name())?;
                let scale = ctx.weight(scale).to_dtype(tensor.dtype())?.reshape((1, x.dims().c, 1, 1))?;
                Ok(Act::candle(x.dims(), tensor.broadcast_mul(&scale)?))
            }
            Self::Nothing(_) => Ok(x),
        }
    }
}
