//! Compares ResNets with torchvision and candle-transformers, in inference and in training, on weights by a rule
//! ([`closed_form`]). `fixtures/gen_resnet.py` computed torchvision's results in f64; each is stored with the error of
//! torchvision's own f32.

mod closed_form;
mod second_oracle;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use tallow_models::{architecture, build};
use tallow_nn::{Backend, Ctx, Device, Dims, Gradients, Model, Precision, TrainKey};

/// Tolerance in f32, relative in norm. Measured at every instruction set: logits 1e-6 (as torchvision's own f32), in training
/// 6e-6, gradients 3e-5 (torchvision's own: 1e-5).
const TOLERANCE: f64 = 1e-4;
/// Tolerance with bf16 maps and weights, relative in norm. Processors without bf16 emulate it. Measured: 8e-3 for ResNet-18, 4e-3
/// for ResNet-50.
const BF16_TOLERANCE: f64 = 2e-2;

static GOLDENS: LazyLock<Goldens> =
    LazyLock::new(|| serde_json::from_str(include_str!("../fixtures/resnet.json")).unwrap());

#[derive(Deserialize)]
struct Goldens {
    versions: BTreeMap<String, String>,
    n_classes: usize,
    closed_form: Vec<f32>,
    eval: Vec<Inference>,
    train: Vec<Training>,
}

#[derive(Deserialize)]
struct Inference {
    name: String,
    downsample_in_bottleneck: bool,
    /// Images, rows, columns.
    batch: [usize; 3],
    logits: Vec<f32>,
}

/// A pass with batch statistics, and its gradients of `sum(r * logits)` for a closed-form r.
#[derive(Deserialize)]
struct Training {
    name: String,
    batch: [usize; 3],
    /// Choice of closed-form images, such that no input of a ReLU is near 0, where gradients jump.
    images: usize,
    logits: Vec<f32>,
    /// Gradients by parameter name, and running statistics after the pass.
    tensors: BTreeMap<String, Sample>,
}

/// A sample of a large tensor: its norm, and elements with a step of 7919, modulo the length.
#[derive(Deserialize)]
struct Sample {
    norm: f64,
    entries: Vec<f32>,
}

/// Returns the network called `name` with closed-form weights.
fn network(name: &str, downsample_in_bottleneck: bool) -> Model {
    let mut table = architecture(name).unwrap().reference_table();
    table.insert("downsample_in_bottleneck".to_owned(), downsample_in_bottleneck.into());
    let model = build(&table, GOLDENS.n_classes, 0, &Device::Cpu).unwrap();
    let is_bottleneck = model.params.get("layer1.0.bn3.weight").is_some();
    closed_form::fill(&model.params, if is_bottleneck { "bn3" } else { "bn2" });
    model
}

fn dims([n, h, w]: [usize; 3]) -> Dims {
    Dims { n, c: 3, h, w }
}

fn logits(model: &Model, mut ctx: Ctx, batch: [usize; 3]) -> Vec<f32> {
    let x = ctx.input(closed_form::images(dims(batch), 0), dims(batch)).unwrap();
    model.forward(x, &mut ctx).unwrap().to_vec().unwrap()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Returns the 2-norm of the difference divided by the 2-norm of `expected`.
fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let differences = actual.iter().zip(expected).map(|(&a, &e)| f64::from(a) - f64::from(e));
    norm(differences) / norm(expected.iter().map(|&e| f64::from(e)))
}

#[track_caller]
fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f64) {
    let error = relative_error(actual, expected);
    assert!(error <= tolerance, "{what}: relative error {error:.1e}, tolerance {tolerance:.0e}");
}

/// Compares the logits with those of every golden of this network.
fn check_inference(
    model: &Model,
    name: &str,
    v1: bool,
    backend: Backend,
    precision: Precision,
    tolerance: f64,
) {
    let goldens = || GOLDENS.eval.iter().filter(|g| g.name == name && g.downsample_in_bottleneck == v1);
    assert!(goldens().count() > 0);
    for golden in goldens() {
        let ctx = Ctx::eval(backend, &Device::Cpu).with_precision(precision);
        let what = format!("{name}, v1: {v1}, {backend:?}, {precision:?}, {:?}", golden.batch);
        assert_close(&what, &logits(model, ctx, golden.batch), &golden.logits, tolerance);
    }
}

