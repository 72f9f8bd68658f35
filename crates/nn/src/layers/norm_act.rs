//! Batch norm, activation and pooling as one fused block, with half of the separate layers' passes over memory.

use std::sync::Arc;

use candle_core::Tensor;
use tallow_kernels as kernels;
use tallow_kernels::{After, Moments, NormActShape, NormState};

use super::{BatchNorm2d, Gelu, Layer, LearnableAffine, MaxPool2d, Relu, in_precision};
use crate::act::{Act, Dims};
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::graph::Op;
use crate::layers::batch_norm::NormParams;
use crate::map::{Buffer, MapElement};

/// Batch norm, then the activation and the 2x2 max pooling of [`After`].
pub struct NormAct {
    /// The batch norm.
    pub norm: BatchNorm2d,
    /// The activation, with or without pooling.
    pub after: After,
}

/// Mean and `1 / sqrt(var + eps)` per channel: those of the batch, or the running ones.
pub(super) struct Statistics {
    pub(super) mean: Vec<f32>,
    pub(super) inv_std: Vec<f32>,
    /// Whether they are constants.
    pub(super) frozen: bool,
}

/// The learned parameters of the pass: those of the norm, and of the affine map after a ReLU.
#[derive(Clone)]
pub(super) struct Learned {
    pub(super) norm: NormParams,
    pub(super) affine: Option<LearnableAffine>,
}

/// The data that the forward pass keeps for the backward pass.
pub(super) struct Kept<E: MapElement> {
    shape: NormActShape,
    learned: Learned,
    y: Arc<Buffer<E>>,
    /// The output, if a residual is added before a ReLU.
    a: Option<Arc<Buffer<E>>>,
    winners: Buffer<u8>,
    statistics: Statistics,
}

/// The gradients from the backward pass, for the layers before.
pub(super) struct Back<E: MapElement> {
    pub(super) dy: Buffer<E>,
    /// Gradient of the residual, if a ReLU follows the sum. `None`: it is the gradient of the output.
    pub(super) dresidual: Option<Buffer<E>>,
}

/// Runs the forward pass from `y` (n, h, w, c), the convolution's output. There is no residual with an affine map.
pub(super) fn forward<E: MapElement>(
    learned: Learned,
    shape: NormActShape,
    y: Arc<Buffer<E>>,
    statistics: Statistics,
    residual: Option<&[E]>,
) -> Result<(Arc<Buffer<E>>, Kept<E>)> {
    let (scale, shift) = learned.norm.scale_and_shift(&statistics)?;
    let mut a = Buffer::<E>::dirty(shape.a_len());
    let mut winners = Buffer::dirty(shape.winners_len());
    match &learned.affine {
        Some(affine) => kernels::norm_affine(&shape, &y, &scale, &shift, affine.read()?, &mut a),
        None => kernels::norm_act(&shape, &y, &scale, &shift, residual, &mut a, &mut winners),
    }
    let a = Arc::new(a);
    let masked = (residual.is_some() && shape.after == After::Relu).then(|| Arc::clone(&a));
    Ok((a, Kept { shape, learned, y, a: masked, winners, statistics }))
}

impl<E: MapElement> Kept<E> {
    /// Whether mean and standard deviation were constants.
    pub(super) fn is_constant(&self) -> bool {
        self.statistics.frozen
    }

    pub(super) fn backward(self, da: &[E], grads: &mut Gradients) -> Result<Back<E>> {
        let Self { shape, learned, y, a, winners, statistics } = self;
        let [gamma, beta] = learned.norm.read(shape.c)?;
        let Statistics { mean, inv_std, frozen } = &statistics;
        let norm = NormState { gamma: &gamma, beta: &beta, mean, inv_std, frozen: *frozen };
        let mut dy = Buffer::<E>::dirty(shape.y_len());
        let mut dresidual = a.as_ref().map(|_| Buffer::<E>::dirty(shape.y_len()));
        let (mut dgamma, mut dbeta) = (vec![0.0; shape.c], vec![0.0; shape.c]);
        if let Some(affine) = &learned.affine {
            let map = affine.read()?;
            let daffine =
                kernels::norm_affine_backward(&shape, &y, &norm, map, da, &mut dy, &mut dgamma, &mut dbeta);
            affine.add_gradients(daffine, grads)?;
        } else {
            let saved = kernels::Saved { y: &y, a: a.as_deref().map(|a| &**a), winners: &winners, norm };
            let into = dresidual.as_deref_mut().unwrap_or_default();
            kernels::norm_act_backward(&shape, &saved, da, &mut dy, into, &mut dgamma, &mut dbeta);
        }
        learned.norm.add_gradients(&dgamma, &dbeta, grads)?;
        Ok(Back { dy, dresidual })
    }
}

