//! Compares figures and texts with scikit-learn, SciPy and NumPy. `fixtures/gen_goldens.py` made the fixtures; each names
//! the versions it was made with.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tallow_metrics::{
    ClassificationReport, ConfusionMatrix, Foreign, Predictions, argmax, parse_predictions_csv,
    predictions_to_csv, top_k_accuracy, wilson_interval,
};

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn get<T: DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap()
}

fn report_cases() -> Vec<(String, Vec<Foreign>, ConfusionMatrix, Value)> {
    let cases: Vec<Value> = get(&fixture(include_str!("fixtures/reports.json")), "cases");
    assert!(cases.len() > 60);
    let read = |case: Value| {
        let class_names: Vec<Foreign> = get(&case, "class_names");
        let matrix = ConfusionMatrix::from_counts(class_names.len(), get(&case, "counts")).unwrap();
        (get(&case, "name"), class_names, matrix, case)
    };
    cases.into_iter().map(read).collect()
}

#[test]
fn a_report_prints_as_scikit_learn_prints_it() {
    for (name, class_names, matrix, case) in report_cases() {
        let text = ClassificationReport::new(&matrix).to_text(&class_names).unwrap();
        assert_eq!(text, case["text"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn a_report_is_scikit_learns_mapping_to_the_last_bit() {
    let mut n_compared = 0;
    for (name, class_names, matrix, case) in report_cases() {
        let Some(expected) = case.get("dict") else { continue };
        let report = ClassificationReport::new(&matrix);
        let ours = serde_json::to_value(report.named(&class_names).unwrap()).unwrap();
        let keys = |mapping: &Value| mapping.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(expected), "{name}");
        for (key, entry) in expected.as_object().unwrap() {
            let fields = entry.as_object().into_iter().flatten();
            for (field, value) in fields {
                assert_eq!(ours[key][field].as_f64(), value.as_f64(), "{name}: {key}.{field}");
            }
        }
        assert_eq!(ours["accuracy"], expected["accuracy"], "{name}");
        let accuracies: Vec<f64> = report.classes.iter().map(|class| class.accuracy).collect();
        assert_eq!(accuracies, get::<Vec<f64>>(&case, "one_vs_rest_accuracy"), "{name}");
        assert_eq!(ours[class_names[0].raw()]["accuracy"].as_f64(), Some(accuracies[0]), "{name}");
        n_compared += 1;
    }
    assert!(n_compared > 30);
}

#[test]
fn without_names_classes_are_numbered() {
    let matrix = ConfusionMatrix::from_counts(2, vec![2, 1, 0, 3]).unwrap();
    let report = ClassificationReport::new(&matrix);
    assert_eq!(report.to_string(), report.to_text(&["0", "1"].map(Foreign::from)).unwrap());
}

#[test]
fn intervals_are_scipys() {
    let cases: Vec<Value> = get(&fixture(include_str!("fixtures/intervals.json")), "intervals");
    assert!(cases.len() > 100);
    for case in cases {
        let [low, high] =
            wilson_interval(get(&case, "k"), get(&case, "n"), get(&case, "confidence")).unwrap();
        let (expected_low, expected_high): (f64, f64) = (get(&case, "low"), get(&case, "high"));
        assert!((low - expected_low).abs() < 1e-13, "{case}: {low}");
        assert!((high - expected_high).abs() < 1e-13, "{case}: {high}");
    }
}

fn predictions(golden: &Value) -> Predictions {
    let log_probs = get::<Vec<f64>>(golden, "log_probs").into_iter().map(|x| x as f32).collect();
    Predictions::new(get(golden, "n_classes"), get(golden, "targets"), log_probs, get(golden, "indices"))
        .unwrap()
}

#[test]
fn what_predictions_come_to() {
    let golden = fixture(include_str!("fixtures/predictions.json"));
    let p = predictions(&golden);
    assert_eq!(p.all_predicted(), get::<Vec<u32>>(&golden, "predicted"));
    assert_eq!(argmax(p.row(3)), Some(p.predicted(3) as usize));
    assert_eq!(p.accuracy(), golden["accuracy"].as_f64());
    let (nll, expected) = (p.mean_nll().unwrap(), golden["mean_nll"].as_f64().unwrap());
    assert!((nll - expected).abs() < 1e-12, "{nll} for {expected}");
    for (k, accuracy) in (1..).zip(get::<Vec<f64>>(&golden, "top_k_accuracy")) {
        assert_eq!(top_k_accuracy(&p, k), Some(accuracy), "k = {k}");
    }
    assert_eq!(top_k_accuracy(&p, p.n_classes()), Some(1.0));
}

#[test]
fn who_was_taken_for_whom() {
    let golden = fixture(include_str!("fixtures/predictions.json"));
    let p = predictions(&golden);
    let matrix = ConfusionMatrix::from_predictions(&p);
    let counts: Vec<u64> = get(&golden, "confusion_matrix");
    assert_eq!(matrix, ConfusionMatrix::from_counts(p.n_classes(), counts).unwrap());
    assert_eq!(matrix, ConfusionMatrix::from_pairs(p.n_classes(), p.targets(), &p.all_predicted()).unwrap());
    let shares: Vec<f64> = (0..p.n_classes()).flat_map(|class| matrix.row_shares(class).unwrap()).collect();
    assert_eq!(shares, get::<Vec<f64>>(&golden, "row_shares"));
    assert_eq!(matrix.accuracy(), p.accuracy());
    let names: Vec<Foreign> = get(&golden, "class_names");
    assert_eq!(matrix.to_csv(&names).unwrap(), golden["confusion_csv"].as_str().unwrap());
}

#[test]
fn predictions_are_written_as_python_writes_them_and_read_back() {
    let golden = fixture(include_str!("fixtures/predictions.json"));
    let p = predictions(&golden);
    let (names, files): (Vec<Foreign>, Vec<Foreign>) = (get(&golden, "class_names"), get(&golden, "files"));
    let text = golden["predictions_csv"].as_str().unwrap();
    assert_eq!(predictions_to_csv(&p, &names, Some(&files)).unwrap(), text);
    let back = parse_predictions_csv(text).unwrap();
    assert_eq!((back.class_names, back.files, back.predictions), (names, files, p));
}
