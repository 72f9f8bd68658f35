//! The reference network, as in pytorch_worker.py: convolutions in pairs, each pair halved by pooling, dropout after the
//! last two pairs.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d, Relu,
};
use burn::prelude::*;

pub(crate) const N_CLASSES: usize = 10;

#[derive(Module, Debug)]
pub(crate) struct Cnn {
    pairs: Vec<Pair>,
    hidden: Linear,
    head: Linear,
    relu: Relu,
}

/// Two convolutions with batch norm and ReLU, a 2x2 pooling, dropout.
#[derive(Module, Debug)]
struct Pair {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    relu: Relu,
    pool: MaxPool2d,
    dropout: Dropout,
}

impl Cnn {
    /// For images of `size_px` rows and columns.
    pub(crate) fn new(size_px: usize, device: &Device) -> Self {
        let widths = [(3, 32, 0.0), (32, 64, 0.1), (64, 128, 0.2)];
        let n_features = 128 * (size_px / 8).pow(2);
        Self {
            pairs: widths.map(|(c_in, c_out, dropout)| Pair::new(c_in, c_out, dropout, device)).into(),
            hidden: LinearConfig::new(n_features, 128).init(device),
            head: LinearConfig::new(128, N_CLASSES).init(device),
            relu: Relu::new(),
        }
    }

    /// Logits `[n, 10]` of images `[n, 3, h, w]`.
    pub(crate) fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let maps = self.pairs.iter().fold(images, |x, pair| pair.forward(x));
        self.head.forward(self.relu.forward(self.hidden.forward(maps.flatten(1, 3))))
    }
}

impl Pair {
    fn new(c_in: usize, c_out: usize, dropout: f64, device: &Device) -> Self {
        let conv = |c_in| {
            let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
            Conv2dConfig::new([c_in, c_out], [3, 3]).with_padding(padding).init(device)
        };
        Self {
            conv1: conv(c_in),
            norm1: BatchNormConfig::new(c_out).init(device),
            conv2: conv(c_out),
            norm2: BatchNormConfig::new(c_out).init(device),
            relu: Relu::new(),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.relu.forward(self.norm1.forward(self.conv1.forward(x)));
        let x = self.relu.forward(self.norm2.forward(self.conv2.forward(x)));
        self.dropout.forward(self.pool.forward(x))
    }
}