#[test]
fn both_languages_make_the_same_numbers() {
    assert!(GOLDENS.versions.contains_key("torchvision"));
    assert_eq!(closed_form::values("conv1.weight", 4, -0.3, 0.7), GOLDENS.closed_form);
}

#[test]
fn logits_are_torchvisions() {
    for name in ["resnet34", "resnet101", "resnet152"] {
        check_inference(&network(name, false), name, false, Backend::Kernels, Precision::F32, TOLERANCE);
    }
}

#[test]
fn logits_are_torchvisions_on_both_paths_and_in_bf16() {
    for name in ["resnet18", "resnet50"] {
        let model = network(name, false);
        check_inference(&model, name, false, Backend::Kernels, Precision::F32, TOLERANCE);
        check_inference(&model, name, false, Backend::Candle, Precision::F32, TOLERANCE);
        check_inference(&model, name, false, Backend::Kernels, Precision::Bf16, BF16_TOLERANCE);
    }
}

#[test]
fn the_papers_place_of_the_stride() {
    check_inference(
        &network("resnet50", true),
        "resnet50",
        true,
        Backend::Kernels,
        Precision::F32,
        TOLERANCE,
    );
    let logits = |v1: bool| {
        let goldens =
            GOLDENS.eval.iter().filter(move |g| g.name == "resnet50" && g.downsample_in_bottleneck == v1);
        goldens.flat_map(|golden| golden.logits.clone()).collect::<Vec<f32>>()
    };
    let difference = relative_error(&logits(true), &logits(false));
    assert!(difference > 100.0 * TOLERANCE, "the goldens cannot tell the places apart: {difference}");
}

/// Runs a pass in training with the weights of `model`. The running statistics in `model` are updated.
fn train(model: &Model, backend: Backend, golden: &Training) -> (Vec<f32>, Gradients) {
    let dims = dims(golden.batch);
    let mut ctx = Ctx::train(backend, &Device::Cpu, TrainKey { seed: 0, epoch: 0, first_position: 0 });
    let x = ctx.input(closed_form::images(dims, golden.images), dims).unwrap();
    let logits = model.forward(x, &mut ctx).unwrap();
    let grad_logits = closed_form::values("grad_logits", logits.dims().len(), -1.0, 1.0);
    (logits.to_vec().unwrap(), ctx.backward(&logits, grad_logits).unwrap())
}

fn check_sample(what: &str, tensor: &[f32], golden: &Sample, tolerance: f64) {
    let entries: Vec<f32> = (0..golden.entries.len()).map(|i| tensor[i * 7919 % tensor.len()]).collect();
    assert_close(what, &entries, &golden.entries, tolerance);
    let norm = norm(tensor.iter().map(|&v| f64::from(v)));
    assert!((norm / golden.norm - 1.0).abs() <= tolerance, "{what}: norm {norm}, expected {}", golden.norm);
}

fn check_training(name: &str, backend: Backend) {
    let golden = GOLDENS.train.iter().find(|golden| golden.name == name).unwrap();
    let model = network(name, false);
    let (logits, grads) = train(&model, backend, golden);
    assert_close(&format!("{name}, {backend:?}: logits"), &logits, &golden.logits, TOLERANCE);
    let state = model.params.to_tensors().unwrap();
    for (tensor_name, sample) in &golden.tensors {
        let what = format!("{name}, {backend:?}: {tensor_name}");
        let tensor = match grads.get(tensor_name) {
            Some(grad) => grad.flatten_all().unwrap().to_vec1().unwrap(),
            None => state[tensor_name].data.clone(),
        };
        check_sample(&what, &tensor, sample, TOLERANCE);
    }
}

#[test]
fn training_is_torchvisions() {
    check_training("resnet18", Backend::Kernels);
    check_training("resnet50", Backend::Kernels);
}

#[test]
fn training_is_torchvisions_on_the_candle_path() {
    check_training("resnet18", Backend::Candle);
}
