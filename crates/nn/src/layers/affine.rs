//! One learned scale and one learned bias for all values of a map. Some networks have them after each ReLU.

use tallow_kernels::Affine;

use crate::act::Act;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::gradients::Gradients;
use crate::graph::{Constant, Op};
use crate::init::Init;
use crate::params::{Param, Scope};

/// `y = scale * x + bias`, with one number each. It is part of the block with the ReLU before it.
///
/// # Parameters
/// `scale` (1), initially 1, and `bias` (1), initially 0, both f32.
///
/// # Source
/// PP-HGNetV2's "learnable affine block",
/// <https://github.com/PaddlePaddle/PaddleClas/blob/release/2.5.1/ppcls/arch/backbone/legendary_models/pp_hgnet_v2.py>
#[derive(Clone)]
pub struct LearnableAffine {
    scale: Param,
    bias: Param,
}

impl LearnableAffine {
    /// Declares scale and bias in `scope`.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn new(scope: &mut Scope<'_>) -> Result<Self> {
        let scale = scope.param("scale", &[1], Init::Constant(1.0))?;
        Ok(Self { scale, bias: scope.param("bias", &[1], Init::Constant(0.0))? })
    }

    /// Returns the name of the scale, for error messages.
    pub(super) fn name(&self) -> &str {
        self.scale.name()
    }

    pub(super) fn learns(&self) -> bool {
        !(self.scale.is_frozen() && self.bias.is_frozen())
    }

    /// Returns the two numbers.
    pub(super) fn read(&self) -> Result<Affine> {
        Ok(Affine { gain: self.scale.read(|scale| scale[0])?, offset: self.bias.read(|bias| bias[0])? })
    }

    pub(super) fn add_gradients(&self, [dscale, dbias]: [f32; 2], grads: &mut Gradients) -> Result<()> {
        grads.add_for(&self.scale, |grad| grad[0] = dscale)?;
        grads.add_for(&self.bias, |grad| grad[0] = dbias)
    }

    pub(super) fn record(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let x = ctx.map_node(Op::MulConstant(Constant::learned(&self.scale)?), x)?;
        ctx.map_node(Op::AddConstant(Constant::learned(&self.bias)?), &x)
    }

    pub(super) fn forward_candle(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let tensor = x.as_candle(self.name())?;
        let [scale, bias] = [&self.scale, &self.bias].map(|param| ctx.weight(param));
        let [scale, bias] = [scale, bias].map(|t| t.to_dtype(tensor.dtype())?.reshape((1, 1, 1, 1)));
        Ok(Act::candle(x.dims(), tensor.broadcast_mul(&scale?)?.broadcast_add(&bias?)?))
    }
}
