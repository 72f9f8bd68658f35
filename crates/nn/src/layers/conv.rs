//! Two-dimensional convolution.

use tallow_kernels as kernels;
use tallow_kernels::{ConvShape, Padding};

use super::{Layer, in_precision};
use crate::act::{Act, Dims};
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::graph::{Constant, Op};
use crate::init::Init;
use crate::map::{Buffer, MapElement};
use crate::params::{Param, Scope};

/// The settings of a [`Conv2d`], without its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Rows of the kernel.
    pub k_h: usize,
    /// Columns of the kernel.
    pub k_w: usize,
    /// Step of the kernel in both directions.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: Padding,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv2dConfig {
    /// Returns a `k` x `k` kernel with stride 1 and bias, padded so that an odd `k` keeps the map's size.
    pub fn same(k: usize) -> Self {
        Self { k_h: k, k_w: k, stride: 1, padding: Padding::Symmetric(k / 2), bias: true }
    }
}

/// Convolution: `y[n, o, i, j] = bias[o] + sum over c, p, q of x[n, c, i*stride + p - zeros before, …] * weight[o, c, p, q]`.
///
/// # Parameters
/// `weight` (c_out, c_in, k_h, k_w) and `bias` (c_out), f32, initialised as PyTorch does.
///
/// # Source
/// <https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html>
pub struct Conv2d {
    config: Conv2dConfig,
    params: ConvParams,
}

/// The learned parameters of a convolution.
#[derive(Clone)]
pub(super) struct ConvParams {
    pub(super) weight: Param,
    pub(super) bias: Option<Param>,
}

impl ConvParams {
    /// Whether the weight or the bias needs a gradient.
    pub(super) fn learns(&self) -> bool {
        !self.weight.is_frozen() || self.bias.as_ref().is_some_and(|bias| !bias.is_frozen())
    }
}

impl Conv2d {
    /// Declares a convolution in `scope`.
    ///
    /// # Errors
    /// If the stride or a size is 0, or the name is taken.
    pub fn new(scope: &mut Scope<'_>, c_in: usize, c_out: usize, config: Conv2dConfig) -> Result<Self> {
        let init = Init::torch_default(c_in.saturating_mul(config.k_h).saturating_mul(config.k_w));
        Self::declare(scope, &[c_out, c_in, config.k_h, config.k_w], config, [init, init])
    }

