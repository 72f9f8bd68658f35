//! ConvNeXt, version 1, with timm's names and shapes: a convolutional network with the structure of a transformer.
//!
//! Source: Liu et al. 2022, <https://arxiv.org/abs/2201.03545>. The small networks, atto to nano, are timm's own.

use tallow_nn::{
    After, Conv2d, Conv2dConfig, ConvNormAct, DepthwiseConfig, DepthwiseConv2d, GlobalAvgPool, Init,
    LayerNorm, Model, Padding, ParamStore, PooledStages, ResidualBlock, Scope, Sequential,
};

use crate::architecture::{Architecture, parse};
use crate::backbone::Backbone;
use crate::error::ModelError;
use crate::timm::{Map, TimmConfig, architecture};
use crate::weights::PretrainedInput;

/// timm's name of the classifier.
const CLASSIFIER: &str = "head.fc";
/// Epsilon of layer norms, as in timm.
const NORM_EPS: f64 = 1e-6;
/// Initial weights of convolutions, as in the paper.
const INIT: Init = Init::Normal { std: 0.02 };
/// Initial layer scale: the factor of each branch.
const INITIAL_SCALE: f32 = 1e-6;
const MAPS: [Map; 4] = [Map::Stage1, Map::Stage2, Map::Stage3, Map::Stage4];

/// A network of the family.
struct Network {
    name: &'static str,
    /// Blocks of each stage.
    depths: [usize; 4],
    /// Channels of each stage.
    widths: [usize; 4],
    /// Whether the two pixelwise layers of a block are dense layers in timm, so that their weights are matrices.
    is_dense: bool,
}

const ATTO: Network =
    Network { name: "convnext_atto", depths: [2, 2, 6, 2], widths: [40, 80, 160, 320], is_dense: false };
const PICO: Network =
    Network { name: "convnext_pico", depths: [2, 2, 6, 2], widths: [64, 128, 256, 512], is_dense: false };
const NANO: Network =
    Network { name: "convnext_nano", depths: [2, 2, 8, 2], widths: [80, 160, 320, 640], is_dense: false };
const TINY: Network =
    Network { name: "convnext_tiny", depths: [3, 3, 9, 3], widths: [96, 192, 384, 768], is_dense: true };

/// The network `convnext_atto`.
pub(crate) const CONVNEXT_ATTO: Architecture = architecture(
    ATTO.name,
    CLASSIFIER,
    "hf:timm/convnext_atto.d2_in1k",
    PretrainedInput::imagenet(224, 0.875),
    |table, n_classes, params| build(&ATTO, &parse(table)?, n_classes, params),
);

/// The network `convnext_nano`.
pub(crate) const CONVNEXT_NANO: Architecture = architecture(
    NANO.name,
    CLASSIFIER,
    "hf:timm/convnext_nano.in12k_ft_in1k",
    PretrainedInput::imagenet(224, 0.95),
    |table, n_classes, params| build(&NANO, &parse(table)?, n_classes, params),
);

/// The network `convnext_pico`.
pub(crate) const CONVNEXT_PICO: Architecture = architecture(
    PICO.name,
    CLASSIFIER,
    "hf:timm/convnext_pico.d1_in1k",
    PretrainedInput::imagenet(224, 0.875),
    |table, n_classes, params| build(&PICO, &parse(table)?, n_classes, params),
);

/// The network `convnext_tiny`.
pub(crate) const CONVNEXT_TINY: Architecture = architecture(
    TINY.name,
    CLASSIFIER,
    "hf:timm/convnext_tiny.in12k_ft_in1k",
    PretrainedInput::imagenet(224, 0.95),
    |table, n_classes, params| build(&TINY, &parse(table)?, n_classes, params),
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
        network.widths[stage.unwrap_or(3)]
    };
    let backbone = Backbone {
        layer: network.trunk(config, &mut params)?,
        n_features: config.features.iter().map(channels).sum(),
        description: config.describe(network.name),
        last_stage: &["stages.3", "head.norm"],
    };
    backbone.with_head(&config.head, CLASSIFIER, n_classes, learning, params)
}

impl Network {
    /// Builds the layers from images to features.
    fn trunk(&self, config: &TimmConfig, params: &mut ParamStore) -> Result<PooledStages, ModelError> {
        let mut root = params.root();
        let mut trunk = PooledStages::new();
        let mut layers = Sequential::new();
        layers.push(patches(&mut root.sub("stem.0"), [3, self.widths[0]], 4)?);
        layers.push(LayerNorm::new(&mut root.sub("stem.1"), self.widths[0], NORM_EPS)?);
        for (i, map) in MAPS.into_iter().enumerate() {
            let mut scope = root.sub("stages");
            let mut scope = scope.sub(i);
            if i > 0 {
                let channels = [self.widths[i - 1], self.widths[i]];
                layers.push(LayerNorm::new(&mut scope.sub("downsample.0"), channels[0], NORM_EPS)?);
                layers.push(patches(&mut scope.sub("downsample.1"), channels, 2)?);
            }
            for block in 0..self.depths[i] {
                layers.push(self.block(&mut scope.sub("blocks").sub(block), self.widths[i])?);
            }
            trunk.push(std::mem::take(&mut layers), config.features.contains(&map));
        }
        layers.push(GlobalAvgPool);
        layers.push(LayerNorm::new(&mut root.sub("head.norm"), self.widths[3], NORM_EPS)?);
        trunk.push(layers, true);
        Ok(trunk)
    }

    /// Builds a block: depthwise 7x7 convolution, layer norm, expansion to `4 * c` channels, GELU, projection to `c` channels,
    /// layer scale, and the sum with the block's input.
    fn block(&self, scope: &mut Scope<'_>, c: usize) -> Result<ResidualBlock, ModelError> {
        let config = DepthwiseConfig { k: 7, stride: 1, padding: Padding::Symmetric(3) };
        let mut branch = Sequential::new();
        branch.push(DepthwiseConv2d::new(&mut scope.sub("conv_dw"), c, config, INIT)?);
        branch.push(LayerNorm::new(&mut scope.sub("norm"), c, NORM_EPS)?);
        let wider = self.pixelwise(&mut scope.sub("mlp.fc1"), [c, 4 * c])?;
        branch.push(ConvNormAct::without_norm(wider, After::Gelu));
        let narrower = self.pixelwise(&mut scope.sub("mlp.fc2"), [4 * c, c])?;
        let scale = scope.param("gamma", &[c], Init::Constant(INITIAL_SCALE))?;
        Ok(ResidualBlock::new(branch, ConvNormAct::with_scale(narrower, scale, After::Nothing)?, None))
    }

    /// Builds a 1x1 convolution, with a weight of timm's shape.
    fn pixelwise(&self, scope: &mut Scope<'_>, [c_in, c_out]: [usize; 2]) -> Result<Conv2d, ModelError> {
        Ok(match self.is_dense {
            true => Conv2d::dense(scope, c_in, c_out, INIT)?,
            false => Conv2d::with_init(scope, c_in, c_out, Conv2dConfig::same(1), INIT)?,
        })
    }
}

/// Builds a convolution of squares of `k` x `k` pixels that lie side by side: its stride is `k`.
fn patches(scope: &mut Scope<'_>, [c_in, c_out]: [usize; 2], k: usize) -> Result<ConvNormAct, ModelError> {
    let config = Conv2dConfig { stride: k, padding: Padding::Symmetric(0), ..Conv2dConfig::same(k) };
    Ok(ConvNormAct::without_norm(Conv2d::with_init(scope, c_in, c_out, config, INIT)?, After::Nothing))
}
