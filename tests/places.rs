//! A run finds its data, weights and folder wherever the program is started. If they have moved, a message names the flag for
//! the new place.
#![cfg(unix)]

use std::fs;
use std::process::Command;

use crate::drawn::{TINY_RUN, photos};
use crate::support::{Ran, Sandbox, TINY, trainer};
use tallow_nn::encode;

/// Runs `trainer` in the folder `below` of the sandbox.
#[track_caller]
fn trainer_in(sandbox: &Sandbox, below: &str, args: &str) -> Ran {
    fs::create_dir_all(sandbox.path(below)).unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg("cd \"$1\" && shift && exec \"$0\" \"$@\"");
    command.arg(trainer("").get_program()).arg(below).args(args.split_whitespace());
    sandbox.start_command(command, &format!("cd {below}; trainer {args}")).wait()
}

#[test]
fn own_pictures_are_found_from_any_folder() {
    let sandbox = photos();
    sandbox
        .trainer(&format!("--dataset photos --recipe photos-cnn --epochs 1 {TINY_RUN} --run-dir run"))
        .ok();
    let before = sandbox.everything();
    trainer_in(&sandbox, "else/where", "eval ../../run --split val --json").ok().json();
    trainer_in(&sandbox, "else/where", "train --resume ../../run --json").ok().json();
    trainer_in(&sandbox, "else/where", "report ../../run").ok();
    let new: Vec<_> = sandbox.everything().into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(new, ["else", "else/where"], "nothing is made where the program happens to be started");

    fs::rename(sandbox.path("photos"), sandbox.path("moved")).unwrap();
    for command in ["eval run", "train --resume run"] {
        sandbox.trainer(command).fails(&["photos does not exist", "--dataset"]);
    }
    sandbox.trainer("eval run --dataset moved --split val").ok();
    sandbox.trainer("train --resume run --dataset moved").ok();
}

/// A miniature CIFAR-10 would be refused, so this uses a data folder with features.
#[test]
fn weights_and_features_are_found_from_any_folder() {
    let sandbox = Sandbox::new();
    let table = tallow_models::architecture("resnet18").unwrap().reference_table();
    let model = tallow_models::build(&table, 1000, 0, &tallow_nn::Device::Cpu).unwrap();
    sandbox.write("weights.safetensors", encode(&model.params.to_tensors().unwrap(), "{}").unwrap());
    let head = "--recipe resnet18-head --dataset sample --offline --weights weights.safetensors \
         --set model.input_px=[32,32] --set data.train_subset=40 --set epochs=2 --run-dir run";
    sandbox.trainer(head).ok();
    // killed before its pictures: the nearest training pictures are found by the features
    let pictures = sandbox.read("run/images/index.json");
    assert!(String::from_utf8_lossy(&pictures).contains("\"near\""));
    sandbox.write("run/checkpoints/ending", "");
    fs::remove_dir_all(sandbox.path("run/images")).unwrap();
    sandbox.trainer("train --resume run --offline").ok();
    assert!(sandbox.read("run/images/index.json") == pictures);
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    trainer_in(&sandbox, "elsewhere", "train --resume ../run --offline").ok();
    assert!(!sandbox.path("elsewhere/data").exists(), "features are computed once");

    // frozen weights must be found, under any name
    fs::rename(sandbox.path("weights.safetensors"), sandbox.path("moved.safetensors")).unwrap();
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    let ran = sandbox.trainer("train --resume run --offline");
    ran.fails(&["are no longer where the run had them", "new place with --weights", "weights.safetensors"]);
    sandbox.trainer("train --resume run --offline --weights moved.safetensors").ok();
}

/// A checkpoint holds everything that such a run learnt, so its first weights are not needed again.
#[test]
fn a_run_that_learns_as_a_whole_goes_on_without_its_first_weights() {
    let sandbox = Sandbox::new();
    let table = tallow_models::architecture("resnet18").unwrap().reference_table();
    let model = tallow_models::build(&table, 1000, 0, &tallow_nn::Device::Cpu).unwrap();
    sandbox.write("weights.safetensors", encode(&model.params.to_tensors().unwrap(), "{}").unwrap());
    let all = "--recipe resnet18-head --dataset sample --offline --weights weights.safetensors --set model.unfreeze=all \
         --set model.input_px=[16,16] --set data.train_subset=20 --set epochs=1 --run-dir run";
    sandbox.trainer(all).ok();
    let model = sandbox.read("run/model.safetensors");
    for name in ["weights.safetensors", "run/summary.json", "run/model.safetensors"] {
        fs::remove_file(sandbox.path(name)).unwrap();
    }
    sandbox.write("other.safetensors", "");
    let ran = sandbox.trainer("train --resume run --offline --weights other.safetensors");
    ran.fails(&["other.safetensors"]);
    sandbox.trainer("train --resume run --offline").ok();
    assert!(sandbox.read("run/model.safetensors") == model);
}

#[test]
fn a_start_from_another_run_is_written_down_with_its_whole_path() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir first")).ok();
    sandbox.trainer(&format!("{TINY} --init-from first --run-dir second")).ok();
    let recipe = sandbox.text("second/recipe.toml");
    let whole = fs::canonicalize(sandbox.path("first")).unwrap();
    assert!(recipe.contains(&format!("init_from = \"{}\"", whole.display())), "{recipe}");
    trainer_in(&sandbox, "elsewhere", "train --recipe ../second/recipe.toml --run-dir third").ok();
    let [second, third] =
        ["second", "elsewhere/third"].map(|run| sandbox.read(&format!("{run}/model.safetensors")));
    assert!(second == third);
}

#[test]
fn named_data_that_are_not_there_are_asked_for() {
    let sandbox = Sandbox::new();
    for command in ["train --dataset cifar10", "data info --dataset cifar100", "eval run --dataset cifar10"] {
        if command.starts_with("eval") {
            sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
        }
        sandbox
            .trainer(command)
            .fails(&["cargo xtask fetch-data", "the folder that holds it with --data-dir"]);
    }
}

/// The download fails, the sample is used, and no empty folder remains.
#[test]
fn a_failed_fetch_leaves_no_data_folder() {
    let sandbox = Sandbox::new();
    let args = TINY.replace("--dataset sample --offline", "--dataset auto");
    let mut command = trainer(&args);
    for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, "http://127.0.0.1:1");
    }
    let ran = sandbox.start_command(command, "trainer --dataset auto, no network").wait().ok();
    let ran = ran.says(&["CIFAR-10 is not in data (it could not be fetched: ", "the embedded sample"]);
    assert!(!sandbox.path("data").exists(), "{}", ran.stderr);
}
