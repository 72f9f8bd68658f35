//! The dense layer.

use candle_nn::Module as _;
use tallow_kernels as kernels;

use super::Layer;
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::graph::{Constant, Op};
use crate::init::Init;
use crate::map::Buffer;
use crate::params::{Param, Scope};

/// A dense layer: `y = x * weight^T + bias`.
///
/// # Shapes
/// (n, f_in) to (n, f_out).
///
/// # Parameters
/// `weight` (f_out, f_in) and `bias` (f_out), f32, initialised as PyTorch does.
pub struct Linear {
    weight: Param,
    bias: Option<Param>,
}

impl Linear {
    /// Declares a dense layer in `scope`.
    ///
    /// # Errors
    /// If a size is 0, or the name is taken.
    pub fn new(scope: &mut Scope<'_>, f_in: usize, f_out: usize, bias: bool) -> Result<Self> {
        Self::with_init(scope, f_in, f_out, bias, Init::torch_default(f_in))
    }

    /// Like [`new`](Self::new), with other initial values for weight and bias.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_init(
        scope: &mut Scope<'_>,
        f_in: usize,
        f_out: usize,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        if f_in == 0 || f_out == 0 {
            return Err(NnError::shape(scope.name(), format!("a size of 0: {f_in} to {f_out} features")));
        }
        let weight = scope.param("weight", &[f_out, f_in], init)?;
        let bias = if bias { Some(scope.param("bias", &[f_out], init)?) } else { None };
        Ok(Self { weight, bias })
    }

    fn forward_kernels(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (n, f_in, f_out, x_needs_grad) = (x.dims().n, x.dims().c, self.weight.shape()[0], x.needs_grad());
        let x = x.as_host(self.weight.name())?;
        let mut y = vec![0.0; n * f_out];
        let mut run = |bias: Option<&[f32]>| {
            self.weight.read(|weight| kernels::linear_forward(n, f_in, f_out, &x, weight, bias, &mut y))
        };
        match &self.bias {
            Some(bias) => bias.read(|b| run(Some(b)))??,
            None => run(None)?,
        }
        let learns = !self.weight.is_frozen() || self.bias.as_ref().is_some_and(|bias| !bias.is_frozen());
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        ctx.push(move |dy, grads| {
            grads
                .add_for(&weight, |dweight| kernels::linear_weight_grad(n, f_in, f_out, &x, &dy, dweight))?;
            if let Some(bias) = &bias {
                grads.add_for(bias, |dbias| kernels::channel_sums(&dy, f_out, dbias))?;
            }
            if !x_needs_grad {
                return Ok(None);
            }
            let mut dx = Buffer::<f32>::dirty(n * f_in);
            weight.read(|weight| kernels::linear_input_grad(n, f_in, f_out, &dy, weight, &mut dx))?;
            Ok(Some(dx))
        });
        Ok(Act::host(Dims { n, c: f_out, h: 1, w: 1 }, y, x_needs_grad || learns))
    }

    fn forward_candle(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let dims = Dims { n: x.dims().n, c: self.weight.shape()[0], h: 1, w: 1 };
        let x = x.as_candle(self.weight.name())?.reshape((dims.n, x.dims().c))?;
        let weight = ctx.weight(&self.weight).to_dtype(x.dtype())?;
        let bias = self.bias.as_ref().map(|bias| ctx.weight(bias).to_dtype(x.dtype())).transpose()?;
        let y = candle_nn::Linear::new(weight, bias).forward(&x)?;
        Ok(Act::candle(dims, y.reshape((dims.n, dims.c, 1, 1))?))
    }

    fn record(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let x = ctx.flat(x)?;
        let weight = Constant::learned(&self.weight)?;
        let bias = self.bias.as_ref().map(Constant::learned).transpose()?;
        let f_out = weight.shape[0];
        ctx.node(Op::Linear { weight, bias }, &[&x], vec![f_out])
    }
}

impl Layer for Linear {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let (dims, f_in) = (x.dims(), self.weight.shape()[1]);
        if dims.c != f_in || dims.h * dims.w != 1 {
            return Err(NnError::shape(self.weight.name(), format!("expected {f_in} features, got {dims}")));
        }
        match ctx.backend() {
            Backend::Kernels => self.forward_kernels(&x, ctx),
            Backend::Candle => self.forward_candle(&x, ctx),
            Backend::Graph => self.record(&x, ctx),
        }
    }
}
