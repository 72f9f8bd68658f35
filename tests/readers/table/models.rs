//! Readers of weights: safetensors, model files, checkpoints, caches of features, and the description beside pretrained weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tallow_core::digest;
use tallow_models::weights::PretrainedConfig;
use tallow_nn::{HostTensor, Tensors, decode, encode};
use tallow_training::{AboutFeatures, Checkpoint, SavedModel, feature_caches as read_caches};

use super::{joined, owned, parts, scratch, text};

pub(super) fn safetensors(bytes: &[u8]) -> bool {
    let Ok((tensors, text)) = decode(bytes) else { return false };
    let written = encode(&tensors, text.as_deref().unwrap_or_default()).expect("tensors can be written");
    let (again, text) = decode(&written).expect("what was written can be read");
    // as bytes, because a NaN is not equal to itself
    assert_eq!(encode(&again, &text.unwrap_or_default()).expect("tensors can be written"), written);
    true
}

pub(super) fn safetensors_files() -> Vec<Vec<u8>> {
    let halves = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[4,8]},"x.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[8,16]}}"#;
    vec![
        encode(&weights(), "{\"epoch\":3}").expect("tensors can be written"),
        with_header(halves, &[0, 0x3e, 0, 0xc0, 0xc0, 0x3f, 0, 0x80, 1, 0, 0, 0, 0, 0, 0, 0]),
        with_header(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, &[0; 4]),
        with_header(r#"{"a":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0]}}"#, &[]),
        u64::MAX.to_le_bytes().to_vec(),
    ]
}

/// A model's description alone stands for a file with that description: so changes get past the header.
pub(super) fn model_file(bytes: &[u8]) -> bool {
    let path = Path::new("model.safetensors");
    let described = text(bytes).filter(|text| text.starts_with('{'));
    let file = described.map(|text| encode(&weights(), text).expect("tensors can be written"));
    let Ok(model) = SavedModel::from_bytes(file.as_deref().unwrap_or(bytes), path) else { return false };
    let written = model.to_bytes().expect("a model can be written");
    let again = SavedModel::from_bytes(&written, path).expect("what was written can be read");
    assert_eq!(again.to_bytes().expect("a model can be written"), written);
    true
}

pub(super) fn model_files() -> Vec<Vec<u8>> {
    let info = json!({
        "version": 1, "model": {"name": "cnn", "widths": [4, 8], "dropout": [0.1]}, "class_names": ["cat", "<b>"],
        "mean": [0.5, 0.25, 0.125], "std": [0.25, 0.5, 1.0],
        "preprocess": {"size_px": [24, 32], "fit": "crop", "crop_fraction": 0.875, "interpolation": "bicubic"},
        "dataset": "pets", "data_digest": "d", "split_seed": 7, "val_fraction": 0.1, "validate_on": "test", "train_subset": 20,
        "folds": 5, "recipe": "r", "epoch": 3, "precision": "bf16", "evaluation": {"flip": true, "shift_px": 1}, "temperature": 1.5,
        "caveats": [{"kind": "validated_on_test"}],
    });
    let plain = json!({
        "version": 1, "model": {"name": "cnn"}, "class_names": ["a"], "mean": [0, 0, 0], "std": [1, 1, 1], "dataset": "",
        "data_digest": "", "split_seed": 0, "val_fraction": 0, "validate_on": "split", "train_subset": null, "recipe": "",
        "epoch": 0, "precision": "auto",
    });
    let mut tensors = weights();
    tensors.extend(novelty());
    let file = encode(&tensors, &plain.to_string()).expect("tensors can be written");
    vec![plain.to_string().into_bytes(), info.to_string().into_bytes(), file]
}

/// A state alone stands for a checkpoint of that state and no tensors, with the right digest: a changed file never has it.
pub(super) fn checkpoint(bytes: &[u8]) -> bool {
    let path = Path::new("last");
    let state = text(bytes).filter(|text| text.starts_with('{'));
    let file = state.map(|state| {
        let envelope = json!({ "digest": digest::of_bytes(state.as_bytes()), "state": state });
        encode(&Tensors::new(), &envelope.to_string()).expect("no tensors can be written")
    });
    let Ok(read) = Checkpoint::from_bytes(file.as_deref().unwrap_or(bytes), path) else { return false };
    let written = read.to_bytes().expect("a checkpoint can be written");
    let again = Checkpoint::from_bytes(&written, path).expect("what was written can be read");
    assert_eq!(again.to_bytes().expect("a checkpoint can be written"), written);
    true
}

