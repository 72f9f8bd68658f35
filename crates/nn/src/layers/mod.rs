//! Layers, one file each. A layer is `forward(x, ctx)`. In training, it stores in `ctx` the data of its backward pass.

mod activation;
mod affine;
mod batch_norm;
mod candle_model;
mod concat;
mod conv;
mod conv_norm_act;
mod depthwise;
mod depthwise_norm_act;
mod dropout;
mod flatten;
mod inverted_residual;
mod layer_norm;
mod linear;
mod norm;
mod norm_act;
mod pool;
mod pooled_stages;
mod residual;
mod scale;
mod vit;
mod zero_pad;

pub use activation::{Gelu, Relu};
pub use affine::LearnableAffine;
pub use batch_norm::{BatchNorm2d, BatchNormConfig};
pub use candle_model::{CandleModel, CandleModule};
pub use concat::{Concat, Takes};
pub use conv::{Conv2d, Conv2dConfig};
pub use conv_norm_act::ConvNormAct;
pub use depthwise::DepthwiseConv2d;
pub use depthwise_norm_act::{DepthwiseConfig, DepthwiseNormAct};
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use inverted_residual::InvertedResidual;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use norm_act::NormAct;
pub use pool::{AvgPool2d, GlobalAvgPool, MaxPool2d};
pub use pooled_stages::PooledStages;
pub use residual::{Residual, ResidualBlock};
pub use scale::Scale;
pub use vit::{PositionResize, TokenFeatures, VisionTransformer, VisionTransformerConfig};
pub use zero_pad::ZeroPad2d;

use crate::act::Act;
use crate::ctx::Ctx;
use crate::error::Result;

/// A function from activations to activations: a layer, a block or a whole network.
pub trait Layer: Send + Sync {
    /// Applies the layer to `x`. In training, stores in `ctx` the data of its backward pass.
    ///
    /// # Errors
    /// If the layer does not accept the size of `x`, or the device fails.
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act>;
}

/// Applies layers in order.
#[derive(Default)]
pub struct Sequential(Vec<Box<dyn Layer>>);

impl Sequential {
    /// Returns a network without layers: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `layer`.
    pub fn push(&mut self, layer: impl Layer + 'static) {
        self.0.push(Box::new(layer));
    }

    /// Returns the number of layers, which is also the next layer's name in torchvision's numbering.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Layer for Sequential {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        self.0.iter().try_fold(x, |x, layer| layer.forward(x, ctx))
    }
}

/// Runs a part of the kernel backend with `$E` as the type of the context's precision.
macro_rules! in_precision {
    ($ctx:expr, $E:ident => $body:expr) => {
        match $ctx.precision() {
            $crate::map::Precision::F32 => {
                type $E = f32;
                $body
            }
            $crate::map::Precision::Bf16 => {
                type $E = half::bf16;
                $body
            }
        }
    };
}

use in_precision;
