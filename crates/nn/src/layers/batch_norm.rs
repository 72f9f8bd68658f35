//! Batch normalisation over images and pixels, per channel.

use candle_core::{DType, Tensor};
use tallow_kernels as kernels;

use super::Layer;
use super::norm_act::Statistics;
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::gradients::Gradients;
use crate::graph::{Constant, Op};
use crate::init::Init;
use crate::map::Buffer;
use crate::params::{Param, Scope};

/// The settings of a [`BatchNorm2d`], without its channels. The default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Added to the variance.
    pub eps: f64,
    /// The share of the new batch in the running statistics: `running = (1 - momentum) * running + momentum * batch`.
    pub momentum: f64,
    /// Whether each channel is multiplied by a learned `weight`; otherwise the factor is 1.
    pub scale: bool,
}

impl BatchNormConfig {
    /// Returns the settings of PyTorch's batch norm, which learns `weight` and `bias`, with these values.
    pub const fn new(eps: f64, momentum: f64) -> Self {
        Self { eps, momentum, scale: true }
    }
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self::new(1e-5, 0.1)
    }
}

/// Batch normalisation: `y = (x - mean) / sqrt(var + eps) * weight + bias`, per channel.
///
/// In training, the norm uses the batch's mean and biased variance, and updates the running statistics with the batch's mean
/// and unbiased variance. A batch with one value per channel does not change the running variance; PyTorch refuses such a
/// batch. In inference, and in training with a frozen running mean, the norm uses the running statistics.
///
/// # Parameters
/// `weight` (unless [`BatchNormConfig::scale`] is off), `bias`, and the buffers `running_mean`, `running_var`, all (c), f32.
///
/// # Source
/// Ioffe and Szegedy 2015, <https://arxiv.org/abs/1502.03167>
pub struct BatchNorm2d {
    config: BatchNormConfig,
    weight: Option<Param>,
    bias: Param,
    running_mean: Param,
    running_var: Param,
}

/// The learned parameters of a norm: `weight` (gamma; 1 if absent) and `bias` (beta; 0 if absent).
#[derive(Clone)]
pub(super) struct NormParams {
    pub(super) weight: Option<Param>,
    pub(super) bias: Option<Param>,
}

impl NormParams {
    /// Returns gamma and beta of `c` channels.
    pub(super) fn read(&self, c: usize) -> Result<[Vec<f32>; 2]> {
        let read = |param: &Option<Param>, without: f32| match param {
            Some(param) => param.read(<[f32]>::to_vec),
            None => Ok(vec![without; c]),
        };
        Ok([read(&self.weight, 1.0)?, read(&self.bias, 0.0)?])
    }

    /// Returns the norm as scale and shift: `y = x * scale + shift`.
    pub(super) fn scale_and_shift(&self, statistics: &Statistics) -> Result<(Vec<f32>, Vec<f32>)> {
        let Statistics { mean, inv_std, .. } = statistics;
        let [gamma, beta] = self.read(mean.len())?;
        let scale: Vec<f32> = gamma.iter().zip(inv_std).map(|(g, i)| g * i).collect();
        let shift = beta.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        Ok((scale, shift))
    }

    pub(super) fn add_gradients(&self, dgamma: &[f32], dbeta: &[f32], grads: &mut Gradients) -> Result<()> {
        for (param, gradient) in [(&self.weight, dgamma), (&self.bias, dbeta)] {
            if let Some(param) = param {
                grads.add_for(param, |grad| grad.copy_from_slice(gradient))?;
            }
        }
        Ok(())
    }
}