pub(super) fn checkpoints() -> Vec<Vec<u8>> {
    let state = json!({
        "version": 1, "data_digest": "d", "class_names": ["cat", "dog"], "frozen_digest": "f", "epoch": 1, "batch": 2,
        "loss": {"sum": "12.25", "weight": 8}, "cross_entropy": {"sum": "NaN", "weight": 8},
        "points": [{"number": 0, "loss": {"sum": "1", "weight": 1}, "learning_rate": 0.1}], "n_correct": 3.0, "base_lr": 0.1,
        "last_lr": 0.05, "early_stopping": {"wait": 1, "best": null, "best_epoch": null},
        "reduce_lr_on_plateau": {"wait": 0, "cooldown_left": 0, "best": "0.5"}, "best": {"epoch": 1, "value": 0.5},
        "stopped_early": null, "history": [{"epoch": 1, "accuracy": 0.5, "loss": 1.0, "optimized_loss": null,
        "val_accuracy": 0.5, "val_loss": 1.0, "learning_rate": 0.1}], "n_averaged": 0, "features_secs": 0.0,
        "pretrained": {"origin": "hf:a/b", "licence": "mit"}, "caveats": [{"kind": "extended_after_test", "epochs": 3}],
        "train_secs": 1.5, "step_secs": 1.25, "n_images": 8, "events_bytes": 100, "tfevents_bytes": 50,
    });
    let state = state.to_string();
    let envelope = json!({ "digest": digest::of_bytes(state.as_bytes()), "state": state }).to_string();
    vec![state.into_bytes(), encode(&Tensors::new(), &envelope).expect("no tensors can be written")]
}

pub(super) fn pretrained_config(bytes: &[u8]) -> bool {
    let Ok(config) = PretrainedConfig::from_bytes(bytes, Path::new("config.json")) else { return false };
    let of_input = &config.input;
    assert!(of_input.std.is_none_or(|std| std.iter().all(|s| *s > 0.0 && s.is_finite())), "{config:?}");
    assert!(of_input.mean.is_none_or(|mean| mean.iter().all(|m| m.is_finite())), "{config:?}");
    true
}

pub(super) fn pretrained_configs() -> Vec<Vec<u8>> {
    owned(&[
        r#"{"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": {"input_size": [3, 224, 192],
"interpolation": "bicubic", "crop_pct": 0.95, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "license": "mit"}}"#,
        r#"{"model_type": "resnet", "downsample_in_bottleneck": true, "num_classes": null}"#,
        "[]",
    ])
}

/// The input has `key.json` and a shard. The shard's header names pictures.
pub(super) fn feature_cache(bytes: &[u8]) -> bool {
    let parts: BTreeMap<&str, &[u8]> = parts(bytes).into_iter().collect();
    let (Some(key), Some(shard)) = (parts.get("key.json"), parts.get("shard")) else { return false };
    let Ok(about) = serde_json::from_slice::<AboutFeatures>(key) else { return false };
    let name = digest::of_bytes(serde_json::to_string_pretty(&about.key).expect("a key").as_bytes());
    let data = scratch();
    let folder = data.path().join("features").join(&name[..16]);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("key.json"), key).expect("a file");
    fs::write(folder.join("0123456789abcdef.safetensors"), shard).expect("a file");
    let caches = read_caches(data.path()).expect("the folder can be listed");
    caches.iter().any(|cache| cache.n_pictures + cache.n_mirrored > 0)
}

pub(super) fn feature_caches() -> Vec<Vec<u8>> {
    let key = json!({"n_features": 2, "key": {"kernels_version": 1, "trunk": "resnet18", "weights": "w",
        "interpolation": "bilinear", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "precision": "f32", "device": "cpu",
        "isa": "avx2"}});
    let pictures = format!("{}-{}m", "0".repeat(64), "ab".repeat(32));
    let shard = |about: Value| {
        let features = HostTensor { shape: vec![2, 1], data: vec![1.0, 2.0] };
        encode(&Tensors::from([("features".into(), features)]), &about.to_string()).expect("tensors")
    };
    let whole = shard(json!({"digest": "d", "pictures": pictures}));
    let torn = shard(json!({"digest": "d", "pictures": &pictures[..65 + 3]}));
    let with = |shard: &[u8]| joined(&[("key.json", key.to_string().as_bytes()), ("shard", shard)]);
    vec![with(&whole), with(&torn), with(&[0xff; 9])]
}

fn tensor(shape: &[usize], data: &[f32]) -> HostTensor {
    HostTensor { shape: shape.to_vec(), data: data.to_vec() }
}

fn weights() -> Tensors {
    let tensors =
        [("fc.weight", tensor(&[2, 2], &[1.0, -0.0, 0.5, 2.0])), ("fc.bias", tensor(&[2], &[0.0, 1.0]))];
    tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into()
}

/// Returns the tensors of a detector of new pictures, with two features, two classes and one direction.
fn novelty() -> Tensors {
    let tensors = [
        ("mean", tensor(&[2], &[0.0, 1.0])),
        ("inverse_std", tensor(&[2], &[1.0, 1.0])),
        ("basis", tensor(&[1, 2], &[1.0, 0.0])),
        ("within", tensor(&[1, 1], &[1.0])),
        ("total", tensor(&[1, 1], &[0.5])),
        ("class_means", tensor(&[2, 1], &[-1.0, 1.0])),
        ("across", tensor(&[1], &[0.5])),
        ("known", tensor(&[3], &[0.0, 0.5, 1.0])),
    ];
    tensors.map(|(name, tensor)| (format!("novelty.{name}"), tensor)).into()
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}
