//! A small version of the recipe `speedrun`: filters are whitened by the run's own images, predictions average several views
//! of a picture, and interruptions do not change the bits.
#![cfg(unix)]

use std::fs;

use crate::support::{Sandbox, read_safetensors, wait_until};
use serde_json::Value;

/// A few channels and images, with enough epochs to interrupt the run.
const SMALL: &str = r#"
base = "speedrun"
epochs = 12
batch_size = 16
[data]
dataset = "sample"
train_subset = 60
[model]
widths = [28, 8, 8]
[whitening]
images = 40
"#;

fn with_run(args: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("small.toml", SMALL);
    sandbox.trainer(&format!("--recipe small.toml --run-dir alone {args}")).ok();
    sandbox
}

fn filters(sandbox: &Sandbox, run: &str) -> Vec<f32> {
    let (_, tensors) = read_safetensors(&sandbox.read(&format!("{run}/model.safetensors")));
    let bytes = &tensors["features.0.weight"];
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Filters are whitened once, with a notice, and stay fixed while their biases learn. An interrupted run does not whiten them
/// again and ends with the same bits, on other numbers of threads as well.
#[test]
fn a_run_that_was_interrupted_ends_as_one_left_alone() {
    let sandbox = with_run("--threads 1");
    let told = "features.0.weight is whitened: its filters are computed from the 2 x 2 patches of 40 training images";
    assert!(sandbox.text("alone/events.jsonl").contains(told));
    let mut running = sandbox.start("--recipe small.toml --run-dir run --threads 2");
    wait_until("2 epochs are over", || sandbox.n_epochs("run") >= 2 || !running.is_at_work());
    running.signal("INT");
    running.wait().ends_with(130);
    let resumed = sandbox.trainer("--resume run --threads 2").ok();
    assert!(!resumed.stderr.contains("whitened"), "{}", resumed.stderr);
    for file in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv"] {
        let [alone, other] = ["alone", "run"].map(|run| sandbox.read(&format!("{run}/{file}")));
        assert!(alone == other, "{file}");
    }
    let whitened = filters(&sandbox, "run");
    assert!(
        (0..144).all(|i| whitened[i] == -whitened[144 + i]),
        "the second half is the opposite of the first"
    );
    sandbox.trainer("--recipe small.toml --epochs 1 --run-dir short").ok();
    assert_eq!(filters(&sandbox, "short"), whitened, "training leaves them alone");
    // weights of another run are loaded as they are, without whitening
    let other = "--recipe small.toml --epochs 1 --set data.train_subset=40 --init-from alone --run-dir other";
    let started = sandbox.trainer(other).ok();
    assert!(!started.stderr.contains("whitened"), "{}", started.stderr);
    assert_eq!(filters(&sandbox, "other"), whitened);
}

/// `eval` repeats the test's results from the model file alone; with only one view of each picture, they differ.
#[test]
fn the_model_file_says_how_its_answers_are_made() {
    let sandbox = with_run("--epochs 2");
    let summary = sandbox.json("alone/summary.json");
    fs::copy(sandbox.path("alone/model.safetensors"), sandbox.path("model.safetensors")).unwrap();
    let eval = |args: &str| -> Value {
        sandbox.trainer(&format!("eval model.safetensors --dataset sample --json {args}")).ok().json()
    };
    assert_eq!(eval("")["loss"], summary["test"]["loss"]);
    let [plain, flipped] = ["--tta none", "--tta flip"].map(|args| eval(args)["loss"].clone());
    assert!(plain != summary["test"]["loss"] && flipped != plain && flipped != summary["test"]["loss"]);
    sandbox.trainer("--recipe small.toml --epochs 2 --set evaluation.shift_px=0 --run-dir flips").ok();
    assert_eq!(sandbox.json("flips/summary.json")["test"]["loss"], flipped);
}

#[test]
fn a_network_without_such_filters_is_refused() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer("--dataset sample --offline --train-subset 60 --set whitening.images=10");
    ran.fails(&["whitening: this model has no filters", "leave the table out"]);
    let ran = sandbox.trainer("--dataset sample --offline --set whitening.eps=0");
    ran.fails(&["whitening.eps must be above 0, it is 0"]);
}
