//! `trainer runs` lists the runs of a folder, whatever else is in it; and every command supports `--json`.

use std::fs;

use crate::support::{Sandbox, TINY, trainer, wait_until};
use serde_json::{Value, json};

/// Creates two runs, the second of them with a dishonest test, and other files and folders.
fn with_runs() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.trainer(TINY).ok();
    sandbox.trainer(&format!("{TINY} --seed 7 --validate-on test")).ok();
    sandbox.write("runs/notes/todo.txt", "");
    sandbox.write("runs/a file", "");
    sandbox.write("runs/.new-run-x/recipe.toml", "");
    sandbox
}

#[track_caller]
fn listed(sandbox: &Sandbox, args: &str) -> Vec<Value> {
    let document = sandbox.trainer(&format!("runs --json {args}")).ok().json();
    document["runs"].as_array().unwrap().clone()
}

#[track_caller]
fn names(sandbox: &Sandbox, args: &str) -> Vec<String> {
    listed(sandbox, args).iter().map(|run| run["name"].as_str().unwrap().to_owned()).collect()
}

/// A folder that the system cannot look at is told and does not hide the others. A link to itself stands for one.
#[cfg(unix)]
#[test]
fn what_cannot_be_looked_at_is_told() {
    let sandbox = Sandbox::new();
    sandbox.trainer(TINY).ok();
    std::os::unix::fs::symlink("loop", sandbox.path("runs/loop")).unwrap();
    std::os::unix::fs::symlink("gone", sandbox.path("runs/dangling")).unwrap();
    let ran = sandbox.trainer("runs --json").ok().says(&["Note: cannot read runs/loop: ", "not listed"]);
    assert!(!ran.stderr.contains("dangling"), "{}", ran.stderr);
    assert_eq!(ran.json()["runs"].as_array().unwrap().len(), 1);
    // a file of a run that cannot be looked at is its problem
    std::os::unix::fs::symlink("ending", sandbox.path("runs/cnn-1/checkpoints/ending")).unwrap();
    let run = listed(&sandbox, "")[0].clone();
    assert_eq!(run["state"], "damaged");
    assert!(run["problems"][0].as_str().unwrap().starts_with("checkpoints/ending: "), "{run}");
}

#[test]
fn runs_are_listed_with_their_figures_and_states() {
    let sandbox = with_runs();
    let summary = sandbox.json("runs/cnn-1/summary.json");
    // unfinished: the state after a kill between training and the summary
    sandbox.trainer(&format!("{TINY} --run-dir runs/cnn-10")).ok();
    fs::remove_file(sandbox.path("runs/cnn-10/summary.json")).unwrap();
    sandbox.trainer(&format!("{TINY} --run-dir runs/broken")).ok();
    sandbox.write("runs/broken/summary.json", "{\"run_dir\": 3");

    let runs = listed(&sandbox, "--sort name");
    let state: Vec<&Value> = runs.iter().map(|run| &run["state"]).collect();
    assert_eq!(state, ["damaged", "finished", "finished", "interrupted"]);
    assert_eq!(names(&sandbox, "--sort name"), ["broken", "cnn-1", "cnn-2", "cnn-10"]);
    let first = &runs[1];
    assert_eq!(first["test_accuracy"], summary["test"]["accuracy"]);
    assert_eq!(first["test_accuracy_interval"], summary["test"]["accuracy_interval"]);
    assert_eq!(
        (&first["val_accuracy"], &first["seconds"]),
        (&summary["val"]["accuracy"], &summary["train_seconds"])
    );
    assert_eq!(
        (&first["dataset"], &first["model"], &first["recipe"]),
        (&json!("sample"), &json!("cnn"), &json!("cnn"))
    );
    assert_eq!((&first["seed"], &first["epochs_run"], &first["epochs"]), (&json!(0), &json!(2), &json!(2)));
    assert_eq!(
        (&first["honest"], &runs[2]["honest"], &runs[2]["seed"]),
        (&json!(true), &json!(false), &json!(7))
    );
    assert_eq!(
        (&first["caveats"], &runs[2]["caveats"]),
        (&json!([]), &json!([{"kind": "validated_on_test"}]))
    );
    assert!(first["started_unix_secs"].as_f64().unwrap() > 1.7e9);
    assert_eq!((&runs[3]["test_accuracy"], &runs[3]["epochs_run"]), (&Value::Null, &json!(2)));
    assert!(runs[0]["problems"][0].as_str().unwrap().starts_with("summary.json: "), "{}", runs[0]);

    let told = sandbox.trainer("runs --sort name").ok();
    assert_eq!(told.stderr, "");
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(
        lines[0].starts_with("run ") && lines[0].ends_with("started (UTC)"),
        "piped, all columns: {}",
        lines[0]
    );
    assert!(lines[1].starts_with("broken  damaged "), "{}", lines[1]);
    assert!(lines[3].starts_with("cnn-2 ") && lines[3].contains(" %*  "), "{}", lines[3]);
    assert!(lines[4].starts_with("cnn-10  interrupted 2/2 "), "{}", lines[4]);
    assert!(told.stdout.contains("\n* Decisions may have been made on the test images"), "{}", told.stdout);
    assert!(told.stdout.contains("\nbroken: summary.json: "), "{}", told.stdout);

    let mut command = trainer("runs");
    command.env("COLUMNS", "80");
    let narrow = sandbox.start_command(command, "COLUMNS=80 trainer runs").wait().ok();
    assert!(narrow.stdout.lines().take(5).all(|line| line.chars().count() <= 80), "{}", narrow.stdout);
}

