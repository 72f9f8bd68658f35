//! Layouts of a corpus of small data sets made after public bug reports, compared with the expected results.
//!
//! `TALLOW_FIELD` names a folder with `EXPECTED.json` and an unpacked `corpus/` or `corpus.tar.gz`. Without it, the
//! test says so and passes.

mod tree;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tallow_dataset::folder::{FolderError, Listing, ListingOptions};
use tempfile::TempDir;

/// Kinds of cases that test the listing of a path. For all other kinds, only classes and counts are checked.
const KINDS: [&str; 6] = ["layouts", "classes", "names", "splits", "tables", "what else lies in folders"];
/// Kinds of cases that are not folders of pictures.
const NOT_HERE: [&str; 2] = ["cifar pickles", "predicting"];

/// Words that the error or the notices of a case must contain. The corpus gives them as prose.
const MUST_SAY: [(&str, &[&str]); 15] = [
    ("junk-files", &["are ignored: "]),
    (
        "junk-folders-others",
        &["$RECYCLE.BIN/", "System Volume Information/", "lost+found/", "runs/cnn-1/plots/loss.png"],
    ),
    ("empty-class", &["no pictures of bird"]),
    ("images-in-root", &["new-0.png, new-1.png, new-2.png"]),
    ("wrapped-root", &["one folder, photos", "cat, dog"]),
    ("zip-dataset", &["photos.zip is unpacked in", "__MACOSX/"]),
    ("case-twins", &["\"Cat\" and \"cat\""]),
    ("val-lacks-class", &["c has no validation pictures", "a has no test pictures"]),
    ("one-class", &["expected at least two classes, found one: cat"]),
    ("no-images", &["2 .txt (cat/a.txt, dog/a.txt)", "2 .pdf", "2 .raw", "supported formats: JPEG"]),
    ("csv-kaggle", &["train.csv", "test/0013.png, test/0014.png, test/0015.png, test/0016.png"]),
    ("csv-troubles", &["row 12: p77.png does not exist", "images/unlisted.png is not in any row"]),
    ("csv-troubles", &["row 13: p0.png is dog, but cat in row 2", "row 11: p9.png has no label"]),
    ("csv-troubles", &["row 6: p4.png: label \"cat \""]),
    ("symlinks", &["cat/gone.png", "a broken link", "cat/again"]),
];

/// Cases that must be refused; the first outcome in the corpus alone does not decide them.
const REFUSED: [&str; 5] = ["empty-class", "case-twins", "one-class", "no-images", "csv-troubles"];

