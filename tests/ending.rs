//! A run that is killed between its last epoch and its last file: resumed, its folder holds what it would hold if the run had
//! been left alone.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::support::{Ran, Sandbox, TINY, wait_until};
use crate::tfevents::{fields, records};
use serde_json::Value;

/// Nothing improves by 100, so the run keeps the weights of its first epoch, and its last checkpoint has others.
const KEEPS_THE_FIRST: &str =
    "--epochs 3 --threads 1 --set callbacks.early_stopping={patience=9,min_delta=100.0} --run-dir run";

/// The steps after the results, as `checkpoints/ending` names them, without the last one: `manifest`.
const STEPS: [&str; 4] = ["pictures", "report", "tensorboard", "race"];
const ENDING: &str = "run/checkpoints/ending";

type Folder = BTreeMap<String, Vec<u8>>;

fn left_alone() -> Folder {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{} {KEEPS_THE_FIRST}", TINY.replace("--epochs 2 ", ""))).ok();
    let files = files_of(&sandbox);
    assert!(
        files.keys().any(|name| name.starts_with("run/images/map-")),
        "maps show which weights drew them"
    );
    files
}

/// Returns all files of the run with their content.
fn files_of(sandbox: &Sandbox) -> Folder {
    let names = sandbox.everything().into_iter().filter(|name| sandbox.path(name).is_file());
    names.map(|name| (name.clone(), sandbox.read(&name))).collect()
}

/// Creates a sandbox with those files that `is_kept` names.
fn with_files(files: &Folder, is_kept: impl Fn(&str) -> bool) -> Sandbox {
    let sandbox = Sandbox::new();
    files.iter().filter(|(name, _)| is_kept(name)).for_each(|(name, bytes)| sandbox.write(name, bytes));
    sandbox
}

/// Whether a run that is trained, but not evaluated, has this file.
fn is_of_training(name: &str) -> bool {
    ["recipe.toml", "history.csv", "events", "checkpoints/"].iter().any(|file| name[4..].starts_with(file))
}

fn is_picture(name: &str) -> bool {
    name.starts_with("run/images/")
}

fn is_report(name: &str) -> bool {
    name.starts_with("run/plots/") || name == "run/report.html"
}

fn resumed(sandbox: &Sandbox) -> Ran {
    sandbox.trainer("--resume run --threads 1")
}

/// Asserts that the run's folder is as that of the run left alone, except for clock times and the memory of the process.
#[track_caller]
fn assert_is_whole(sandbox: &Sandbox, alone: &Folder, case: &str) {
    let found = files_of(sandbox);
    let names = |folder: &Folder| folder.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(alone), "{case}");
    for (name, bytes) in &found {
        assert!(steady(name, bytes) == steady(name, &alone[name]), "{case}: {name} differs");
    }
    sandbox.trainer("verify run").ok();
}

/// Returns the part of a file's content that does not depend on the clock and on memory.
#[track_caller]
fn steady(name: &str, bytes: &[u8]) -> Vec<u8> {
    let without = |value: &Value, key: &str| {
        let mut value = value.clone();
        value.as_object_mut().unwrap().remove(key);
        value.to_string()
    };
    let text = || String::from_utf8(bytes.to_vec()).unwrap();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    match name {
        "run/manifest.json" => {
            let manifest = parse(&text());
            let paths = manifest["files"].as_array().unwrap().iter().map(|file| file["path"].to_string());
            paths.collect::<String>().into_bytes()
        }
        "run/summary.json" => without(&parse(&text()), "peak_rss_bytes").into_bytes(),
        "run/events.jsonl" => text()
            .lines()
            .map(|line| without(&parse(line), "time_unix_secs"))
            .collect::<String>()
            .into_bytes(),
        "run/report.html" => {
            let text = text();
            let (before, after) = text.split_once(", peak memory ").unwrap_or((&text, ""));
            [before, after.split_once(" MB").map_or("", |(_, after)| after)].concat().into_bytes()
        }
        _ if name.contains("tfevents") => {
            // an event's first field is its time, and the values of hyper-parameters have one of their own
            let steady = |record: &[u8]| -> Vec<u8> {
                match record.windows(9).any(|part| part == b"_hparams_") {
                    true => b"hparams".to_vec(),
                    false => fields(record).into_iter().skip(1).flat_map(|(_, value)| value).collect(),
                }
            };
            records(bytes).into_iter().map(steady).collect::<Vec<_>>().join(&b'|')
        }
        _ => bytes.to_vec(),
    }
}

