//! The reference network at the start and after an epoch, and its gradients on batches in both precisions. The test and the
//! example `gradient_cosine` share this file; the example can use other images.

use std::collections::BTreeMap;
use std::io::Cursor;

use tallow_core::{Purpose, Stream};
use tallow_nn::{
    Backend, CrossEntropy, Ctx, Device, Dims, Model, Optimizer, OptimizerConfig, ParamGroup, Precision,
    TrainKey,
};

/// Images in a batch, as in the recipe.
pub(crate) const BATCH_SIZE: usize = 128;
/// Number of batches that gradients are computed on: all full batches of the sample. One batch alone is decided by chance.
pub(crate) const N_BATCHES: usize = 15;
const SIDE_PX: usize = 32;
const IMAGE_LEN: usize = SIDE_PX * SIDE_PX * 3;
/// The recipe's learning rate rises over several epochs. In the first epoch its average is about this share of the full rate.
const LR_FACTOR: f64 = 0.15;

/// Normalised images in (n, h, w, c) order with their classes, in a random order.
pub(crate) struct Images {
    pub(crate) pixels: Vec<f32>,
    pub(crate) targets: Vec<u32>,
}

impl Images {
    /// Reads the training images of the embedded sample: one PNG file with a row of 200 images for each class.
    pub(crate) fn sample() -> Self {
        const N_PER_CLASS: usize = 200;
        let png: &[u8] = include_bytes!("../../../../assets/sample/train.png");
        let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
        let mut picture = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut picture).unwrap();
        let row_len = SIDE_PX * 3;
        let mut order: Vec<usize> = (0..10 * N_PER_CLASS).collect();
        Stream::new(0, Purpose::Shuffle, 0, 0).shuffle(&mut order);
        let mut images = Self { pixels: Vec::new(), targets: Vec::new() };
        for image in order {
            let (class, column) = (image / N_PER_CLASS, image % N_PER_CLASS);
            for line in picture.chunks_exact(N_PER_CLASS * row_len).skip(class * SIDE_PX).take(SIDE_PX) {
                images.pixels.extend(line[column * row_len..][..row_len].iter().copied().map(normalised));
            }
            images.targets.push(class as u32);
        }
        images
    }

    /// Returns the batches in order; the last one may be short.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (Vec<f32>, &[u32])> {
        let pixels = self.pixels.chunks(BATCH_SIZE * IMAGE_LEN).map(<[f32]>::to_vec);
        pixels.zip(self.targets.chunks(BATCH_SIZE))
    }
}

/// Normalises a value to about mean 0 and standard deviation 1, in the same way for all colours.
pub(crate) fn normalised(byte: u8) -> f32 {
    (f32::from(byte) / 255.0 - 0.473) / 0.251
}

/// Gradients by parameter.
pub(crate) type Gradients = BTreeMap<String, Vec<f32>>;

/// The network of the recipe `cnn` without dropout, with the recipe's optimizer and loss.
pub(crate) struct Reference {
    pub(crate) model: Model,
    recipe: toml::Table,
    criterion: CrossEntropy,
}

impl Reference {
    /// Builds the network with its initial weights.
    pub(crate) fn new() -> Self {
        let mut recipe: toml::Table =
            toml::from_str(include_str!("../../../../assets/recipes/cnn.toml")).unwrap();
        let label_smoothing = recipe["loss"]["label_smoothing"].as_float().unwrap() as f32;
        let table = recipe["model"].as_table_mut().unwrap();
        table["dropout"].as_array_mut().unwrap().fill(0.0.into());
        let model = tallow_models::build(table, 10, 0, &Device::Cpu).unwrap();
        Self { model, recipe, criterion: CrossEntropy { label_smoothing, ..CrossEntropy::default() } }
    }

    /// Trains one epoch in f32.
    pub(crate) fn train(&mut self, images: &Images) {
        let config: OptimizerConfig = self.recipe["optimizer"].clone().try_into().unwrap();
        let groups: Vec<ParamGroup> = self.recipe["param_groups"].clone().try_into().unwrap();
        let mut optimizer = Optimizer::new(&config, &groups, &self.model.params).unwrap();
        for (pixels, targets) in images.batches() {
            let grads = self.backward(pixels, targets, Precision::F32);
            optimizer.step(&self.model.params, &grads, config.lr() * LR_FACTOR).unwrap();
        }
    }

    fn backward(&self, pixels: Vec<f32>, targets: &[u32], precision: Precision) -> tallow_nn::Gradients {
        let key = TrainKey { seed: 0, epoch: 0, first_position: 0 };
        let mut ctx = Ctx::train(Backend::Kernels, &Device::Cpu, key).with_precision(precision);
        let x = ctx.input(pixels, Dims { n: targets.len(), c: 3, h: SIDE_PX, w: SIDE_PX }).unwrap();
        let logits = self.model.network.forward(x, &mut ctx).unwrap();
        let loss = self.criterion.forward(&logits, targets).unwrap();
        ctx.backward(&logits, loss.grad_logits).unwrap()
    }

    /// Returns the gradient on a batch. Of the network's state, only batch norms' running statistics change.
    pub(crate) fn gradient(&self, pixels: &[f32], targets: &[u32], precision: Precision) -> Gradients {
        let grads = self.backward(pixels.to_vec(), targets, precision);
        let numbers = grads.iter().map(|(name, grad)| (name, grad.flatten_all().unwrap().to_vec1().unwrap()));
        numbers.map(|(name, grad)| (name.to_owned(), grad)).collect()
    }
}
