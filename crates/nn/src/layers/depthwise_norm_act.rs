//! The fused block of mobile networks: depthwise convolution, batch norm, and an activation.
//!
//! As in `conv_norm_act.rs`, the convolution's loop also computes batch norm's statistics in training. In inference, the norm is
//! folded into the weights, and the activation is applied before sums are written.

use std::sync::Arc;

use tallow_kernels as kernels;
use tallow_kernels::{After, DepthwiseShape, FoldedDepthwise, NormActShape, Padding};

use super::conv::sides;
use super::norm_act::{Kept, Learned, dims_after, follow, forward};
use super::{BatchNorm2d, Layer, LearnableAffine, in_precision};
use crate::act::{Act, Dims};
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::folded::Slot;
use crate::gradients::Gradients;
use crate::graph::{Constant, Op};
use crate::init::Init;
use crate::map::{Buffer, HostMap, MapElement};
use crate::params::{Param, Scope};

/// The settings of a depthwise convolution, without its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthwiseConfig {
    /// Rows and columns of the kernel.
    pub k: usize,
    /// Step of the kernel in both directions.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: Padding,
}

impl DepthwiseConfig {
    /// Returns the shape of the convolution of `x` with `weight`. Fails if they do not fit.
    pub(super) fn shape(self, x: Dims, weight: &Param) -> Result<DepthwiseShape> {
        let (Self { k, stride, padding }, c) = (self, weight.shape()[0]);
        if x.c != c {
            return Err(NnError::shape(weight.name(), format!("expected {c} channels, got {x}")));
        }
        let shape = DepthwiseShape { n: x.n, h: x.h, w: x.w, c, k, stride, padding };
        match shape.h_out() * shape.w_out() {
            0 => Err(NnError::shape(weight.name(), format!("a {k} x {k} kernel does not fit into {x}"))),
            _ => Ok(shape),
        }
    }

    /// Records the convolution of `x`.
    pub(super) fn record(
        self,
        x: &Act,
        weight: &Param,
        bias: Option<Constant>,
        ctx: &mut Ctx,
    ) -> Result<Act> {
        let shape = self.shape(x.dims(), weight)?;
        let (Self { k, stride, padding }, [h, w]) = (self, [shape.h, shape.w]);
        let weight = Constant::learned(weight)?;
        let padding = sides(padding, [h, w], [k, k], stride);
        let conv = Op::Conv2d { weight, bias, stride, padding, groups: shape.c };
        ctx.node(conv, &[x], vec![shape.c, shape.h_out(), shape.w_out()])
    }
}

/// Depthwise convolution without bias, batch norm, and an activation. Each channel has its own kernel, as in
/// `torch.nn.Conv2d(c, c, k, groups=c)`.
///
/// # Parameters
/// `weight` (c, 1, k, k) in the scope of the convolution, f32, initially normal with the standard deviation `sqrt(2 / k^2)`.
///
/// # Source
/// Howard et al. 2017, <https://arxiv.org/abs/1704.04861>
pub struct DepthwiseNormAct {
    config: DepthwiseConfig,
    weight: Param,
    norm: BatchNorm2d,
    after: After,
    affine: Option<LearnableAffine>,
    folded: Slot<FoldedDepthwise>,
}

/// The data that a training pass keeps for its backward pass.
struct Undo<E: MapElement> {
    shape: DepthwiseShape,
    x: Arc<Buffer<E>>,
    x_needs_grad: bool,
    kept: Kept<E>,
    weight: Param,
}

impl DepthwiseNormAct {
    /// Declares the convolution of `c` channels in `scope`; `norm` must have `c` channels too.
    ///
    /// # Errors
    /// If a size or the stride is 0, `after` pools, or the name is taken.
    pub fn new(
        scope: &mut Scope<'_>,
        c: usize,
        config: DepthwiseConfig,
        norm: BatchNorm2d,
        after: After,
    ) -> Result<Self> {
        let DepthwiseConfig { k, stride, .. } = config;
        if [c, k, stride].contains(&0) || after == After::ReluPool {
            return Err(NnError::shape(scope.name(), format!("{c} channels, {config:?}, then {after:?}")));
        }
        let weight = scope.param("weight", &[c, 1, k, k], Init::he_normal(k * k))?;
        Ok(Self { config, weight, norm, after, affine: None, folded: Slot::default() })
    }

    /// Appends `affine` after the ReLU.
    ///
    /// # Errors
    /// If the activation is not ReLU.
    pub fn with_affine(self, affine: LearnableAffine) -> Result<Self> {
        match self.after {
            After::Relu => Ok(Self { affine: Some(affine), ..self }),
            after => Err(NnError::shape(affine.name(), format!("an affine map of {after:?}, expected Relu"))),
        }
    }

    fn shapes(&self, x: Dims) -> Result<(DepthwiseShape, NormActShape)> {
        let shape = self.config.shape(x, &self.weight)?;
        let (h, w) = (shape.h_out(), shape.w_out());
        Ok((shape, NormActShape { n: x.n, h, w, c: x.c, after: self.after }))
    }

