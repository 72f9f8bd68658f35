//! Runs on a user's own pictures: they give the same bits for any number of threads, interrupted or not, from files or from
//! memory. Also recipe settings for pictures.
#![cfg(unix)]

use std::fs;

use crate::drawn::{TINY_RUN, photos, png};
use crate::support::{Sandbox, TINY, wait_until};
use tallow_dataset::{ImageSet, load_sample};
use tallow_metrics::parse_history;
use tallow_nn::encode;

/// A recipe with all settings for picture files and all state that a run must restore.
const EVERYTHING: &str = r#"
base = "photos-cnn"
epochs = 8
batch_size = 8
averaging = { kind = "ema", decay = 0.9 }
[data]
dataset = "photos"
fit = "crop"
crop_fraction = 0.9
interpolation = "bicubic"
[augment]
flip = "alternate"
crop_padding_px = 2
crop_fill = "reflect"
cutout_px = 4
zoom = 0.1
shift = 0.1
random_erasing = 0.2
[mix]
mixup_alpha = 0.4
cutmix_alpha = 1.0
[loss]
class_weights = "balanced"
[model]
widths = [4, 4, 8, 8]
dropout = [0.1, 0.1]
dense = 8
input_px = [24, 32]
"#;

/// Asserts that two runs have the same bits.
#[track_caller]
fn same_bits(sandbox: &Sandbox, one: &str, other: &str) {
    for file in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv"] {
        let [one, other] = [one, other].map(|run| sandbox.read(&format!("{run}/{file}")));
        assert!(one == other, "{file} differs");
    }
}

#[test]
fn threads_make_no_difference() {
    let sandbox = photos();
    for threads in ["1", "2"] {
        let run = format!("--threads {threads} --run-dir {threads}");
        sandbox.trainer(&format!("--recipe photos-cnn --dataset photos --epochs 3 {TINY_RUN} {run}")).ok();
    }
    same_bits(&sandbox, "1", "2");
    assert_eq!(parse_history(&sandbox.text("1/history.csv")).unwrap().len(), 3);
}

#[test]
fn an_interrupted_run_of_everything_goes_on_bit_for_bit() {
    let sandbox = photos();
    sandbox.write("everything.toml", EVERYTHING);
    sandbox.trainer("--recipe everything.toml --offline --threads 2 --run-dir alone").ok();
    let mut running = sandbox.start("--recipe everything.toml --offline --threads 1 --run-dir run");
    wait_until("2 epochs are over", || sandbox.n_epochs("run") >= 2 || !running.is_at_work());
    running.signal("INT");
    running.wait().ends_with(130);
    sandbox.trainer("--resume run --offline").ok().says(&["Going on with epoch"]);
    same_bits(&sandbox, "alone", "run");
    // pictures that differ from those that the run began with
    fs::copy(sandbox.path("photos/cat/01.png"), sandbox.path("photos/dog/01.png")).unwrap();
    sandbox.trainer("--resume run --offline --epochs 9").fails(&["the data have changed"]);
}

/// Recipe settings for pictures have an effect and are recorded.
#[test]
fn pictures_may_be_cropped_padded_and_weighed() {
    let sandbox = photos();
    let mut histories = Vec::new();
    let asks = ["data.fit=squash", "data.fit=crop", "data.fit=pad", "loss.class_weights=balanced"];
    for (run, set) in asks.into_iter().enumerate() {
        let words = format!("--set {set} --run-dir {run} --epochs 1 {TINY_RUN}");
        sandbox.trainer(&format!("--recipe photos-cnn --dataset photos {words}")).ok();
        histories.push(sandbox.text(&format!("{run}/history.csv")));
        let (key, value) = set.split_once('=').unwrap();
        let line = format!("{} = \"{value}\"", key.split_once('.').unwrap().1);
        let recipe = sandbox.text(&format!("{run}/recipe.toml"));
        assert!(recipe.lines().any(|l| l == line), "{line}:\n{recipe}");
    }
    histories.sort();
    histories.dedup();
    assert_eq!(histories.len(), asks.len());
    let recipe = sandbox.text("1/recipe.toml");
    assert!(recipe.contains("crop_fraction = 1.0") && recipe.contains("interpolation = \"bilinear\""));
}

