//! The block that convolutional networks are made of, in one piece: convolution, batch norm, ReLU, and 2x2 max
//! pooling where it is asked for.
//!
//! It computes what the four layers compute one after another, with half of the passes over memory: batch norm's
//! statistics come out of the convolution's loop, and norm, activation and pooling are one pass, and back two.

use std::sync::Arc;

use half::bf16;
use tallow_kernels as kernels;
use tallow_kernels::{ConvShape, Moments, NormReluShape, NormState};

use super::{BatchNorm2d, Conv2d, Layer, MaxPool2d, Relu};
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Path;
use crate::error::Result;
use crate::map::{Buffer, MapElement, Precision};

/// Convolution, batch norm, ReLU and, where `pool` says so, 2x2 max pooling with stride 2.
pub struct ConvNormRelu {
    /// The convolution.
    pub conv: Conv2d,
    /// The batch norm over its output channels.
    pub norm: BatchNorm2d,
    /// Whether pooling follows.
    pub pool: bool,
}

/// What the forward pass keeps for the backward pass.
struct Saved<E: MapElement> {
    conv: ConvShape,
    out: NormReluShape,
    x: Arc<Buffer<E>>,
    y: Buffer<E>,
    winners: Vec<u8>,
    mean: Vec<f32>,
    inv_std: Vec<f32>,
    x_needs_grad: bool,
}

impl ConvNormRelu {
    fn forward_kernels<E: MapElement>(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let shape = self.conv.shape(x.dims())?;
        let x_needs_grad = x.needs_grad();
        let x = x.as_map::<E>(self.conv.name())?;
        let mut y = Buffer::<E>::dirty(shape.y_len());
        let (n, h, w, c) = (shape.n, shape.h_out(), shape.w_out(), shape.c_out);
        let (mean, inv_std) = match ctx.is_training() {
            true => {
                let convolve = |w: &[f32], b: Option<&[f32]>, y: &mut [E]| {
                    kernels::conv2d_forward_with_moments(&shape, &x, w, b, y)
                };
                self.norm.take_moments(&self.conv.with_weights(|w, b| convolve(w, b, &mut y))?)?
            }
            false => {
                self.conv.with_weights(|w, b| kernels::conv2d_forward(&shape, &x, w, b, &mut y))?;
                self.norm.running()?
            }
        };
        let (scale, shift) = self.norm.scale_and_shift(&mean, &inv_std)?;
        let out = NormReluShape { n, h, w, c, pooled: self.pool };
        let mut a = Buffer::<E>::dirty(out.a_len());
        let mut winners = vec![0; out.winners_len()];
        kernels::norm_relu(&out, &y, &scale, &shift, &mut a, &mut winners);
        if ctx.is_training() {
            let saved = Saved { conv: shape, out, x, y, winners, mean, inv_std, x_needs_grad };
            self.push_backward(saved, ctx);
        }
        let (h, w) = if self.pool { (h / 2, w / 2) } else { (h, w) };
        Ok(Act::host(Dims { n, c, h, w }, a, true))
    }

    fn push_backward<E: MapElement>(&self, saved: Saved<E>, ctx: &mut Ctx) {
        let (conv, norm) = (self.conv.params(), self.norm.params());
        ctx.push_map(move |da, grads| {
            let Saved { conv: shape, out, x, y, winners, mean, inv_std, x_needs_grad } = saved;
            let da = E::of(&da);
            let mut dy = Buffer::<E>::dirty(shape.y_len());
            let (mut dgamma, mut dbeta) = (vec![0.0; out.c], vec![0.0; out.c]);
            let [gamma, beta] = [&norm.weight, &norm.bias].map(|p| p.read(<[f32]>::to_vec));
            let (gamma, beta) = (gamma?, beta?);
            let state =
                NormState { gamma: &gamma, beta: &beta, mean: &mean, inv_std: &inv_std, frozen: false };
            kernels::norm_relu_backward(&out, &y, &da, &winners, &state, &mut dy, &mut dgamma, &mut dbeta);
            drop((da, y));
            grads.add(norm.weight.name(), norm.weight.shape(), dgamma)?;
            grads.add(norm.bias.name(), norm.bias.shape(), dbeta)?;
            let mut dweight = vec![0.0; shape.weight_len()];
            kernels::conv2d_weight_grad(&shape, &x, &dy, &mut dweight);
            grads.add(conv.weight.name(), conv.weight.shape(), dweight)?;
            if let Some(bias) = &conv.bias {
                // what is added before batch norm subtracts the mean changes nothing: the gradient is 0
                grads.add(bias.name(), bias.shape(), vec![0.0; shape.c_out])?;
            }
            if !x_needs_grad {
                return Ok(None);
            }
            let mut dx = Buffer::<E>::dirty(shape.x_len());
            conv.weight.read(|weight| kernels::conv2d_input_grad(&shape, &dy, weight, &mut dx))?;
            Ok(Some(dx.into()))
        });
    }
}

