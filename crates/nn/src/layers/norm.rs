//! What a fused block does to each channel of its convolution's output: a batch norm, or nothing.

use super::batch_norm::NormParams;
use super::norm_act::Statistics;
use super::{BatchNorm2d, Layer as _};
use crate::act::Act;
use crate::ctx::Ctx;
use crate::error::Result;

/// What a fused block does to each channel.
pub(super) enum Norm {
    /// A batch norm.
    Batch(BatchNorm2d),
    /// Nothing, to so many channels.
    Nothing(usize),
}

impl Norm {
    /// The batch norm, where it takes the statistics of the batch.
    pub(super) fn of_batch(&self, ctx: &Ctx) -> Option<&BatchNorm2d> {
        match self {
            Self::Batch(norm) => Some(norm).filter(|norm| norm.takes_batch(ctx)),
            Self::Nothing(_) => None,
        }
    }

    /// The statistics that are constants: the running ones, or those that change nothing.
    pub(super) fn constants(&self) -> Result<Statistics> {
        match self {
            Self::Batch(norm) => norm.running(),
            &Self::Nothing(c) => Ok(Statistics { mean: vec![0.0; c], inv_std: vec![1.0; c], frozen: true }),
        }
    }

    /// What it learns.
    pub(super) fn params(&self) -> NormParams {
        match self {
            Self::Batch(norm) => norm.params(),
            Self::Nothing(_) => NormParams { weight: None, bias: None },
        }
    }

    pub(super) fn learns(&self) -> bool {
        match self {
            Self::Batch(norm) => norm.learns(),
            Self::Nothing(_) => false,
        }
    }

    /// On the path that fuses nothing.
    pub(super) fn forward_candle(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        match self {
            Self::Batch(norm) => norm.forward(x, ctx),
            Self::Nothing(_) => Ok(x),
        }
    }
}
