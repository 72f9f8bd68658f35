//! PP-HGNetV2 with timm's names and shapes. Each block has plain convolutions in a row, concatenates their outputs and mixes them
//! once. The network is designed for hardware where memory access takes most of the time.
//!
//! Source: PaddleClas, <https://github.com/PaddlePaddle/PaddleClas/blob/develop/docs/zh_CN/models/ImageNet1k/PP-HGNetV2.md>. Its
//! weights come from the distillation "SSLD": Cui et al. 2021, <https://arxiv.org/abs/2103.05959>.

use tallow_nn::{
    After, BatchNorm2d, BatchNormConfig, Concat, Conv2d, Conv2dConfig, ConvNormAct, DepthwiseConfig,
    DepthwiseNormAct, GlobalAvgPool, Init, LearnableAffine, MaxPool2d, Model, Padding, ParamStore,
    PooledStages, Residual, Scope, Sequential, Takes, ZeroPad2d,
};

use crate::architecture::{Architecture, parse};
use crate::backbone::Backbone;
use crate::conv_norm::{Convolution, conv_norm};
use crate::error::ModelError;
use crate::timm::{Map, TimmConfig, architecture};
use crate::weights::PretrainedInput;

/// timm's name of the classifier.
const CLASSIFIER: &str = "head.fc";
/// Channels of the convolution after the stages.
const N_FEATURES: usize = 2048;
/// Batch norm with PyTorch's defaults.
const NORM: BatchNormConfig = BatchNormConfig::new(1e-5, 0.1);
/// The images that the weights were trained on.
const INPUT: PretrainedInput = PretrainedInput::imagenet(224, 0.965);
const MAPS: [Map; 4] = [Map::Stage1, Map::Stage2, Map::Stage3, Map::Stage4];

/// A network of the family.
struct Network {
    name: &'static str,
    /// Channels inside the stem, and channels of its output.
    stem: [usize; 2],
    stages: [Stage; 4],
    /// Whether a learnable affine block follows each ReLU.
    has_affine: bool,
}

/// A stage: a depthwise convolution that halves rows and columns, then blocks. The first stage has only blocks.
struct Stage {
    c_in: usize,
    /// Channels of each layer in a block.
    width: usize,
    c_out: usize,
    n_blocks: usize,
    /// Layers of a block.
    n_layers: usize,
    /// Whether layers are light: a 1x1 and a depthwise 5x5 convolution instead of a 3x3 convolution.
    is_light: bool,
}

/// Returns the four stages. `c_stem` is the number of channels from the stem, `c_out` that of each stage's output, and `n_blocks`
/// the number of blocks of the third stage. The other stages have one block.
const fn stages(
    c_stem: usize,
    widths: [usize; 4],
    c_out: [usize; 4],
    n_blocks: usize,
    n_layers: usize,
) -> [Stage; 4] {
    let [first, second, third, last] = c_out;
    [
        Stage { c_in: c_stem, width: widths[0], c_out: first, n_blocks: 1, n_layers, is_light: false },
        Stage { c_in: first, width: widths[1], c_out: second, n_blocks: 1, n_layers, is_light: false },
        Stage { c_in: second, width: widths[2], c_out: third, n_blocks, n_layers, is_light: true },
        Stage { c_in: third, width: widths[3], c_out: last, n_blocks: 1, n_layers, is_light: true },
    ]
}

const B0: Network = Network {
    name: "hgnetv2_b0",
    stem: [16, 16],
    stages: stages(16, [16, 32, 64, 128], [64, 256, 512, 1024], 2, 3),
    has_affine: true,
};

const B2: Network = Network {
    name: "hgnetv2_b2",
    stem: [24, 32],
    stages: stages(32, [32, 64, 128, 256], [96, 384, 768, 1536], 3, 4),
    has_affine: true,
};

const B4: Network = Network {
    name: "hgnetv2_b4",
    stem: [32, 48],
    stages: stages(48, [48, 96, 192, 384], [128, 512, 1024, 2048], 3, 6),
    has_affine: false,
};

