//! CIFAR's Python version in small folders made after public bug reports, each with its expected result.
//!
//! `TALLOW_FIELD` names a folder with `EXPECTED.json` and either `corpus` or `corpus.tar.gz`. Without it, the test says
//! so and passes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tallow_dataset::cifar::load_cifar_python;
use tallow_dataset::{Dataset, ImageSet};

#[test]
#[expect(clippy::print_stderr, reason = "a test that did not take place must say so")]
fn folders_made_after_bug_reports() {
    let Some(field) = std::env::var_os("TALLOW_FIELD").filter(|path| !path.is_empty()).map(PathBuf::from)
    else {
        eprintln!(
            "SKIPPED: folders_made_after_bug_reports (set TALLOW_FIELD to a folder with EXPECTED.json)"
        );
        return;
    };
    let expected: Value = serde_json::from_slice(&fs::read(field.join("EXPECTED.json")).unwrap()).unwrap();
    let unpacked = tempfile::tempdir().unwrap();
    let corpus = match field.join("corpus") {
        corpus if corpus.is_dir() => corpus,
        _ => {
            let archive = File::open(field.join("corpus.tar.gz")).unwrap();
            tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(unpacked.path()).unwrap();
            unpacked.path().to_owned()
        }
    };
    let case = |name: &str| (corpus.join(name), &expected["cases"][name]);
    the_ten_classes(case("cifar10-python"));
    the_hundred_classes(case("cifar100-python"));
    damage_is_refused(case("cifar-damaged"));
}

fn load(folder: &Path, case: &Value) -> Dataset {
    load_cifar_python(&folder.join(case["root"].as_str().unwrap())).unwrap_or_else(|e| panic!("{e}"))
}

fn has_these_classes(data: &Dataset, case: &Value) {
    let names: Vec<&str> =
        case["classes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(data.train.class_names()[..], names);
    assert_eq!(data.test.class_names()[..], names);
}

fn begins_with(set: &ImageSet, record: &Value) {
    for (found, expected) in set.labels().iter().zip(record["first_labels"].as_array().unwrap()) {
        assert_eq!(Some(u64::from(*found)), expected.as_u64());
    }
}

fn the_ten_classes((folder, case): (PathBuf, &Value)) {
    let data = load(&folder, case);
    has_these_classes(&data, case);
    for (set, part) in [(&data.train, "train"), (&data.test, "test")] {
        for (name, found) in set.class_names().iter().zip(set.class_counts()) {
            assert_eq!(Some(found as u64), case["counts"][part][name.raw()].as_u64(), "{part}: {name:?}");
        }
    }
    let record = &case["records"]["cifar-10-batches-py/data_batch_1"];
    begins_with(&data.train, record);
    for pixel in record["picture_0"].as_array().unwrap() {
        let [x, y] = [0, 1].map(|i| pixel["at"][i].as_u64().unwrap() as usize);
        let rgb = [0, 1, 2].map(|i| pixel["rgb"][i].as_u64().unwrap() as u8);
        assert_eq!(data.train.read(0).unwrap().pixels[(y * 32 + x) * 3..][..3], rgb, "column {x}, row {y}");
    }
    // in every image, red grows to the right, green grows downwards, and blue is 25 times the class (plus 0 to 2)
    for set in [&data.train, &data.test] {
        for i in 0..set.len() {
            for (at, pixel) in set.read(i).unwrap().pixels.chunks_exact(3).enumerate() {
                assert_eq!(
                    [usize::from(pixel[0]), usize::from(pixel[1])],
                    [at % 32 * 8, at / 32 * 8],
                    "image {i}"
                );
                assert!((0..3).contains(&(u32::from(pixel[2]).wrapping_sub(25 * set.label(i)))), "image {i}");
            }
        }
    }
}

fn the_hundred_classes((folder, case): (PathBuf, &Value)) {
    let data = load(&folder, case);
    has_these_classes(&data, case);
    for (set, part) in [(&data.train, "train"), (&data.test, "test")] {
        assert_eq!(Some(set.len() as u64), case["counts"][part].as_u64());
        begins_with(set, &case["records"][format!("cifar-100-python/{part}")]);
    }
}

fn damage_is_refused((folder, case): (PathBuf, &Value)) {
    let bad_files = case["bad_files"].as_array().unwrap();
    assert_eq!(bad_files.len(), 6);
    for bad in bad_files {
        let path = folder.join(bad["path"].as_str().unwrap());
        let said = match bad["reason"].as_str().unwrap() {
            "cut" => "it is cut short",
            "missing" => "it is missing",
            "short-rows" => "its rows have 3071 bytes, expected 3072",
            "label-10" => "has label 10, expected 0 to 9",
            "fewer-labels" => "expected one per row",
            "program" => "it asks for \"posix.getpid\"",
            other => panic!("an unknown kind of damage: {other}"),
        };
        let message = load_cifar_python(path.parent().unwrap()).unwrap_err().to_string();
        let start = format!("{}: ", path.display());
        assert!(message.starts_with(&start) && message.contains(said), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}
