//! ResNet-18, 34, 50, 101 and 152 with torchvision's names and shapes.
//!
//! Source: He et al. 2015, <https://arxiv.org/abs/1512.03385>. A bottleneck that halves the map has the stride in its 3x3
//! convolution (torchvision, "v1.5"), or in its first 1x1 convolution, as in the paper.

use serde::{Deserialize, Serialize};
use tallow_nn::{
    After, BatchNormConfig, MaxPool2d, Model, ParamStore, PooledStages, ResidualBlock, Scope, Sequential,
};

use crate::architecture::{Architecture, InputSizes, PublishedWeights, parse};
use crate::backbone::{Backbone, BatchNormMode, Learning, Unfreeze};
use crate::conv_norm::{Convolution, conv_norm};
use crate::error::ModelError;
use crate::head::HeadConfig;
use crate::weights::PretrainedInput;

/// The `[model]` table of a ResNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResnetConfig {
    /// Rows and columns of the images.
    pub input_px: [usize; 2],
    /// Whether a bottleneck that halves the map has the stride in its first convolution, as in the paper.
    #[serde(default)]
    pub downsample_in_bottleneck: bool,
    /// Source of the initial weights, as text of a [`WeightsSource`](crate::weights::WeightsSource). Building the network does
    /// not load them: the caller does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The part that learns.
    #[serde(default)]
    pub unfreeze: Unfreeze,
    /// The statistics that batch norms use in the part that learns. `None` is [`BatchNormMode::Frozen`] with `weights`, and
    /// [`BatchNormMode::Live`] without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNormMode>,
    /// The stages that features come from: the mean of each stage's last map, side by side. torchvision's networks use only the
    /// last stage.
    #[serde(default = "last_stage")]
    pub features: Vec<Stage>,
    /// The layers that turn features into logits.
    #[serde(default)]
    pub head: HeadConfig,
}

/// One of the four stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are torchvision's names")]
pub enum Stage {
    Layer1,
    Layer2,
    Layer3,
    Layer4,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Layer1, Self::Layer2, Self::Layer3, Self::Layer4];

    fn as_str(self) -> &'static str {
        match self {
            Self::Layer1 => "layer1",
            Self::Layer2 => "layer2",
            Self::Layer3 => "layer3",
            Self::Layer4 => "layer4",
        }
    }

    /// Channels of the narrow convolutions.
    fn width(self) -> usize {
        64 << self as usize
    }
}

fn last_stage() -> Vec<Stage> {
    vec![Stage::Layer4]
}

/// The differences between the architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// Blocks of each of the four stages.
    n_blocks: [usize; 4],
    /// Whether a block has convolutions 1x1, 3x3 and 1x1, the last with four times the width. Otherwise it has 3x3 and 3x3.
    bottleneck: bool,
}

impl Kind {
    /// Returns the kind of the ResNet with `n_layers` layers.
    const fn of(n_layers: usize) -> Self {
        let (n_blocks, bottleneck) = match n_layers {
            18 => ([2, 2, 2, 2], false),
            34 => ([3, 4, 6, 3], false),
            50 => ([3, 4, 6, 3], true),
            101 => ([3, 4, 23, 3], true),
            152 => ([3, 8, 36, 3], true),
            _ => panic!("there is no ResNet of so many layers"), // only at compile time
        };
        Self { n_blocks, bottleneck }
    }

    fn expansion(self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }
}

/// Returns the ResNet with `N` layers. Its weights were trained as in <https://arxiv.org/abs/2110.00476>.
pub(crate) const fn architecture<const N: usize>(name: &'static str, weights: &'static str) -> Architecture {
    Architecture {
        name,
        sizes: InputSizes::Any,
        classifier: CLASSIFIER,
        weights: Some(PublishedWeights {
            source: weights,
            licence: "Apache-2.0",
            input: PretrainedInput::imagenet(224, 0.95),
        }),
        reference: || toml::toml! { input_px = [224, 224] },
        input_px: |table| Ok(parse::<ResnetConfig>(table)?.input_px),
        build: |table, n_classes, params| build::<N>(&parse(table)?, n_classes, params),
    }
}