impl BatchNorm2d {
    /// Declares a batch norm over `c` channels in `scope`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn new(scope: &mut Scope<'_>, c: usize, config: BatchNormConfig) -> Result<Self> {
        let weight = config.scale.then(|| scope.param("weight", &[c], Init::Constant(1.0))).transpose()?;
        Ok(Self {
            config,
            weight,
            bias: scope.param("bias", &[c], Init::Constant(0.0))?,
            running_mean: scope.buffer("running_mean", &[c], 0.0)?,
            running_var: scope.buffer("running_var", &[c], 1.0)?,
        })
    }

    fn forward_kernels(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, x_needs_grad) = (x.dims(), x.needs_grad());
        let x = x.as_host(self.name())?;
        let of_batch = self.takes_batch(ctx);
        let statistics = match of_batch {
            true => {
                let (mut mean, mut var) = (vec![0.0; dims.c], vec![0.0; dims.c]);
                kernels::batch_norm_stats(&x, dims.c, &mut mean, &mut var);
                self.move_running(&mean, &var, dims.n * dims.h * dims.w)?;
                let inv_std = self.inv_std(&var);
                Statistics { mean, inv_std, frozen: false }
            }
            false => self.running()?,
        };
        let params = self.params();
        let (scale, shift) = params.scale_and_shift(&statistics)?;
        let [gamma, _] = params.read(dims.c)?;
        let Statistics { mean, inv_std, .. } = statistics;
        let mut y = Buffer::<f32>::dirty(x.len());
        kernels::scale_shift(&x, &scale, &shift, &mut y);
        ctx.push(move |dy, grads| {
            let (mut dgamma, mut dbeta) = (vec![0.0; dims.c], vec![0.0; dims.c]);
            let mut dx = x_needs_grad.then(|| Buffer::<f32>::dirty(x.len()));
            let into = dx.as_deref_mut();
            let backward = match of_batch {
                true => kernels::batch_norm_backward,
                false => kernels::batch_norm_backward_frozen,
            };
            backward(&x, &dy, &mean, &inv_std, &gamma, into, &mut dgamma, &mut dbeta);
            params.add_gradients(&dgamma, &dbeta, grads)?;
            Ok(dx)
        });
        Ok(Act::host(dims, y, x_needs_grad || self.learns()))
    }

    fn forward_candle(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let dims = x.dims();
        let x = x.as_candle(self.name())?;
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let per_channel = |t: &Tensor| t.reshape((1, dims.c, 1, 1));
        let (mean, var) = match self.takes_batch(ctx) {
            true => {
                let mean = x.mean_keepdim((0, 2, 3))?;
                let var = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim((0, 2, 3))?;
                self.move_running_candle(&mean, &var, dims)?;
                (mean, var)
            }
            false => {
                let running = |p: &Param| per_channel(&p.var().as_detached_tensor());
                (running(&self.running_mean)?, running(&self.running_var)?)
            }
        };
        let std = (var + self.config.eps)?.sqrt()?;
        let mut y = x.broadcast_sub(&mean)?.broadcast_div(&std)?;
        if let Some(weight) = &self.weight {
            y = y.broadcast_mul(&per_channel(&ctx.weight(weight))?)?;
        }
        let y = y.broadcast_add(&per_channel(&ctx.weight(&self.bias))?)?;
        Ok(Act::candle(dims, y.to_dtype(dtype)?))
    }

    fn record(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let norm = Op::BatchNorm {
            gamma: self.weight.as_ref().map(Constant::learned).transpose()?,
            beta: Constant::learned(&self.bias)?,
            mean: Constant::buffer(&self.running_mean)?,
            var: Constant::buffer(&self.running_var)?,
            eps: self.config.eps,
        };
        ctx.map_node(norm, x)
    }

    /// Whether the norm uses the batch's mean and variance: in training, unless the running mean is frozen.
    pub(super) fn takes_batch(&self, ctx: &Ctx) -> bool {
        ctx.is_training() && !self.running_mean.is_frozen()
    }

    /// Whether a training pass updates the running statistics or needs gradients of the parameters.
    pub(super) fn learns(&self) -> bool {
        let has_frozen_weight = self.weight.as_ref().is_none_or(Param::is_frozen);
        !(self.running_mean.is_frozen() && has_frozen_weight && self.bias.is_frozen())
    }

    /// Returns the name of the weight, or of the bias if there is no weight, for error messages.
    pub(super) fn name(&self) -> &str {
        self.weight.as_ref().unwrap_or(&self.bias).name()
    }

    /// Fails unless `x` has the norm's number of channels.
    pub(super) fn check(&self, x: &Act) -> Result<()> {
        let c = self.bias.shape()[0];
        match x.dims().c == c {
            true => Ok(()),
            false => Err(NnError::shape(self.name(), format!("expected {c} channels, got {}", x.dims()))),
        }
    }

    pub(super) fn params(&self) -> NormParams {
        NormParams { weight: self.weight.clone(), bias: Some(self.bias.clone()) }
    }

    pub(super) fn inv_std(&self, var: &[f32]) -> Vec<f32> {
        var.iter().map(|&v| (1.0 / (f64::from(v) + self.config.eps).sqrt()) as f32).collect()
    }

    /// Returns the running mean, and `1 / sqrt(var + eps)` of the running variance.
    pub(super) fn running(&self) -> Result<Statistics> {
        let mean = self.running_mean.read(<[f32]>::to_vec)?;
        Ok(Statistics { mean, inv_std: self.running_var.read(|var| self.inv_std(var))?, frozen: true })
    }

    /// Updates the running statistics with the mean and the biased variance of a batch with `count` values per channel.
    pub(super) fn move_running(&self, mean: &[f32], var: &[f32], count: usize) -> Result<()> {
        let momentum = self.config.momentum;
        let blend = |running: &Param, batch: &[f32], share: f64| {
            running.update(|running| {
                for (r, &b) in running.iter_mut().zip(batch) {
                    *r = ((1.0 - momentum) * f64::from(*r) + share * f64::from(b)) as f32;
                }
            })
        };
        blend(&self.running_mean, mean, momentum)?;
        match bessel(count) {
            Some(correction) => blend(&self.running_var, var, momentum * correction),
            None => Ok(()),
        }
    }

    /// Like [`move_running`](Self::move_running), on any device, without waiting for the device.
    fn move_running_candle(&self, mean: &Tensor, var: &Tensor, dims: Dims) -> Result<()> {
        let momentum = self.config.momentum;
        let blend = |running: &Param, batch: &Tensor, share: f64| -> Result<()> {
            let kept = (running.var().as_detached_tensor() * (1.0 - momentum))?;
            running.set(&(kept + (batch.detach().flatten_all()? * share)?)?)
        };
        blend(&self.running_mean, mean, momentum)?;
        match bessel(dims.n * dims.h * dims.w) {
            Some(correction) => blend(&self.running_var, var, momentum * correction),
            None => Ok(()),
        }
    }
}

/// Returns the factor from biased to unbiased variance, `n / (n - 1)`; `None` for a single value per channel.
fn bessel(count: usize) -> Option<f64> {
    (count > 1).then(|| count as f64 / (count - 1) as f64)
}

impl Layer for BatchNorm2d {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        self.check(&x)?;
        match ctx.backend() {
            Backend::Kernels => self.forward_kernels(&x, ctx),
            Backend::Candle => self.forward_candle(&x, ctx),
            Backend::Graph => self.record(&x, ctx),
        }
    }
}