/// Resumes the run, kills it while it waits for a reader of `name`, which is a named pipe then, and removes the pipe.
#[track_caller]
fn kill_at(sandbox: &Sandbox, name: &str, has_come_so_far: impl Fn() -> bool) {
    let pipe = sandbox.path(name);
    fs::create_dir_all(pipe.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut running = sandbox.start("--resume run --threads 1");
    wait_until(name, || has_come_so_far() || !running.is_at_work());
    assert!(running.kill(), "it was over before it could be killed at {name}");
    fs::remove_file(pipe).unwrap();
}

/// Killed in the evaluation, each time before another file. The next process does it again, to the same bits.
#[test]
fn killed_while_the_results_are_written() {
    let alone = left_alone();
    let sandbox = with_files(&alone, is_of_training);
    for (before, name) in [
        ("model.safetensors", "evaluation/predictions_val.csv"),
        ("evaluation/predictions_val.csv", "evaluation/predictions_test.csv"),
        ("evaluation/predictions_test.csv", "evaluation/confusion_matrix.csv"),
        ("evaluation/report.txt", "evaluation/report.json"),
    ] {
        let before = sandbox.path(&format!("run/{before}"));
        kill_at(&sandbox, &format!("run/{name}"), || before.exists());
        assert!(!sandbox.path("run/summary.json").exists(), "{name}");
    }
    resumed(&sandbox).ok();
    assert_is_whole(&sandbox, &alone, "killed four times");

    // between the list of the end's steps and the summary
    let sandbox = with_files(&alone, |name| name != "run/summary.json" && !is_report(name));
    sandbox.write(ENDING, "");
    resumed(&sandbox).ok();
    assert_is_whole(&sandbox, &alone, "killed before the summary");
}

/// Killed in the report: the results stay as they are, and the rest is made up for.
#[test]
fn killed_after_the_results() {
    let alone = left_alone();
    for name in ["run/plots/confusion.svg", "run/report.html"] {
        let sandbox = with_files(&alone, is_of_training);
        kill_at(&sandbox, name, || {
            fs::read_to_string(sandbox.path(ENDING)).is_ok_and(|steps| steps == "pictures\n")
        });
        let listed = sandbox.trainer("runs . --json").ok().json()["runs"][0].clone();
        assert_eq!((&listed["state"], &listed["problems"]), (&"interrupted".into(), &Value::Array(vec![])));
        sandbox.trainer("eval run --split val").ok();
        let summary = sandbox.read("run/summary.json");
        let ran = resumed(&sandbox).ok().says(&["is trained and tested; only the rest of its end is left"]);
        assert!(ran.stdout.contains("Test accuracy") && ran.stdout.contains("Report run/"), "{}", ran.stdout);
        assert!(!ran.stderr.contains("Weights of the best epoch"), "no second evaluation: {}", ran.stderr);
        assert!(sandbox.read("run/summary.json") == summary, "the results are final");
        assert_is_whole(&sandbox, &alone, name);
        let listed = sandbox.trainer("runs . --json").ok().json()["runs"][0].clone();
        assert_eq!(listed["state"], "finished");
    }
}

/// Killed between any two steps, before or after the next one has written its files.
#[test]
fn killed_between_two_steps() {
    let alone = left_alone();
    let event_file = alone.keys().find(|name| name.contains("tfevents")).unwrap();
    let events = &alone[event_file];
    let first_picture = events.windows(21).position(|part| part == b"confusion matrix/test").unwrap();
    // killed in the middle of the record before
    let without_pictures = events[..first_picture - 60].to_vec();
    for n_taken in 0..=STEPS.len() {
        for next_has_written in [false, true] {
            let n_written = n_taken + usize::from(next_has_written);
            let is_there =
                |name: &str| (n_written > 0 || !is_picture(name)) && (n_written > 1 || !is_report(name));
            let sandbox = with_files(&alone, is_there);
            if n_written < 3 {
                sandbox.write(event_file, &without_pictures);
            }
            sandbox
                .write(ENDING, STEPS[..n_taken].iter().map(|name| format!("{name}\n")).collect::<String>());
            resumed(&sandbox).ok();
            assert_is_whole(&sandbox, &alone, &format!("{n_taken} steps, {n_written} written"));
        }
    }
}

/// A step that was taken is not taken again, whatever the list of an unknown program says beside it.
#[test]
fn what_was_written_stays() {
    let sandbox = with_files(&left_alone(), |_| true);
    sandbox.write(ENDING, "pictures\nreport\nunknown\n");
    sandbox.write("run/report.html", "mine");
    resumed(&sandbox).ok();
    assert_eq!(sandbox.text("run/report.html"), "mine");
    assert!(!sandbox.path(ENDING).exists());
    sandbox.write(ENDING, [0xff, 0xfe]);
    resumed(&sandbox).ok();
    assert!(sandbox.text("run/report.html").contains("</html>"), "a damaged list: all steps are taken again");
}

/// More epochs are asked for before the end is complete.
#[test]
fn an_end_that_is_not_complete_can_be_extended() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    sandbox.write(ENDING, "pictures\nreport\n");
    sandbox.write("run/report.html", "of two epochs");
    sandbox.trainer("--resume run --epochs 3").ok();
    assert!(!sandbox.path(ENDING).exists() && sandbox.text("run/report.html").contains("</html>"));
    assert_eq!(sandbox.json("run/summary.json")["epochs_run"], 3);
}