/// Batch norm with PyTorch's defaults.
const NORM: BatchNormConfig = BatchNormConfig::new(1e-5, 0.1);

/// torchvision's name of the classifier.
const CLASSIFIER: &str = "fc";

fn build<const N: usize>(
    config: &ResnetConfig,
    n_classes: usize,
    mut params: ParamStore,
) -> Result<Model, ModelError> {
    let kind = const { Kind::of(N) };
    config.validate()?;
    let learning = Learning::new(config.unfreeze, config.batch_norm, config.weights.is_some())?;
    let backbone = Backbone {
        layer: trunk(kind, config, &mut params)?,
        n_features: config.features.iter().map(|stage| stage.width() * kind.expansion()).sum(),
        description: config.describe(N),
        last_stage: &["layer4"],
    };
    backbone.with_head(&config.head, CLASSIFIER, n_classes, learning, params)
}

impl ResnetConfig {
    fn validate(&self) -> Result<(), ModelError> {
        let refuse = |key, problem: String| Err(ModelError::Value { key, problem });
        if self.input_px.contains(&0) {
            return refuse("input_px", format!("expected at least 1 x 1, found {:?}", self.input_px));
        }
        let ascends = self.features.is_sorted_by(|a, b| a < b);
        if !ascends || self.features.last() != Some(&Stage::Layer4) {
            let names: Vec<&str> = self.features.iter().map(|stage| stage.as_str()).collect();
            return refuse(
                "features",
                format!(
                    "expected some of layer1 to layer4 in this order, layer4 among them, found {names:?}"
                ),
            );
        }
        self.head.validate()?;
        Ok(())
    }

    /// Returns everything that features depend on besides the weights, as text.
    fn describe(&self, n_layers: usize) -> String {
        let [h, w] = self.input_px;
        let mut text = format!("resnet{n_layers} {h}x{w}");
        if self.downsample_in_bottleneck {
            text += " downsample_in_bottleneck";
        }
        if self.features != last_stage() {
            text += &format!(
                " {}",
                self.features.iter().map(|stage| stage.as_str()).collect::<Vec<_>>().join("+")
            );
        }
        text
    }
}

/// Builds the layers from images to features.
fn trunk(kind: Kind, config: &ResnetConfig, params: &mut ParamStore) -> Result<PooledStages, ModelError> {
    let mut root = params.root();
    let mut stem = Sequential::new();
    let first = Convolution::new([3, 64], 7, 2);
    stem.push(conv_norm(&mut root, ["conv1", "bn1"], first, NORM, After::Relu)?);
    stem.push(MaxPool2d { k: 3, stride: 2, padding: 1 });
    let mut trunk = PooledStages::new();
    trunk.push(stem, false);
    let mut c_in = 64;
    for (stage, n_blocks) in Stage::ALL.into_iter().zip(kind.n_blocks) {
        let mut scope = root.sub(stage.as_str());
        let mut blocks = Sequential::new();
        for block in 0..n_blocks {
            let stride = if stage > Stage::Layer1 && block == 0 { 2 } else { 1 };
            blocks.push(residual(&mut scope.sub(block), kind, config, c_in, stage.width(), stride)?);
            c_in = stage.width() * kind.expansion();
        }
        trunk.push(blocks, config.features.contains(&stage));
    }
    Ok(trunk)
}

