//! Run folders whose numbers contradict each other, or are the largest there are: they are shown like any other.

#[allow(dead_code)]
mod common;

use std::fs;
use std::path::Path;

use common::write_run;
use serde_json::{Value, json};
use tallow_report::{Options, RunRecord, run_report};

/// Returns the page of a run with a changed summary, and with this history and this record of new pictures.
fn page(change: impl FnOnce(&mut Value), history: &str, novelty: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names = ["cat", "dog"].map(tallow_core::Foreign::from);
    write_run(folder.path(), &names, 0);
    let mut summary: Value = serde_json::from_slice(&fs::read(path("summary.json")).unwrap()).unwrap();
    change(&mut summary);
    write(&path("summary.json"), &summary);
    write(&path("evaluation/novelty.json"), novelty);
    fs::write(path("history.csv"), history).unwrap();
    let run = RunRecord::read(folder.path()).unwrap();
    assert!(run.problems.is_empty(), "{:?}", run.problems);
    run_report(&run, &Options::default()).unwrap().html
}

fn write(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_page_is_made_of_them() {
    let html = page(
        |summary| {
            summary["n_trained_parameters"] = json!(u64::MAX);
            summary["folds"] = json!({"n_images": [u64::MAX, 1], "accuracies": [2.0, -1e308], "accuracy": 1e308, "loss": 1e308,
                "accuracy_interval": [1.0, 0.0], "predictions": "evaluation/predictions_test.csv"});
        },
        "epoch,accuracy,loss,optimized_loss,learning_rate\n1,-1e308,1e308,inf,NaN\n2,1e308,-1e308,1e-308,0\n",
        &json!({"version": 1, "false_alarm_rate": 2.0, "n_known": 0, "test": {"n": 9, "n_alarms": 3, "n_right_of_alarms": 8,
            "n_right": 1}, "left_out": [], "curve": [], "most_unlike": [[4_000_000_000u32, 1.0]]}),
    );
    assert!(html.contains("18,446,744,073,709,551,616<"), "the trained parameters");
}