/// The network `hgnetv2_b0`.
pub(crate) const HGNETV2_B0: Architecture = architecture(
    B0.name,
    CLASSIFIER,
    "hf:timm/hgnetv2_b0.ssld_stage2_ft_in1k",
    INPUT,
    |table, n_classes, params| build(&B0, &parse(table)?, n_classes, params),
);

/// The network `hgnetv2_b2`.
pub(crate) const HGNETV2_B2: Architecture = architecture(
    B2.name,
    CLASSIFIER,
    "hf:timm/hgnetv2_b2.ssld_stage2_ft_in1k",
    INPUT,
    |table, n_classes, params| build(&B2, &parse(table)?, n_classes, params),
);

/// The network `hgnetv2_b4`.
pub(crate) const HGNETV2_B4: Architecture = architecture(
    B4.name,
    CLASSIFIER,
    "hf:timm/hgnetv2_b4.ssld_stage2_ft_in1k",
    INPUT,
    |table, n_classes, params| build(&B4, &parse(table)?, n_classes, params),
);

fn build(
    network: &Network,
    config: &TimmConfig,
    n_classes: usize,
    mut params: ParamStore,
) -> Result<Model, ModelError> {
    config.validate()?;
    let learning = config.learning()?;
    let channels = |map: &Map| {
        let stage = MAPS.iter().position(|of| of == map);
        stage.map_or(N_FEATURES, |i| network.stages[i].c_out)
    };
    let backbone = Backbone {
        layer: network.trunk(config, &mut params)?,
        n_features: config.features.iter().map(channels).sum(),
        description: config.describe(network.name),
        last_stage: &["stages.3", "head.last_conv"],
    };
    backbone.with_head(&config.head, CLASSIFIER, n_classes, learning, params)
}

impl Network {
    /// Builds the layers from images to features.
    fn trunk(&self, config: &TimmConfig, params: &mut ParamStore) -> Result<PooledStages, ModelError> {
        let mut root = params.root();
        let mut trunk = PooledStages::new();
        let mut layers = Sequential::new();
        self.push_stem(&mut layers, &mut root.sub("stem"))?;
        for (i, (stage, map)) in self.stages.iter().zip(MAPS).enumerate() {
            self.push_stage(&mut layers, &mut root.sub("stages").sub(i), stage, i > 0)?;
            trunk.push(std::mem::take(&mut layers), config.features.contains(&map));
        }
        // the last convolution reads the mean of the last map
        layers.push(GlobalAvgPool);
        let mut scope = root.sub("head.last_conv");
        let c_in = self.stages[3].c_out;
        let config = Conv2dConfig { bias: false, ..Conv2dConfig::same(1) };
        let conv =
            Conv2d::with_init(&mut scope.sub(0), c_in, N_FEATURES, config, Init::he_normal(N_FEATURES))?;
        layers.push(self.finished(ConvNormAct::without_norm(conv, After::Relu), &mut scope.sub(2))?);
        trunk.push(layers, true);
        Ok(trunk)
    }

    /// Appends the stem. After its first convolution, zeros are added below and to the right of the map, and two branches read
    /// it: two 2x2 convolutions, and pooling. Their outputs are concatenated, and two more convolutions follow.
    fn push_stem(&self, layers: &mut Sequential, scope: &mut Scope<'_>) -> Result<(), ModelError> {
        let [width, c_out] = self.stem;
        let narrow = width / 2;
        layers.push(self.conv(&mut scope.sub("stem1"), Convolution::new([3, width], 3, 2))?);
        layers.push(ZeroPad2d { bottom: 1, right: 1 });
        let (mut pooled, mut convolved, mut ways) = (Sequential::new(), Sequential::new(), Concat::new());
        pooled.push(MaxPool2d { k: 2, stride: 1, padding: 0 });
        let padded = |channels, padding| Convolution { padding, ..Convolution::new(channels, 2, 1) };
        let first = padded([width, narrow], Padding::Symmetric(0));
        convolved.push(self.conv(&mut scope.sub("stem2a"), first)?);
        // `Same` also adds its one line of zeros below and to the right
        convolved.push(self.conv(&mut scope.sub("stem2b"), padded([narrow, width], Padding::Same))?);
        ways.push(pooled, Takes::Input);
        ways.push(convolved, Takes::Input);
        layers.push(ways);
        layers.push(self.conv(&mut scope.sub("stem3"), Convolution::new([2 * width, width], 3, 2))?);
        layers.push(self.conv(&mut scope.sub("stem4"), Convolution::new([width, c_out], 1, 1))?);
        Ok(())
    }

