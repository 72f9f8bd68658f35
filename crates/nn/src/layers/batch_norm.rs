//! Batch normalisation over images and pixels, per channel.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use tallow_kernels as kernels;

use super::Layer;
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Path;
use crate::error::{NnError, Result};
use crate::host;
use crate::init::Init;
use crate::params::{Param, Scope};

/// What a [`BatchNorm2d`] is besides its channels. The default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Added to the variance.
    pub eps: f64,
    /// The share of the new batch in the running statistics: `running = (1 - momentum) * running + momentum * batch`.
    pub momentum: f64,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1 }
    }
}

/// Batch normalisation: `y = (x - mean) / sqrt(var + eps) * weight + bias`, per channel.
///
/// In training, mean and (biased) variance are the batch's, and the running ones move towards them (the variance
/// unbiased); a batch with one value per channel leaves the running variance alone, where PyTorch refuses it. In
/// inference they are the running ones.
///
/// # Parameters
/// `weight`, `bias`, and the buffers `running_mean`, `running_var`, all (c), f32.
///
/// # Source
/// Ioffe and Szegedy 2015, <https://arxiv.org/abs/1502.03167>
pub struct BatchNorm2d {
    config: BatchNormConfig,
    weight: Param,
    bias: Param,
    running_mean: Param,
    running_var: Param,
}

impl BatchNorm2d {
    /// Declares a batch norm over `c` channels in `scope`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn new(scope: &mut Scope<'_>, c: usize, config: BatchNormConfig) -> Result<Self> {
        Ok(Self {
            config,
            weight: scope.param("weight", &[c], Init::Constant(1.0))?,
            bias: scope.param("bias", &[c], Init::Constant(0.0))?,
            running_mean: scope.buffer("running_mean", &[c], 0.0)?,
            running_var: scope.buffer("running_var", &[c], 1.0)?,
        })
    }

    fn forward_kernels(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, name) = (x.dims(), self.weight.name());
        let x = Arc::clone(x.as_host(name)?);
        let (mean, var) = match ctx.is_training() {
            true => {
                let (mut mean, mut var) = (vec![0.0; dims.c], vec![0.0; dims.c]);
                kernels::batch_norm_stats(&x, dims.c, &mut mean, &mut var);
                self.update_running(&mean, &var, dims)?;
                (mean, var)
            }
            false => (self.running_mean.read(<[f32]>::to_vec)?, self.running_var.read(<[f32]>::to_vec)?),
        };
        let inv_std: Vec<f32> =
            var.iter().map(|&v| (1.0 / (f64::from(v) + self.config.eps).sqrt()) as f32).collect();
        let gamma = self.weight.read(<[f32]>::to_vec)?;
        let scale: Vec<f32> = gamma.iter().zip(&inv_std).map(|(g, i)| g * i).collect();
        let shift: Vec<f32> =
            self.bias.read(|b| b.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect())?;
        let mut y = vec![0.0; x.len()];
        kernels::scale_shift(&x, &scale, &shift, &mut y);
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        ctx.push(move |dy, grads| {
            let (mut dgamma, mut dbeta, mut dx) = (vec![0.0; dims.c], vec![0.0; dims.c], vec![0.0; x.len()]);
            kernels::batch_norm_backward(
                &x,
                &dy,
                &mean,
                &inv_std,
                &gamma,
                Some(&mut dx),
                &mut dgamma,
                &mut dbeta,
            );
            grads.add(weight.name(), weight.shape(), dgamma)?;
            grads.add(bias.name(), bias.shape(), dbeta)?;
            Ok(Some(Arc::new(dx)))
        });
        Ok(Act::host(dims, Arc::new(y), true))
    }

    fn forward_candle(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let dims = x.dims();
        let x = x.as_candle(self.weight.name())?;
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let per_channel = |t: &Tensor| t.reshape((1, dims.c, 1, 1));
        let (mean, var) = match ctx.is_training() {
            true => {
                let mean = x.mean_keepdim((0, 2, 3))?;
                let var = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim((0, 2, 3))?;
                self.update_running(&host::to_vec(&mean)?, &host::to_vec(&var)?, dims)?;
                (mean, var)
            }
            false => {
                let running = |p: &Param| per_channel(&p.var().as_detached_tensor());
                (running(&self.running_mean)?, running(&self.running_var)?)
            }
        };
        let std = (var + self.config.eps)?.sqrt()?;
        let gamma = per_channel(&ctx.weight(&self.weight))?;
        let beta = per_channel(&ctx.weight(&self.bias))?;
        let y = x.broadcast_sub(&mean)?.broadcast_div(&std)?.broadcast_mul(&gamma)?.broadcast_add(&beta)?;
        Ok(Act::candle(dims, y.to_dtype(dtype)?))
    }

    /// Moves the running statistics towards the batch's.
    fn update_running(&self, mean: &[f32], var: &[f32], dims: Dims) -> Result<()> {
        let count = (dims.n * dims.h * dims.w) as f64;
        self.blend(&self.running_mean, mean, 1.0)?;
        if count > 1.0 {
            self.blend(&self.running_var, var, count / (count - 1.0))?;
        }
        Ok(())
    }

    fn blend(&self, running: &Param, batch: &[f32], correction: f64) -> Result<()> {
        let m = self.config.momentum;
        let mut values = host::to_vec(running.var())?;
        for (r, &b) in values.iter_mut().zip(batch) {
            *r = ((1.0 - m) * f64::from(*r) + m * f64::from(b) * correction) as f32;
        }
        Ok(host::overwrite(running.var(), &values)?)
    }
}

impl Layer for BatchNorm2d {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let c = self.weight.shape()[0];
        if x.dims().c != c {
            return Err(NnError::shape(
                self.weight.name(),
                format!("expected {c} channels, got {}", x.dims()),
            ));
        }
        match ctx.path() {
            Path::Kernels => self.forward_kernels(&x, ctx),
            Path::Candle => self.forward_candle(&x, ctx),
        }
    }
}