/// The other runs of a series go on, the exit status tells of the report that is missing, and the next call makes it.
#[test]
fn a_series_tells_of_a_report_that_is_missing() {
    let sandbox = Sandbox::new();
    let series = format!("seeds {TINY} --seeds 2 --out series");
    sandbox.trainer(&series.replace("--seeds 2", "--seeds 1")).ok();
    fs::remove_file(sandbox.path("series/seed-0/report.html")).unwrap();
    sandbox.write("series/seed-0/report.html/in the way", "");
    sandbox.write("series/.tmp-aB3dE6", "a part of a table");
    let ran = sandbox.trainer(&series).ends_with(3);
    let ran = ran.says(&["error: the model is trained and tested, but its report could not be written: "]);
    assert!(ran.stdout.contains("of 2 seeds") && ran.stderr.contains("Seed 1: "), "{}", ran.stdout);
    assert!(!sandbox.path("series/.tmp-aB3dE6").exists());
    fs::remove_dir_all(sandbox.path("series/seed-0/report.html")).unwrap();
    sandbox.trainer(&series).ok();
    assert!(sandbox.path("series/seed-0/report.html").is_file());
}

/// What processes left that were killed while they wrote.
#[test]
fn leftovers_are_removed_at_the_next_start() {
    let sandbox = Sandbox::new();
    let left = |names: [&str; 3]| names.map(|name| sandbox.write(name, "a part"));
    left([
        "runs/.new-run-aB3dE6/recipe.toml",
        "runs/.new-run-xxxxxx/checkpoints/last",
        "runs/.new-run-mine/a",
    ]);
    sandbox.trainer(TINY).ok();
    let names = |folder: &str| -> Vec<String> {
        let all = sandbox.everything().into_iter().filter(|name| name.contains("/."));
        all.filter(|name| name.starts_with(folder)).collect()
    };
    assert_eq!(names("runs"), ["runs/.new-run-mine", "runs/.new-run-mine/a"]);
    fs::remove_dir_all(sandbox.path("runs/.new-run-mine")).unwrap();
    left([
        "runs/cnn-1/.tmp-aB3dE6",
        "runs/cnn-1/checkpoints/.tmp-000000",
        "runs/.new-run-aB3dE6/recipe.toml",
    ]);
    sandbox.trainer("--resume runs/cnn-1").ok();
    assert_eq!(names("runs"), [""; 0]);
}
