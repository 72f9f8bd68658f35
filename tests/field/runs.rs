//! Trains on ten representative cases: run folders are complete and can be shown.

use std::collections::BTreeSet;
use std::fs;

use tallow_metrics::parse_predictions_csv;

use super::predicting::{answers, predict, same_answer};
use super::{Field, TINY_RUN, array, shows_no_control_character, text};
use crate::support::{Ran, Sandbox};

/// Cases to train on; `imbalanced` has enough pictures of each class for validation.
const TRAINED: [&str; 10] = [
    "wrong-suffix",
    "heic-avif",
    "tiff",
    "zip-dataset",
    "splits",
    "val-lacks-class",
    "imbalanced",
    "tiny-images",
    "csv-kaggle",
    "cifar10-python",
];

/// Trains on case `name` in the folder `run`.
#[track_caller]
fn train(field: &Field, sandbox: &Sandbox, name: &str) -> Ran {
    let ran = field.trainer(sandbox, &format!("train {TINY_RUN} --run-dir run"), name).ok();
    shows_no_control_character(&ran);
    ran
}

#[test]
fn each_kind_trains_to_the_end() {
    let Some(field) = Field::find("each_kind_trains_to_the_end") else { return };
    for name in TRAINED {
        let sandbox = Sandbox::new();
        train(&field, &sandbox, name);
        let summary = sandbox.json("run/summary.json");
        let table = parse_predictions_csv(&sandbox.text("run/evaluation/predictions_test.csv")).unwrap();
        assert_eq!(Some(table.predictions.len() as u64), summary["n_test"].as_u64(), "{name}");
        let expected: BTreeSet<&str> = array(&field.case(name)["classes"]).iter().map(text).collect();
        assert_eq!(
            table.class_names.iter().map(|name| name.raw()).collect::<BTreeSet<_>>(),
            expected,
            "{name}"
        );
        let files: BTreeSet<_> = table.files.iter().collect();
        match name {
            "cifar10-python" => assert!(files.iter().all(|file| file.is_empty()), "{name}: {files:?}"),
            _ => assert_eq!(files.len(), table.predictions.len(), "{name}: {files:?}"),
        }
        assert!(sandbox.text("run/report.html").contains("</html>"), "{name}");
        let loss = summary["test"]["loss"].as_f64();
        assert!(loss.is_some_and(|loss| loss.is_finite() && loss > 0.0), "{name}: {summary}");
    }
}

#[test]
fn odd_names_are_shown_right_or_escaped() {
    let Some(field) = Field::find("odd_names_are_shown_right_or_escaped") else { return };
    let sandbox = Sandbox::new();
    train(&field, &sandbox, "odd-names");
    for name in sandbox.everything().iter().filter(|name| name.starts_with("run/")) {
        let bytes = fs::read(sandbox.path(name)).unwrap_or_default();
        match name.rsplit('.').next() {
            Some("html") => {
                let page = String::from_utf8(bytes).unwrap();
                assert!(!page.contains("<b>bold") && page.contains("&lt;b&gt;bold"), "{name}");
                assert!(page.contains("猫") && page.contains("собака"), "{name}");
            }
            Some("csv") => {
                let mut reader =
                    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&*bytes);
                for record in reader.records() {
                    let record = record.unwrap();
                    assert!(record.iter().all(|cell| !cell.starts_with(['=', '@'])), "{name}: {record:?}");
                }
            }
            Some("txt" | "md") => {
                let text = String::from_utf8(bytes).unwrap();
                assert!(!text.contains('\u{1b}'), "{name}: {text:?}");
            }
            _ => {}
        }
    }
    let folder = field.path("odd-names");
    let ran = predict(&sandbox, "run --csv answers.csv", &[&folder]).ok();
    shows_no_control_character(&ran);
    assert_eq!(answers(&ran).len(), 20);
    let said = sandbox.trainer(&format!("predict run {}", folder.display())).ok();
    shows_no_control_character(&said);
    assert!(said.stdout.contains("猫") && said.stdout.contains("<U+001B>[31mred.png"), "{}", said.stdout);
}

#[test]
fn answers_are_names_in_one_order() {
    let Some(field) = Field::find("answers_are_names_in_one_order") else { return };
    let (name, sandbox) = ("numeric-classes", Sandbox::new());
    train(&field, &sandbox, name);
    let names: Vec<&str> = array(&field.case(name)["classes"]).iter().map(text).collect();
    let ran = predict(&sandbox, "run", &[field.path(name).join("10")]).ok();
    assert_eq!(ran.json()["classes"], serde_json::json!(names));
    let answers = answers(&ran);
    assert_eq!(answers.len(), 7);
    for answer in answers.values() {
        let said: BTreeSet<&str> = answer.iter().map(|(class, _)| class.as_str()).collect();
        assert_eq!(said, names.iter().copied().collect());
    }
    let table = parse_predictions_csv(&sandbox.text("run/evaluation/predictions_test.csv")).unwrap();
    assert_eq!(table.class_names, names);
    for (i, file) in table.files.iter().enumerate() {
        let class = &table.class_names[table.predictions.targets()[i] as usize];
        assert!(file.raw().starts_with(&format!("{}/", class.raw())), "{file:?} is said to be {class:?}");
    }
    let report = sandbox.trainer("eval run --json").ok().json()["report"].to_string();
    for name in names {
        assert!(report.contains(&format!("\"{name}\"")), "{report}");
    }
}

#[test]
fn twins_get_one_answer() {
    let Some(field) = Field::find("twins_get_one_answer") else { return };
    let (name, sandbox) = ("exif-orientation-jpeg", Sandbox::new());
    train(&field, &sandbox, name);
    let twins = array(&field.case(name)["twins"][0]);
    let files: Vec<_> = twins.iter().map(|file| field.path(name).join(text(file))).collect();
    let answers = answers(&predict(&sandbox, "run", &files).ok());
    assert_eq!(answers.len(), 9);
    let first = answers.values().next().unwrap();
    answers.values().for_each(|other| same_answer(first, other));
}

#[test]
fn a_class_that_came_later_is_never_another_one() {
    let Some(field) = Field::find("a_class_that_came_later_is_never_another_one") else { return };
    let sandbox = Sandbox::new();
    train(&field, &sandbox, "class-added-later");
    let after = field.corpus.join("class-added-later/after");
    let after = after.to_str().unwrap();
    let eval = sandbox.trainer(&format!("eval run --dataset {after} --json")).ok();
    let score = eval.says(&["does not know bee"]).json();
    assert_eq!(score["n"], 12, "ant and cat, all of which are for the test");
    sandbox
        .trainer(&format!("train --resume run --epochs 2 --offline --dataset {after}"))
        .fails(&["the data have changed", "new classes: bee"]);
    for class in ["ant", "bee", "cat"] {
        let ran = predict(&sandbox, "run", &[format!("{after}/{class}")]).ok();
        for answer in answers(&ran).into_values() {
            assert!(answer.iter().all(|(class, _)| class == "ant" || class == "cat"), "{answer:?}");
        }
    }
}
