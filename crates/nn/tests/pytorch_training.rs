//! Compares the loss, the optimisers and gradient clipping with PyTorch. `fixtures/gen_pytorch.py` writes the fixtures.

mod common;

use std::collections::BTreeSet;

use common::{KEY, assert_close};
use tallow_nn::{
    Backend, CrossEntropy, Ctx, Device, Dims, Gelu, Layer, Linear, Optimizer, OptimizerConfig, ParamGroup,
    ParamStore, Sequential, Tensors, decode, log_softmax,
};

/// Tolerance, relative in norm.
const TOLERANCE: f64 = 1e-5;

fn targets(golden: &Tensors) -> Vec<u32> {
    golden["targets"].data.iter().map(|&t| t as u32).collect()
}

#[test]
fn cross_entropy() {
    let (golden, _) = decode(include_bytes!("fixtures/losses.safetensors")).unwrap();
    let (logits, targets) = (&golden["logits"].data, targets(&golden));
    assert_close("log_softmax", &log_softmax(logits, 7), &golden["log_softmax"].data, TOLERANCE);
    for backend in [Backend::Kernels, Backend::Candle] {
        for (name, class_weights) in [("plain", None), ("weighted", Some(golden["weights"].data.clone()))] {
            for label_smoothing in [0.0, 0.1] {
                let loss = CrossEntropy {
                    label_smoothing,
                    class_weights: class_weights.clone(),
                    ..Default::default()
                };
                let mut ctx = Ctx::eval(backend, &Device::Cpu);
                let act = ctx.input(logits.clone(), Dims { n: 5, c: 7, h: 1, w: 1 }).unwrap();
                let loss = loss.forward(&act, &targets).unwrap();
                let case = format!("{name} {label_smoothing:.1}");
                assert_close(&case, &[loss.mean], &golden[&format!("{case}/mean")].data, TOLERANCE);
                assert_close(&case, &loss.per_image, &golden[&format!("{case}/per_image")].data, TOLERANCE);
                assert_close(&case, &loss.grad_logits, &golden[&format!("{case}/grad")].data, TOLERANCE);
                assert_eq!(loss.logits, *logits);
            }
        }
    }
}

/// Returns the settings of each case of the fixture.
fn optimizers() -> [(&'static str, OptimizerConfig); 7] {
    let sgd =
        |momentum, nesterov, weight_decay| OptimizerConfig::Sgd { lr: 0.2, momentum, nesterov, weight_decay };
    let (lr, eps) = (0.05, 1e-8);
    [
        ("sgd", sgd(0.0, false, 0.0)),
        ("sgd, decay", sgd(0.0, false, 0.1)),
        ("sgd, momentum", sgd(0.9, false, 0.1)),
        ("sgd, nesterov", sgd(0.9, true, 0.1)),
        ("adam", OptimizerConfig::Adam { lr, beta1: 0.9, beta2: 0.999, eps, weight_decay: 0.0 }),
        ("adam, decay", OptimizerConfig::Adam { lr, beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: 0.1 }),
        ("adamw", OptimizerConfig::AdamW { lr, beta1: 0.9, beta2: 0.999, eps, weight_decay: 0.1 }),
    ]
}

/// Returns two groups: biases without weight decay, and the weight of fc2 with a tenth of the learning rate.
fn groups() -> Vec<ParamGroup> {
    let group = |pattern: &str, n_dims, lr_factor, weight_decay| ParamGroup {
        pattern: pattern.to_owned(),
        n_dims,
        lr_factor,
        weight_decay,
        optimizer: None,
        until_epoch: None,
    };
    vec![group("*", Some(1), 1.0, Some(0.0)), group("fc2.*", None, 0.1, None)]
}

/// Takes five steps with falling learning rates, and compares the parameters.
fn check(
    case: &str,
    config: &OptimizerConfig,
    groups: &[ParamGroup],
    max_norm: Option<f64>,
    golden: &Tensors,
) {
    let mut store = ParamStore::new(0, &Device::Cpu);
    let mut net = Sequential::new();
    net.push(Linear::new(&mut store.root().sub("fc1"), 4, 6, true).unwrap());
    net.push(Gelu);
    net.push(Linear::new(&mut store.root().sub("fc2"), 6, 3, true).unwrap());
    store.load_tensors(&below(golden, "start")).unwrap();
    let mut optimizer = Optimizer::new(config, groups, &store).unwrap();
    for step in 0..5 {
        let mut ctx = Ctx::train(Backend::Kernels, &Device::Cpu, KEY);
        let x = ctx.input(golden["x"].data.clone(), Dims { n: 5, c: 4, h: 1, w: 1 }).unwrap();
        let logits = net.forward(x, &mut ctx).unwrap();
        let loss = CrossEntropy::default().forward(&logits, &targets(golden)).unwrap();
        let mut grads = ctx.backward(&logits, loss.grad_logits).unwrap();
        if let Some(max_norm) = max_norm {
            let norm = grads.clip_global_norm(max_norm).unwrap() as f32;
            assert!(f64::from(norm) > max_norm, "nothing to clip");
            assert_close("norm", &[norm], &golden[&format!("{case}/norm {step}")].data, TOLERANCE);
        }
        optimizer.step(&store, &grads, config.lr() * (1.0 - 0.1 * f64::from(step))).unwrap();
    }
    for (name, tensor) in store.to_tensors().unwrap() {
        let expected = &golden[&format!("{case}/{name}")].data;
        assert_close(&format!("{case}: {name}"), &tensor.data, expected, TOLERANCE);
    }
}

fn below(tensors: &Tensors, case: &str) -> Tensors {
    let rest = |name: &str| Some(name.strip_prefix(case)?.strip_prefix('/')?.to_owned());
    tensors.iter().filter_map(|(name, tensor)| Some((rest(name)?, tensor.clone()))).collect()
}

#[test]
fn optimizers_with_groups_and_clipping() {
    let (golden, _) = decode(include_bytes!("fixtures/optimizers.safetensors")).unwrap();
    for (name, config) in optimizers() {
        check(name, &config, &[], None, &golden);
        check(&format!("{name}, groups"), &config, &groups(), None, &golden);
        if name == "sgd, momentum" {
            check(&format!("{name}, clipped"), &config, &[], Some(0.25), &golden);
        }
    }
    let cases: BTreeSet<_> = golden.keys().filter_map(|key| key.strip_suffix("/fc1.bias")).collect();
    assert_eq!(cases.len(), 1 + 2 * 7 + 1, "the start, each optimiser with and without groups, clipping");
}