/// A backbone sees pictures in the way its weights were trained.
#[test]
fn a_frozen_backbone_sees_pictures_as_its_weights_say() {
    let sandbox = photos();
    let table = tallow_models::architecture("resnet18").unwrap().reference_table();
    let model = tallow_models::build(&table, 1000, 0, &tallow_nn::Device::Cpu).unwrap();
    let tensors = model.params.to_tensors().unwrap();
    sandbox.write("weights/model.safetensors", encode(&tensors, "{}").unwrap());
    let config = r#"{"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": {"crop_pct": 0.95,
        "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.25, 0.25]}}"#;
    sandbox.write("weights/config.json", config);

    // without a recipe, small pictures are shown whole
    let auto = "--dataset photos --offline --weights weights --epochs 1 --set model.input_px=[32,32]";
    let ran = sandbox.trainer(&format!("{auto} --run-dir auto")).ok();
    let ran = ran.says(&["recipe photos, a head on a frozen backbone's features", "each picture seen whole"]);
    assert!(sandbox.text("auto/recipe.toml").contains("fit = \"squash\""), "{}", ran.stderr);

    let head = "--recipe photos --dataset photos --offline --weights weights --epochs 2 \
        --set model.name=resnet18 --set model.input_px=[32,32]";
    sandbox.trainer(&format!("{head} --run-dir run")).ok();
    let recipe = sandbox.text("run/recipe.toml");
    for line in ["fit = \"crop\"", "crop_fraction = 0.95", "interpolation = \"bicubic\"", "mean = [0.5, 0.4"]
    {
        assert!(recipe.contains(line), "{line}:\n{recipe}");
    }
    let score = sandbox.trainer("eval run --json").ok().json();
    assert_eq!(score["accuracy"], sandbox.json("run/summary.json")["test"]["accuracy"]);
    // features are cached and serve the next head; predict computes them anew and gives the same predictions
    sandbox.trainer(&format!("{head} --run-dir again --threads 1")).ok();
    same_bits(&sandbox, "run", "again");
    sandbox.trainer("predict run photos/owl").ok();
}

/// The sample's images give the same run when they are read from files.
#[test]
fn images_in_files_train_as_images_in_memory() {
    let sandbox = Sandbox::new();
    let data = load_sample().unwrap();
    let mut table = "file,label,split\n".to_owned();
    let mut write = |set: &ImageSet, split: &str| {
        for i in 0..set.len() {
            let file = format!("{split}-{i:04}.png");
            sandbox.write(&format!("files/{file}"), png(32, 32, &set.read(i).unwrap().pixels));
            table += &format!("{file},{},{split}\n", set.class_names()[set.label(i) as usize].raw());
        }
    };
    write(&data.train, "train");
    write(&data.test, "test");
    sandbox.write("files/labels.csv", table);
    let info = sandbox.trainer("data info --dataset sample --json").ok().json();
    let numbers = |key: &str| info[key].to_string();
    let words =
        format!("--set data.normalization={{mean={},std={}}} --recipe cnn", numbers("mean"), numbers("std"));
    sandbox.trainer(&format!("{TINY} {words} --run-dir memory")).ok();
    let of_files = TINY.replace("--dataset sample", "--dataset files/labels.csv");
    sandbox.trainer(&format!("{of_files} {words} --run-dir files-run")).ok();
    assert_eq!(sandbox.text("memory/history.csv"), sandbox.text("files-run/history.csv"));
    let scores = |run: &str| sandbox.json(&format!("{run}/summary.json"))["test"].clone();
    assert_eq!(scores("memory"), scores("files-run"));
}
