//! The outcome of `trainer data info` for every case: the expected counts, or a refusal with the expected words.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Field, array, shows_no_control_character, text};
use crate::support::{Ran, Sandbox};

/// Cases with another outcome than the corpus' first: the number of the outcome, from 1, and the reason.
const OTHER_OUTCOMES: [(&str, usize, &str); 6] = [
    ("tiff", 3, "TIFF is read"),
    ("wrapped-root", 2, "one folder that wraps all is seen through, and that is said"),
    ("zip-dataset", 2, "archives are read"),
    ("tiny-dataset", 2, "the test, which is never given up, needs 3 pictures of a class"),
    ("class-added-later", 2, "before/ is sound: what is refused is to go on with after/"),
    ("symlinks", 3, "a broken link is a picture that cannot be read"),
];

/// Words that standard error must have, by case; the corpus describes them in prose.
const MUST_SAY: [(&str, &[&str]); 24] = [
    ("heic-avif", &["HEIC", "AVIF", "left out"]),
    ("avif-jxl-renamed", &["AVIF", "JPEG XL", "left out"]),
    ("damaged", &["an empty file", "ends early", "6 of 18 pictures", "--skip-bad"]),
    ("damaged-few", &["2 of 202 pictures", "--skip-bad"]),
    ("bomb", &["60000 x 60000"]),
    ("junk-files", &["are ignored: "]),
    (
        "junk-folders-others",
        &["$RECYCLE.BIN/", "System Volume Information/", "lost+found/", "runs/cnn-1/plots/loss.png"],
    ),
    ("empty-class", &["no pictures of bird", "add some, or remove the class"]),
    ("images-in-root", &["new-0.png, new-1.png, new-2.png"]),
    ("wrapped-root", &["one folder, photos", "cat, dog"]),
    ("zip-dataset", &["photos.zip is unpacked in", "__MACOSX/"]),
    ("case-twins", &["\"Cat\" and \"cat\""]),
    ("val-lacks-class", &["c has no validation pictures", "a has no test pictures"]),
    ("one-image-class", &["no test pictures of one, two", "1 picture to train"]),
    ("one-class", &["expected at least two classes, found one: cat"]),
    ("no-images", &["2 .txt (cat/a.txt, dog/a.txt)", "2 .pdf", "2 .raw", "supported formats: JPEG"]),
    ("tiny-dataset", &["4 pictures of 2 classes are too few", "each class needs at least 3 pictures"]),
    ("duplicates", &["3 test pictures are copies of training pictures"]),
    ("imbalanced", &["the smallest class"]),
    ("csv-kaggle", &["train.csv", "test/0013.png, test/0014.png, test/0015.png, test/0016.png"]),
    ("csv-troubles", &["row 12: p77.png does not exist", "images/unlisted.png is not in any row"]),
    ("csv-troubles", &["row 13: p0.png is dog, but cat in row 2", "row 11: p9.png has no label"]),
    ("csv-troubles", &["row 6: p4.png: label \"cat \""]),
    ("symlinks", &["cat/gone.png", "a broken link"]),
];

/// Cases without a data set, and a case of six folders, which `damage` tests.
const NOT_HERE: [&str; 2] = ["predict-mixed", "cifar-damaged"];

