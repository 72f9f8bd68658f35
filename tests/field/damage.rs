//! Damaged pictures, files that claim to need too much memory, copies, and damaged folders of CIFAR's Python version.

use std::path::Path;

use serde_json::{Value, json};

use super::outcomes::n_lines_with;
use super::{Field, TINY_RUN, array, text};
use crate::support::{Ran, Sandbox};

/// Memory limit of a scan, however many pixels a file has or claims to have.
const MAX_BYTES: u64 = 1_000_000_000;

/// Checks that each bad file of the case is named once.
#[track_caller]
fn names_each_once(ran: &Ran, case: &Value) {
    for bad in array(&case["bad_files"]) {
        let file = text(&bad["path"]);
        assert_eq!(n_lines_with(ran, file), 1, "{}: {file}:\n{}", ran.command, ran.stderr);
    }
}

#[test]
fn damage_is_named_before_anything_is_trained() {
    let Some(field) = Field::find("damage_is_named_before_anything_is_trained") else { return };
    let (case, sandbox) = (field.case("damaged"), Sandbox::new());
    for skip_bad in ["", "--skip-bad"] {
        let ran = field.trainer(&sandbox, &format!("train {TINY_RUN} --run-dir run {skip_bad}"), "damaged");
        names_each_once(&ran.fails(&["6 of 18 pictures"]), case);
        assert!(!sandbox.path("run").exists(), "a run folder of nothing");
    }
    let verified = field.trainer(&sandbox, "data verify --json", "damaged").ends_with(1).json();
    let mut found: Vec<&str> = array(&verified).iter().map(|verdict| text(&verdict["file"])).collect();
    let folder = field.path("damaged");
    let mut expected: Vec<String> = array(&case["bad_files"])
        .iter()
        .map(|bad| folder.join(text(&bad["path"])).to_string_lossy().into_owned())
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(array(&verified).iter().all(|verdict| verdict["ok"] == false && verdict["reason"].is_string()));
}

#[test]
fn one_in_a_hundred_may_be_left_out() {
    let Some(field) = Field::find("one_in_a_hundred_may_be_left_out") else { return };
    let (case, sandbox) = (field.case("damaged-few"), Sandbox::new());
    let refused = field.trainer(&sandbox, "data info", "damaged-few");
    names_each_once(&refused.fails(&["2 of 202 pictures", "--skip-bad"]), case);
    let ran = field.trainer(&sandbox, "data info --json --skip-bad", "damaged-few").ok();
    names_each_once(&ran, case);
    let info = ran.json();
    let n = |shape: &str| array(&info[shape])[0].as_u64().unwrap();
    assert_eq!(n("train_shape") + n("test_shape"), 200);
    let ran = field.trainer(&sandbox, &format!("train {TINY_RUN} --run-dir run --skip-bad"), "damaged-few");
    names_each_once(&ran.ok(), case);
    let summary = sandbox.json("run/summary.json");
    let parts = ["n_train", "n_val", "n_test"].map(|part| summary[part].as_u64().unwrap());
    assert_eq!((parts.iter().sum::<u64>(), parts[2]), (200, n("test_shape")));
}

#[test]
fn memory_is_bounded_whatever_pictures_claim() {
    let Some(field) = Field::find("memory_is_bounded_whatever_pictures_claim") else { return };
    let sandbox = Sandbox::new();
    for (name, skip_bad) in [("panorama", ""), ("bomb", "--skip-bad")] {
        let ran =
            field.trainer(&sandbox, &format!("train {TINY_RUN} --run-dir {name} {skip_bad}"), name).ok();
        names_each_once(&ran, field.case(name));
        let peak = sandbox.json(&format!("{name}/summary.json"))["peak_rss_bytes"].as_u64();
        assert!(peak.is_none_or(|bytes| bytes < MAX_BYTES), "{name}: {peak:?}");
    }
}

#[test]
fn copies_are_named() {
    let Some(field) = Field::find("copies_are_named") else { return };
    let sandbox = Sandbox::new();
    let case = field.case("duplicates");
    let ran = field.trainer(&sandbox, "data info", "duplicates").ok();
    let notes = |words: &str| ran.stderr.lines().find(|line| line.contains(words)).unwrap_or_default();
    let notices = [("pairs", "are copies of training pictures"), ("contradictions", "in two classes")];
    for (key, words) in notices {
        for pair in array(&case[key]) {
            let [one, other] = [0, 1].map(|i| text(&pair[i]));
            let pair = format!("{one} = {other}");
            assert!(notes(words).contains(&pair), "{pair}:\n{}", ran.stderr);
        }
    }
    let found = |name: &str| {
        let found = field.trainer(&sandbox, "data duplicates --json", name).ok().json();
        array(&found["pairs"]).to_vec()
    };
    for pair in array(&case["pairs"]) {
        assert!(found("duplicates").contains(pair), "{pair}");
    }
    // saved again as JPEG, or turned by its EXIF; the third pair's file was made smaller
    let near = found("near-duplicates");
    for pair in [["train/cat/1.png", "test/cat/t0.jpg"], ["train/dog/3.png", "test/dog/t2.jpg"]] {
        assert!(array(&field.case("near-duplicates")["pairs"]).contains(&json!(pair)));
        assert!(near.contains(&json!(pair)), "{pair:?}: {near:?}");
    }
}

#[test]
fn damaged_cifar_is_refused_by_file_and_reason() {
    let Some(field) = Field::find("damaged_cifar_is_refused_by_file_and_reason") else { return };
    let sandbox = Sandbox::new();
    let reasons = [
        ("cut", "it is cut short"),
        ("missing", "it is missing"),
        ("short-rows", "its rows have 3071 bytes, expected 3072"),
        ("label-10", "has label 10, expected 0 to 9"),
        ("fewer-labels", "expected one per row"),
        ("program", "it asks for \"posix.getpid\""),
    ];
    let bad_files = array(&field.case("cifar-damaged")["bad_files"]);
    assert_eq!(bad_files.len(), reasons.len());
    for (bad, (reason, says)) in bad_files.iter().zip(reasons) {
        assert_eq!(bad["reason"], reason);
        let path = field.path("cifar-damaged").join(text(&bad["path"]));
        let folder = path.parent().map(Path::display).unwrap();
        let said = [path.to_str().unwrap(), says];
        sandbox.trainer(&format!("data info --dataset {folder} --json")).fails(&said);
        sandbox.trainer(&format!("train {TINY_RUN} --dataset {folder} --run-dir run")).fails(&said);
    }
    assert!(!sandbox.path("run").exists(), "a run folder of nothing");
}
