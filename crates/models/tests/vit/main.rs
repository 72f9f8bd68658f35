//! Compares vision transformers' features with timm and with candle-transformers. Images have the size that positions were learnt
//! on, or are smaller or larger.
//!
//! Weights are closed-form: `fixtures/gen_vit.py` implements the same rule in Python, with equal bits. timm computed in f64.

#[path = "../resnet/closed_form.rs"]
#[expect(dead_code, reason = "ResNets are filled elsewhere")]
mod closed_form;
mod second_oracle;

use serde::Deserialize;
use tallow_models::{architecture, build};
use tallow_nn::{Backend, Ctx, Device, Dims, Model, ParamStore, Precision};

/// Tolerance in f32, relative in the norm of all features. Our error is 8e-7 and that of timm's own f32 is 5e-7; with GELU's tanh
/// form it would be 1e-4.
const TOLERANCE: f64 = 1e-5;
/// Tolerance with bf16 maps and weights; attention computes in f32 inside. The error is 9e-3.
const BF16_TOLERANCE: f64 = 4e-2;

#[derive(Deserialize)]
struct Goldens {
    goldens: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    name: String,
    /// Images, rows, columns.
    batch: [usize; 3],
    features: Vec<f32>,
}

fn network(name: &str, side: usize) -> Model {
    let mut table = architecture(name).unwrap().reference_table();
    table.insert("input_px".into(), vec![side as i64; 2].into());
    table.insert("head".into(), toml::Value::Table(toml::toml! { norm = true }));
    let model = build(&table, 10, 0, &Device::Cpu).unwrap();
    fill(&model.params);
    model
}

fn fill(params: &ParamStore) {
    let mut tensors = params.to_tensors().unwrap();
    for (name, tensor) in tensors.iter_mut().filter(|(name, _)| !name.starts_with("head.")) {
        let (low, high) = match &tensor.shape[1..] {
            _ if name == "cls_token" || name == "pos_embed" => (-1.0, 1.0),
            [] if name.ends_with("gamma") => (0.1, 0.5),
            [] if name.ends_with("bias") => (-0.2, 0.2),
            [] => (0.8, 1.2),
            below => {
                let bound = (3.0 / below.iter().product::<usize>() as f64).sqrt();
                (-bound, bound)
            }
        };
        tensor.data = closed_form::values(name, tensor.data.len(), low, high);
    }
    params.load_tensors(&tensors).unwrap();
}

fn features(model: &Model, backend: Backend, precision: Precision, [n, h, w]: [usize; 3]) -> Vec<f32> {
    let dims = Dims { n, c: 3, h, w };
    let mut ctx = Ctx::eval(backend, &Device::Cpu).with_precision(precision);
    let x = ctx.input(closed_form::images(dims, 0), dims).unwrap();
    model.trunk.as_ref().unwrap().layer.forward(x, &mut ctx).unwrap().to_vec().unwrap()
}

fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let differences = actual.iter().zip(expected).map(|(&a, &e)| f64::from(a) - f64::from(e));
    norm(&mut { differences }) / norm(&mut expected.iter().map(|&e| f64::from(e)))
}

/// Compares the features with those of every golden.
fn check(backend: Backend, precision: Precision, tolerance: f64) {
    let goldens: Goldens = serde_json::from_str(include_str!("../fixtures/vit.json")).unwrap();
    for Golden { name, batch, features: expected } in goldens.goldens {
        let error =
            relative_error(&features(&network(&name, batch[1]), backend, precision, batch), &expected);
        assert!(
            error <= tolerance,
            "{name} {batch:?}, {backend:?}, {precision:?}: relative error {error:.1e}"
        );
    }
}

#[test]
fn features_are_timms() {
    check(Backend::Kernels, Precision::F32, TOLERANCE);
}

#[test]
fn features_are_timms_on_the_candle_path() {
    check(Backend::Candle, Precision::F32, TOLERANCE);
}

#[test]
fn features_are_timms_in_bf16() {
    check(Backend::Kernels, Precision::Bf16, BF16_TOLERANCE);
}

#[test]
fn parameters_are_timms_and_only_the_head_learns() {
    // the published counts, without DINOv2's mask token and without the other network's classifier of 1,000 classes
    for (name, side, per_block, n_numbers, n_positions) in [
        ("vit_small_patch14_dinov2", 70, 14, 22_056_576 - 384, 1370),
        ("vit_small_patch16_224", 96, 12, 22_050_664 - 385_000, 197),
    ] {
        let model = network(name, side);
        let backbone: Vec<_> = model.params.frozen_tensors().unwrap().into_iter().collect();
        assert_eq!(backbone.len(), 4 + 12 * per_block + 2);
        assert_eq!(backbone.iter().map(|(_, tensor)| tensor.data.len()).sum::<usize>(), n_numbers);
        let shape = |name: &str| model.params.get(name).map(|param| param.shape().to_vec());
        assert_eq!(shape("pos_embed"), Some(vec![1, n_positions, 384]));
        assert_eq!(shape("patch_embed.proj.weight").unwrap()[..2], [384, 3]);
        assert_eq!(shape("blocks.11.attn.qkv.weight"), Some(vec![1152, 384]));
        assert_eq!(shape("blocks.0.ls2.gamma").is_some(), per_block == 14);
        let learned: Vec<String> = model.params.learned_tensors().unwrap().into_keys().collect();
        assert!(
            learned.contains(&"head.1.weight".to_owned())
                && learned.iter().all(|name| name.starts_with("head."))
        );
        let n_features = model.trunk.as_ref().unwrap().n_features;
        assert_eq!(shape("head.1.weight"), Some(vec![10, n_features]));
        assert_eq!(n_features, if per_block == 14 { 768 } else { 384 });
    }
}
