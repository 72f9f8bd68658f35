//! MobileNetV4's convolutional networks with timm's names and shapes, designed for the processors of phones.
//!
//! Source: Qin et al. 2024, <https://arxiv.org/abs/2404.10518>. Its block, the universal inverted bottleneck, has more channels
//! inside. It has a depthwise convolution before the expansion, after the expansion, both or neither.

use tallow_nn::{
    After, BatchNorm2d, BatchNormConfig, DepthwiseConfig, DepthwiseNormAct, GlobalAvgPool, InvertedResidual,
    Model, Padding, ParamStore, PooledStages, Scope, Sequential,
};

use crate::architecture::{Architecture, parse};
use crate::backbone::Backbone;
use crate::conv_norm::{Convolution, conv_norm, push_branch};
use crate::error::ModelError;
use crate::timm::{Map, TimmConfig, architecture};
use crate::weights::PretrainedInput;

/// timm's name of the classifier.
const CLASSIFIER: &str = "classifier";
/// Channels of the convolution after the stages.
const N_FEATURES: usize = 1280;
/// Batch norm with PyTorch's defaults.
const NORM: BatchNormConfig = BatchNormConfig::new(1e-5, 0.1);
/// Channels of the first convolution.
const N_STEM: usize = 32;

/// One block of a stage.
enum Block {
    /// A convolution with ReLU.
    Conv { k: usize, stride: usize, c_out: usize },
    /// A 3x3 convolution to `width` channels with ReLU, and a 1x1 convolution.
    Fused { stride: usize, width: usize, c_out: usize },
    /// The universal inverted bottleneck. `start` and `mid` are the sizes of its depthwise kernels; 0: no such convolution.
    Bottleneck { start: usize, mid: usize, stride: usize, width: usize, c_out: usize },
}

const fn conv(k: usize, stride: usize, c_out: usize) -> Block {
    Block::Conv { k, stride, c_out }
}

const fn fused(stride: usize, width: usize, c_out: usize) -> Block {
    Block::Fused { stride, width, c_out }
}

const fn uib([start, mid]: [usize; 2], stride: usize, width: usize, c_out: usize) -> Block {
    Block::Bottleneck { start, mid, stride, width, c_out }
}

