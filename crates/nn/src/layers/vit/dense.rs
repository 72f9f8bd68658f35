//! A dense layer on patches or tokens with its scale, residual and activation, for inference.

use candle_core::Tensor;
use candle_nn::Module as _;
use tallow_kernels::{After, ConvShape, FoldedConv, FoldedEpilogue, Padding};

use crate::act::Act;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::folded::FoldedCache;
use crate::graph::{Constant, Op};
use crate::init::Init;
use crate::map::{Buffer, MapElement};
use crate::params::{Param, Scope};

/// `y = after(scale * (x * weight^T + bias) + residual)`. Scale, residual and `after` are optional.
pub(super) struct Dense {
    weight: Param,
    bias: Param,
    scale: Option<Param>,
    after: After,
    folded: FoldedCache,
}

impl Dense {
    /// Declares `weight` with the sizes `dims`, output channels first, and `bias`.
    pub(super) fn new(scope: &mut Scope<'_>, dims: &[usize], after: After) -> Result<Self> {
        Ok(Self {
            weight: scope.param("weight", dims, Init::Constant(0.0))?,
            bias: scope.param("bias", &dims[..1], Init::Constant(0.0))?,
            scale: None,
            after,
            folded: FoldedCache::default(),
        })
    }

    /// Sets the scale of the output channels.
    pub(super) fn scaled(self, scale: Option<Param>) -> Self {
        Self { scale, ..self }
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        [&self.weight, &self.bias].into_iter().chain(&self.scale)
    }

    pub(super) fn weight(&self) -> &Param {
        &self.weight
    }

    fn c_out(&self) -> usize {
        self.weight.shape()[0]
    }

    /// Applies the layer to the rows of a (rows, c_in) matrix.
    pub(super) fn rows<E: MapElement>(&self, x: &[E], residual: Option<&[E]>) -> Result<Buffer<E>> {
        let (c_in, c_out) = (self.weight.shape()[1], self.c_out());
        // each row is an image of one pixel: within one image, the loop would split a row of pixels by its length
        let shape = ConvShape {
            n: x.len() / c_in,
            h: 1,
            w: 1,
            c_in,
            c_out,
            k_h: 1,
            k_w: 1,
            stride: 1,
            padding: Padding::Symmetric(0),
        };
        self.convolve(&shape, x, residual)
    }

    /// Applies the layer to the windows of a map.
    pub(super) fn convolve<E: MapElement>(
        &self,
        shape: &ConvShape,
        x: &[E],
        residual: Option<&[E]>,
    ) -> Result<Buffer<E>> {
        let folded = self.folded.get_or_fold(self.weight.generation(), shape, || self.fold::<E>(shape))?;
        let mut y = Buffer::<E>::dirty(shape.y_len());
        folded.forward(shape, x, &FoldedEpilogue { residual, after: self.after }, &mut y);
        Ok(y)
    }

    fn fold<E: MapElement>(&self, s: &ConvShape) -> Result<FoldedConv<E>> {
        let scale = match &self.scale {
            Some(scale) => scale.read(<[f32]>::to_vec)?,
            None => vec![1.0; s.c_out],
        };
        let bias =
            self.bias.read(|bias| bias.iter().zip(&scale).map(|(bias, scale)| bias * scale).collect())?;
        self.weight.read(|weight| FoldedConv::new(s, weight, &scale, bias))
    }

    /// Applies the layer to (n, tokens, c_in) on the Candle backend.
    pub(super) fn rows_candle(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let [weight, bias] = [&self.weight, &self.bias].map(|param| param.var().as_detached_tensor());
        let mut y = candle_nn::Linear::new(weight, Some(bias)).forward(x)?;
        if let Some(scale) = &self.scale {
            y = y.broadcast_mul(&scale.var().as_detached_tensor())?;
        }
        if let Some(residual) = residual {
            y = (y + residual)?;
        }
        Ok(if self.after == After::Gelu { y.gelu_erf()? } else { y })
    }

    /// Copies of weight and bias.
    pub(super) fn constants(&self) -> Result<[Constant; 2]> {
        Ok([Constant::learned(&self.weight)?, Constant::learned(&self.bias)?])
    }

    /// Records the same of (n, tokens, c_in).
    pub(super) fn record(&self, x: &Act, residual: Option<&Act>, ctx: &mut Ctx) -> Result<Act> {
        let [weight, bias] = self.constants()?;
        let shape = vec![x.dims().h, self.c_out()];
        let mut y = ctx.node(Op::Linear { weight, bias: Some(bias) }, &[x], shape.clone())?;
        if let Some(scale) = &self.scale {
            y = ctx.map_node(Op::MulConstant(Constant::learned(scale)?), &y)?;
        }
        if let Some(residual) = residual {
            y = ctx.node(Op::Add, &[&y, residual], shape)?;
        }
        if self.after == After::Gelu { ctx.map_node(Op::Gelu, &y) } else { Ok(y) }
    }

    /// Returns the bias as a tensor of the Candle backend.
    pub(super) fn bias_candle(&self) -> Tensor {
        self.bias.var().as_detached_tensor()
    }
}
