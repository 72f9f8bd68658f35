//! Tests with real weights, and the same logits in torchvision.
//!
//! `TALLOW_RESNET50` names a folder with a ResNet-50 trained on ImageNet, `TALLOW_LITE0` one with an EfficientNet-Lite0, and
//! `TALLOW_PYTHON` a Python with torch, torchvision and safetensors. Tests without their variable print that they are
//! skipped.

use std::process::Command;

use crate::support::{Sandbox, repository};

/// Returns the value of a variable; without it the test named `test` is skipped.
#[expect(clippy::print_stderr, reason = "a test that did not take place must say so")]
fn variable(name: &str, test: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        eprintln!("SKIPPED: {test} (set {name})");
    }
    value
}

/// Runs `python/torchvision_resnet.py --check` on a run.
fn assert_torchvision_agrees(python: &str, sandbox: &Sandbox, run: &str) {
    let mut command = Command::new(python);
    command.arg(repository().join("python/torchvision_resnet.py")).args([run, "--check"]);
    let ran = sandbox.start_command(command, "torchvision_resnet.py").wait().ok();
    assert!(ran.stdout.contains("1000 images: log-probabilities differ by"), "{}", ran.stdout);
}

#[test]
fn what_was_trained_here_is_torchvisions_too() {
    let Some(python) = variable("TALLOW_PYTHON", "what_was_trained_here_is_torchvisions_too") else { return };
    let sandbox = Sandbox::new();
    let args = "--recipe resnet50-finetune --dataset sample --offline --set model={name=\"resnet18\",input_px=[40,36]} \
         --set data.train_subset=60 --epochs 1 --precision f32";
    for (run, table) in [
        ("linear", "model.head={}"),
        ("hidden", "model.head={norm=true,hidden=16,dropout=0.2}"),
        ("stages", "model.features=[\"layer1\",\"layer3\",\"layer4\"]"),
    ] {
        sandbox.trainer(&format!("{args} --set {table} --run-dir {run}")).ok();
        assert_torchvision_agrees(&python, &sandbox, run);
    }
}

/// A linear head at 128 pixels on 1,800 images, in f32, which every processor supports; and with folds, on all 2,000.
#[test]
fn real_weights_of_a_mobile_network_give_useful_features() {
    let name = "real_weights_of_a_mobile_network_give_useful_features";
    let Some(weights) = variable("TALLOW_LITE0", name) else { return };
    let sandbox = Sandbox::new();
    let args = format!("--recipe lite0-head --dataset sample --offline --precision f32 --weights {weights}");
    sandbox.trainer(&format!("{args} --run-dir run")).ok();
    let accuracy = sandbox.json("run/summary.json")["test"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.75, "{accuracy}"); // 0.80 was measured
    sandbox.trainer(&format!("{args} --folds 4 --run-dir folds")).ok();
    let summary = sandbox.json("folds/summary.json");
    let by_folds = summary["folds"]["accuracy"].as_f64().unwrap();
    assert!(by_folds > 0.75, "{by_folds}");
    assert_eq!(summary["features_own_seconds"].as_f64(), Some(0.0), "the features were there");
}

/// A linear head at 64 pixels on 1,800 images.
#[test]
fn real_weights_give_useful_features() {
    let Some(weights) = variable("TALLOW_RESNET50", "real_weights_give_useful_features") else { return };
    let sandbox = Sandbox::new();
    let args = "--recipe resnet50-head-64 --dataset sample --offline --set augment.flip=none --precision f32";
    sandbox.trainer(&format!("{args} --weights {weights} --run-dir run")).ok();
    let accuracy = sandbox.json("run/summary.json")["test"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.6, "{accuracy}"); // 0.666 was measured
    if let Some(python) = variable("TALLOW_PYTHON", "the same in torchvision") {
        assert_torchvision_agrees(&python, &sandbox, "run");
    }
}
