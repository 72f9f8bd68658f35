//! Building blocks of convolutional backbones: a convolution with its batch norm, and a branch beside a shortcut. Each backbone
//! chooses shapes and names in its own file.

use std::fmt::Display;

use tallow_nn::{
    After, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, ConvNormAct, Init, Padding, ResidualBlock,
    Scope, Sequential,
};

use crate::error::ModelError;

/// A convolution without bias.
#[derive(Clone, Copy)]
pub(crate) struct Convolution {
    pub(crate) c_in: usize,
    pub(crate) c_out: usize,
    pub(crate) k: usize,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
}

impl Convolution {
    /// Returns a `k` x `k` convolution, padded so that an odd `k` with stride 1 keeps the map's size.
    pub(crate) fn new([c_in, c_out]: [usize; 2], k: usize, stride: usize) -> Self {
        Self { c_in, c_out, k, stride, padding: Padding::Symmetric(k / 2) }
    }
}

/// Declares a convolution and its batch norm under their names in `scope`; `after` is applied to their result.
pub(crate) fn conv_norm<N: Display>(
    scope: &mut Scope<'_>,
    [conv, norm]: [N; 2],
    Convolution { c_in, c_out, k, stride, padding }: Convolution,
    norm_config: BatchNormConfig,
    after: After,
) -> Result<ConvNormAct, ModelError> {
    let config = Conv2dConfig { stride, padding, bias: false, ..Conv2dConfig::same(k) };
    let init = Init::he_normal(c_out * k * k);
    let conv = Conv2d::with_init(&mut scope.sub(conv), c_in, c_out, config, init)?;
    let norm = BatchNorm2d::new(&mut scope.sub(norm), c_out, norm_config)?;
    Ok(ConvNormAct::new(conv, norm, after))
}

/// Appends `branch` and `last` to `layers`, with a shortcut beside them if `has_shortcut`.
pub(crate) fn push_branch(
    layers: &mut Sequential,
    branch: Sequential,
    last: ConvNormAct,
    has_shortcut: bool,
) {
    if has_shortcut {
        layers.push(ResidualBlock::new(branch, last, None));
    } else {
        layers.push(branch);
        layers.push(last);
    }
}