#[test]
#[expect(clippy::print_stderr, reason = "which outcome each case has is what the test is read for")]
fn what_each_path_holds() {
    let Some(field) = std::env::var_os("TALLOW_FIELD").map(PathBuf::from) else {
        eprintln!("SKIPPED: what_each_path_holds (set TALLOW_FIELD to the corpus of small data sets)");
        return;
    };
    let expected: Value = serde_json::from_slice(&fs::read(field.join("EXPECTED.json")).unwrap()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let corpus = corpus(&field, &scratch);
    let mut n_looked_at = 0;
    let mut failures = Vec::new();
    for (name, case) in expected["cases"].as_object().unwrap() {
        if NOT_HERE.contains(&text(&case["kind"])) {
            continue;
        }
        n_looked_at += 1;
        let path = match text(&case["root"]) {
            "." => corpus.join(name),
            root => corpus.join(name).join(root),
        };
        let result = tree::list_path(&path, &ListingOptions::default(), scratch.path());
        let verdict = judge(name, case, &corpus.join(name), &result);
        let place = match &verdict {
            Ok(Some(place)) => format!("outcome {place}"),
            Ok(None) => "listed".into(),
            Err(_) => "FAILED".into(),
        };
        eprintln!("{name}: {place}: {}", said(&result).replace('\n', "\n    "));
        failures.extend(verdict.err().map(|why| format!("{name}: {why}")));
    }
    assert!(n_looked_at > 40, "{n_looked_at} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Returns the corpus, unpacked with its links if necessary.
fn corpus(field: &Path, scratch: &TempDir) -> PathBuf {
    if field.join("corpus").is_dir() {
        return field.join("corpus");
    }
    let folder = scratch.path().join("corpus");
    let packed = File::open(field.join("corpus.tar.gz")).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(&folder).unwrap();
    folder
}

/// Returns the number, from 1, of the actual result among the outcomes of the case, or `None` if a listing does not
/// decide it. Returns an error if the result is wrong.
fn judge(
    name: &str,
    case: &Value,
    folder: &Path,
    result: &Result<Listing, FolderError>,
) -> Result<Option<usize>, String> {
    let kind = text(&case["kind"]);
    let said = said(result);
    for words in MUST_SAY.iter().filter(|(case, _)| *case == name).flat_map(|(_, words)| *words) {
        if !said.contains(words) {
            return Err(format!("it does not say {words:?}: {said}"));
        }
    }
    if said.chars().any(|c| c.is_control() && c != '\n') {
        return Err(format!("it says a control character: {said:?}"));
    }
    let begins = match result {
        Err(_) if REFUSED.contains(&name) => "refused",
        Err(e) => return Err(format!("refused: {e}")),
        Ok(_) if REFUSED.contains(&name) => return Err("accepted".into()),
        Ok(listing) => {
            look_at(name, case, folder, listing)?;
            "accepted"
        }
    };
    let outcomes = case["outcome"].as_array().unwrap();
    if !KINDS.contains(&kind) {
        return Ok(None); // bad files are found when pictures are decoded, so any outcome is still possible
    }
    let place = outcomes.iter().position(|outcome| text(outcome).starts_with(begins));
    place.map(|i| Some(i + 1)).ok_or(format!("{begins} is no outcome"))
}

/// Compares classes and counts. Bad and unsupported files are still among the pictures here.
fn look_at(name: &str, case: &Value, folder: &Path, listing: &Listing) -> Result<(), String> {
    let mut class_names: Vec<&str> = case["classes"].as_array().unwrap().iter().map(text).collect();
    if name != "numeric-classes" {
        class_names.sort_unstable();
    }
    if listing.class_names != class_names {
        return Err(format!("classes {:?}", listing.class_names));
    }
    let named_later: Vec<PathBuf> = ["bad_files", "unsupported_ok"]
        .iter()
        .flat_map(|key| case[*key].as_array().unwrap())
        .map(|file| folder.join(file["path"].as_str().or(file.as_str()).unwrap()))
        .collect();
    let mut listing = listing.clone();
    listing.entries.retain(|entry| !named_later.contains(&entry.path));
    let counts = tree::counts(&listing);
    let any_of = case["counts_any_of"].as_array().cloned().unwrap_or_else(|| vec![case["counts"].clone()]);
    let any_of = any_of.iter().filter(|counts| counts.is_object());
    let readings: Vec<BTreeMap<String, usize>> = any_of.map(|counts| flat(counts, name)).collect();
    if !readings.contains(&counts) {
        return Err(format!("counts {counts:?}, expected {readings:?}"));
    }
    let left_alone = case["left_alone"].as_array().unwrap();
    for path in left_alone.iter().map(|file| folder.join(text(&file["path"]))) {
        if listing.entries.iter().any(|entry| entry.path == path) {
            return Err(format!("{} is a picture of the set", path.display()));
        }
    }
    Ok(())
}

/// Flattens `{"cat": 5}` to the key `cat`, and `{"train": {"cat": 5}}` to the key `train/cat`. Of two data sets, takes
/// the first.
fn flat(counts: &Value, name: &str) -> BTreeMap<String, usize> {
    let counts = if name == "class-added-later" { &counts["before"] } else { counts };
    let mut flat = BTreeMap::new();
    for (key, value) in counts.as_object().unwrap() {
        match value.as_object() {
            None => {
                flat.insert(key.clone(), value.as_u64().unwrap() as usize);
            }
            Some(classes) => {
                flat.extend(
                    classes.iter().map(|(class, n)| (format!("{key}/{class}"), n.as_u64().unwrap() as usize)),
                );
            }
        }
    }
    flat
}

/// Returns everything that the user reads: the error, or the notices and the unreadable files.
fn said(result: &Result<Listing, FolderError>) -> String {
    match result {
        Err(e) => e.to_string(),
        Ok(listing) => {
            let bad = listing.bad.iter().map(|bad| format!("bad: {}: {}", bad.name.shown(), bad.reason));
            listing.notices.iter().cloned().chain(bad).collect::<Vec<_>>().join("\n")
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
