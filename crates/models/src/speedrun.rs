//! `speedrun`, the network of the fastest known training to 94 % on CIFAR-10. It has a 2x2 convolution and three groups. A group
//! has a convolution with pooling and a convolution without, each followed by batch norm and GELU.
//!
//! Source: Keller Jordan 2024, <https://arxiv.org/abs/2404.00498>. Norms and initial values are PyTorch's by default; the table
//! can change them. Training, and the whitening of the first convolution, are left to the recipe.

use serde::{Deserialize, Serialize};
use tallow_nn::{
    Act, After, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, ConvNormAct, Ctx, Dims, Flatten, Gelu,
    Init, Layer, Linear, MaxPool2d, Model, NormAct, Padding, ParamStore, Scale, Sequential,
};

use crate::architecture::{Architecture, InputSizes, check_width, parse};
use crate::error::ModelError;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "speedrun",
    sizes: InputSizes::OwnOrSmaller,
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
        let network = build(&parse(table)?, n_classes, &mut params)?;
        Ok(Model { patch_filters: Some("features.0.weight".into()), ..Model::new(network, params) })
    },
};

/// Output channels of the first convolution: 12 directions of a 2x2 patch of 3 channels, and the opposite of each.
const FIRST_WIDTH: usize = 24;

/// The `[model]` table of a `speedrun`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeedrunConfig {
    /// Rows and columns of the images.
    pub input_px: [usize; 2],
    /// Channels of each group. Each group halves rows and columns.
    pub widths: Vec<usize>,
    /// Added to the variance by batch norms.
    pub norm_eps: f64,
    /// The share of the new batch in batch norms' running statistics.
    pub norm_momentum: f64,
    /// Whether batch norms learn a factor for each channel.
    pub norm_scale: bool,
    /// The initial values of the 3x3 convolutions.
    pub init: FilterInit,
    /// Whether the head's initial weights have standard deviation 1, and logits are divided by the number of features.
    pub scaled_head: bool,
}

/// The initial values of 3x3 convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterInit {
    /// PyTorch's defaults.
    Torch,
    /// Each of the first filters passes one channel on unchanged ([`Init::Dirac`]); the other filters are PyTorch's.
    Dirac,
}

impl FilterInit {
    /// Returns the initial values of 3x3 filters that read `c_in` channels.
    fn of(self, c_in: usize) -> Init {
        match self {
            Self::Torch => Init::torch_default(9 * c_in),
            Self::Dirac => Init::Dirac { c_in, k: [3, 3] },
        }
    }
}

impl SpeedrunConfig {
    /// Returns rows and columns of the map after all groups: the first convolution takes one row and one column, and each group
    /// halves both.
    fn last_map(&self) -> [usize; 2] {
        self.input_px.map(|px| px.saturating_sub(1) >> self.widths.len().min(31))
    }

    fn validate(&self) -> Result<(), ModelError> {
        let [h, w] = self.input_px;
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            let problem = format!("expected a number above 0, found {}", self.norm_eps);
            return Err(ModelError::Value { key: "norm_eps", problem });
        }
        if !(0.0..=1.0).contains(&self.norm_momentum) {
            let problem = format!("expected a share in [0, 1], found {}", self.norm_momentum);
            return Err(ModelError::Value { key: "norm_momentum", problem });
        }
        if self.widths.is_empty() {
            return Err(ModelError::Value { key: "widths", problem: "expected at least one width".into() });
        }
        self.widths.iter().try_for_each(|&width| check_width("widths", width))?;
        if self.last_map().contains(&0) {
            let problem =
                format!("{h} x {w} is too small for {} groups: each group halves it", self.widths.len());
            return Err(ModelError::Value { key: "input_px", problem });
        }
        Ok(())
    }
}

/// The 3x3 max pooling of the last map. If the map has fewer rows or columns than 3, the window is a square of that smaller size.
struct LastPool;

impl LastPool {
    /// Returns rows and columns of the window, and its stride, for a map of `h` x `w`.
    fn k(h: usize, w: usize) -> usize {
        3.min(h).min(w)
    }
}

impl Layer for LastPool {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> tallow_nn::Result<Act> {
        let Dims { h, w, .. } = x.dims();
        let k = Self::k(h, w);
        MaxPool2d { k, stride: k, padding: 0 }.forward(x, ctx)
    }
}

