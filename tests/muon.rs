//! A run with Muon: SGD for other parameters, groups with their own end, and a summed gradient; the run is resumed, and
//! another optimiser is tried.

use crate::support::{Sandbox, wait_until};
use serde_json::Value;

const RECIPE: &str = r#"
base = "cnn"
epochs = 6
batch_size = 16
precision = "f32"
[data]
dataset = "sample"
train_subset = 60
[model]
widths = [4, 4, 8, 8]
dropout = [0.1, 0.1]
dense = 8
[loss]
reduction = "sum"
[optimizer]
kind = "muon"
lr = 0.24
momentum = 0.6
ns_steps = 3
filter_norm = true
sgd = { lr = 0.002, momentum = 0.85, weight_decay = 0.01 }
"#;

/// A head trained by SGD, and norms that learn for one and a half epochs.
const GROUPS: &str = r#"
[[param_groups]]
pattern = "classifier.2.*"
optimizer = "sgd"
lr_factor = 2.0
[[param_groups]]
pattern = "*"
n_dims = 1
until_epoch = 1.5
"#;

/// Returns the weights of a run whose names have this ending.
fn weights(sandbox: &Sandbox, run: &str, ending: &str) -> Vec<Vec<f32>> {
    let model = tallow_training::read_model(&sandbox.path(&format!("{run}/model.safetensors"))).unwrap();
    let of_it = model.weights.into_iter().filter(|(name, _)| name.ends_with(ending));
    let found: Vec<Vec<f32>> = of_it.map(|(_, tensor)| tensor.data).collect();
    assert!(!found.is_empty(), "{ending}");
    found
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let sandbox = Sandbox::new();
    sandbox.write("muon.toml", format!("{RECIPE}{GROUPS}"));
    sandbox.trainer("--recipe muon.toml --threads 2 --run-dir alone").ok();
    let mut running = sandbox.start("--recipe muon.toml --threads 1 --run-dir run");
    let n_epochs =
        || sandbox.path("run/history.csv").exists() && sandbox.text("run/history.csv").lines().count() > 2;
    wait_until("2 epochs are over", || n_epochs() || !running.is_at_work());
    running.signal("INT");
    running.wait();
    sandbox.trainer("--resume run").ok();
    let [alone, run] = ["alone", "run"].map(|run| sandbox.read(&format!("{run}/model.safetensors")));
    assert!(alone == run, "the model is not that of a run left alone");
    let summary: Value = sandbox.json("run/summary.json");
    assert_eq!(summary["epochs_run"], 6);
}

/// The rate of a group with an end does not follow the schedule, and its weights stay constant after the end.
#[test]
fn a_group_with_an_end_follows_no_schedule() {
    let sandbox = Sandbox::new();
    let alone = "[[param_groups]]\npattern = \"*.bias\"\nuntil_epoch = 1.5\n[[param_groups]]\npattern = \"*\"\nlr_factor = 0.0\n";
    sandbox.write(
        "biases.toml",
        format!("{RECIPE}{alone}").replace("filter_norm = true", "filter_norm = false"),
    );
    let run = |name: &str, settings: &str| {
        sandbox.trainer(&format!("--recipe biases.toml --run-dir {name} {settings}")).ok();
        weights(&sandbox, name, ".bias")
    };
    let constant = run("constant", "--epochs 2 --set schedule.kind=constant");
    assert!(
        constant == run("linear", "--epochs 2 --set schedule.kind=linear --set schedule.warmup_epochs=1")
    );
    assert!(constant == run("longer", "--epochs 3 --set schedule.kind=constant"), "they stay from 1.5 on");
    assert!(constant != run("shorter", "--epochs 1 --set schedule.kind=constant"), "and learn until then");
}

#[test]
fn another_kind_takes_its_own_settings_and_refuses_what_is_muons() {
    let sandbox = Sandbox::new();
    sandbox.write("muon.toml", RECIPE);
    sandbox.write("groups.toml", format!("{RECIPE}{GROUPS}"));
    let run = "--epochs 1 --set optimizer.kind=adam";
    sandbox.trainer(&format!("--recipe muon.toml {run} --run-dir adam")).ok();
    let recipe = sandbox.text("adam/recipe.toml");
    assert!(
        recipe.contains("kind = \"adam\"")
            && !recipe.contains("ns_steps")
            && !recipe.contains("optimizer.sgd")
    );
    sandbox.trainer(&format!("--recipe groups.toml {run} --run-dir x")).fails(&[
        "param_groups: \"classifier.2.*\"",
        "optimizer = \"sgd\" works only with optimizer.kind = \"muon\": leave it out, or choose that kind",
    ]);
    let chosen = "--recipe cnn-5 --dataset sample --offline --train-subset 60 --epochs 1 --batch-size 16 --set model.dense=8 \
                  --set model.widths=[4,4,8,8] --set model.dropout=[0.1,0.1]";
    sandbox.trainer(&format!("{chosen} --set optimizer.kind=muon --run-dir chosen")).ok();
    let recipe = sandbox.text("chosen/recipe.toml");
    assert!(recipe.contains("ns_steps = 5") && recipe.contains("[optimizer.sgd]"), "{recipe}");
    for (setting, message) in [
        ("optimizer.sgd.lr=0.1", "optimizer.sgd.lr is a key of optimizer.kind = muon"),
        ("optimizer.ns_steps=3", "optimizer.ns_steps is a key of optimizer.kind = muon"),
    ] {
        sandbox.trainer(&format!("{chosen} --set {setting} --run-dir x")).fails(&[message]);
    }
}
