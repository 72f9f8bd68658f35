//! The fused block of convolutional networks: convolution, then batch norm (or a learned scale, or nothing), then activation and
//! pooling.
//!
//! It gives the result of the separate layers with half of the passes over memory. In training, the convolution's loop also
//! computes batch norm's statistics. Norm, residual, activation and pooling are one pass forward and two passes backward. In
//! inference, batch norm is folded into the weights, and the rest is computed in the convolution's loop.

use std::sync::Arc;

use tallow_kernels as kernels;
use tallow_kernels::{After, ConvShape, FoldedConv, FoldedEpilogue, NormActShape};

use super::norm::Norm;
use super::norm_act::{Kept, Learned, dims_after, follow, forward};
use super::residual::add_acts;
use super::{BatchNorm2d, Conv2d, Layer, LearnableAffine, in_precision};
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::folded::FoldedCache;
use crate::gradients::Gradients;
use crate::layers::conv::ConvParams;
use crate::map::{Buffer, HostMap, MapElement};
use crate::params::Param;

/// A convolution; then, per output channel, a batch norm, a learned scale or nothing; then the activation and the pooling of
/// [`After`].
pub struct ConvNormAct {
    conv: Conv2d,
    norm: Norm,
    after: After,
    affine: Option<LearnableAffine>,
    folded: FoldedCache,
}

/// The data that a training pass keeps for its backward pass.
pub(super) struct Undo<E: MapElement> {
    shape: ConvShape,
    x: Arc<Buffer<E>>,
    x_needs_grad: bool,
    kept: Kept<E>,
    conv: ConvParams,
}

impl ConvNormAct {
    /// Returns a block of these parts.
    pub fn new(conv: Conv2d, norm: BatchNorm2d, after: After) -> Self {
        Self { conv, norm: Norm::Batch(norm), after, affine: None, folded: FoldedCache::default() }
    }

    /// Returns a block of a convolution and `after`.
    pub fn without_norm(conv: Conv2d, after: After) -> Self {
        let norm = Norm::Nothing(conv.weight_dims()[0]);
        Self { conv, norm, after, affine: None, folded: FoldedCache::default() }
    }

    /// Returns a block of a convolution, a factor `scale` (c_out) of each output channel, and `after`. Before a residual, the
    /// factor is known as "layer scale".
    ///
    /// # Errors
    /// If the length of `scale` is not the number of output channels.
    ///
    /// # Source
    /// Touvron et al. 2021, <https://arxiv.org/abs/2103.17239>
    pub fn with_scale(conv: Conv2d, scale: Param, after: After) -> Result<Self> {
        let c = conv.weight_dims()[0];
        if *scale.shape() != [c] {
            let problem = format!("a scale of {:?} for {c} channels", scale.shape());
            return Err(NnError::shape(scale.name(), problem));
        }
        Ok(Self { conv, norm: Norm::Scale(scale), after, affine: None, folded: FoldedCache::default() })
    }

    /// Appends `affine` after the ReLU. A residual cannot be added in such a block.
    ///
    /// # Errors
    /// If the activation is not ReLU, or there is pooling.
    pub fn with_affine(self, affine: LearnableAffine) -> Result<Self> {
        match self.after {
            After::Relu => Ok(Self { affine: Some(affine), ..self }),
            after => Err(NnError::shape(affine.name(), format!("an affine map of {after:?}, expected Relu"))),
        }
    }

    /// Whether the separate layers need no more passes over memory in training than the block.
    fn is_its_layers(&self) -> bool {
        let is_bare = matches!(self.norm, Norm::Nothing(_)) && self.affine.is_none();
        is_bare && matches!(self.after, After::Nothing | After::Relu | After::Gelu)
    }

    fn learned(&self) -> Learned {
        Learned { norm: self.norm.params(), affine: self.affine.clone() }
    }

    fn shapes(&self, x: Dims) -> Result<(ConvShape, NormActShape)> {
        let shape = self.conv.shape(x)?;
        let (n, h, w, c) = (shape.n, shape.h_out(), shape.w_out(), shape.c_out);
        Ok((shape, NormActShape { n, h, w, c, after: self.after }))
    }

