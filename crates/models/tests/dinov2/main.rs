//! DINOv2 features against Hugging Face's transformers, for images smaller than those that positions were learnt on, too.
//!
//! Weights are closed-form: `fixtures/gen_dinov2.py` states the rule in Python, to the same bits. transformers computed in
//! f64, with the epsilon and the GELU that candle-transformers has.

#[path = "../resnet/closed_form.rs"]
#[expect(dead_code, reason = "ResNets are filled elsewhere")]
mod closed_form;

use std::collections::BTreeMap;

use serde::Deserialize;
use tallow_models::build;
use tallow_nn::{Ctx, Device, Dims, Model, ParamStore, Path};

/// Relative, in the norm of all features.
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Goldens {
    versions: BTreeMap<String, String>,
    goldens: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    /// Images, rows, columns.
    batch: [usize; 3],
    features: Vec<f32>,
    papers_epsilon_and_gelu: f64,
}

fn network(side: usize) -> Model {
    let table = format!(
        "name = \"vit_small_patch14_dinov2\"\ninput_px = [{side}, {side}]\nweights = \"closed form\"\nhead.norm = true"
    );
    build(&toml::from_str(&table).unwrap(), 10, 0, &Device::Cpu).unwrap()
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

fn features(model: &Model, path: Path, [n, h, w]: [usize; 3]) -> Vec<f32> {
    let dims = Dims { n, c: 3, h, w };
    let mut ctx = Ctx::eval(path, &Device::Cpu);
    let x = ctx.input(closed_form::images(dims, 0), dims).unwrap();
    model.trunk.as_ref().unwrap().layer.forward(x, &mut ctx).unwrap().to_vec().unwrap()
}

fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let differences = actual.iter().zip(expected).map(|(&a, &e)| f64::from(a) - f64::from(e));
    norm(&mut { differences }) / norm(&mut expected.iter().map(|&e| f64::from(e)))
}

#[test]
fn features_are_transformers() {
    let text = include_str!("../fixtures/dinov2.json");
    let goldens: Goldens = serde_json::from_str(text).unwrap();
    assert!(goldens.versions.contains_key("transformers"));
    for Golden { batch, features: expected, papers_epsilon_and_gelu } in goldens.goldens {
        let model = network(batch[1]);
        fill(&model.params);
        for path in [Path::Kernels, Path::Candle] {
            let error = relative_error(&features(&model, path, batch), &expected);
            assert!(error <= TOLERANCE, "{batch:?}, {path:?}: relative error {error:.1e}");
        }
        // so strict that the other GELU would be seen, which features do not depend on much
        assert!(papers_epsilon_and_gelu > 10.0 * TOLERANCE && papers_epsilon_and_gelu < 0.02);
    }
}

#[test]
fn parameters_are_timms_and_only_the_head_learns() {
    let model = network(70);
    let backbone: Vec<_> = model.params.frozen_tensors().unwrap().into_iter().collect();
    assert_eq!(backbone.len(), 4 + 12 * 14 + 2);
    assert_eq!(backbone.iter().map(|(_, tensor)| tensor.data.len()).sum::<usize>(), 22_056_576 - 384); // the published count, without the mask token
    let shape = |name: &str| model.params.get(name).map(|param| param.shape().to_vec());
    assert_eq!(shape("pos_embed"), Some(vec![1, 1370, 384]));
    assert_eq!(shape("patch_embed.proj.weight"), Some(vec![384, 3, 14, 14]));
    assert_eq!(shape("blocks.11.attn.qkv.weight"), Some(vec![1152, 384]));
    let learned: Vec<String> = model.params.learned_tensors().unwrap().into_keys().collect();
    assert!(
        learned.contains(&"head.1.weight".to_owned()) && learned.iter().all(|name| name.starts_with("head."))
    );
    assert_eq!(shape("head.1.weight"), Some(vec![10, 768]));
}
