//! Batch norm and what follows it, in one piece: half of the passes over memory of the layers one after another.

use std::sync::Arc;

use candle_core::Tensor;
use tallow_kernels as kernels;
use tallow_kernels::{After, Moments, NormActShape, NormState};

use super::{BatchNorm2d, Gelu, Layer, LearnableAffine, MaxPool2d, Relu, in_precision};
use crate::act::{Act, Dims};
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::device::Path;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::graph::Op;
use crate::layers::batch_norm::NormParams;
use crate::map::{Buffer, MapElement};

/// Batch norm, then an activation, and 2x2 max pooling where [`After`] says so.
pub struct NormAct {
    /// The batch norm.
    pub norm: BatchNorm2d,
    /// What follows it.
    pub after: After,
}

/// Mean and `1 / sqrt(var + eps)` per channel: of the batch, or the running ones.
pub(super) struct Statistics {
    pub(super) mean: Vec<f32>,
    pub(super) inv_std: Vec<f32>,
    /// Whether they are constants.
    pub(super) frozen: bool,
}

/// What there is to learn in the pass: of the norm, and of what follows a ReLU.
#[derive(Clone)]
pub(super) struct Learned {
    pub(super) norm: NormParams,
    pub(super) affine: Option<LearnableAffine>,
}

/// What the forward pass keeps for the backward pass.
pub(super) struct Kept<E: MapElement> {
    shape: NormActShape,
    learned: Learned,
    y: Arc<Buffer<E>>,
    /// The output, where a ReLU follows a residual.
    a: Option<Arc<Buffer<E>>>,
    winners: Buffer<u8>,
    statistics: Statistics,
}

/// The gradients that a backward pass goes on with.
pub(super) struct Back<E: MapElement> {
    pub(super) dy: Buffer<E>,
    /// Of the residual, where a ReLU follows it; without one it is the gradient of the output itself.
    pub(super) dresidual: Option<Buffer<E>>,
}

/// The forward pass from `y` (n, h, w, c), the convolution's output, on. What has an affine map has no residual.
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
    /// Whether mean and deviation were constants.
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

/// The size of what comes out of `shape`.
pub(super) fn dims_after(shape: &NormActShape) -> Dims {
    let NormActShape { n, h, w, c, after } = *shape;
    match after {
        After::ReluPool => Dims { n, c, h: h / 2, w: w / 2 },
        _ => Dims { n, c, h, w },
    }
}

/// What follows a batch norm as layers of their own: for the path that fuses nothing.
pub(super) fn follow(after: After, x: Act, ctx: &mut Ctx) -> Result<Act> {
    match after {
        After::Nothing => Ok(x),
        After::Relu => Relu.forward(x, ctx),
        After::Gelu => Gelu.forward(x, ctx),
        After::ReluPool => {
            let x = Relu.forward(x, ctx)?;
            MaxPool2d { k: 2, stride: 2, padding: 0 }.forward(x, ctx)
        }
        After::Relu6 if ctx.path() == Path::Graph => ctx.map_node(Op::Relu6, &x),
        After::Silu if ctx.path() == Path::Graph => ctx.map_node(Op::Silu, &x),
        After::HardSwish if ctx.path() == Path::Graph => ctx.map_node(Op::HardSwish, &x),
        After::Relu6 => by_candle(x, |z| candle_ops::relu(&z)? - candle_ops::relu(&(z - 6.0)?)?),
        After::Silu => by_candle(x, |z| z.silu()),
        After::HardSwish => by_candle(x, |z| {
            let gate = (candle_ops::relu(&(&z + 3.0)?)? - candle_ops::relu(&(&z - 3.0)?)?)?;
            (z * gate)? / 6.0
        }),
    }
}

/// An activation by Candle's operators.
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
        match ctx.path() {
            Path::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x, ctx)),
            Path::Candle | Path::Graph => {
                let x = self.norm.forward(x, ctx)?;
                follow(self.after, x, ctx)
            }
        }
    }
}

impl BatchNorm2d {
    /// The statistics of a batch, from its moments; the running ones move towards them.
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