    pub(super) fn learns(&self) -> bool {
        let affine_learns = self.affine.as_ref().is_some_and(LearnableAffine::learns);
        !self.weight.is_frozen() || self.norm.learns() || affine_learns
    }

    fn train<E: MapElement>(&self, x: &Act, ctx: &Ctx) -> Result<(Act, Undo<E>)> {
        let (shape, out) = self.shapes(x.dims())?;
        let (x_needs_grad, x) = (x.needs_grad(), x.as_map::<E>(self.weight.name())?);
        let mut y = Buffer::<E>::dirty(shape.y_len());
        let statistics = if self.norm.takes_batch(ctx) {
            let moments =
                self.weight.read(|w| kernels::depthwise_forward_with_moments(&shape, &x, w, None, &mut y))?;
            self.norm.take_moments(&moments)?
        } else {
            self.weight.read(|w| kernels::depthwise_forward(&shape, &x, w, None, &mut y))?;
            self.norm.running()?
        };
        let learned = Learned { norm: self.norm.params(), affine: self.affine.clone() };
        let (a, kept) = forward(learned, out, Arc::new(y), statistics, None)?;
        let undo = Undo { shape, x, x_needs_grad, kept, weight: self.weight.clone() };
        Ok((Act::host(dims_after(&out), a, true), undo))
    }

    /// Returns the convolution with batch norm's running statistics and the affine map folded into the weights. The result is
    /// cached until a parameter changes.
    pub(super) fn folded(&self) -> Result<Arc<FoldedDepthwise>> {
        self.folded.get_or_make(self.weight.generation(), || {
            let (scale, shift) = self.norm.params().scale_and_shift(&self.norm.running()?)?;
            let affine = self.affine.as_ref().map(LearnableAffine::read).transpose()?;
            self.weight.read(|weight| {
                let Some(affine) = affine else {
                    return FoldedDepthwise::new(self.config.k, weight, &scale, shift);
                };
                let (scale, shift) = affine.folded(&scale, &shift);
                FoldedDepthwise::new(self.config.k, weight, &scale, shift).with_limits(affine.limits())
            })
        })
    }

    pub(super) fn shape(&self, x: Dims) -> Result<DepthwiseShape> {
        Ok(self.shapes(x)?.0)
    }

    /// Returns the size of the output for a map of size `x`.
    pub(super) fn dims_of(&self, x: Dims) -> Result<Dims> {
        Ok(dims_after(&self.shapes(x)?.1))
    }

    pub(super) fn after(&self) -> After {
        self.after
    }

    pub(super) fn infer<E: MapElement>(&self, x: &Act) -> Result<Act> {
        let (shape, out) = self.shapes(x.dims())?;
        let x = x.as_map::<E>(self.weight.name())?;
        let folded = self.folded()?;
        let mut a = Buffer::<E>::dirty(out.a_len());
        folded.forward(&shape, &x, self.after, &mut a);
        Ok(Act::host(dims_after(&out), a, false))
    }

    fn forward_candle(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let (shape, out) = self.shapes(x.dims())?;
        let weight = ctx.weight(&self.weight);
        let y = candle_ops::depthwise_conv2d(x.as_candle(self.weight.name())?, &weight, &shape)?;
        let y = self.norm.forward(Act::candle(dims_after(&out), y), ctx)?;
        let a = follow(self.after, y, ctx)?;
        match &self.affine {
            Some(affine) => affine.forward_candle(&a, ctx),
            None => Ok(a),
        }
    }
}

impl DepthwiseNormAct {
    fn record(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let y = self.config.record(x, &self.weight, None, ctx)?;
        let y = self.norm.forward(y, ctx)?;
        let a = follow(self.after, y, ctx)?;
        match &self.affine {
            Some(affine) => affine.record(&a, ctx),
            None => Ok(a),
        }
    }
}

impl<E: MapElement> Undo<E> {
    /// Computes the gradient of the input; `None` if not needed.
    fn run(self, da: &HostMap, grads: &mut Gradients) -> Result<Option<HostMap>> {
        let Self { shape, x, x_needs_grad, kept, weight } = self;
        let dy = kept.backward(&E::of(da), grads)?.dy;
        grads.add_for(&weight, |dweight| kernels::depthwise_weight_grad(&shape, &x, &dy, dweight))?;
        if !x_needs_grad {
            return Ok(None);
        }
        let mut dx = Buffer::<E>::dirty(shape.x_len());
        weight.read(|weight| kernels::depthwise_input_grad(&shape, &dy, weight, &mut dx))?;
        Ok(Some(dx.into()))
    }
}

impl Layer for DepthwiseNormAct {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        match ctx.backend() {
            Backend::Kernels => {}
            Backend::Candle => return self.forward_candle(x, ctx),
            Backend::Graph => return self.record(&x, ctx),
        }
        let needs_grad = x.needs_grad() || self.learns();
        in_precision!(ctx, E => {
            if !ctx.is_training() || !needs_grad {
                return self.infer::<E>(&x);
            }
            let (a, undo) = self.train::<E>(&x, ctx)?;
            ctx.push_map(move |da, grads| undo.run(&da, grads));
            Ok(a)
        })
    }
}