/// Returns the size of the output for `shape`.
pub(super) fn dims_after(shape: &NormActShape) -> Dims {
    let NormActShape { n, h, w, c, after } = *shape;
    match after {
        After::ReluPool => Dims { n, c, h: h / 2, w: w / 2 },
        _ => Dims { n, c, h, w },
    }
}

/// Applies activation and pooling as separate layers. Relu6, SiLU and hard swish only have a version for the Candle backend.
pub(super) fn follow(after: After, x: Act, ctx: &mut Ctx) -> Result<Act> {
    match after {
        After::Nothing => Ok(x),
        After::Relu => Relu.forward(x, ctx),
        After::Gelu => Gelu.forward(x, ctx),
        After::ReluPool => {
            let x = Relu.forward(x, ctx)?;
            MaxPool2d { k: 2, stride: 2, padding: 0 }.forward(x, ctx)
        }
        After::Relu6 if ctx.backend() == Backend::Graph => ctx.map_node(Op::Relu6, &x),
        After::Silu if ctx.backend() == Backend::Graph => ctx.map_node(Op::Silu, &x),
        After::HardSwish if ctx.backend() == Backend::Graph => ctx.map_node(Op::HardSwish, &x),
        After::Relu6 => by_candle(x, |z| candle_ops::relu(&z)? - candle_ops::relu(&(z - 6.0)?)?),
        After::Silu => by_candle(x, |z| z.silu()),
        After::HardSwish => by_candle(x, |z| {
            let gate = (candle_ops::relu(&(&z + 3.0)?)? - candle_ops::relu(&(&z - 3.0)?)?)?;
            (z * gate)? / 6.0
        }),
    }
}

/// Applies an activation by Candle's operators.
fn by_candle(x: Act, apply: impl FnOnce(Tensor) -> candle_core::Result<Tensor>) -> Result<Act> {
    Ok(Act::candle(x.dims(), apply(x.as_candle("norm_act")?.clone())?))
}

impl NormAct {
    fn forward_kernels<E: MapElement>(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (Dims { n, c, h, w }, x_needs_grad) = (x.dims(), x.needs_grad());
        let y = x.as_map::<E>(self.norm.name())?;
        let shape = NormActShape { n, h, w, c, after: self.after };
        let statistics = match self.norm.takes_batch(ctx) {
            true => self.norm.take_moments(&kernels::channel_moments(&y, c))?,
            false => self.norm.running()?,
        };
        let learned = Learned { norm: self.norm.params(), affine: None };
        let (a, kept) = forward(learned, shape, y, statistics, None)?;
        ctx.push_map(move |da, grads| {
            let back = kept.backward(&E::of(&da), grads)?;
            Ok(x_needs_grad.then(|| back.dy.into()))
        });
        Ok(Act::host(dims_after(&shape), a, x_needs_grad || self.norm.learns()))
    }
}

impl Layer for NormAct {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        self.norm.check(&x)?;
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x, ctx)),
            Backend::Candle | Backend::Graph => {
                let x = self.norm.forward(x, ctx)?;
                follow(self.after, x, ctx)
            }
        }
    }
}

impl BatchNorm2d {
    /// Returns the statistics of a batch, from its moments, and updates the running statistics.
    pub(super) fn take_moments(&self, moments: &Moments) -> Result<Statistics> {
        let count = moments.count as f64;
        let mean: Vec<f64> = moments.sums.iter().map(|sum| sum / count).collect();
        let var = |i: usize| (moments.squares[i] / count - mean[i] * mean[i]).max(0.0);
        let var: Vec<f32> = (0..mean.len()).map(|i| var(i) as f32).collect();
        let mean: Vec<f32> = mean.into_iter().map(|m| m as f32).collect();
        self.move_running(&mean, &var, moments.count)?;
        let inv_std = self.inv_std(&var);
        Ok(Statistics { mean, inv_std, frozen: false })
    }
}
