//! A step over several shards of a batch computes what a step over the whole batch does, where nothing depends on the whole batch.

use std::sync::Arc;

use tallow_comm::Comm;
use tallow_dataset::{Batch, Mixed};
use tallow_nn::{
    CrossEntropy, Device, Flatten, Linear, Model, Optimizer, OptimizerConfig, ParamStore, Precision, Rate,
    Reduction, Sequential, TrainKey,
};
use tallow_training::{Content, Learner, StepFigures};

const N_CLASSES: usize = 3;

/// Six numbers an image, as many images as `n`.
fn batch(n: usize, mixed: bool) -> Batch {
    let targets: Vec<u32> = (0..n as u32).map(|i| i * 7 % N_CLASSES as u32).collect();
    let partners = targets.iter().rev().copied().collect();
    Batch {
        first_position: 0,
        images: (0..n * 6).map(|i| ((i * 37 + i / 6) % 19) as f32 / 9.0 - 1.0).collect(),
        mixed: mixed.then_some(Mixed { targets: partners, share: 0.3 }),
        targets,
        indices: (0..n as u32).collect(),
        n,
        height: 1,
        width: 2,
        channels: 3,
    }
}

/// Takes two steps of a linear network without batch norm. Returns its weights and the figures of the second step.
fn steps(n: usize, mixed: bool, criterion: &CrossEntropy, n_shards: usize) -> (Vec<f32>, StepFigures) {
    let mut params = ParamStore::new(0, &Device::Cpu);
    let mut network = Sequential::new();
    network.push(Flatten);
    network.push(Linear::new(&mut params.root().sub("fc"), 6, N_CLASSES, true).unwrap());
    let model = Arc::new(Model::new(network, params));
    let config = OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.01 };
    let optimizer = Optimizer::new(&config, &[], &model.params).unwrap();
    let mut learner = Learner {
        model: Arc::clone(&model),
        criterion: criterion.clone(),
        optimizer,
        precision: Precision::F32,
        max_grad_norm: Some(1.0),
        n_shards,
        order: None,
    };
    let mut step = || {
        let key = TrainKey { seed: 0, epoch: 0, first_position: 0 };
        let rate = Rate { lr: 0.1, base_lr: 0.1, epochs: 0.0 };
        learner.step(batch(n, mixed), Content::Images, key, rate, &Comm::alone()).unwrap()
    };
    step();
    let figures = step();
    let tensors = model.params.to_tensors().unwrap();
    (tensors.values().flat_map(|tensor| tensor.data.clone()).collect(), figures)
}

#[test]
fn shards_add_up_to_the_batch() {
    let weighted = CrossEntropy {
        class_weights: Some(vec![0.5, 1.0, 4.0]),
        label_smoothing: 0.1,
        ..CrossEntropy::default()
    };
    let summed = CrossEntropy { reduction: Reduction::Sum, ..weighted.clone() };
    // shards of one image have either all or nothing of the weight
    let one_class = CrossEntropy { class_weights: Some(vec![0.0, 1.0, 0.0]), ..CrossEntropy::default() };
    for criterion in [CrossEntropy::default(), weighted, summed, one_class] {
        for (n, mixed) in [(16, false), (13, true), (3, false)] {
            let (whole, figures) = steps(n, mixed, &criterion, 1);
            for n_shards in [2, 8] {
                let (cut, of_cut) = steps(n, mixed, &criterion, n_shards);
                let error = whole.iter().zip(&cut).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(error < 1e-6, "{criterion:?}, {n} images, {n_shards} shards: {error}");
                let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
                assert_eq!(figures.n_images, of_cut.n_images);
                assert!(near(figures.n_correct, of_cut.n_correct), "{figures:?} {of_cut:?}");
                assert!(near(figures.loss, of_cut.loss), "{figures:?} {of_cut:?}");
                assert!(near(figures.cross_entropy, of_cut.cross_entropy), "{figures:?} {of_cut:?}");
            }
        }
    }
}
