//! A run records how its figures came about, and everything that shows the figures shows that too: validation on the test
//! images, weights that had seen the images, a second test, a network that only its program can build.

use crate::support::{Sandbox, TINY};
use serde_json::{Value, json};

/// Returns the caveats of a run, which must be the same in its summary and its model file.
#[track_caller]
fn caveats(sandbox: &Sandbox, run: &str) -> Value {
    let summary = sandbox.json(&format!("{run}/summary.json"));
    let info = tallow_training::read_model(&sandbox.path(run)).unwrap().info;
    let of_summary = summary.get("caveats").cloned().unwrap_or(json!([]));
    assert_eq!(of_summary, serde_json::to_value(&info.caveats).unwrap(), "{run}");
    of_summary
}

/// Returns the page, the card and the comparison of `run`.
#[track_caller]
fn shown(sandbox: &Sandbox, run: &str, other: &str) -> [String; 3] {
    sandbox.trainer(&format!("report {run}")).ok();
    sandbox.trainer(&format!("card {run}")).ok();
    let compared = sandbox.trainer(&format!("compare {other} {run}")).ok().stdout;
    // a card is Markdown, where some characters are escaped
    let card = sandbox.text(&format!("{run}/README.md")).replace('\\', "");
    [sandbox.text(&format!("{run}/report.html")), card, compared]
}

#[test]
fn an_honest_run_has_no_caveat_and_says_that_its_test_was_looked_at_once() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir a")).ok();
    sandbox.trainer(&format!("{TINY} --seed 1 --run-dir b")).ok();
    assert_eq!(caveats(&sandbox, "a"), json!([]));
    let [page, card, compared] = shown(&sandbox, "a", "b");
    assert!(card.contains("which was looked at once") && !page.contains("class=\"notice"), "{card}");
    assert!(!compared.contains('*'), "{compared}");
}

#[test]
fn validation_on_the_test_is_said_wherever_its_figures_are_shown() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir honest")).ok();
    let ran = sandbox.trainer(&format!("{TINY} --validate-on test --run-dir run")).ok();
    assert!(ran.stdout.contains("is not an honest estimate"), "{}", ran.stdout);
    assert_eq!(caveats(&sandbox, "run"), json!([{"kind": "validated_on_test"}]));
    let [page, card, compared] = shown(&sandbox, "run", "honest");
    for text in [&page, &card, &compared] {
        assert!(text.contains("Validation used the test images"), "{text}");
    }
    let banner = page.find("is not an honest estimate").unwrap();
    assert!(banner < page.find("classified correctly").unwrap(), "before any figure");
    assert!(!card.contains("looked at once") && card.contains("the test images for validation"), "{card}");
    assert!(compared.contains("run*") && compared.contains("* run:"), "{compared}");
    let json = sandbox.trainer("eval run --json").ok().json();
    assert_eq!(json["caveats"], json!([{"kind": "validated_on_test"}]));
    let evaluated = sandbox.trainer("eval run").ok();
    assert!(evaluated.stderr.contains("is not an honest estimate"), "{}", evaluated.stderr);
}