impl Layer for ConvNormRelu {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        match (ctx.path(), ctx.precision()) {
            (Path::Kernels, Precision::F32) => self.forward_kernels::<f32>(&x, ctx),
            (Path::Kernels, Precision::Bf16) => self.forward_kernels::<bf16>(&x, ctx),
            (Path::Candle, _) => {
                let x = self.conv.forward(x, ctx)?;
                let x = Relu.forward(self.norm.forward(x, ctx)?, ctx)?;
                match self.pool {
                    true => MaxPool2d { k: 2, stride: 2, padding: 0 }.forward(x, ctx),
                    false => Ok(x),
                }
            }
        }
    }
}

impl BatchNorm2d {
    /// Mean and `1 / sqrt(var + eps)` of a batch, from its moments; the running statistics move towards them.
    fn take_moments(&self, moments: &Moments) -> Result<(Vec<f32>, Vec<f32>)> {
        let count = moments.count as f64;
        let mean: Vec<f64> = moments.sums.iter().map(|sum| sum / count).collect();
        let var = |i: usize| (moments.squares[i] / count - mean[i] * mean[i]).max(0.0);
        let var: Vec<f32> = (0..mean.len()).map(|i| var(i) as f32).collect();
        let mean: Vec<f32> = mean.into_iter().map(|m| m as f32).collect();
        self.move_running(&mean, &var, moments.count)?;
        let inv_std = self.inv_std(&var);
        Ok((mean, inv_std))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::layers::{BatchNormConfig, Conv2dConfig, Sequential};
    use crate::{Ctx, Init, ParamStore, TrainKey};

    const DIMS: Dims = Dims { n: 3, c: 5, h: 9, w: 6 };

    /// Output, input gradient and parameter gradients of a training pass, running statistics, output of inference.
    fn run(fused: bool, pool: bool, path: Path, precision: Precision) -> Vec<(String, Vec<f32>)> {
        let mut params = ParamStore::new(1, &Device::Cpu);
        let conv = Conv2d::new(&mut params.root().sub("conv"), 5, 7, Conv2dConfig::same(3)).unwrap();
        let norm = BatchNorm2d::new(&mut params.root().sub("norm"), 7, BatchNormConfig::default()).unwrap();
        let mut network = Sequential::new();
        if fused {
            network.push(ConvNormRelu { conv, norm, pool });
        } else {
            network.push(conv);
            network.push(norm);
            network.push(Relu);
            if pool {
                network.push(MaxPool2d { k: 2, stride: 2, padding: 0 });
            }
        }
        let values = |len: usize, name: &str| Init::Normal { std: 1.0 }.values(len, 2, name);
        let key = TrainKey { seed: 0, epoch: 0, first_position: 0 };
        let mut ctx = Ctx::train(path, &Device::Cpu, key).with_precision(precision);
        let x = ctx.input_with_grad(values(DIMS.len(), "x"), DIMS).unwrap();
        let y = network.forward(x, &mut ctx).unwrap();
        let mut out = vec![("y".to_owned(), y.to_vec().unwrap())];
        let grads = ctx.backward(&y, values(y.dims().len(), "dy")).unwrap();
        out.push(("dx".into(), grads.input().unwrap().to_vec()));
        for (name, grad) in grads.iter().filter(|(name, _)| *name != "conv.bias") {
            out.push((name.to_owned(), grad.flatten_all().unwrap().to_vec1().unwrap()));
        }
        for (name, tensor) in params.to_tensors().unwrap() {
            out.push((format!("after {name}"), tensor.data));
        }
        let mut ctx = Ctx::eval(path, &Device::Cpu).with_precision(precision);
        let x = ctx.input(values(DIMS.len(), "x"), DIMS).unwrap();
        out.push(("inference".into(), network.forward(x, &mut ctx).unwrap().to_vec().unwrap()));
        out
    }

    fn compare(a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)], tolerance: f32) {
        assert_eq!(a.len(), b.len());
        for ((name, a), (other, b)) in a.iter().zip(b) {
            let norm = b.iter().map(|b| b * b).sum::<f32>().sqrt() + 1e-6;
            let error = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
            assert!(
                name == other && a.len() == b.len() && error <= tolerance * norm,
                "{name}: {}",
                error / norm
            );
        }
    }

    #[test]
    fn the_block_is_its_layers() {
        for pool in [false, true] {
            let separate = run(false, pool, Path::Kernels, Precision::F32);
            compare(&run(true, pool, Path::Kernels, Precision::F32), &separate, 2e-5);
            compare(&run(true, pool, Path::Candle, Precision::F32), &separate, 2e-5);
            compare(&run(true, pool, Path::Kernels, Precision::Bf16), &separate, 0.03);
        }
    }
}
