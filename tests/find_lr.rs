//! `trainer find-lr`: a sweep of learning rates, the files it writes and those it leaves untouched.

use crate::drawn::{CLASSES, draw};
use crate::support::{Sandbox, TINY_MODEL};
use serde_json::Value;
use tallow_nn::encode;

const SWEEP: &str = "--precision f32 --batch-size 32 --train-subset 200 --from 1e-4";

#[test]
fn a_rate_is_suggested_with_plot_table_and_reason() {
    let sandbox = Sandbox::new();
    let told = sandbox.trainer(&format!("find-lr {TINY_MODEL} {SWEEP} --out lr")).ok();
    assert_eq!(sandbox.everything(), ["lr", "lr/lr.csv", "lr/lr.png", "lr/lr.svg"], "no run folder is left");
    let rate = told.stdout.strip_prefix("Learning rate ").unwrap().split(';').next().unwrap().to_owned();
    for part in
        ["; the recipe has 0.004\n", "Why: while the rate grows", "nine tenths", "\nWrote lr/lr.svg\n"]
    {
        assert!(told.stdout.contains(part), "no {part} in {}", told.stdout);
    }
    let told = told.says(&[&format!(
        "To use it, with the other flags as here: trainer train --dataset sample --set optimizer.lr={rate}\n"
    )]);
    assert!((1e-4..1.0).contains(&rate.parse::<f64>().unwrap()), "{}", told.stdout);
    assert!(sandbox.text("lr/lr.svg").contains(&format!("suggested {rate}")));
    assert!(sandbox.read("lr/lr.png").starts_with(b"\x89PNG"));
    // the same bits again, with any number of threads
    let table = sandbox.text("lr/lr.csv");
    assert!(table.starts_with("step,learning_rate,loss,smoothed_loss\n1,0.0001,"), "{table}");
    let figures =
        sandbox.trainer(&format!("find-lr {TINY_MODEL} {SWEEP} --out lr --threads 1 --json")).ok().json();
    assert_eq!(sandbox.text("lr/lr.csv"), table);
    assert_eq!(figures["points"].as_array().unwrap().len(), table.lines().count() - 1);
    assert!(
        figures["suggestion"]["rate"].as_f64().unwrap() > 1e-4
            && figures["rule"] == "nine tenths of the fall"
    );
    let other =
        sandbox.trainer(&format!("find-lr {TINY_MODEL} {SWEEP} --out lr --seed 1 --json")).ok().json();
    assert_ne!(other["points"][0]["loss"], figures["points"][0]["loss"]);
}

/// The first step of a sweep is the first step of a run.
#[test]
fn the_first_loss_is_that_of_training() {
    let sandbox = Sandbox::new();
    let args = format!("{TINY_MODEL} {}", SWEEP.split(" --from").next().unwrap());
    let sweep = sandbox.trainer(&format!("find-lr {args} --json")).ok().json();
    sandbox.trainer(&format!("{args} --epochs 1 --set loss.label_smoothing=0 --run-dir run")).ok();
    let sweep_plain =
        sandbox.trainer(&format!("find-lr {args} --set loss.label_smoothing=0 --json")).ok().json();
    let events = sandbox.text("run/events.jsonl");
    let epoch = events.lines().find(|line| line.contains(r#""event":"epoch""#)).unwrap();
    let epoch: Value = serde_json::from_str(epoch).unwrap();
    let first = epoch["points"][0]["loss"].as_f64().unwrap();
    assert_eq!(sweep_plain["points"][0]["loss"].as_f64().unwrap() as f32, first as f32, "{epoch}");
    assert_ne!(
        sweep["points"][0]["loss"], sweep_plain["points"][0]["loss"],
        "it is the loss that is made small"
    );
}

#[test]
fn a_frozen_backbone_and_own_pictures_are_swept_too() {
    let sandbox = Sandbox::new();
    draw(&sandbox, "photos", &CLASSES);
    let table = tallow_models::architecture("mobilenetv4_conv_small").unwrap().reference_table();
    let model = tallow_models::build(&table, 1000, 0, &tallow_nn::Device::Cpu).unwrap();
    sandbox.write("small/model.safetensors", encode(&model.params.to_tensors().unwrap(), "{}").unwrap());
    let config = r#"{"architecture": "mobilenetv4_conv_small", "num_classes": 1000,
        "pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}"#;
    sandbox.write("small/config.json", config);
    let args = "find-lr --dataset photos --weights small --offline --set model.input_px=[32,32] --json";
    let figures = sandbox.trainer(args).ok().json();
    assert!(figures["suggestion"]["rate"].as_f64().unwrap() > 1e-7, "{figures}");
    // no features of the test pictures were computed
    let summary = |args: &str| {
        sandbox
            .trainer(&format!(
                "--dataset photos --weights small --offline --set model.input_px=[32,32] --epochs 1 {args}"
            ))
            .ok();
        sandbox.json("run/summary.json")
    };
    let summary = summary("--run-dir run");
    let secs = ["features_own_seconds", "features_seconds"].map(|key| summary[key].as_f64().unwrap());
    assert!(secs[0] > 0.0 && secs[0] < secs[1], "{secs:?}");
}

#[test]
fn what_gives_no_sweep_is_refused_and_what_shows_no_fall_is_said() {
    let sandbox = Sandbox::new();
    let run = |args: &str| sandbox.trainer(&format!("find-lr {TINY_MODEL} {SWEEP} {args}"));
    run("--to 1e-5").fails(&["--from 1e-4 and --to 1e-5", "the first below the second"]);
    run("--to inf").fails(&["--to inf"]);
    run("--steps 5").fails(&["--steps must be 30 to 1000, it is 5"]);
    sandbox.write("file", "");
    run("--out file").fails(&["--out file", "name a folder"]);
    assert_eq!(sandbox.everything(), ["file"]);
    let none =
        sandbox.trainer(&format!("find-lr {TINY_MODEL} --batch-size 32 --from 1e-12 --to 1e-9 --json"));
    none.fails(&["between 1e-12 and 1e-9 the loss never fell", "find-lr/lr.svg", "--from"]);
    assert!(sandbox.path("find-lr/lr.csv").exists());
}
