//! Layer normalisation over the channels of each pixel, or of each token.

use candle_core::{DType, Tensor};
use candle_nn::Module as _;
use tallow_kernels as kernels;

use super::{Layer, in_precision};
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::graph::{Constant, Op};
use crate::init::Init;
use crate::map::{Buffer, MapElement};
use crate::params::{Param, Scope};

/// Layer normalisation: `y = (x - mean) / sqrt(var + eps) * weight + bias`, with mean and biased variance of each pixel's
/// channels.
///
/// For an (N, H, W, C) map it is `torch.nn.LayerNorm(c)`, and for an (N, C, H, W) map it is timm's `LayerNorm2d`.
///
/// # Parameters
/// `weight` and `bias`, both (c), f32.
///
/// # Source
/// Ba et al. 2016, <https://arxiv.org/abs/1607.06450>
pub struct LayerNorm {
    eps: f64,
    weight: Param,
    bias: Param,
}

impl LayerNorm {
    /// Declares a layer norm over `c` channels in `scope`. `eps` is added to the variance.
    ///
    /// # Errors
    /// If `c` is 0, or the name is taken.
    pub fn new(scope: &mut Scope<'_>, c: usize, eps: f64) -> Result<Self> {
        if c == 0 {
            return Err(NnError::shape(scope.name(), "a layer norm over 0 channels"));
        }
        Ok(Self {
            eps,
            weight: scope.param("weight", &[c], Init::Constant(1.0))?,
            bias: scope.param("bias", &[c], Init::Constant(0.0))?,
        })
    }

    /// Fails unless `x` has the norm's number of channels.
    fn check(&self, x: Dims) -> Result<()> {
        let c = self.weight.shape()[0];
        match x.c == c {
            true => Ok(()),
            false => Err(NnError::shape(self.weight.name(), format!("expected {c} channels, got {x}"))),
        }
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        [&self.weight, &self.bias].into_iter()
    }

    /// Normalises the rows of a (rows, c) matrix, for inference.
    pub(super) fn infer<E: MapElement>(&self, x: &[E]) -> Result<Buffer<E>> {
        let n_rows = x.len() / self.weight.shape()[0];
        let mut y = Buffer::<E>::dirty(x.len());
        let (mut mean, mut inv_std) = (Buffer::<f32>::dirty(n_rows), Buffer::<f32>::dirty(n_rows));
        self.weight.read(|gamma| {
            self.bias.read(|beta| {
                kernels::layer_norm(self.eps as f32, x, gamma, beta, &mut y, &mut mean, &mut inv_std);
            })
        })??;
        Ok(y)
    }

    /// Normalises the last dimension of a tensor of the Candle backend, for inference.
    pub(super) fn infer_candle(&self, x: &Tensor) -> Result<Tensor> {
        let [weight, bias] = [&self.weight, &self.bias].map(|param| param.var().as_detached_tensor());
        Ok(candle_nn::LayerNorm::new(weight, bias, self.eps).forward(x)?)
    }

    /// Of a map, a vector or tokens. The operation norms the last axis, so that a map's channels go there and back.
    pub(super) fn record(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let [gamma, beta] = [Constant::learned(&self.weight)?, Constant::learned(&self.bias)?];
        let norm = Op::LayerNorm { gamma, beta, eps: self.eps };
        let [c, h, w] = match *ctx.shape_of(x)? {
            [c, h, w] => [c, h, w],
            _ => return ctx.map_node(norm, x),
        };
        let pixels = ctx.node(Op::Transpose(vec![0, 2, 3, 1]), &[x], vec![h, w, c])?;
        let pixels = ctx.map_node(norm, &pixels)?;
        ctx.node(Op::Transpose(vec![0, 3, 1, 2]), &[&pixels], vec![c, h, w])
    }