    /// Runs a training pass. Returns the output, and the data for the backward pass. A residual is added before the activation;
    /// it cannot be combined with pooling or GELU.
    pub(super) fn train<E: MapElement>(
        &self,
        x: &Act,
        residual: Option<&Act>,
        ctx: &Ctx,
    ) -> Result<(Act, Undo<E>)> {
        let needs_grad = self.needs_grad(x, residual);
        let (shape, out) = self.shapes(x.dims())?;
        let (x_needs_grad, x) = (x.needs_grad(), x.as_map::<E>(self.conv.name())?);
        let residual = self.residual_of::<E>(residual, &out)?;
        let mut y = Buffer::<E>::dirty(shape.y_len());
        let statistics = if let Some(norm) = self.norm.of_batch(ctx) {
            let moments = self.conv.with_weights(|weight, bias| {
                kernels::conv2d_forward_with_moments(&shape, &x, weight, bias, &mut y)
            })?;
            norm.take_moments(&moments)?
        } else {
            self.conv
                .with_weights(|weight, bias| kernels::conv2d_forward(&shape, &x, weight, bias, &mut y))?;
            self.norm.constants()?
        };
        let residual = residual.as_ref().map(|residual| &***residual);
        let (a, kept) = forward(self.learned(), out, Arc::new(y), statistics, residual)?;
        let undo = Undo { shape, x, x_needs_grad, kept, conv: self.conv.params() };
        Ok((Act::host(dims_after(&out), a, needs_grad), undo))
    }

    /// Runs an inference pass.
    fn infer<E: MapElement>(&self, x: &Act, residual: Option<&Act>) -> Result<Act> {
        let (shape, out) = self.shapes(x.dims())?;
        let x = x.as_map::<E>(self.conv.name())?;
        let residual = self.residual_of::<E>(residual, &out)?;
        let residual = residual.as_ref().map(|residual| &***residual);
        let folded = self.folded_for::<E>(&shape)?;
        let mut a = Buffer::<E>::dirty(out.a_len());
        folded.forward(&shape, &x, &FoldedEpilogue { residual, after: self.after }, &mut a);
        Ok(Act::host(dims_after(&out), a, false))
    }

    /// Runs an inference pass on the concatenated channels of `maps`, of size `x` in all. Returns `None` unless the block is a
    /// 1x1 convolution with stride 1 and without padding.
    pub(super) fn infer_joined<E: MapElement>(&self, maps: &[Act], x: Dims) -> Result<Option<Act>> {
        let shape = self.conv.shape(x)?;
        let is_pixelwise = [shape.k_h, shape.k_w, shape.stride] == [1; 3];
        if !is_pixelwise || [shape.h_out(), shape.w_out()] != [x.h, x.w] {
            return Ok(None);
        }
        let out = NormActShape { n: x.n, h: x.h, w: x.w, c: shape.c_out, after: self.after };
        let maps = maps.iter().map(|map| Ok((map.as_map::<E>(self.conv.name())?, map.dims().c)));
        let maps = maps.collect::<Result<Vec<_>>>()?;
        let parts: Vec<(&[E], usize)> = maps.iter().map(|(map, width)| (&***map, *width)).collect();
        let folded = self.folded_for::<E>(&shape)?;
        let mut a = Buffer::<E>::dirty(out.a_len());
        folded.forward_joined(&shape, &parts, &FoldedEpilogue { residual: None, after: self.after }, &mut a);
        Ok(Some(Act::host(dims_after(&out), a, false)))
    }

    /// Returns the result of [`fold`](Self::fold) for a map of size `x`, cached until a parameter changes.
    pub(super) fn folded<E: MapElement>(&self, x: Dims) -> Result<Arc<FoldedConv<E>>> {
        self.folded_for(&self.conv.shape(x)?)
    }

    fn folded_for<E: MapElement>(&self, shape: &ConvShape) -> Result<Arc<FoldedConv<E>>> {
        self.folded.get_or_fold(self.conv.generation(), shape, || self.fold::<E>(shape))
    }

    /// Returns the size of the output for a map of size `x`.
    pub(super) fn dims_of(&self, x: Dims) -> Result<Dims> {
        Ok(dims_after(&self.shapes(x)?.1))
    }

    pub(super) fn after(&self) -> After {
        self.after
    }

    pub(super) fn name(&self) -> &str {
        self.conv.name()
    }