    fn push_stage(
        &self,
        layers: &mut Sequential,
        scope: &mut Scope<'_>,
        stage: &Stage,
        is_halved: bool,
    ) -> Result<(), ModelError> {
        if is_halved {
            let halved = depthwise(&mut scope.sub("downsample"), stage.c_in, 3, 2, After::Nothing)?;
            layers.push(halved);
        }
        for i in 0..stage.n_blocks {
            let c_in = if i == 0 { stage.c_in } else { stage.c_out };
            let block = self.block(&mut scope.sub("blocks").sub(i), stage, c_in)?;
            if i == 0 {
                layers.push(block);
            } else {
                layers.push(Residual::new(block, None));
            }
        }
        Ok(())
    }

    /// Builds a block: layers in a row. The input and the maps of all layers are concatenated, and two 1x1 convolutions mix them.
    fn block(&self, scope: &mut Scope<'_>, stage: &Stage, c_in: usize) -> Result<Sequential, ModelError> {
        let &Stage { width, c_out, n_layers, is_light, .. } = stage;
        let mut joined = Concat::new();
        joined.push(Sequential::new(), Takes::Input);
        for i in 0..n_layers {
            let (mut layer, mut scope) = (Sequential::new(), scope.sub("layers"));
            let mut scope = scope.sub(i);
            let channels = [if i == 0 { c_in } else { width }, width];
            if is_light {
                let conv = Convolution::new(channels, 1, 1);
                layer.push(conv_norm(&mut scope.sub("conv1"), ["conv", "bn"], conv, NORM, After::Nothing)?);
                let mut scope = scope.sub("conv2");
                let depthwise = depthwise(&mut scope, width, 5, 1, After::Relu)?;
                match self.affine(&mut scope.sub("lab"))? {
                    Some(affine) => layer.push(depthwise.with_affine(affine)?),
                    None => layer.push(depthwise),
                }
            } else {
                layer.push(self.conv(&mut scope, Convolution::new(channels, 3, 1))?);
            }
            joined.push(layer, Takes::Last);
        }
        let (mut block, mut scope) = (Sequential::new(), scope.sub("aggregation"));
        let c_joined = c_in + n_layers * width;
        let squeeze = self.conv(&mut scope.sub(0), Convolution::new([c_joined, c_out / 2], 1, 1))?;
        block.push(joined.then(squeeze));
        block.push(self.conv(&mut scope.sub(1), Convolution::new([c_out / 2, c_out], 1, 1))?);
        Ok(block)
    }

    /// Builds a convolution, its batch norm and ReLU, and the learnable affine block if the network has it.
    fn conv(&self, scope: &mut Scope<'_>, convolution: Convolution) -> Result<ConvNormAct, ModelError> {
        let conv = conv_norm(scope, ["conv", "bn"], convolution, NORM, After::Relu)?;
        self.finished(conv, &mut scope.sub("lab"))
    }

    fn finished(&self, conv: ConvNormAct, scope: &mut Scope<'_>) -> Result<ConvNormAct, ModelError> {
        Ok(match self.affine(scope)? {
            Some(affine) => conv.with_affine(affine)?,
            None => conv,
        })
    }

    fn affine(&self, scope: &mut Scope<'_>) -> Result<Option<LearnableAffine>, ModelError> {
        Ok(self.has_affine.then(|| LearnableAffine::new(scope)).transpose()?)
    }
}

/// Builds a depthwise convolution and its batch norm; `after` is applied to their result.
fn depthwise(
    scope: &mut Scope<'_>,
    c: usize,
    k: usize,
    stride: usize,
    after: After,
) -> Result<DepthwiseNormAct, ModelError> {
    let norm = BatchNorm2d::new(&mut scope.sub("bn"), c, NORM)?;
    let config = DepthwiseConfig { k, stride, padding: Padding::Symmetric(k / 2) };
    Ok(DepthwiseNormAct::new(&mut scope.sub("conv"), c, config, norm, after)?)
}