    fn forward_kernels<E: MapElement>(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, x_needs_grad) = (x.dims(), x.needs_grad());
        let x = x.as_map::<E>(self.weight.name())?;
        let n_rows = dims.n * dims.h * dims.w;
        let mut y = Buffer::<E>::dirty(x.len());
        let (mut mean, mut inv_std) = (Buffer::<f32>::dirty(n_rows), Buffer::<f32>::dirty(n_rows));
        let gamma = self.weight.read(<[f32]>::to_vec)?;
        self.bias.read(|beta| {
            kernels::layer_norm(self.eps as f32, &x, &gamma, beta, &mut y, &mut mean, &mut inv_std);
        })?;
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let needs_grad = x_needs_grad || !weight.is_frozen() || !bias.is_frozen();
        ctx.push_map(move |dy, grads| {
            let saved = kernels::LayerNormState { x: &x, mean: &mean, inv_std: &inv_std, gamma: &gamma };
            let mut dx = Buffer::<E>::dirty(x.len());
            let (mut dgamma, mut dbeta) = (vec![0.0; dims.c], vec![0.0; dims.c]);
            kernels::layer_norm_backward(&saved, &E::of(&dy), &mut dx, &mut dgamma, &mut dbeta);
            grads.add_for(&weight, |grad| grad.copy_from_slice(&dgamma))?;
            grads.add_for(&bias, |grad| grad.copy_from_slice(&dbeta))?;
            Ok(x_needs_grad.then(|| dx.into()))
        });
        Ok(Act::host(dims, y, needs_grad))
    }

    fn forward_candle(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let dims = x.dims();
        let x = x.as_candle(self.weight.name())?;
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let per_channel = |t: &Tensor| t.reshape((1, dims.c, 1, 1));
        let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
        let std = (centred.sqr()?.mean_keepdim(1)? + self.eps)?.sqrt()?;
        let gamma = per_channel(&ctx.weight(&self.weight))?;
        let beta = per_channel(&ctx.weight(&self.bias))?;
        let y = centred.broadcast_div(&std)?.broadcast_mul(&gamma)?.broadcast_add(&beta)?;
        Ok(Act::candle(dims, y.to_dtype(dtype)?))
    }
}

impl Layer for LayerNorm {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        self.check(x.dims())?;
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x, ctx)),
            Backend::Candle => self.forward_candle(&x, ctx),
            Backend::Graph => self.record(&x, ctx),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::map::Precision;
    use crate::params::ParamStore;

    /// Compares a map of 2 x 2 pixels and 3 channels with the formula in f64. bf16 represents all of its values exactly. The mean
    /// of the last pixel is rounded by up to 4e-6, at a standard deviation of 5.
    #[test]
    fn each_pixel_is_normalised_by_its_own_channels() {
        let mut store = ParamStore::new(0, &Device::Cpu);
        let norm = LayerNorm::new(&mut store.root(), 3, 0.5).unwrap();
        let mut tensors = store.to_tensors().unwrap();
        tensors.get_mut("weight").unwrap().data = vec![1.0, 2.0, -1.0];
        tensors.get_mut("bias").unwrap().data = vec![0.0, 0.5, 1.0];
        store.load_tensors(&tensors).unwrap();

        let dims = Dims { n: 1, c: 3, h: 2, w: 2 };
        let pixels = [[1.0, 2.0, 6.0], [0.0, 0.0, 0.0], [-4.0, 4.0, 0.0], [100.0, 104.0, 112.0]];
        let row = |x: &[f64; 3]| {
            let mean = x.iter().sum::<f64>() / 3.0;
            let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 3.0 + 0.5).sqrt();
            [(x[0] - mean) / std, (x[1] - mean) / std * 2.0 + 0.5, -(x[2] - mean) / std + 1.0]
        };
        let expected: Vec<f64> = pixels.iter().flat_map(row).collect();
        for (backend, precision, tolerance) in [
            (Backend::Kernels, Precision::F32, 1e-5),
            (Backend::Candle, Precision::F32, 1e-5),
            (Backend::Kernels, Precision::Bf16, 2e-2),
        ] {
            let mut ctx = Ctx::eval(backend, &Device::Cpu).with_precision(precision);
            let x = pixels.iter().flatten().map(|&x| x as f32).collect();
            let y = norm.forward(ctx.input(x, dims).unwrap(), &mut ctx).unwrap().to_vec().unwrap();
            for (y, e) in y.iter().zip(&expected) {
                assert!(
                    (f64::from(*y) - e).abs() <= tolerance * (1.0 + e.abs()),
                    "{backend:?} {precision:?}: {y} {e}"
                );
            }
        }
    }

    #[test]
    fn no_channels_are_refused() {
        assert!(LayerNorm::new(&mut ParamStore::new(0, &Device::Cpu).root(), 0, 1e-6).is_err());
    }
}
