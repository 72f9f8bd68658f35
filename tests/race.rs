//! Backbones are tried before a run begins, within a time limit for everything.

use crate::drawn::{CLASSES, draw};
use crate::support::Sandbox;
use tallow_nn::encode;

/// Small networks, so that a race is over in seconds.
const RACE: &str = "--dataset photos --offline --backbone auto --candidates small:32,weights/resnet18:32,weights/resnet18:64 \
     --set epochs=3 --run-dir run";

/// Creates a sandbox with drawn pictures and the untrained weights of two networks.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for (folder, name) in [("small", "mobilenetv4_conv_small"), ("weights/resnet18", "resnet18")] {
        let table = tallow_models::architecture(name).unwrap().reference_table();
        let model = tallow_models::build(&table, 1000, 0, &tallow_nn::Device::Cpu).unwrap();
        let bytes = encode(&model.params.to_tensors().unwrap(), "{}").unwrap();
        sandbox.write(&format!("{folder}/model.safetensors"), bytes);
        let config = r#"{"architecture": "NAME", "num_classes": 1000,
            "pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}"#;
        sandbox.write(&format!("{folder}/config.json"), config.replace("NAME", name));
    }
    draw(&sandbox, "photos", &CLASSES);
    sandbox
}

#[test]
fn the_quickest_of_the_best_is_taken_and_its_features_are_there() {
    let sandbox = sandbox();
    let ran = sandbox.trainer(RACE).ok();
    let ran = ran.says(&[
        "Trying 3 backbones on 31 of the 31 training pictures",
        "resnet18 ",
        " 64 px ",
        "Plan   ",
    ]);
    let race = sandbox.json("run/race.json");
    let tried = race["tried"].as_array().unwrap();
    let labels: Vec<(&str, i64)> = tried
        .iter()
        .map(|tried| (tried["model"].as_str().unwrap(), tried["input_px"].as_i64().unwrap()))
        .collect();
    assert_eq!(labels, [("mobilenetv4_conv_small", 32), ("resnet18", 32), ("resnet18", 64)]);
    let accuracy = |i: usize| tried[i]["accuracy"].as_f64().unwrap();
    let chosen = race["chosen"].as_u64().unwrap() as usize;
    let best = (0..3).map(accuracy).fold(0.0, f64::max);
    assert!(accuracy(chosen) >= best - 0.2, "{race}");
    let recipe = sandbox.text("run/recipe.toml");
    assert!(recipe.contains(&format!("name = \"{}\"", labels[chosen].0)), "{recipe}");
    assert!(recipe.contains(&format!("input_px = [{0}, {0}]", labels[chosen].1)), "{recipe}");
    assert!(recipe.contains("epochs = 3"), "what the user says comes last: {recipe}");
    let took = race["took_secs"].as_f64().unwrap();
    assert!(ran.stderr.contains("Planned ") && took > 0.0, "{}", ran.stderr);
    let page = sandbox.text("run/report.html");
    assert!(page.contains("The backbones that were tried") && page.contains("resnet18 at 64 px"));
    // the trials used all training pictures, so only features of the test pictures were left to compute
    let summary = sandbox.json("run/summary.json");
    let secs = ["features_own_seconds", "features_seconds"].map(|key| summary[key].as_f64().unwrap());
    assert!(secs[0] < secs[1], "{secs:?}");
    // a run of the recipe alone gives the same model
    sandbox.trainer("--recipe run/recipe.toml --offline --run-dir again").ok();
    assert!(sandbox.read("run/model.safetensors") == sandbox.read("again/model.safetensors"));
}

#[test]
fn what_does_not_fit_into_the_time_is_left_out_and_said() {
    let sandbox = sandbox();
    let named = RACE.replace("--set epochs=3", "--time 10m");
    sandbox.trainer(&named).ok().says(&["Plan   ", " of 10m 00s", "Planned "]);
    assert_eq!(sandbox.json("run/race.json")["time_secs"], 600.0);
    sandbox
        .trainer(&named.replace("--time 10m --run-dir run", "--time 0.01s --run-dir short"))
        .fails(&["--time 0.0s", "allow that time, or name a faster backbone"]);
    assert!(!sandbox.path("short").exists());
}

#[test]
fn what_cannot_be_tried_is_said() {
    let sandbox = sandbox();
    let race = |candidates: &str| {
        format!("--dataset photos --offline --backbone auto --candidates {candidates} --run-dir run")
    };
    sandbox.trainer(&race("resnet-18")).fails(&["did you mean \"resnet18\"?"]);
    sandbox.trainer(&race("resnet18:32")).fails(&["resnet18:32 cannot be tried", "--offline"]);
    sandbox.trainer(&race("cnn")).fails(&["there are no published weights of a cnn"]);
    sandbox.trainer("--dataset photos --time soon").ends_with(2).says(&["expected a time such as 90s"]);
    sandbox
        .trainer("--dataset photos --recipe cnn --backbone auto")
        .fails(&["in the recipe cnn the whole network learns"]);
    // an unavailable backbone does not stop the others
    sandbox.trainer(&race("resnet34,small:32 --set epochs=2")).ok().says(&["Left out: resnet34: "]);
    let left_out = &sandbox.json("run/race.json")["left_out"];
    assert_eq!(left_out[0][0], "resnet34");
}