/// Weights of another run with the same data and split, with another split, and with other data.
#[test]
fn weights_of_another_run_bring_what_they_had_seen() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir first")).ok();
    sandbox.trainer(&format!("{TINY} --init-from first --run-dir same")).ok();
    assert_eq!(caveats(&sandbox, "same"), json!([{"kind": "start_tested", "from": "first"}]));
    let [page, card, compared] = shown(&sandbox, "same", "first");
    for text in [&page, &card, &compared] {
        assert!(text.contains("this is not the first look at the test images"), "{text}");
    }
    assert!(!card.contains("looked at once"), "{card}");

    let other = sandbox.trainer(&format!("{TINY} --seed 1 --init-from first --run-dir other-split")).ok();
    let found = caveats(&sandbox, "other-split");
    assert_eq!(found[0]["kind"], "start_trained_on_validation", "{found}");
    let n = found[0]["n"].as_u64().unwrap();
    assert!((1..=60).contains(&n), "of 60 images that were trained on: {n}");
    assert!(
        other.stdout.contains(&format!("trained on {n} of this run's validation images")),
        "{}",
        other.stdout
    );

    // it is unknown which of these images the weights before those weights had seen
    sandbox.trainer(&format!("{TINY} --seed 1 --init-from other-split --run-dir third")).ok();
    let kinds = |run: &str| -> Vec<Value> {
        caveats(&sandbox, run).as_array().unwrap().iter().map(|caveat| caveat["kind"].clone()).collect()
    };
    assert_eq!(kinds("third"), ["start_unknown", "start_tested"]);

    sandbox.trainer(&format!("{TINY} --validate-on test --run-dir on-test")).ok();
    sandbox.trainer(&format!("{TINY} --init-from on-test --run-dir inherits")).ok();
    let kinds = kinds("inherits");
    // any image outside the test may have been trained on there
    assert!(
        kinds.contains(&json!("start_validated_on_test")) && kinds.contains(&json!("start_tested")),
        "{kinds:?}"
    );
}

#[test]
fn an_extended_run_says_that_its_test_was_looked_at_before() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    sandbox.trainer("--resume run --epochs 3").ok();
    assert_eq!(caveats(&sandbox, "run"), json!([{"kind": "extended_after_test", "epochs": 2}]));
    // an extension interrupted before its test does not count
    let before = sandbox.read("run/before-extension/epoch-2/summary.json");
    assert_eq!(serde_json::from_slice::<Value>(&before).unwrap()["epochs_run"], 2);
}

#[test]
fn the_sample_is_called_what_it_is() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let about = "3,000 images of CIFAR-10";
    sandbox.trainer("card run").ok();
    for text in
        [&ran.stderr, &sandbox.text("run/report.html"), &sandbox.text("run/README.md").replace('\\', "")]
    {
        assert!(text.contains(about), "{text}");
    }
    let info = sandbox.trainer("data info --dataset sample").ok().stdout;
    assert!(info.contains(about) && info.contains("Normalised by"), "{info}");
    let info = sandbox.trainer("data info --dataset sample --json").ok().json();
    let (own, whole) =
        (info["mean"][0].as_f64().unwrap(), info["normalized_by"]["mean"][0].as_f64().unwrap());
    assert!((whole - 0.4914).abs() < 1e-6 && (own - whole).abs() > 1e-4, "{own} {whole}");
}

/// Training and validation loss are drawn on one chart, so both are the plain cross-entropy. With label smoothing, the
/// optimised loss is another figure and is drawn separately.
#[test]
fn the_loss_of_training_is_that_of_validation() {
    let sandbox = Sandbox::new();
    let learns = "--dataset sample --offline --train-subset 500 --batch-size 25 --epochs 4 --set \
         loss.label_smoothing=0.5 --set model.widths=[8,8,16,16] --set model.dropout=[0.1,0.1] --set model.dense=16";
    sandbox.trainer(&format!("{learns} --run-dir run")).ok();
    let history = tallow_metrics::parse_history(&sandbox.text("run/history.csv")).unwrap();
    let last = history.last().unwrap();
    let optimized = last.optimized_loss.unwrap();
    assert!((last.loss - optimized).abs() > 1e-3, "{last:?}");
    // if a network has hardly learnt, training and validation loss are close together
    assert!((last.loss - last.val_loss.unwrap()).abs() < 0.2, "{last:?}");
    let page = sandbox.text("run/report.html");
    assert!(page.contains("The optimised loss") && page.contains("Loss, step by step"));
    sandbox.trainer(&format!("{TINY} --set loss.label_smoothing=0.0 --run-dir plain")).ok();
    assert!(!sandbox.text("plain/report.html").contains("The optimised loss"));
}
