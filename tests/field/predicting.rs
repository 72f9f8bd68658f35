//! Predictions of single pictures: they equal those of the evaluation, whatever the number of pictures, and bad pictures do
//! not affect the others.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tallow_metrics::parse_predictions_csv;

use super::{Field, TINY_RUN, array, text};
use crate::support::{Ran, Sandbox, trainer};

/// The output of `predict` by file: classes and probabilities, the most probable first.
type Answers = BTreeMap<String, Answer>;
type Answer = Vec<(String, f64)>;

/// Predicts `images` with the run `run` and further words, in `folder`; the output has the file names as given there.
pub(crate) fn predict<P: AsRef<Path>>(sandbox: &Sandbox, words: &str, images: &[P]) -> Ran {
    let args = format!("predict {words} --json --top-k 99");
    let mut command = trainer(&args);
    command.args(images.iter().map(AsRef::as_ref));
    sandbox.start_command(command, &args).wait()
}

pub(crate) fn answers(ran: &Ran) -> Answers {
    let prediction = |p: &Value| (text(&p["class"]).to_owned(), p["probability"].as_f64().unwrap());
    let answer = |picture: &Value| {
        let predictions = array(&picture["predictions"]).iter().map(prediction).collect();
        (text(&picture["file"]).to_owned(), predictions)
    };
    array(&ran.json()["pictures"]).iter().map(answer).collect()
}

/// Compares predictions. JPEG loses different details if a picture is stored turned: up to 3 levels of 255.
#[track_caller]
pub(crate) fn same_answer(one: &Answer, other: &Answer) {
    for ((class, probability), (expected_class, expected)) in one.iter().zip(other) {
        assert!(class == expected_class && (probability - expected).abs() < 1e-3, "{one:?} {other:?}");
    }
}

#[test]
fn predict_says_what_the_evaluation_says() {
    let Some(field) = Field::find("predict_says_what_the_evaluation_says") else { return };
    let (name, sandbox) = ("predict-equals-eval", Sandbox::new());
    field.trainer(&sandbox, &format!("train {TINY_RUN} --run-dir run"), name).ok();
    let table = sandbox.text("run/evaluation/predictions_test.csv");
    let table = parse_predictions_csv(&table).unwrap();
    let files: Vec<_> = table.files.iter().map(|file| field.path(name).join(file.raw())).collect();
    assert_eq!(files.len(), 12);
    let together = answers(&predict(&sandbox, "run", &files).ok());
    for (i, file) in files.iter().enumerate() {
        let alone = answers(&predict(&sandbox, "run", &files[i..=i]).ok());
        let file = file.to_str().unwrap();
        for (one, of_many) in alone[file].iter().zip(&together[file]) {
            assert_eq!(one, of_many, "{file}");
        }
        for (class, probability) in &alone[file] {
            let class = table.class_names.iter().position(|known| known == class.as_str()).unwrap();
            // too few validation pictures for a temperature, so probabilities are those of the network
            let expected = f64::from(table.predictions.row(i)[class]).exp();
            assert!((probability - expected).abs() < 1e-3, "{file}: {probability}, expected {expected}");
        }
        assert_eq!(alone[file][0].0, table.class_names[table.predictions.predicted(i) as usize], "{file}");
    }
}

#[test]
fn bad_pictures_cost_the_others_nothing() {
    let Some(field) = Field::find("bad_pictures_cost_the_others_nothing") else { return };
    let (case, sandbox) = (field.case("predict-mixed"), Sandbox::new());
    field.trainer(&sandbox, &format!("train {TINY_RUN} --run-dir run"), "exif-orientation-jpeg").ok();
    let folder = field.path("predict-mixed");
    let asked: Vec<_> = array(&case["arguments"]).iter().map(|name| folder.join(text(name))).collect();
    let ran = predict(&sandbox, "run --csv answers.csv", &asked).ends_with(1);
    let document = ran.json();
    let mut failed: Vec<&str> = array(&document["failed"]).iter().map(|f| text(&f["file"])).collect();
    failed.sort_unstable();
    let mut bad: Vec<_> = array(&case["bad_files"]).iter().map(|b| folder.join(text(&b["path"]))).collect();
    bad.sort_unstable();
    assert_eq!(failed, bad.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>());
    for file in failed {
        let naming: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(file)).collect();
        assert_eq!(naming.len(), 1, "{file}: {}", ran.stderr);
    }
    let answers = answers(&ran);
    assert_eq!(Some(answers.len() as u64), case["answers"].as_u64());
    let of = |name: &str| &answers[folder.join(name).to_str().unwrap()];
    for twins in array(&case["twins"]) {
        same_answer(of(text(&twins[0])), of(text(&twins[1])));
    }
    let csv = sandbox.text("answers.csv");
    assert_eq!(csv.lines().count(), 1 + answers.len(), "{csv}");
    // file, two classes with probabilities, typicality, none_of_these
    assert!(csv.lines().all(|line| line.split(',').count() == 7), "{csv}");
}