fn residual(
    scope: &mut Scope<'_>,
    kind: Kind,
    config: &ResnetConfig,
    c_in: usize,
    width: usize,
    stride: usize,
) -> Result<ResidualBlock, ModelError> {
    let c_out = width * kind.expansion();
    let conv = |c_in, c_out, k, stride| Convolution::new([c_in, c_out], k, stride);
    let mut branch = Sequential::new();
    let last = if kind.bottleneck {
        let (first, second) = if config.downsample_in_bottleneck { (stride, 1) } else { (1, stride) };
        branch.push(conv_norm(scope, ["conv1", "bn1"], conv(c_in, width, 1, first), NORM, After::Relu)?);
        branch.push(conv_norm(scope, ["conv2", "bn2"], conv(width, width, 3, second), NORM, After::Relu)?);
        conv_norm(scope, ["conv3", "bn3"], conv(width, c_out, 1, 1), NORM, After::Relu)?
    } else {
        branch.push(conv_norm(scope, ["conv1", "bn1"], conv(c_in, width, 3, stride), NORM, After::Relu)?);
        conv_norm(scope, ["conv2", "bn2"], conv(width, c_out, 3, 1), NORM, After::Relu)?
    };
    let shortcut = match stride != 1 || c_in != c_out {
        true => {
            let names = ["downsample.0", "downsample.1"];
            Some(conv_norm(scope, names, conv(c_in, c_out, 1, stride), NORM, After::Nothing)?)
        }
        false => None,
    };
    Ok(ResidualBlock::new(branch, last, shortcut))
}

#[cfg(test)]
mod tests {
    use tallow_nn::{Backend, Ctx, Device, Dims};

    use super::*;
    use crate::backbone::is_statistic;

    fn config(input_px: [usize; 2]) -> ResnetConfig {
        toml::from_str(&format!("input_px = {input_px:?}")).unwrap()
    }

    fn built<const N: usize>(config: &ResnetConfig, n_classes: usize) -> Result<Model, ModelError> {
        build::<N>(config, n_classes, ParamStore::new(0, &Device::Cpu))
    }

    /// Compares with torchvision's numbers of parameters for 1,000 classes.
    #[test]
    fn they_have_torchvisions_parameters() {
        assert_eq!(built::<18>(&config([224, 224]), 1000).unwrap().params.n_parameters(), 11_689_512);
        assert_eq!(built::<34>(&config([224, 224]), 1000).unwrap().params.n_parameters(), 21_797_672);
        assert_eq!(built::<50>(&config([224, 224]), 1000).unwrap().params.n_parameters(), 25_557_032);
        assert_eq!(Kind::of(101).n_blocks, [3, 4, 23, 3]);
        assert_eq!(Kind::of(152).n_blocks, [3, 8, 36, 3]);
    }

    #[test]
    fn names_are_torchvisions() {
        let model = built::<50>(&config([64, 64]), 10).unwrap();
        let shape = |name: &str| model.params.get(name).map(|p| p.shape().to_vec());
        assert_eq!(shape("conv1.weight"), Some(vec![64, 3, 7, 7]));
        assert_eq!(shape("layer1.0.downsample.0.weight"), Some(vec![256, 64, 1, 1]));
        assert_eq!(shape("layer4.2.bn3.running_mean"), Some(vec![2048]));
        assert_eq!(shape("layer3.5.conv2.weight"), Some(vec![256, 256, 3, 3]));
        assert_eq!(shape("fc.weight"), Some(vec![10, 2048]));
        assert_eq!(shape("layer1.1.downsample.0.weight"), None);
    }

    /// Images of one pixel, odd sizes, and both places for the stride.
    #[test]
    fn images_of_any_size_go_through() {
        let v1 = |config| ResnetConfig { downsample_in_bottleneck: true, ..config };
        for (h, w) in [(1, 1), (33, 50)] {
            let config = config([h, w]);
            for model in [built::<18>(&config, 3), built::<50>(&config, 3), built::<50>(&v1(config), 3)] {
                let model = model.unwrap();
                let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
                let x = ctx.input(vec![0.5; h * w * 3], Dims { n: 1, c: 3, h, w }).unwrap();
                assert_eq!(model.forward(x, &mut ctx).unwrap().dims(), Dims { n: 1, c: 3, h: 1, w: 1 });
            }
        }
    }

