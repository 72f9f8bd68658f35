//! Tests comparisons of several runs: the texts and pages, and which runs are refused.

#[allow(dead_code)]
mod common;

use std::fs;
use std::path::Path;

use common::write_run;
use tallow_metrics::Foreign;
use tallow_report::{Comparison, RunRecord, comparison_report, comparison_text};

fn names(c: usize) -> Vec<Foreign> {
    (0..c).map(|i| format!("class {i}").into()).collect()
}

fn run(folder: &Path, name: &str, class_names: &[Foreign], salt: usize) -> RunRecord {
    write_run(&folder.join(name), class_names, salt);
    RunRecord::read(&folder.join(name)).unwrap()
}

fn refusal(runs: &[RunRecord]) -> String {
    Comparison::new(runs).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_model_is_not_told_apart_from_itself_and_is_from_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let good = run(folder.path(), "<good>", &names(3), 0);
    let same = run(folder.path(), "same", &names(3), 0);
    let mut bad = run(folder.path(), "bad", &names(3), 0);
    bad.test = bad.test.map(|mut table| {
        let p = &table.predictions;
        let turned = p.log_probs().chunks(3).flat_map(|row| [row[2], row[0], row[1]]).collect();
        table.predictions =
            tallow_metrics::Predictions::new(3, p.targets().to_vec(), turned, p.indices().to_vec()).unwrap();
        table
    });
    let runs = [good, same, bad];
    let comparison = Comparison::new(&runs).unwrap();
    let text = comparison_text(&comparison);
    assert!(text.contains("same against <good>: not told apart by this test set"), "{text}");
    assert!(text.contains("bad against <good>: worse"), "{text}");
    let report = comparison_report(&comparison, folder.path());
    assert!(report.html.contains("Comparison of 3 runs") && report.html.contains("&lt;good&gt;"));
    assert!(!report.html.contains("<good>"));
    for chart in &report.charts {
        chart.to_png(1.0).unwrap();
    }
}

#[test]
fn what_was_not_tested_alike_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let three = run(folder.path(), "three", &names(3), 0);
    let four = run(folder.path(), "four", &names(4), 0);
    assert!(
        refusal(&[three.clone(), four]).contains("three and four cannot be compared: their classes differ")
    );

    let mut other_data = three.clone();
    other_data.name = "other".into();
    other_data.summary.as_mut().unwrap().data_digest = "e".into();
    assert!(
        refusal(&[three.clone(), other_data])
            .contains("tested on different data (<b>data</b>, digest d, and")
    );

    let mut fewer = three.clone();
    fewer.name = "fewer".into();
    fewer.test = Some(tallow_metrics::PredictionsTable {
        predictions: common::predictions(30, 3, 0),
        ..three.test.clone().unwrap()
    });
    assert!(refusal(&[three.clone(), fewer]).contains("one has 200 images, the other 30"));
    assert!(refusal(&[three]).contains("name another to compare it with"));
}

#[test]
fn a_run_without_a_test_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = run(folder.path(), "whole", &names(3), 0);
    write_run(&folder.path().join("half"), &names(3), 1);
    fs::write(folder.path().join("half/evaluation/predictions_test.csv"), "index,file\n").unwrap();
    let half = RunRecord::read(&folder.path().join("half")).unwrap();
    let message = refusal(&[whole, half]);
    assert!(
        message
            .starts_with("half: has no test predictions to compare: evaluation/predictions_test.csv: line 1"),
        "{message}"
    );
}

#[test]
fn the_table_lines_up() {
    let folder = tempfile::tempdir().unwrap();
    let runs =
        [run(folder.path(), "a", &names(3), 0), run(folder.path(), "a much longer name 猫", &names(3), 5)];
    let text = comparison_text(&Comparison::new(&runs).unwrap());
    let table: Vec<&str> = text.lines().take(3).collect();
    let expected = "\
run                    accuracy   95 % interval  macro F1    loss  trained  epochs  minutes  images/s";
    assert_eq!(table[0], expected);
    let width = |line: &str| line.chars().count() + line.matches('猫').count();
    assert!(table.iter().all(|line| width(line) == width(expected)), "{text}");
}

/// A head is trained in seconds on features that took minutes to compute: the time counts both.
#[test]
fn minutes_count_the_features_of_a_frozen_backbone() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = [run(folder.path(), "a", &names(3), 0), run(folder.path(), "b", &names(3), 5)];
    let text = |runs: &[RunRecord]| comparison_text(&Comparison::new(runs).unwrap());
    let minutes =
        |text: &str| text.lines().nth(2).unwrap().split_whitespace().rev().nth(1).unwrap().to_owned();
    let before = text(&runs);
    assert!(minutes(&before) == "1.0" && !before.contains("frozen backbone"), "{before}");
    runs[1].summary.as_mut().unwrap().features_seconds = Some(120.0);
    let after = text(&runs);
    assert!(minutes(&after) == "3.0" && after.contains("features of a frozen backbone"), "{after}");
}