#[test]
fn runs_are_sorted() {
    let sandbox = with_runs();
    let change = |name: &str, accuracy: f64| {
        let mut summary = sandbox.json(&format!("runs/{name}/summary.json"));
        summary["test"]["accuracy"] = accuracy.into();
        sandbox.write(&format!("runs/{name}/summary.json"), summary.to_string());
    };
    change("cnn-1", 0.2);
    change("cnn-2", 0.7);
    assert_eq!(names(&sandbox, "--sort accuracy"), ["cnn-2", "cnn-1"], "the best first");
    assert_eq!(names(&sandbox, "--sort seed"), ["cnn-1", "cnn-2"]);
    assert_eq!(names(&sandbox, ""), ["cnn-2", "cnn-1"], "the latest first");
    sandbox.trainer("runs --sort colour").ends_with(2).says(&["colour", "accuracy"]);
}

/// A process that trains has locked the run; listing it must not disturb it.
#[test]
fn a_run_that_is_at_work_says_so() {
    let sandbox = Sandbox::new();
    let (running, gag) = sandbox.start_gagged(TINY);
    wait_until("the run folder is there", || sandbox.path("runs/cnn-1").exists());
    assert_eq!(listed(&sandbox, "")[0]["state"], "running");
    drop(gag);
    running.kill();
    assert_eq!(listed(&sandbox, "")[0]["state"], "interrupted");
}

/// Hundreds of folders; their predictions are not read.
#[test]
fn many_folders_are_read_quickly_and_predictions_are_left_alone() {
    let sandbox = with_runs();
    for i in 0..300 {
        for file in ["recipe.toml", "summary.json", "history.csv"] {
            sandbox.write(&format!("runs/copy-{i}/{file}"), sandbox.read(&format!("runs/cnn-1/{file}")));
        }
        sandbox.write(&format!("runs/copy-{i}/evaluation/predictions_test.csv"), "nothing that can be read");
    }
    let runs = listed(&sandbox, "");
    assert_eq!(runs.len(), 302);
    assert!(runs.iter().all(|run| run["state"] == "finished"));
}

#[test]
fn a_folder_without_runs_says_what_to_do() {
    let sandbox = Sandbox::new();
    sandbox.trainer("runs").fails(&["there is no folder runs", "trainer train", "trainer runs DIR"]);
    sandbox.write("file", "");
    sandbox.trainer("runs file").fails(&["there is no folder file"]);
    sandbox.write("runs/notes/todo.txt", "");
    let empty =
        sandbox.trainer("runs").ok().says(&["no run folder in runs", "trainer train", "trainer runs DIR"]);
    assert_eq!(empty.stdout, "");
    assert_eq!(listed(&sandbox, ""), [Value::Null; 0]);
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    sandbox.trainer("runs run").fails(&["run is a run folder itself", "trainer report run"]);
}

/// Every command prints one JSON document on standard output and nothing else.
#[test]
fn every_command_honours_json() {
    let sandbox = with_runs();
    sandbox.write("photo.png", support_png());
    let commands = [
        "predict runs/cnn-1 photo.png",
        "predict runs/cnn-1 photo.png --csv answers.csv",
        "eval runs/cnn-1",
        "eval runs/cnn-1 --split val --tta flip",
        "bench --batch-size 1 --size 8 --threads 1",
        "report runs/cnn-1",
        "report runs/cnn-1 runs/cnn-2",
        "compare runs/cnn-1 runs/cnn-2",
        "card runs/cnn-1",
        "verify runs/cnn-1 runs/cnn-2",
        "runs",
        "recipes",
        "recipes cnn",
        "data info --dataset sample",
        "data verify --dataset sample",
        "data grid --dataset sample",
        "data duplicates --dataset sample",
        "data caches",
        "data caches --remove --all",
        "train --resume runs/cnn-1",
        &format!("train {TINY} --quiet"),
    ];
    for command in commands {
        sandbox.trainer(&format!("{command} --json")).ok().json();
    }
    let compared = sandbox.trainer("compare runs/cnn-1 runs/cnn-2 --json").ok().json();
    let summary = sandbox.json("runs/cnn-2/summary.json");
    let [first, second] = [&compared["runs"][0], &compared["runs"][1]];
    assert_eq!((&first["run"], &first["honest"]), (&json!("cnn-1"), &json!(true)));
    assert_eq!(second["accuracy"], summary["test"]["accuracy"]);
    assert_eq!(
        (&second["accuracy_interval"], &second["honest"]),
        (&summary["test"]["accuracy_interval"], &json!(false))
    );
    let pair = &compared["pairs"][0];
    assert_eq!(
        (&pair["first"], &pair["second"], &pair["n"]),
        (&json!("cnn-1"), &json!("cnn-2"), &json!(1_000))
    );
    for key in ["verdict", "difference", "difference_interval", "p_value", "n_only_first", "n_only_second"] {
        assert!(!pair[key].is_null(), "{key}: {pair}");
    }
    assert_eq!(
        sandbox.trainer("card runs/cnn-1 --json").ok().json(),
        json!({"card": "runs/cnn-1/README.md"})
    );
}

fn support_png() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 32, 32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[90; 3 * 32 * 32]).unwrap();
    bytes
}
