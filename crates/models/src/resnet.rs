//! ResNet-18, 34, 50, 101 and 152 with torchvision's names and shapes.
//!
//! Source: He et al. 2015, <https://arxiv.org/abs/1512.03385>. A bottleneck that halves the map does so in its 3x3
//! convolution (torchvision, "v1.5"), or, as the paper has it, in its first 1x1 convolution.

use serde::{Deserialize, Serialize};
use tallow_nn::{
    After, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, ConvNormAct, GlobalAvgPool, Init, Linear,
    MaxPool2d, ParamStore, ResidualBlock, Scope, Sequential,
};

use crate::error::ModelError;

/// The `[model]` table of a ResNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResnetConfig {
    /// Rows and columns of the images.
    pub input_px: [usize; 2],
    /// Whether a bottleneck that halves the map does so in its first convolution, as in the paper.
    #[serde(default)]
    pub downsample_in_bottleneck: bool,
}

/// What the architectures differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// Blocks of each of the four stages.
    n_blocks: [usize; 4],
    /// Whether blocks are 1x1, 3x3, 1x1 with four times the width, or 3x3, 3x3.
    bottleneck: bool,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        let (n_blocks, bottleneck) = match name {
            "resnet18" => ([2, 2, 2, 2], false),
            "resnet34" => ([3, 4, 6, 3], false),
            "resnet50" => ([3, 4, 6, 3], true),
            "resnet101" => ([3, 4, 23, 3], true),
            "resnet152" => ([3, 8, 36, 3], true),
            _ => return None,
        };
        Some(Self { n_blocks, bottleneck })
    }

    fn expansion(self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }
}

/// The names of the architectures.
pub(crate) const NAMES: [&str; 5] = ["resnet101", "resnet152", "resnet18", "resnet34", "resnet50"];

/// The network called `name`, of which there is one.
pub(crate) fn build(
    name: &str,
    config: &ResnetConfig,
    n_classes: usize,
    params: &mut ParamStore,
) -> Result<Sequential, ModelError> {
    let Some(kind) = Kind::named(name) else {
        return Err(ModelError::UnknownName { name: name.to_owned(), known: NAMES.join(", ") });
    };
    if config.input_px.contains(&0) {
        let problem = format!("expected at least 1 x 1, found {:?}", config.input_px);
        return Err(ModelError::Value { key: "input_px", problem });
    }
    let mut network = Sequential::new();
    let mut root = params.root();
    let stem = Convolution { c_in: 3, c_out: 64, k: 7, stride: 2 };
    network.push(conv_norm(&mut root, ["conv1", "bn1"], stem, After::Relu)?);
    network.push(MaxPool2d { k: 3, stride: 2, padding: 1 });
    let mut c_in = 64;
    for (stage, &n_blocks) in kind.n_blocks.iter().enumerate() {
        let width = 64 << stage;
        for block in 0..n_blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let mut layer = root.sub(format_args!("layer{}", stage + 1));
            let mut scope = layer.sub(block);
            network.push(residual(&mut scope, kind, config, c_in, width, stride)?);
            c_in = width * kind.expansion();
        }
    }
    network.push(GlobalAvgPool);
    network.push(Linear::new(&mut root.sub("fc"), c_in, n_classes, true)?);
    Ok(network)
}

/// A convolution without bias, padded so that an odd kernel with stride 1 keeps the map's size.
#[derive(Clone, Copy)]
struct Convolution {
    c_in: usize,
    c_out: usize,
    k: usize,
    stride: usize,
}

