//! Tests the whole of CIFAR-10, from its archive to a trained model.
//!
//! The variable `TALLOW_CIFAR10_ARCHIVE` names the archive; without it the test prints that it is skipped.

use crate::support::{Sandbox, TINY_MODEL};
use serde_json::json;

#[test]
#[expect(clippy::print_stderr, reason = "a test that did not take place must say so")]
fn from_the_archive_to_a_model() {
    let Ok(archive) = std::env::var("TALLOW_CIFAR10_ARCHIVE") else {
        eprintln!(
            "SKIPPED: from_the_archive_to_a_model (set TALLOW_CIFAR10_ARCHIVE to cifar-10-binary.tar.gz)"
        );
        return;
    };
    let sandbox = Sandbox::new();
    // the archive and the folder in it are data sets, too; the archive ends up where the name finds it
    let by_archive = sandbox.trainer(&format!("data info --dataset {archive}")).ok();
    let by_folder = sandbox.trainer("data info --dataset data/cifar-10-batches-bin").ok();

    let info = sandbox.trainer("data info").ok();
    assert_eq!([&by_archive.stdout, &by_folder.stdout], [&info.stdout; 2]);
    for line in [
        "Data set              cifar10",
        "Training data shape   (50000, 32, 32, 3)",
        "Training labels shape (50000, 1)",
        "Test data shape       (10000, 32, 32, 3)",
        "Test labels shape     (10000, 1)",
        "    3  cat                      5000     1000",
    ] {
        assert!(info.stdout.lines().any(|found| found == line), "no {line:?} in:\n{}", info.stdout);
    }
    let verified = sandbox.trainer("data verify").ok();
    assert_eq!(
        verified.stdout.lines().filter(|line| line.starts_with("ok ")).count(),
        6,
        "{}",
        verified.stdout
    );

    // `auto` is CIFAR-10 if it exists
    let tiny = TINY_MODEL.replace("--dataset sample", "--dataset auto");
    sandbox.trainer(&format!("{tiny} --train-subset 500 --epochs 1 --batch-size 100 --run-dir run")).ok();
    let summary = sandbox.json("run/summary.json");
    let counts = ["n_train", "n_val", "n_test"].map(|key| &summary[key]);
    assert_eq!(
        (&summary["dataset"], counts),
        (&json!("cifar10"), [&json!(500), &json!(5_000), &json!(10_000)])
    );

    // the same figures again; the sample is a part of it, but counts as other data
    let score = sandbox.trainer("eval run --json").ok().json();
    assert_eq!(score["accuracy"], summary["test"]["accuracy"]);
    sandbox.trainer("eval run --dataset sample").ok();
    sandbox.trainer("eval run --dataset sample --split val").fails(&["trained on other data than sample"]);
    sandbox
        .trainer("--resume run --dataset sample --epochs 2")
        .fails(&["the data have changed", "other pictures"]);
}