#[test]
#[expect(clippy::print_stderr, reason = "which outcome each case has is what the test is read for")]
fn data_info_says_what_each_path_is() {
    let Some(field) = Field::find("data_info_says_what_each_path_is") else { return };
    let sandbox = Sandbox::new();
    let mut failures = Vec::new();
    for (name, case) in field.cases.iter().filter(|(name, _)| !NOT_HERE.contains(&name.as_str())) {
        let ran = field.trainer(&sandbox, "data info --json", name);
        shows_no_control_character(&ran);
        match judge(name, case, &ran) {
            Ok(outcome) => eprintln!("{name}: {outcome}"),
            Err(why) => failures.push(format!("{name}: {why}\n{}", ran.stderr)),
        }
    }
    assert_eq!(field.cases.len(), 51);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Returns the outcome of the case, or an error.
fn judge(name: &str, case: &Value, ran: &Ran) -> Result<String, String> {
    let must_say = MUST_SAY.iter().filter(|(case, _)| *case == name).flat_map(|(_, words)| *words);
    for words in must_say {
        if !ran.stderr.contains(words) {
            return Err(format!("it does not say {words:?}"));
        }
    }
    let left_alone = array(&case["left_alone"]).iter().filter(|file| file["a_count_is_enough"] == false);
    let bad = array(&case["bad_files"]).iter();
    for file in bad.chain(left_alone).map(|file| text(&file["path"])) {
        if n_lines_with(ran, last_part(file)) == 0 {
            return Err(format!("{file} is not named"));
        }
    }
    let begins = match ran.status {
        Some(0) => accepted(name, case, ran)?,
        Some(1) if !ran.stdout.is_empty() => return Err(format!("refused, and yet: {}", ran.stdout)),
        Some(1) if array(&case["bad_files"]).is_empty() => "refused before training, with a message",
        Some(1) => "refused before training: every bad file is named",
        other => return Err(format!("exit status {other:?}")),
    };
    let mut outcomes = array(&case["outcome"]).iter();
    let place = outcomes.position(|outcome| text(outcome).starts_with(begins));
    let expected = OTHER_OUTCOMES.iter().find(|(case, ..)| *case == name);
    let (expected, why) = expected.map_or((1, "the best"), |(_, place, why)| (*place, *why));
    match place.map(|place| place + 1) {
        Some(place) if place == expected => Ok(format!("outcome {place}, {why}")),
        other => Err(format!("{begins}: outcome {other:?}, expected {expected}")),
    }
}

/// Checks an accepted data set and returns the beginning of its outcome.
fn accepted(name: &str, case: &Value, ran: &Ran) -> Result<&'static str, String> {
    let unsupported = array(&case["unsupported_ok"]);
    let is_named = |file: &&Value| n_lines_with(ran, last_part(text(file))) > 0;
    let (named, read): (Vec<&Value>, Vec<&Value>) = unsupported.iter().partition(is_named);
    let mut found = Counts::new();
    let info = ran.json();
    let has_parts = case["counts"]["train"].is_object();
    for class in array(&info["classes"]) {
        let class_name = text(&class["name"]);
        for (key, part) in [("n_train", "train"), ("n_val", "val"), ("n_test", "test")] {
            let key_of = if has_parts { format!("{part}/{class_name}") } else { class_name.to_owned() };
            *found.entry(key_of).or_default() += class[key].as_u64().unwrap_or(0);
        }
    }
    found.retain(|_, n| *n > 0);
    let any_of = case["counts_any_of"].as_array().cloned().unwrap_or_else(|| vec![case["counts"].clone()]);
    let readings = any_of.iter().filter(|counts| counts.is_object()).map(|counts| {
        let mut counts = readable(name, counts);
        for file in &read {
            *counts.entry(text(file).split('/').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        counts
    });
    let readings: Vec<Counts> = readings.collect();
    let classes: Vec<&str> = array(&info["classes"]).iter().map(|class| text(&class["name"])).collect();
    let mut expected: Vec<&str> = array(&case["classes"]).iter().map(text).collect();
    if name == "cifar100-python" {
        // for this case the corpus counts only whole parts, not classes
        let n = |key: &str| array(&info[key])[0].as_u64();
        let same = n("train_shape") == case["counts"]["train"].as_u64()
            && n("test_shape") == case["counts"]["test"].as_u64();
        return if same && classes == expected { Ok("accepted: every") } else { Err(format!("{info}")) };
    }
    if name != "numeric-classes" {
        expected.sort_unstable();
    }
    if classes != expected || !readings.contains(&found) {
        return Err(format!("classes {classes:?}, counts {found:?}, expected {expected:?} and {readings:?}"));
    }
    let all_count = named.is_empty() && array(&case["bad_files"]).is_empty();
    Ok(if all_count { "accepted: every picture" } else { "accepted: bad files are named" })
}

/// Number of pictures, by class or by part and class.
type Counts = BTreeMap<String, u64>;

/// Flattens `{"cat": 5}` and `{"train": {"cat": 5}}` to `cat` and `train/cat`; of two data sets, takes the first.
fn readable(name: &str, counts: &Value) -> Counts {
    let counts = if name == "class-added-later" { &counts["before"] } else { counts };
    let mut flat = Counts::new();
    for (key, value) in counts.as_object().unwrap() {
        match value {
            Value::Object(classes) => {
                flat.extend(classes.iter().map(|(class, n)| (format!("{key}/{class}"), n.as_u64().unwrap())));
            }
            n => {
                flat.insert(key.clone(), n.as_u64().unwrap());
            }
        }
    }
    flat
}

/// Counts the lines of standard error that name a file.
pub(crate) fn n_lines_with(ran: &Ran, file: &str) -> usize {
    ran.stderr.lines().filter(|line| line.contains(file)).count()
}

/// Returns the class folder and the file; messages may have any folder before them.
fn last_part(path: &str) -> &str {
    let at = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    &path[at..]
}