fn conv_norm(
    scope: &mut Scope<'_>,
    [conv, norm]: [&str; 2],
    Convolution { c_in, c_out, k, stride }: Convolution,
    after: After,
) -> Result<ConvNormAct, ModelError> {
    let config = Conv2dConfig { stride, bias: false, ..Conv2dConfig::same(k) };
    let init = Init::he_normal(c_out * k * k);
    let conv = Conv2d::with_init(&mut scope.sub(conv), c_in, c_out, config, init)?;
    let norm = BatchNorm2d::new(&mut scope.sub(norm), c_out, BatchNormConfig::default())?;
    Ok(ConvNormAct::new(conv, norm, after))
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
    let conv = |c_in, c_out, k, stride| Convolution { c_in, c_out, k, stride };
    let mut branch = Sequential::new();
    let last = if kind.bottleneck {
        let (first, second) = if config.downsample_in_bottleneck { (stride, 1) } else { (1, stride) };
        branch.push(conv_norm(scope, ["conv1", "bn1"], conv(c_in, width, 1, first), After::Relu)?);
        branch.push(conv_norm(scope, ["conv2", "bn2"], conv(width, width, 3, second), After::Relu)?);
        conv_norm(scope, ["conv3", "bn3"], conv(width, c_out, 1, 1), After::Relu)?
    } else {
        branch.push(conv_norm(scope, ["conv1", "bn1"], conv(c_in, width, 3, stride), After::Relu)?);
        conv_norm(scope, ["conv2", "bn2"], conv(width, c_out, 3, 1), After::Relu)?
    };
    let shortcut = match stride != 1 || c_in != c_out {
        true => {
            let names = ["downsample.0", "downsample.1"];
            Some(conv_norm(scope, names, conv(c_in, c_out, 1, stride), After::Nothing)?)
        }
        false => None,
    };
    Ok(ResidualBlock::new(branch, last, shortcut))
}

#[cfg(test)]
mod tests {
    use tallow_nn::{Ctx, Device, Dims, Layer, Path};

    use super::*;

    fn config(input_px: [usize; 2]) -> ResnetConfig {
        ResnetConfig { input_px, downsample_in_bottleneck: false }
    }

    /// torchvision's own numbers of parameters for 1,000 classes.
    #[test]
    fn they_have_torchvisions_parameters() {
        for (name, n_parameters) in
            [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)]
        {
            let mut params = ParamStore::new(0, &Device::Cpu);
            build(name, &config([224, 224]), 1000, &mut params).unwrap();
            assert_eq!(params.n_parameters(), n_parameters, "{name}");
        }
        assert_eq!(Kind::named("resnet101").map(|kind| kind.n_blocks), Some([3, 4, 23, 3]));
        assert_eq!(Kind::named("resnet152").map(|kind| kind.n_blocks), Some([3, 8, 36, 3]));
    }

    #[test]
    fn names_are_torchvisions() {
        let mut params = ParamStore::new(0, &Device::Cpu);
        build("resnet50", &config([64, 64]), 10, &mut params).unwrap();
        let shape = |name: &str| params.get(name).map(|p| p.shape().to_vec());
        assert_eq!(shape("conv1.weight"), Some(vec![64, 3, 7, 7]));
        assert_eq!(shape("layer1.0.downsample.0.weight"), Some(vec![256, 64, 1, 1]));
        assert_eq!(shape("layer4.2.bn3.running_mean"), Some(vec![2048]));
        assert_eq!(shape("layer3.5.conv2.weight"), Some(vec![256, 256, 3, 3]));
        assert_eq!(shape("fc.weight"), Some(vec![10, 2048]));
        assert_eq!(shape("layer1.1.downsample.0.weight"), None);
    }

    /// The smallest maps there can be, odd sizes, and both places for the stride.
    #[test]
    fn images_of_any_size_go_through() {
        for (name, downsample_in_bottleneck) in [("resnet18", false), ("resnet50", false), ("resnet50", true)]
        {
            for (h, w) in [(1, 1), (33, 50)] {
                let mut params = ParamStore::new(0, &Device::Cpu);
                let config = ResnetConfig { input_px: [h, w], downsample_in_bottleneck };
                let network = build(name, &config, 3, &mut params).unwrap();
                let mut ctx = Ctx::eval(Path::Kernels, &Device::Cpu);
                let x = ctx.input(vec![0.5; h * w * 3], Dims { n: 1, c: 3, h, w }).unwrap();
                assert_eq!(network.forward(x, &mut ctx).unwrap().dims(), Dims { n: 1, c: 3, h: 1, w: 1 });
            }
        }
    }
}