/// The stages of a network: their blocks, and the map that each ends with, if it is the last map of its size.
type Stages = [(&'static [Block], Option<Map>); 5];

const SMALL: Stages = [
    (&[conv(3, 2, 32), conv(1, 1, 32)], Some(Map::Stage1)),
    (&[conv(3, 2, 96), conv(1, 1, 64)], Some(Map::Stage2)),
    (
        &[
            uib([5, 5], 2, 192, 96),
            uib([0, 3], 1, 192, 96),
            uib([0, 3], 1, 192, 96),
            uib([0, 3], 1, 192, 96),
            uib([0, 3], 1, 192, 96),
            uib([3, 0], 1, 384, 96),
        ],
        Some(Map::Stage3),
    ),
    (
        &[
            uib([3, 3], 2, 576, 128),
            uib([5, 5], 1, 512, 128),
            uib([0, 5], 1, 512, 128),
            uib([0, 5], 1, 384, 128),
            uib([0, 3], 1, 512, 128),
            uib([0, 3], 1, 512, 128),
        ],
        None,
    ),
    (&[conv(1, 1, 960)], Some(Map::Stage4)),
];

const MEDIUM: Stages = [
    (&[fused(2, 128, 48)], Some(Map::Stage1)),
    (&[uib([3, 5], 2, 192, 80), uib([3, 3], 1, 160, 80)], Some(Map::Stage2)),
    (
        &[
            uib([3, 5], 2, 480, 160),
            uib([3, 3], 1, 640, 160),
            uib([3, 3], 1, 640, 160),
            uib([3, 5], 1, 640, 160),
            uib([3, 3], 1, 640, 160),
            uib([3, 0], 1, 640, 160),
            uib([0, 0], 1, 320, 160),
            uib([3, 0], 1, 640, 160),
        ],
        Some(Map::Stage3),
    ),
    (
        &[
            uib([5, 5], 2, 960, 256),
            uib([5, 5], 1, 1024, 256),
            uib([3, 5], 1, 1024, 256),
            uib([3, 5], 1, 1024, 256),
            uib([0, 0], 1, 1024, 256),
            uib([3, 0], 1, 1024, 256),
            uib([3, 5], 1, 512, 256),
            uib([5, 5], 1, 1024, 256),
            uib([0, 0], 1, 1024, 256),
            uib([0, 0], 1, 1024, 256),
            uib([5, 0], 1, 512, 256),
        ],
        None,
    ),
    (&[conv(1, 1, 960)], Some(Map::Stage4)),
];

/// The network `mobilenetv4_conv_small`.
pub(crate) const CONV_SMALL: Architecture = architecture(
    "mobilenetv4_conv_small",
    CLASSIFIER,
    "hf:timm/mobilenetv4_conv_small.e2400_r224_in1k",
    PretrainedInput::imagenet(224, 0.875),
    |table, n_classes, params| build("mobilenetv4_conv_small", &SMALL, &parse(table)?, n_classes, params),
);

/// The network `mobilenetv4_conv_medium`.
pub(crate) const CONV_MEDIUM: Architecture = architecture(
    "mobilenetv4_conv_medium",
    CLASSIFIER,
    "hf:timm/mobilenetv4_conv_medium.e500_r256_in1k",
    PretrainedInput::imagenet(256, 0.95),
    |table, n_classes, params| build("mobilenetv4_conv_medium", &MEDIUM, &parse(table)?, n_classes, params),
);

fn build(
    name: &str,
    stages: &Stages,
    config: &TimmConfig,
    n_classes: usize,
    mut params: ParamStore,
) -> Result<Model, ModelError> {
    config.validate()?;
    let learning = config.learning()?;
    let channels = |map: &Map| {
        let stage = stages.iter().find(|(_, of)| of.as_ref() == Some(map));
        stage.and_then(|(blocks, _)| blocks.last()).map_or(N_FEATURES, Block::c_out)
    };
    let backbone = Backbone {
        layer: trunk(stages, config, &mut params)?,
        n_features: config.features.iter().map(channels).sum(),
        description: config.describe(name),
        last_stage: &["blocks.3", "blocks.4", "conv_head", "norm_head"],
    };
    backbone.with_head(&config.head, CLASSIFIER, n_classes, learning, params)
}

/// Builds the layers from images to features.
fn trunk(stages: &Stages, config: &TimmConfig, params: &mut ParamStore) -> Result<PooledStages, ModelError> {
    let mut root = params.root();
    let mut trunk = PooledStages::new();
    let mut c_in = N_STEM;
    let mut layers = Sequential::new();
    layers.push(conv_norm(
        &mut root,
        ["conv_stem", "bn1"],
        Convolution::new([3, c_in], 3, 2),
        NORM,
        After::Relu,
    )?);
    for (i, (blocks, map)) in stages.iter().enumerate() {
        let mut scope = root.sub("blocks");
        let mut scope = scope.sub(i);
        for (place, block) in blocks.iter().enumerate() {
            block.push_to(&mut layers, &mut scope.sub(place), c_in)?;
            c_in = block.c_out();
        }
        if let Some(map) = map {
            trunk.push(std::mem::take(&mut layers), config.features.contains(map));
        }
    }
    // the last convolution reads the mean of the last map
    layers.push(GlobalAvgPool);
    layers.push(conv_norm(
        &mut root,
        ["conv_head", "norm_head"],
        Convolution::new([c_in, N_FEATURES], 1, 1),
        NORM,
        After::Relu,
    )?);
    trunk.push(layers, true);
    Ok(trunk)
}

impl Block {
    fn c_out(&self) -> usize {
        match self {
            Self::Conv { c_out, .. } | Self::Fused { c_out, .. } | Self::Bottleneck { c_out, .. } => *c_out,
        }
    }

    fn push_to(&self, layers: &mut Sequential, scope: &mut Scope<'_>, c_in: usize) -> Result<(), ModelError> {
        match *self {
            Self::Conv { k, stride, c_out } => {
                layers.push(conv_norm(
                    scope,
                    ["conv", "bn1"],
                    Convolution::new([c_in, c_out], k, stride),
                    NORM,
                    After::Relu,
                )?);
            }
            Self::Fused { stride, width, c_out } => {
                layers.push(conv_norm(
                    scope,
                    ["conv_exp", "bn1"],
                    Convolution::new([c_in, width], 3, stride),
                    NORM,
                    After::Relu,
                )?);
                layers.push(conv_norm(
                    scope,
                    ["conv_pwl", "bn2"],
                    Convolution::new([width, c_out], 1, 1),
                    NORM,
                    After::Nothing,
                )?);
            }
            Self::Bottleneck { start, mid, stride, width, c_out } => {
                let before_mid = if mid > 0 { 1 } else { stride };
                let first = match start {
                    0 => None,
                    k => Some(depthwise(scope, "dw_start", c_in, k, before_mid, After::Nothing)?),
                };
                let names = |part: &str| [format!("{part}.conv"), format!("{part}.bn")];
                let wider = Convolution::new([c_in, width], 1, 1);
                let expand = conv_norm(scope, names("pw_exp"), wider, NORM, After::Relu)?;
                let middle = match mid {
                    0 => None,
                    k => Some(depthwise(scope, "dw_mid", width, k, stride, After::Relu)?),
                };
                let narrower = Convolution::new([width, c_out], 1, 1);
                let last = conv_norm(scope, names("pw_proj"), narrower, NORM, After::Nothing)?;
                let has_shortcut = stride == 1 && c_in == c_out;
                if let Some(middle) = middle {
                    let block = InvertedResidual::new(Some(expand), middle, last, has_shortcut);
                    layers.push(match first {
                        Some(first) => block.with_start(first),
                        None => block,
                    });
                } else {
                    let mut branch = Sequential::new();
                    if let Some(first) = first {
                        branch.push(first);
                    }
                    branch.push(expand);
                    push_branch(layers, branch, last, has_shortcut);
                }
            }
        }
        Ok(())
    }
}

/// Builds a depthwise convolution and its batch norm; `after` is applied to their result.
fn depthwise(
    scope: &mut Scope<'_>,
    part: &str,
    c: usize,
    k: usize,
    stride: usize,
    after: After,
) -> Result<DepthwiseNormAct, ModelError> {
    let norm = BatchNorm2d::new(&mut scope.sub(format!("{part}.bn")), c, NORM)?;
    let config = DepthwiseConfig { k, stride, padding: Padding::Symmetric(k / 2) };
    Ok(DepthwiseNormAct::new(&mut scope.sub(format!("{part}.conv")), c, config, norm, after)?)
}
