//! timm's backbones against timm, in inference and in training, on weights that a rule makes (`closed_form`).
//! `fixtures/gen_timm.py` made timm's results, in f64; beside each stands how far timm itself is from them in f32.

#[path = "../resnet/closed_form.rs"]
mod closed_form;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use tallow_models::{architecture, build};
use tallow_nn::{Ctx, Device, Dims, Gradients, Model, Path, Precision, TrainKey};

/// f32, relative in norm. timm's own f32 is off by 2e-6.
const TOLERANCE: f64 = 1e-4;
/// bf16 maps and weights, relative in norm.
const BF16_TOLERANCE: f64 = 4e-2;
/// Of norms of gradients in bf16, through up to 20 layers with ReLUs: 7 % at most are seen.
const BF16_NORM_TOLERANCE: f64 = 0.1;

static GOLDENS: LazyLock<Goldens> =
    LazyLock::new(|| serde_json::from_str(include_str!("../fixtures/timm.json")).unwrap());

#[derive(Deserialize)]
struct Goldens {
    n_classes: usize,
    eval: Vec<Inference>,
    train: Vec<Training>,
}

#[derive(Deserialize)]
struct Inference {
    name: String,
    /// What norms are called whose weights are small.
    last_norm: String,
    /// Images, rows, columns.
    batch: [usize; 3],
    logits: Vec<f32>,
}

/// A pass with constant statistics, and its gradients of `sum(r * logits)` for a closed-form r.
#[derive(Deserialize)]
struct Training {
    name: String,
    last_norm: String,
    batch: [usize; 3],
    /// Which closed-form images: no unit is near where its activation bends, where gradients jump.
    images: usize,
    logits: Vec<f32>,
    /// By parameter name.
    tensors: BTreeMap<String, Sample>,
}

/// A large tensor: its norm, and elements 7919 apart, coming round.
#[derive(Deserialize)]
struct Sample {
    norm: f64,
    entries: Vec<f32>,
}

fn network(name: &str, last_norm: &str) -> Model {
    let mut table = architecture(name).unwrap().reference_table();
    table.insert("weights".into(), "closed form".into()); // so that norms keep their statistics in training
    let model = build(&table, GOLDENS.n_classes, 0, &Device::Cpu).unwrap();
    closed_form::fill(&model.params, last_norm);
    model
}

fn dims([n, h, w]: [usize; 3]) -> Dims {
    Dims { n, c: 3, h, w }
}

/// The closed-form images, each half as strong as the one before it.
fn pictures(dims: Dims, choice: usize) -> Vec<f32> {
    let mut images = closed_form::images(dims, choice);
    for (i, image) in images.chunks_exact_mut(dims.len() / dims.n).enumerate() {
        image.iter_mut().for_each(|level| *level *= 0.5f32.powi(i as i32));
    }
    images
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// The 2-norm of the difference over that of `expected`.
#[track_caller]
fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    let differences = actual.iter().zip(expected).map(|(&a, &e)| f64::from(a) - f64::from(e));
    let error = norm(differences) / norm(expected.iter().map(|&e| f64::from(e)));
    assert!(error <= tolerance, "{what}: relative error {error:.1e}, tolerance {tolerance:.0e}");
}

/// The logits of every golden.
fn check_inference(path: Path, precision: Precision, tolerance: f64) {
    for Inference { name, last_norm, batch, logits } in &GOLDENS.eval {
        let mut ctx = Ctx::eval(path, &Device::Cpu).with_precision(precision);
        let x = ctx.input(pictures(dims(*batch), 0), dims(*batch)).unwrap();
        let found = network(name, last_norm).forward(x, &mut ctx).unwrap().to_vec().unwrap();
        assert_close(&format!("{name}, {path:?}, {precision:?}, {batch:?}"), &found, logits, tolerance);
    }
}

#[test]
fn logits_are_timms() {
    check_inference(Path::Kernels, Precision::F32, TOLERANCE);
}

#[test]
fn logits_are_timms_on_the_candle_path() {
    check_inference(Path::Candle, Precision::F32, TOLERANCE);
}

#[test]
fn logits_are_timms_in_bf16() {
    check_inference(Path::Kernels, Precision::Bf16, BF16_TOLERANCE);
}

/// A pass in training.
fn train(model: &Model, path: Path, precision: Precision, golden: &Training) -> (Vec<f32>, Gradients) {
    let dims = dims(golden.batch);
    let key = TrainKey { seed: 0, epoch: 0, first_position: 0 };
    let mut ctx = Ctx::train(path, &Device::Cpu, key).with_precision(precision);
    let x = ctx.input(pictures(dims, golden.images), dims).unwrap();
    let logits = model.forward(x, &mut ctx).unwrap();
    let grad_logits = closed_form::values("grad_logits", logits.dims().len(), -1.0, 1.0);
    (logits.to_vec().unwrap(), ctx.backward(&logits, grad_logits).unwrap())
}

fn check_training(path: Path) {
    for golden in &GOLDENS.train {
        let (model, name) = (network(&golden.name, &golden.last_norm), &golden.name);
        let (logits, grads) = train(&model, path, Precision::F32, golden);
        assert_close(&format!("{name}, {path:?}: logits"), &logits, &golden.logits, TOLERANCE);
        for (tensor_name, sample) in &golden.tensors {
            let what = format!("{name}, {path:?}: {tensor_name}");
            let (entries, norm) = sample_of(&grads, tensor_name, sample);
            assert_close(&what, &entries, &sample.entries, TOLERANCE);
            assert!(
                (norm / sample.norm - 1.0).abs() <= TOLERANCE,
                "{what}: norm {norm}, not {}",
                sample.norm
            );
        }
    }
}

/// The entries of a gradient that a golden has, and the norm of the whole.
fn sample_of(grads: &Gradients, name: &str, golden: &Sample) -> (Vec<f32>, f64) {
    let tensor: Vec<f32> = grads.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let entries = (0..golden.entries.len()).map(|i| tensor[i * 7919 % tensor.len()]).collect();
    (entries, norm(tensor.iter().map(|&v| f64::from(v))))
}

/// Rounding to bf16 turns units of a ReLU over, each of which moves single entries a lot and norms little; and one number alone is a
/// sum that may cancel. So norms of what is more than one number are compared, and entries where the network has no ReLU.
#[test]
fn training_is_timms_in_bf16() {
    for golden in &GOLDENS.train {
        let (model, name) = (network(&golden.name, &golden.last_norm), &golden.name);
        let (logits, grads) = train(&model, Path::Kernels, Precision::Bf16, golden);
        assert_close(&format!("{name} in bf16: logits"), &logits, &golden.logits, BF16_TOLERANCE);
        for (tensor_name, sample) in &golden.tensors {
            let what = format!("{name} in bf16: {tensor_name}");
            let (entries, norm) = sample_of(&grads, tensor_name, sample);
            if name.starts_with("convnext") {
                assert_close(&what, &entries, &sample.entries, BF16_TOLERANCE);
            }
            let is_one = sample.entries.iter().all(|entry| *entry == sample.entries[0]);
            let error = (norm / sample.norm - 1.0).abs();
            assert!(is_one || error <= BF16_NORM_TOLERANCE, "{what}: norm {norm}, not {}", sample.norm);
        }
    }
}

#[test]
fn training_is_timms() {
    check_training(Path::Kernels);
}

#[test]
fn training_is_timms_on_the_candle_path() {
    check_training(Path::Candle);
}
