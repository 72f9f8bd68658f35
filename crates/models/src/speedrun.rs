//! `speedrun`, the shape of the network that reaches 94 % on CIFAR-10 in the shortest time known: a 2x2 convolution,
//! then three groups of a convolution with pooling and a convolution without, batch norm and GELU after each.
//!
//! Source: Keller Jordan 2024, <https://arxiv.org/abs/2404.00498>. How it is trained there (whitened first
//! convolution, scaled initial values) is a recipe's business.

use serde::{Deserialize, Serialize};
use tallow_nn::{
    After, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, ConvNormAct, Flatten, Gelu, Linear, MaxPool2d,
    Model, NormAct, Padding, ParamStore, Sequential,
};

use crate::architecture::{Architecture, InputSizes, parse};
use crate::error::ModelError;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "speedrun",
    sizes: InputSizes::Own,
    classifier: "head",
    weights: None,
    reference: || {
        toml::toml! {
            input_px = [32, 32]
            widths = [64, 256, 256]
        }
    },
    input_px: |table| Ok(parse::<SpeedrunConfig>(table)?.input_px),
    build: |table, n_classes, mut params| {
        Ok(Model::new(build(&parse(table)?, n_classes, &mut params)?, params))
    },
};

/// Output channels of the first convolution: each of 12 directions of a 2x2 patch of 3 channels, and its opposite.
const FIRST_WIDTH: usize = 24;

/// The `[model]` table of a `speedrun`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeedrunConfig {
    /// Rows and columns of the images.
    pub input_px: [usize; 2],
    /// Channels of each group, which halves rows and columns.
    pub widths: Vec<usize>,
}

impl SpeedrunConfig {
    /// Rows (or columns) after the first convolution, each group's pooling and the last 3x3 pooling.
    fn size_after(&self, px: usize) -> usize {
        (px.saturating_sub(1) >> self.widths.len().min(31)) / 3
    }

    fn validate(&self) -> Result<(), ModelError> {
        let [h, w] = self.input_px;
        if self.widths.is_empty() || self.widths.contains(&0) {
            let problem = format!("expected widths above 0, found {:?}", self.widths);
            return Err(ModelError::Value { key: "widths", problem });
        }
        if self.size_after(h.min(w)) == 0 {
            let problem =
                format!("{h} x {w} is too small for {} groups and a 3x3 pooling", self.widths.len());
            return Err(ModelError::Value { key: "input_px", problem });
        }
        Ok(())
    }
}

/// The network. Parameters are named as in `Sequential(features = Sequential(conv, gelu, conv, pool, norm, gelu, conv,
/// norm, gelu, …, pool), head)`.
fn build(
    config: &SpeedrunConfig,
    n_classes: usize,
    params: &mut ParamStore,
) -> Result<Sequential, ModelError> {
    config.validate()?;
    let mut root = params.root();
    let mut scope = root.sub("features");
    let mut network = Sequential::new();
    let first = Conv2dConfig { padding: Padding::Symmetric(0), ..Conv2dConfig::same(2) };
    network.push(Conv2d::new(&mut scope.sub(0), 3, FIRST_WIDTH, first)?);
    network.push(Gelu);
    let conv = Conv2dConfig { bias: false, ..Conv2dConfig::same(3) };
    let (mut c_in, mut number) = (FIRST_WIDTH, 2);
    for &width in &config.widths {
        network.push(Conv2d::new(&mut scope.sub(number), c_in, width, conv)?);
        network.push(MaxPool2d { k: 2, stride: 2, padding: 0 });
        let norm = BatchNorm2d::new(&mut scope.sub(number + 2), width, BatchNormConfig::default())?;
        network.push(NormAct { norm, after: After::Gelu });
        let second = Conv2d::new(&mut scope.sub(number + 4), width, width, conv)?;
        let norm = BatchNorm2d::new(&mut scope.sub(number + 5), width, BatchNormConfig::default())?;
        network.push(ConvNormAct::new(second, norm, After::Gelu));
        (c_in, number) = (width, number + 7);
    }
    network.push(MaxPool2d { k: 3, stride: 3, padding: 0 });
    network.push(Flatten);
    let [h, w] = config.input_px.map(|px| config.size_after(px));
    network.push(Linear::new(&mut params.root().sub("head"), h * w * c_in, n_classes, false)?);
    Ok(network)
}

#[cfg(test)]
mod tests {
    use tallow_nn::{Ctx, Device, Dims, Layer, Path};

    use super::*;

    /// The figures of the same network in PyTorch: parameters (without buffers) and names.
    #[test]
    fn it_has_its_parameters() {
        let config = SpeedrunConfig { input_px: [32, 32], widths: vec![64, 256, 256] };
        let mut params = ParamStore::new(0, &Device::Cpu);
        build(&config, 10, &mut params).unwrap();
        assert_eq!(params.n_parameters(), 1_972_792);
        let shape = |name: &str| params.get(name).map(|p| p.shape().to_vec());
        assert_eq!(shape("features.0.weight"), Some(vec![24, 3, 2, 2]));
        assert_eq!(shape("features.4.running_var"), Some(vec![64]));
        assert_eq!(shape("features.9.weight"), Some(vec![256, 64, 3, 3]));
        assert_eq!(shape("features.21.bias"), Some(vec![256]));
        assert_eq!(shape("head.weight"), Some(vec![10, 256]));
        assert_eq!(shape("features.2.bias"), None);
    }

    #[test]
    fn other_sizes_go_through_and_small_ones_are_refused() {
        let config = |input_px| SpeedrunConfig { input_px, widths: vec![4, 6, 8] };
        let mut params = ParamStore::new(0, &Device::Cpu);
        let network = build(&config([26, 50]), 7, &mut params).unwrap();
        let mut ctx = Ctx::eval(Path::Kernels, &Device::Cpu);
        let x = ctx.input(vec![0.5; 2 * 26 * 50 * 3], Dims { n: 2, c: 3, h: 26, w: 50 }).unwrap();
        assert_eq!(network.forward(x, &mut ctx).unwrap().dims(), Dims { n: 2, c: 7, h: 1, w: 1 });
        let error = build(&config([32, 24]), 7, &mut ParamStore::new(0, &Device::Cpu)).err().unwrap();
        assert!(error.to_string().contains("model.input_px: 32 x 24"), "{error}");
    }
}
