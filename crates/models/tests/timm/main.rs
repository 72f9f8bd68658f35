//! Compares our versions of timm's backbones with timm, in inference and in training, on weights by a rule (`closed_form`).
//! `fixtures/gen_timm.py` computed timm's results in f64; each is stored with the error of timm's own f32.

#[path = "../resnet/closed_form.rs"]
mod closed_form;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use tallow_models::{architecture, build};
use tallow_nn::{Backend, Ctx, Device, Dims, Gradients, Model, Precision, TrainKey};

/// Tolerance in f32, relative in norm. timm's own f32 has an error of 2e-6.
const TOLERANCE: f64 = 1e-4;
/// Tolerance with bf16 maps and weights, relative in norm.
const BF16_TOLERANCE: f64 = 4e-2;
/// Tolerance of norms of gradients in bf16, through up to 20 layers with ReLUs. The largest measured error is 7 %.
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
    /// Name of the norms with small weights.
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
    /// Choice of closed-form images, such that no unit is near a bend of its activation, where gradients jump.
    images: usize,
    logits: Vec<f32>,
    /// By parameter name.
    tensors: BTreeMap<String, Sample>,
}

/// A sample of a large tensor: its norm, and elements with a step of 7919, modulo the length.
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

/// Returns the closed-form images, each with half the amplitude of the previous one.
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

/// Asserts that the 2-norm of the difference, divided by the 2-norm of `expected`, is within the tolerance.
#[track_caller]
fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    let differences = actual.iter().zip(expected).map(|(&a, &e)| f64::from(a) - f64::from(e));
    let error = norm(differences) / norm(expected.iter().map(|&e| f64::from(e)));
    assert!(error <= tolerance, "{what}: relative error {error:.1e}, tolerance {tolerance:.0e}");
}

/// Compares the logits with those of every golden.
fn check_inference(backend: Backend, precision: Precision, tolerance: f64) {
    for Inference { name, last_norm, batch, logits } in &GOLDENS.eval {
        let mut ctx = Ctx::eval(backend, &Device::Cpu).with_precision(precision);
        let x = ctx.input(pictures(dims(*batch), 0), dims(*batch)).unwrap();
        let found = network(name, last_norm).forward(x, &mut ctx).unwrap().to_vec().unwrap();
        assert_close(&format!("{name}, {backend:?}, {precision:?}, {batch:?}"), &found, logits, tolerance);
    }
}

#[test]
fn logits_are_timms() {
    check_inference(Backend::Kernels, Precision::F32, TOLERANCE);
}

#[test]
fn logits_are_timms_on_the_candle_path() {
    check_inference(Backend::Candle, Precision::F32, TOLERANCE);
}

#[test]
fn logits_are_timms_in_bf16() {
    check_inference(Backend::Kernels, Precision::Bf16, BF16_TOLERANCE);
}

/// Runs a pass in training.
fn train(model: &Model, backend: Backend, precision: Precision, golden: &Training) -> (Vec<f32>, Gradients) {
    let dims = dims(golden.batch);
    let key = TrainKey { seed: 0, epoch: 0, first_position: 0 };
    let mut ctx = Ctx::train(backend, &Device::Cpu, key).with_precision(precision);
    let x = ctx.input(pictures(dims, golden.images), dims).unwrap();
    let logits = model.forward(x, &mut ctx).unwrap();
    let grad_logits = closed_form::values("grad_logits", logits.dims().len(), -1.0, 1.0);
    (logits.to_vec().unwrap(), ctx.backward(&logits, grad_logits).unwrap())
}

fn check_training(backend: Backend) {
    for golden in &GOLDENS.train {
        let (model, name) = (network(&golden.name, &golden.last_norm), &golden.name);
        let (logits, grads) = train(&model, backend, Precision::F32, golden);
        assert_close(&format!("{name}, {backend:?}: logits"), &logits, &golden.logits, TOLERANCE);
        for (tensor_name, sample) in &golden.tensors {
            let what = format!("{name}, {backend:?}: {tensor_name}");
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

/// Returns the entries of a gradient that `golden` has, and the norm of the whole gradient.
fn sample_of(grads: &Gradients, name: &str, golden: &Sample) -> (Vec<f32>, f64) {
    let tensor: Vec<f32> = grads.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let entries = (0..golden.entries.len()).map(|i| tensor[i * 7919 % tensor.len()]).collect();
    (entries, norm(tensor.iter().map(|&v| f64::from(v))))
}

/// Rounding to bf16 moves some units to the other side of a ReLU. That changes single entries a lot and norms little. A gradient
/// of one number is a sum whose terms may cancel. So the test compares norms of gradients with more than one number, and entries
/// only for networks without ReLU.
#[test]
fn training_is_timms_in_bf16() {
    for golden in &GOLDENS.train {
        let (model, name) = (network(&golden.name, &golden.last_norm), &golden.name);
        let (logits, grads) = train(&model, Backend::Kernels, Precision::Bf16, golden);
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
    check_training(Backend::Kernels);
}

#[test]
fn training_is_timms_on_the_candle_path() {
    check_training(Backend::Candle);
}