    /// Returns the convolution with the norm, its running statistics and the affine map folded into the weights.
    fn fold<E: MapElement>(&self, shape: &ConvShape) -> Result<FoldedConv<E>> {
        let (scale, mut shift) = self.norm.params().scale_and_shift(&self.norm.constants()?)?;
        let affine = self.affine.as_ref().map(LearnableAffine::read).transpose()?;
        self.conv.with_weights(|weight, bias| {
            for (shift, (bias, scale)) in shift.iter_mut().zip(bias.unwrap_or_default().iter().zip(&scale)) {
                *shift += bias * scale;
            }
            let fold = |scale: &[f32], shift| FoldedConv::new(shape, weight, scale, shift);
            let Some(affine) = affine else { return fold(&scale, shift) };
            let (scale, shift) = affine.folded(&scale, &shift);
            fold(&scale, shift).with_limits(affine.limits())
        })
    }

    fn residual_of<E: MapElement>(
        &self,
        residual: Option<&Act>,
        out: &NormActShape,
    ) -> Result<Option<Arc<Buffer<E>>>> {
        let Some(residual) = residual else { return Ok(None) };
        if residual.dims() != dims_after(out) || self.affine.is_some() {
            let problem = format!("branch {}, shortcut {}", dims_after(out), residual.dims());
            return Err(NnError::shape(self.conv.name(), problem));
        }
        residual.as_map::<E>(self.conv.name()).map(Some)
    }

    /// Whether the backward pass needs a gradient of the output.
    pub(super) fn needs_grad(&self, x: &Act, residual: Option<&Act>) -> bool {
        let learns = self.conv.learns()
            || self.norm.learns()
            || self.affine.as_ref().is_some_and(LearnableAffine::learns);
        learns || x.needs_grad() || residual.is_some_and(Act::needs_grad)
    }

    /// Runs the block without a backward closure on the kernel backend (inference, or no part learns), or as separate layers on the
    /// Candle backend.
    pub(super) fn forward_with(&self, x: Act, residual: Option<Act>, ctx: &mut Ctx) -> Result<Act> {
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => self.infer::<E>(&x, residual.as_ref())),
            Backend::Candle | Backend::Graph => {
                let x = self.conv.forward(x, ctx)?;
                let x = self.norm.forward(x, ctx)?;
                let x = match residual {
                    Some(residual) => add_acts(&x, &residual, ctx)?,
                    None => x,
                };
                let x = follow(self.after, x, ctx)?;
                match &self.affine {
                    Some(affine) if ctx.backend() == Backend::Graph => affine.record(&x, ctx),
                    Some(affine) => affine.forward_candle(&x, ctx),
                    None => Ok(x),
                }
            }
        }
    }
}

impl<E: MapElement> Undo<E> {
    /// Computes the gradients of the input (`None` if not needed) and of the residual from the gradient of the output. Without an
    /// activation, the gradient of the residual is that of the output.
    pub(super) fn run(self, da: HostMap, grads: &mut Gradients) -> Result<(Option<HostMap>, HostMap)> {
        let Self { shape, x, x_needs_grad, kept, conv } = self;
        let constant_mean = kept.is_constant();
        let back = kept.backward(&E::of(&da), grads)?;
        let dresidual = back.dresidual.map_or(da, Into::into);
        let dy = back.dy;
        grads.add_for(&conv.weight, |dweight| kernels::conv2d_weight_grad(&shape, &x, &dy, dweight))?;
        if let Some(bias) = &conv.bias {
            // batch norm subtracts the batch's mean, so a bias before it changes nothing: its gradient is 0
            grads.add_for(bias, |dbias| {
                if constant_mean {
                    kernels::channel_sums(&dy, shape.c_out, dbias);
                }
            })?;
        }
        if !x_needs_grad {
            return Ok((None, dresidual));
        }
        let mut dx = Buffer::<E>::dirty(shape.x_len());
        conv.weight.read(|weight| kernels::conv2d_input_grad(&shape, &dy, weight, &mut dx))?;
        Ok((Some(dx.into()), dresidual))
    }
}

impl Layer for ConvNormAct {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        if ctx.backend() != Backend::Kernels || !ctx.is_training() || !self.needs_grad(&x, None) {
            return self.forward_with(x, None, ctx);
        }
        if self.is_its_layers() {
            let y = self.conv.forward(x, ctx)?;
            return follow(self.after, y, ctx);
        }
        in_precision!(ctx, E => {
            let (a, undo) = self.train::<E>(&x, None, ctx)?;
            ctx.push_map(move |da, grads| Ok(undo.run(da, grads)?.0));
            Ok(a)
        })
    }
}

#[cfg(test)]
mod tests;