/// Builds the network. Parameters are named as in `Sequential(features = Sequential(conv, gelu, conv, pool, norm, gelu, conv,
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
    let norm =
        BatchNormConfig { eps: config.norm_eps, momentum: config.norm_momentum, scale: config.norm_scale };
    let (mut c_in, mut number) = (FIRST_WIDTH, 2);
    for &width in &config.widths {
        let init = config.init.of(c_in);
        network.push(Conv2d::with_init(&mut scope.sub(number), c_in, width, conv, init)?);
        network.push(MaxPool2d { k: 2, stride: 2, padding: 0 });
        let first_norm = BatchNorm2d::new(&mut scope.sub(number + 2), width, norm)?;
        network.push(NormAct { norm: first_norm, after: After::Gelu });
        let init = config.init.of(width);
        let second = Conv2d::with_init(&mut scope.sub(number + 4), width, width, conv, init)?;
        let second_norm = BatchNorm2d::new(&mut scope.sub(number + 5), width, norm)?;
        network.push(ConvNormAct::new(second, second_norm, After::Gelu));
        (c_in, number) = (width, number + 7);
    }
    network.push(LastPool);
    network.push(Flatten);
    let [h, w] = config.last_map();
    let [h, w] = [h, w].map(|px| px / LastPool::k(h, w));
    let n_features = h * w * c_in;
    let init = match config.scaled_head {
        true => Init::Uniform { bound: 3f32.sqrt() }, // standard deviation 1
        false => Init::torch_default(n_features),
    };
    network.push(Linear::with_init(&mut params.root().sub("head"), n_features, n_classes, false, init)?);
    if config.scaled_head {
        network.push(Scale { factor: 1.0 / n_features as f32 });
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use tallow_nn::{Backend, Device};

    use super::*;

    /// Returns the configuration of a table with only these two keys.
    fn config(input_px: [usize; 2], widths: &[usize]) -> SpeedrunConfig {
        let widths = widths.to_vec();
        let (norm_eps, norm_momentum) = (1e-5, 0.1);
        let (norm_scale, init, scaled_head) = (true, FilterInit::Torch, false);
        SpeedrunConfig { input_px, widths, norm_eps, norm_momentum, norm_scale, init, scaled_head }
    }

    /// Compares number of parameters (without buffers), names and shapes with those of the same network in PyTorch.
    #[test]
    fn it_has_its_parameters() {
        let config = config([32, 32], &[64, 256, 256]);
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
        let config = |input_px| config(input_px, &[4, 6, 8]);
        let mut params = ParamStore::new(0, &Device::Cpu);
        let network = build(&config([26, 50]), 7, &mut params).unwrap();
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
        let x = ctx.input(vec![0.5; 2 * 26 * 50 * 3], Dims { n: 2, c: 3, h: 26, w: 50 }).unwrap();
        assert_eq!(network.forward(x, &mut ctx).unwrap().dims(), Dims { n: 2, c: 7, h: 1, w: 1 });
        let error = build(&config([32, 8]), 7, &mut ParamStore::new(0, &Device::Cpu)).err().unwrap();
        let small = build(&config([16, 24]), 7, &mut ParamStore::new(0, &Device::Cpu)).unwrap();
        let x = ctx.input(vec![0.5; 16 * 24 * 3], Dims { n: 1, c: 3, h: 16, w: 24 }).unwrap();
        assert_eq!(small.forward(x, &mut ctx).unwrap().dims(), Dims { n: 1, c: 7, h: 1, w: 1 });
        assert!(error.to_string().contains("model.input_px: 32 x 8"), "{error}");
    }

    #[test]
    fn smaller_images_go_through_as_well() {
        let mut params = ParamStore::new(0, &Device::Cpu);
        let network = build(&config([32, 32], &[4, 6, 8]), 7, &mut params).unwrap();
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
        for px in [9, 16, 24, 31] {
            let x = ctx.input(vec![0.5; 2 * px * px * 3], Dims { n: 2, c: 3, h: px, w: px }).unwrap();
            assert_eq!(network.forward(x, &mut ctx).unwrap().dims(), Dims { n: 2, c: 7, h: 1, w: 1 });
        }
    }

    #[test]
    fn the_published_start() {
        let published = SpeedrunConfig {
            norm_scale: false,
            init: FilterInit::Dirac,
            scaled_head: true,
            ..config([32, 32], &[64, 256, 256])
        };
        let mut params = ParamStore::new(0, &Device::Cpu);
        let network = build(&published, 10, &mut params).unwrap();
        assert!(params.get("features.4.weight").is_none() && params.get("features.4.bias").is_some());
        let tensors = params.to_tensors().unwrap();
        // filter 23 of the first 3x3 convolution reads only the centre of channel 23; filter 24 is random
        let filters = &tensors["features.2.weight"].data;
        let of_23 = &filters[23 * 24 * 9..24 * 24 * 9];
        assert!(of_23.iter().enumerate().all(|(i, v)| *v == if i == 23 * 9 + 4 { 1.0 } else { 0.0 }));
        assert!(filters[24 * 24 * 9..].iter().all(|v| v.abs() <= 1.0 / 216f32.sqrt()));
        let head = &tensors["head.weight"].data;
        let std = (head.iter().map(|w| w * w).sum::<f32>() / head.len() as f32).sqrt();
        assert!((std - 1.0).abs() < 0.03, "{std}");
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
        let x = ctx.input(vec![0.5; 32 * 32 * 3], Dims { n: 1, c: 3, h: 32, w: 32 }).unwrap();
        let logits = network.forward(x, &mut ctx).unwrap().to_vec().unwrap();
        assert!(logits.iter().all(|logit| logit.abs() < 1.0), "divided by 256: {logits:?}");
    }

    #[test]
    fn a_norm_that_cannot_be_is_refused() {
        let error = |config: SpeedrunConfig| {
            build(&config, 7, &mut ParamStore::new(0, &Device::Cpu)).err().unwrap().to_string()
        };
        let of = || config([32, 32], &[4, 4, 4]);
        assert!(error(SpeedrunConfig { norm_eps: 0.0, ..of() }).contains("model.norm_eps"));
        assert!(error(SpeedrunConfig { norm_momentum: 1.5, ..of() }).contains("model.norm_momentum"));
    }
}