    /// Like [`new`](Self::new), with other initial values for the weight, and an initial bias of 0.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_init(
        scope: &mut Scope<'_>,
        c_in: usize,
        c_out: usize,
        config: Conv2dConfig,
        init: Init,
    ) -> Result<Self> {
        let shape = [c_out, c_in, config.k_h, config.k_w];
        Self::declare(scope, &shape, config, [init, Init::Constant(0.0)])
    }

    /// Returns a 1x1 convolution with bias: a dense layer on the channels of each pixel, with a dense layer's weight of shape
    /// (c_out, c_in). Otherwise like [`with_init`](Self::with_init).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn dense(scope: &mut Scope<'_>, c_in: usize, c_out: usize, init: Init) -> Result<Self> {
        Self::declare(scope, &[c_out, c_in], Conv2dConfig::same(1), [init, Init::Constant(0.0)])
    }

    /// Declares the convolution with these initial values of weight and bias.
    fn declare(
        scope: &mut Scope<'_>,
        weight_shape: &[usize],
        config: Conv2dConfig,
        [of_weight, of_bias]: [Init; 2],
    ) -> Result<Self> {
        let (c_out, c_in) = (weight_shape[0], weight_shape[1]);
        let Conv2dConfig { k_h, k_w, stride, .. } = config;
        if [c_in, c_out, k_h, k_w, stride].contains(&0) {
            return Err(NnError::shape(
                scope.name(),
                format!("a size of 0: {c_in} to {c_out} channels, {config:?}"),
            ));
        }
        let weight = scope.param("weight", weight_shape, of_weight)?;
        let bias = if config.bias { Some(scope.param("bias", &[c_out], of_bias)?) } else { None };
        Ok(Self { config, params: ConvParams { weight, bias } })
    }

    /// Returns the name of the weight, for error messages.
    pub(super) fn name(&self) -> &str {
        self.params.weight.name()
    }

    pub(super) fn learns(&self) -> bool {
        self.params.learns()
    }

    pub(super) fn params(&self) -> ConvParams {
        self.params.clone()
    }

    /// Returns (c_out, c_in, k_h, k_w).
    pub(super) fn weight_dims(&self) -> [usize; 4] {
        let shape = self.params.weight.shape();
        [shape[0], shape[1], self.config.k_h, self.config.k_w]
    }

    /// Returns the counter of changes of the network's parameters.
    pub(super) fn generation(&self) -> u64 {
        self.params.weight.generation()
    }

    /// Calls `run` with the weight and the bias.
    pub(super) fn with_weights<T>(&self, run: impl FnOnce(&[f32], Option<&[f32]>) -> T) -> Result<T> {
        let ConvParams { weight, bias } = &self.params;
        match bias {
            Some(bias) => bias.read(|bias| weight.read(|weight| run(weight, Some(bias))))?,
            None => weight.read(|weight| run(weight, None)),
        }
    }

    pub(super) fn shape(&self, x: Dims) -> Result<ConvShape> {
        let Conv2dConfig { k_h, k_w, stride, padding, .. } = self.config;
        let (c_out, c_in) = (self.params.weight.shape()[0], self.params.weight.shape()[1]);
        if x.c != c_in {
            return Err(NnError::shape(self.name(), format!("expected {c_in} channels, got {x}")));
        }
        let shape = ConvShape { n: x.n, h: x.h, w: x.w, c_in, c_out, k_h, k_w, stride, padding };
        if shape.h_out() * shape.w_out() == 0 {
            return Err(NnError::shape(self.name(), format!("a {k_h} x {k_w} kernel does not fit into {x}")));
        }
        Ok(shape)
    }

    fn forward_kernels<E: MapElement>(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (shape, x_needs_grad) = (self.shape(x.dims())?, x.needs_grad());
        let x = x.as_map::<E>(self.name())?;
        let mut y = Buffer::<E>::dirty(shape.y_len());
        self.with_weights(|weight, bias| kernels::conv2d_forward(&shape, &x, weight, bias, &mut y))?;
        let needs_grad = x_needs_grad || self.params.learns();
        let ConvParams { weight, bias } = self.params();
        ctx.push_map(move |dy, grads| {
            let dy = E::of(&dy);
            grads.add_for(&weight, |dweight| kernels::conv2d_weight_grad(&shape, &x, &dy, dweight))?;
            if let Some(bias) = &bias {
                grads.add_for(bias, |dbias| kernels::channel_sums(&dy, shape.c_out, dbias))?;
            }
            if !x_needs_grad {
                return Ok(None);
            }
            let mut dx = Buffer::<E>::dirty(shape.x_len());
            weight.read(|weight| kernels::conv2d_input_grad(&shape, &dy, weight, &mut dx))?;
            Ok(Some(dx.into()))
        });
        Ok(Act::host(dims_out(&shape), y, needs_grad))
    }

    fn forward_candle(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let shape = self.shape(x.dims())?;
        let weight = ctx.weight(&self.params.weight).reshape(self.weight_dims().as_slice())?;
        let mut y = candle_ops::conv2d(x.as_candle(self.name())?, &weight, &shape)?;
        if let Some(bias) = &self.params.bias {
            let bias = ctx.weight(bias).to_dtype(y.dtype())?.reshape((1, shape.c_out, 1, 1))?;
            y = y.broadcast_add(&bias)?;
        }
        Ok(Act::candle(dims_out(&shape), y))
    }

    fn record(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let shape = self.shape(x.dims())?;
        let conv = Op::Conv2d {
            weight: Constant::learned(&self.params.weight)?.reshaped(&self.weight_dims()),
            bias: self.params.bias.as_ref().map(Constant::learned).transpose()?,
            stride: shape.stride,
            padding: sides(shape.padding, [shape.h, shape.w], [shape.k_h, shape.k_w], shape.stride),
            groups: 1,
        };
        let x = ctx.as_map(x)?;
        ctx.node(conv, &[&x], vec![shape.c_out, shape.h_out(), shape.w_out()])
    }
}

/// Rows of zeros above, columns to the left, rows below, columns to the right of a map that a convolution reads.
pub(super) fn sides(padding: Padding, map: [usize; 2], k: [usize; 2], stride: usize) -> [usize; 4] {
    let [[top, bottom], [left, right]] = [0, 1].map(|axis| padding.sides(map[axis], k[axis], stride));
    [top, left, bottom, right]
}

fn dims_out(shape: &ConvShape) -> Dims {
    Dims { n: shape.n, c: shape.c_out, h: shape.h_out(), w: shape.w_out() }
}

impl Layer for Conv2d {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x, ctx)),
            Backend::Candle => self.forward_candle(&x, ctx),
            Backend::Graph => self.record(&x, ctx),
        }
    }
}