    #[test]
    fn features_of_several_stages_stand_side_by_side() {
        let build = |features: &str| {
            let text =
                format!("input_px = [32, 32]\nweights = \"x\"\nunfreeze = \"none\"\nfeatures = {features}");
            built::<50>(&toml::from_str(&text).unwrap(), 3)
        };
        let features = |features: &str| {
            let model = build(features).unwrap();
            let trunk = model.trunk.as_ref().unwrap();
            let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
            let x = ctx.input(vec![0.5; 32 * 32 * 3], Dims { n: 1, c: 3, h: 32, w: 32 }).unwrap();
            let features = trunk.layer.forward(x, &mut ctx).unwrap().to_vec().unwrap();
            assert_eq!(features.len(), trunk.n_features);
            (trunk.description.clone(), features)
        };
        let (last, of_last) = features("[\"layer4\"]");
        let (both, of_both) = features("[\"layer2\", \"layer4\"]");
        assert_eq!([&last, &both], ["resnet50 32x32", "resnet50 32x32 layer2+layer4"]);
        assert_eq!((of_last.len(), of_both.len()), (2048, 512 + 2048));
        assert_eq!(of_both[512..], of_last);
        for wrong in ["[]", "[\"layer3\"]", "[\"layer4\", \"layer2\"]", "[\"layer4\", \"layer4\"]"] {
            let error = build(wrong).err().unwrap().to_string();
            assert!(error.contains("features") && error.contains("layer4"), "{error}");
        }
    }

    #[test]
    fn what_learns_is_what_the_table_says() {
        let learned = |text: &str| {
            let config = toml::from_str(&format!("input_px = [32, 32]\nweights = \"x\"\n{text}")).unwrap();
            let model = built::<18>(&config, 3).unwrap();
            let names: Vec<String> = model.params.learned_tensors().unwrap().into_keys().collect();
            (model.trunk.is_some(), names)
        };
        assert_eq!(learned("unfreeze = \"none\""), (true, vec!["fc.bias".into(), "fc.weight".into()]));
        let (_, names) = learned("unfreeze = \"none\"\nhead = { norm = true, hidden = 7, dropout = 0.1 }");
        assert_eq!(names.len(), 8, "{names:?}");
        assert!(
            names.contains(&"fc.0.running_var".into()) && names.contains(&"fc.5.weight".into()),
            "{names:?}"
        );
        let (has_trunk, names) = learned("unfreeze = \"layer4\"");
        assert!(
            !has_trunk && names.iter().all(|name| name.starts_with("fc.") || name.starts_with("layer4."))
        );
        assert!(names.iter().all(|name| !name.contains("running")) && names.len() > 10);
        let (_, names) = learned("unfreeze = \"layer4\"\nbatch_norm = \"live\"");
        let n_live = names.iter().filter(|name| is_statistic(name)).count();
        assert_eq!(n_live, 2 * 5, "layer4 of a ResNet-18 has five batch norms: {names:?}");
        assert!(names.iter().all(|name| name.starts_with("fc.") || name.starts_with("layer4.")), "{names:?}");
        let (_, names) = learned("");
        assert!(names.contains(&"conv1.weight".into()) && !names.iter().any(|name| is_statistic(name)));
        assert!(learned("batch_norm = \"live\"").1.contains(&"bn1.running_mean".into()));
        let config = "input_px = [32, 32]\nweights = \"x\"\nunfreeze = \"none\"\nbatch_norm = \"live\"";
        let config = toml::from_str(config).unwrap();
        let error = built::<18>(&config, 3).err().unwrap();
        assert!(error.to_string().contains("batch_norm"), "{error}");
        let config = toml::from_str("input_px = [32, 32]\nunfreeze = \"layer4\"").unwrap();
        let error = built::<18>(&config, 3).err().unwrap();
        assert!(error.to_string().contains("--weights"), "{error}");
    }
}
