//! EfficientNet-Lite0 with timm's names and shapes: an EfficientNet for processors, without squeeze-and-excite and with ReLU6
//! instead of SiLU.
//!
//! Source: Tan and Le 2019, <https://arxiv.org/abs/1905.11946>. The "lite" variants come from TensorFlow's model garden and keep
//! its `SAME` padding and batch norm.

use tallow_nn::{
    After, BatchNorm2d, BatchNormConfig, DepthwiseConfig, DepthwiseNormAct, InvertedResidual, Model, Padding,
    ParamStore, PooledStages, Scope, Sequential,
};

use crate::architecture::{Architecture, parse};
use crate::backbone::Backbone;
use crate::conv_norm::{Convolution, conv_norm};
use crate::error::ModelError;
use crate::timm::{Map, TimmConfig, architecture};
use crate::weights::PretrainedInput;

const NAME: &str = "tf_efficientnet_lite0";
/// timm's name of the classifier.
const CLASSIFIER: &str = "classifier";
/// Channels of the convolution after the stages.
const N_FEATURES: usize = 1280;
/// Batch norm as in timm: epsilon is TensorFlow's, momentum is PyTorch's.
const NORM: BatchNormConfig = BatchNormConfig::new(1e-3, 0.1);

pub(crate) const ARCHITECTURE: Architecture = architecture(
    NAME,
    CLASSIFIER,
    "hf:timm/tf_efficientnet_lite0.in1k",
    PretrainedInput::inception(224, 0.875),
    |table, n_classes, params| build(&parse(table)?, n_classes, params),
);

/// The blocks of one stage of timm's `blocks`.
struct Blocks {
    n: usize,
    k: usize,
    stride: usize,
    /// Channels inside a block, as a multiple of its input channels.
    expansion: usize,
    c_out: usize,
    /// The map that the stage ends with, if it is the last map of its size.
    map: Option<Map>,
}

const fn blocks(
    n: usize,
    k: usize,
    stride: usize,
    expansion: usize,
    c_out: usize,
    map: Option<Map>,
) -> Blocks {
    Blocks { n, k, stride, expansion, c_out, map }
}

const STAGES: [Blocks; 7] = [
    blocks(1, 3, 1, 1, 16, None),
    blocks(2, 3, 2, 6, 24, Some(Map::Stage1)),
    blocks(2, 5, 2, 6, 40, Some(Map::Stage2)),
    blocks(3, 3, 2, 6, 80, None),
    blocks(3, 5, 1, 6, 112, Some(Map::Stage3)),
    blocks(4, 5, 2, 6, 192, None),
    blocks(1, 3, 1, 6, 320, Some(Map::Stage4)),
];

fn build(config: &TimmConfig, n_classes: usize, mut params: ParamStore) -> Result<Model, ModelError> {
    config.validate()?;
    let learning = config.learning()?;
    let channels = |map: &Map| STAGES.iter().find(|s| s.map == Some(*map)).map_or(N_FEATURES, |s| s.c_out);
    let backbone = Backbone {
        layer: trunk(config, &mut params)?,
        n_features: config.features.iter().map(channels).sum(),
        description: config.describe(NAME),
        last_stage: &["blocks.5", "blocks.6", "conv_head", "bn2"],
    };
    backbone.with_head(&config.head, CLASSIFIER, n_classes, learning, params)
}

/// Builds the layers from images to features.
fn trunk(config: &TimmConfig, params: &mut ParamStore) -> Result<PooledStages, ModelError> {
    let mut root = params.root();
    let mut trunk = PooledStages::new();
    let mut c_in = 32;
    let mut layers = Sequential::new();
    layers.push(conv_norm(&mut root, ["conv_stem", "bn1"], same([3, c_in], 3, 2), NORM, After::Relu6)?);
    for (i, stage) in STAGES.iter().enumerate() {
        let mut scope = root.sub("blocks");
        let mut scope = scope.sub(i);
        for block in 0..stage.n {
            let stride = if block == 0 { stage.stride } else { 1 };
            push_block(&mut layers, &mut scope.sub(block), stage, c_in, stride)?;
            c_in = stage.c_out;
        }
        if let Some(map) = stage.map {
            trunk.push(std::mem::take(&mut layers), config.features.contains(&map));
        }
    }
    layers.push(conv_norm(
        &mut root,
        ["conv_head", "bn2"],
        same([c_in, N_FEATURES], 1, 1),
        NORM,
        After::Relu6,
    )?);
    trunk.push(layers, true);
    Ok(trunk)
}

/// Appends an inverted residual block: 1x1 convolution to more channels, depthwise convolution, 1x1 convolution to fewer
/// channels. The first stage has no expansion.
fn push_block(
    layers: &mut Sequential,
    scope: &mut Scope<'_>,
    stage: &Blocks,
    c_in: usize,
    stride: usize,
) -> Result<(), ModelError> {
    let width = c_in * stage.expansion;
    let is_wider = stage.expansion > 1;
    let norms = if is_wider { ["bn2", "bn3"] } else { ["bn1", "bn2"] };
    let expand = match is_wider {
        true => Some(conv_norm(scope, ["conv_pw", "bn1"], same([c_in, width], 1, 1), NORM, After::Relu6)?),
        false => None,
    };
    let config = DepthwiseConfig { k: stage.k, stride, padding: Padding::Same };
    let norm = BatchNorm2d::new(&mut scope.sub(norms[0]), width, NORM)?;
    let depthwise = DepthwiseNormAct::new(&mut scope.sub("conv_dw"), width, config, norm, After::Relu6)?;
    let narrower = if is_wider { "conv_pwl" } else { "conv_pw" };
    let last =
        conv_norm(scope, [narrower, norms[1]], same([width, stage.c_out], 1, 1), NORM, After::Nothing)?;
    layers.push(InvertedResidual::new(expand, depthwise, last, stride == 1 && c_in == stage.c_out));
    Ok(())
}

/// Returns a convolution with TensorFlow's `SAME` padding.
fn same(channels: [usize; 2], k: usize, stride: usize) -> Convolution {
    Convolution { padding: Padding::Same, ..Convolution::new(channels, k, stride) }
}
