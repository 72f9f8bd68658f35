//! `cnn`, the reference network: pairs of 3x3 convolutions, each pair followed by pooling and dropout, then two dense
//! layers. With widths 32 32 64 64 128 128 and 128 dense units it is the network of the comparison with the Keras baseline.

use serde::{Deserialize, Serialize};
use tallow_nn::{
    After, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, ConvNormAct, Dropout, Flatten, Linear, Model,
    ParamStore, Relu, Scope, Sequential,
};

use crate::architecture::{Architecture, InputSizes, check_width, parse};
use crate::error::ModelError;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "cnn",
    sizes: InputSizes::Own,
    classifier: "classifier.2",
    weights: None,
    reference: || {
        toml::toml! {
            input_px = [32, 32]
            widths = [32, 32, 64, 64, 128, 128]
            dropout = [0.0, 0.1, 0.2]
            dense = 128
        }
    },
    input_px: |table| Ok(parse::<CnnConfig>(table)?.input_px),
    build: |table, n_classes, mut params| {
        Ok(Model::new(build(&parse(table)?, n_classes, &mut params)?, params))
    },
};

/// The `[model]` table of a `cnn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CnnConfig {
    /// Rows and columns of the images.
    pub input_px: [usize; 2],
    /// Channels of each convolution. Two convolutions make a stage, which halves rows and columns.
    pub widths: Vec<usize>,
    /// The dropout rate after each stage.
    pub dropout: Vec<f32>,
    /// Units of the hidden dense layer.
    pub dense: usize,
}

impl CnnConfig {
    fn validate(&self) -> Result<(), ModelError> {
        let refuse = |key, problem: String| Err(ModelError::Value { key, problem });
        let n_stages = self.widths.len() / 2;
        let [h, w] = self.input_px;
        if self.widths.is_empty() || self.widths.len() % 2 == 1 {
            return refuse("widths", format!("expected an even number of widths, found {:?}", self.widths));
        }
        self.widths.iter().try_for_each(|&width| check_width("widths", width))?;
        if self.dropout.len() != n_stages || self.dropout.iter().any(|p| !(0.0..1.0).contains(p)) {
            let problem =
                format!("expected {n_stages} rates in [0, 1), one per stage, found {:?}", self.dropout);
            return refuse("dropout", problem);
        }
        check_width("dense", self.dense)?;
        if n_stages >= 32 || h.min(w) >> n_stages == 0 {
            return refuse("input_px", format!("{h} x {w} cannot be halved {n_stages} times"));
        }
        Ok(())
    }
}

/// Builds the network. Parameters are named as in the torchvision-like
/// `Sequential(features = Sequential(conv, bn, relu, conv, bn, relu, pool, dropout, …), Flatten, classifier =
/// Sequential(linear, relu, linear))`.
fn build(config: &CnnConfig, n_classes: usize, params: &mut ParamStore) -> Result<Sequential, ModelError> {
    config.validate()?;
    let mut network = Sequential::new();
    network.push(features(config, &mut params.root().sub("features"))?);
    network.push(Flatten);
    let [h, w] = config.input_px.map(|size| size >> (config.widths.len() / 2));
    let f_in = h * w * config.widths[config.widths.len() - 1];
    network.push(classifier(f_in, config.dense, n_classes, &mut params.root().sub("classifier"))?);
    Ok(network)
}

/// Builds the convolutional part. Layers are numbered as in a PyTorch `Sequential` where convolution, norm, activation, pooling
/// and dropout are separate layers; here some of them form one layer.
fn features(config: &CnnConfig, scope: &mut Scope<'_>) -> Result<Sequential, ModelError> {
    let mut features = Sequential::new();
    let (mut c_in, mut number) = (3, 0);
    for (pair, &p) in config.widths.chunks_exact(2).zip(&config.dropout) {
        for (i, &c_out) in pair.iter().enumerate() {
            let conv = Conv2d::new(&mut scope.sub(number), c_in, c_out, Conv2dConfig::same(3))?;
            let norm = BatchNorm2d::new(&mut scope.sub(number + 1), c_out, BatchNormConfig::default())?;
            let after = if i == 1 { After::ReluPool } else { After::Relu };
            features.push(ConvNormAct::new(conv, norm, after));
            (c_in, number) = (c_out, number + 3);
        }
        features.push(Dropout::new(scope.sub(number + 1).name(), p)?);
        number += 2;
    }
    Ok(features)
}

fn classifier(
    f_in: usize,
    dense: usize,
    n_classes: usize,
    scope: &mut Scope<'_>,
) -> Result<Sequential, ModelError> {
    let mut classifier = Sequential::new();
    classifier.push(Linear::new(&mut scope.sub(classifier.len()), f_in, dense, true)?);
    classifier.push(Relu);
    classifier.push(Linear::new(&mut scope.sub(classifier.len()), dense, n_classes, true)?);
    Ok(classifier)
}

#[cfg(test)]
mod tests {
    use tallow_nn::{Backend, Ctx, Device, Dims, Layer};

    use super::*;

    fn reference() -> CnnConfig {
        CnnConfig {
            input_px: [32, 32],
            widths: vec![32, 32, 64, 64, 128, 128],
            dropout: vec![0.0; 3],
            dense: 128,
        }
    }

    /// Compares number of parameters (without buffers), names and shapes with those of the same network in PyTorch.
    #[test]
    fn the_reference_network_has_its_parameters() {
        let mut params = ParamStore::new(0, &Device::Cpu);
        build(&reference(), 10, &mut params).unwrap();
        assert_eq!(params.n_parameters(), 551_466);
        let shape = |name: &str| params.get(name).map(|p| p.shape().to_vec());
        assert_eq!(shape("features.0.weight"), Some(vec![32, 3, 3, 3]));
        assert_eq!(shape("features.4.running_var"), Some(vec![32]));
        assert_eq!(shape("features.19.bias"), Some(vec![128]));
        assert_eq!(shape("classifier.0.weight"), Some(vec![128, 2048]));
        assert_eq!(shape("classifier.2.bias"), Some(vec![10]));
    }

    #[test]
    fn images_that_are_not_square_go_through() {
        let config =
            CnnConfig { input_px: [9, 14], widths: vec![2, 3, 4, 5], dropout: vec![0.1; 2], dense: 6 };
        let mut params = ParamStore::new(0, &Device::Cpu);
        let network = build(&config, 7, &mut params).unwrap();
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
        let x = ctx.input(vec![0.5; 2 * 9 * 14 * 3], Dims { n: 2, c: 3, h: 9, w: 14 }).unwrap();
        assert_eq!(network.forward(x, &mut ctx).unwrap().dims(), Dims { n: 2, c: 7, h: 1, w: 1 });
    }

    #[test]
    fn values_out_of_range_are_named() {
        let error = |config: CnnConfig| {
            build(&config, 10, &mut ParamStore::new(0, &Device::Cpu)).err().unwrap().to_string()
        };
        assert!(error(CnnConfig { widths: vec![8], ..reference() }).contains("model.widths"));
        assert!(error(CnnConfig { dropout: vec![0.1, 1.0, 0.1], ..reference() }).contains("model.dropout"));
        assert!(error(CnnConfig { dense: 0, ..reference() }).contains("model.dense"));
        assert!(error(CnnConfig { input_px: [7, 32], ..reference() }).contains("model.input_px"));
    }
}
