//! A user's own pictures, end to end: which files form a data set, the messages about it, and the results of predict and
//! eval. `photograph_runs` tests that runs on them repeat with the same bits.

#[path = "../crates/dataset/tests/decode/jpeg.rs"]
mod jpeg;

use std::fs;
use std::io::{Cursor, Write as _};

use crate::drawn::{CLASSES, TINY_RUN, cut, draw, photos, picture, png};
use crate::support::Sandbox;
use jpeg::Jpeg;
use serde_json::{Value, json};
use tallow_metrics::parse_predictions_csv;

/// One command, without a recipe.
const TRAIN: &str = "--dataset photos --epochs 2 --run-dir run";

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Returns `(name, n_train, n_val, n_test)` of each class, as in `data info`; -1 if a count is missing.
fn counts(info: &Value) -> Vec<(&str, i64, i64, i64)> {
    let n = |class: &Value, key: &str| class[key].as_i64().unwrap_or(-1);
    let class = |class| (n(class, "n_train"), n(class, "n_val"), n(class, "n_test"));
    let classes = list(&info["classes"]).iter().map(|c| (text(&c["name"]), class(c)));
    classes.map(|(name, (train, val, test))| (name, train, val, test)).collect()
}

#[test]
fn one_command_trains_and_predict_answers_as_the_test_did() {
    let sandbox = photos();
    let ran = sandbox.trainer(&format!("{TRAIN} {TINY_RUN}")).ok();
    let ran = ran.says(&["39 pictures of 3 classes", "recipe photos-cnn"]);
    assert_eq!(ran.stdout.lines().last(), Some("Report run/report.html"));
    let table = parse_predictions_csv(&sandbox.text("run/evaluation/predictions_test.csv")).unwrap();
    assert_eq!((&table.class_names[..], table.files.len()), (&["cat", "dog", "owl"].map(Into::into)[..], 8));

    let files: Vec<String> = table.files.iter().map(|file| format!("photos/{}", file.raw())).collect();
    let together = sandbox.trainer(&format!("predict run {} --json", files.join(" "))).ok().json();
    assert_eq!(together["calibrated"], false, "validation has fewer than 20 pictures");
    for (i, (file, answer)) in files.iter().zip(list(&together["pictures"])).enumerate() {
        assert_eq!(answer["file"], **file);
        assert!(file.contains(table.class_names[table.predictions.targets()[i] as usize].raw()), "{file}");
        let top = &table.class_names[table.predictions.predicted(i) as usize];
        assert_eq!(answer["predictions"][0]["class"], *top.raw());
        for said in list(&answer["predictions"]) {
            let class = table.class_names.iter().position(|name| *name == text(&said["class"])).unwrap();
            let expected = f64::from(table.predictions.row(i)[class]).exp();
            assert_eq!(said["probability"].as_f64(), Some(expected), "{file}: the same bits");
        }
    }
    let one = sandbox.trainer(&format!("predict run {} --json --threads 1", files[3])).ok().json();
    let [one, of_many] = [&one["pictures"][0], &together["pictures"][3]].map(|p| &p["predictions"][0]);
    assert_eq!(one["class"], of_many["class"]);
    let [one, of_many] = [one, of_many].map(|p| p["probability"].as_f64().unwrap());
    assert_eq!(one, of_many, "the same bits");
    let score = sandbox.trainer("eval run --json").ok().json();
    assert_eq!(score["accuracy"], sandbox.json("run/summary.json")["test"]["accuracy"]);
}

/// Results of the scan of a picture are reused while the picture is unchanged. The test shows that by changing the stored
/// results.
#[test]
fn a_second_start_looks_only_at_what_changed() {
    let sandbox = photos();
    let formats =
        || sandbox.trainer("data info --dataset photos --json").ok().json()["pictures"]["formats"].clone();
    assert_eq!(formats(), json!({"PNG": 39}));
    let kept = sandbox.everything().into_iter().find(|name| name.starts_with("data/scans/")).unwrap();
    assert!(kept.ends_with(".jsonl"), "{kept}");
    sandbox.write(&kept, sandbox.text(&kept).replace(r#""format":"PNG""#, r#""format":"BMP""#));
    assert_eq!(formats(), json!({"BMP": 39}));
    sandbox.write("photos/cat/00.png", picture(0, 20));
    assert_eq!(formats(), json!({"BMP": 38, "PNG": 1}));
    cut(&sandbox, "photos/dog/05.png");
    sandbox.trainer("data info --dataset photos").fails(&["photos/dog/05.png", "ends early"]);
    sandbox.write(&kept, "1\nrubbish\n");
    sandbox.write("photos/dog/05.png", picture(1, 5));
    assert_eq!(formats(), json!({"PNG": 39}));
}

#[test]
fn damage_is_named_before_there_is_a_run_folder() {
    let sandbox = photos();
    cut(&sandbox, "photos/cat/03.png");
    let train = format!("{TRAIN} {TINY_RUN}");
    let said = ["1 of 39 pictures", "photos/cat/03.png", "--skip-bad"];
    sandbox.trainer(&train).fails(&said);
    assert!(!sandbox.path("run").exists() && !sandbox.path("runs").exists());
    let ran = sandbox.trainer(&format!("{train} --skip-bad")).ok();
    ran.says(&["Note: left out: ", "photos/cat/03.png"]);
    let summary = sandbox.json("run/summary.json");
    let parts = ["n_train", "n_val", "n_test"].map(|part| summary[part].as_u64().unwrap());
    assert_eq!(parts.iter().sum::<u64>(), 38);
    // the evaluation skips the pictures that the run skipped
    sandbox.trainer("eval run").ok();
    sandbox.write("photos/dog/04.png", "no picture");
    sandbox.trainer(&format!("{train} --skip-bad")).fails(&["2 of 39 pictures", "04.png", "03.png"]);
}

#[test]
fn a_table_says_class_and_part() {
    let sandbox = photos();
    let mut table = "picture,kind,split,other\n".to_owned();
    for (name, n) in CLASSES {
        for i in 0..n {
            let split = ["train", "train", "train", "val", "test"][i as usize % 5];
            table += &format!("{name}/{i:02}.png,a {name},{split},no {name}\n");
        }
    }
    sandbox.write("photos/labels.csv", table);
    let words = "--file-column picture --label-column kind";
    let info = sandbox.trainer(&format!("data info --dataset photos/labels.csv {words} --json")).ok().json();
    assert_eq!(counts(&info), [("a cat", 9, 3, 2), ("a dog", 9, 2, 2), ("a owl", 8, 2, 2)]);
    sandbox.trainer(&format!("--dataset photos/labels.csv {words} --epochs 1 --run-dir run {TINY_RUN}")).ok();
    let summary = sandbox.json("run/summary.json");
    assert_eq!([&summary["n_train"], &summary["n_val"], &summary["n_test"]], [26, 7, 6]);
    let table = parse_predictions_csv(&sandbox.text("run/evaluation/predictions_test.csv")).unwrap();
    assert!(table.files.iter().all(|file| ["04.png", "09.png"].iter().any(|end| file.raw().ends_with(end))));
    // eval uses the columns of the run unless others are given
    sandbox.trainer("eval run --split val").ok();
    sandbox.trainer("eval run --label-column other").fails(&["the model knows the classes a cat", "no cat"]);
}

#[test]
fn what_a_part_lacks_is_said_once() {
    let sandbox = Sandbox::new();
    let classes = [("cat", 4), ("dog", 4), ("owl", 4)];
    draw(&sandbox, "photos/train", &classes);
    draw(&sandbox, "photos/val", &classes[..2]);
    draw(&sandbox, "photos/test", &classes[..1]);
    let ran = sandbox.trainer("data info --dataset photos --json").ok();
    assert_eq!(counts(&ran.json()), [("cat", 4, 4, 4), ("dog", 4, 4, 0), ("owl", 4, 0, 0)]);
    for (words, n) in [("no validation pictures", 1), ("no test pictures", 2), ("smallest class", 1)] {
        assert_eq!(ran.stderr.matches(words).count(), n, "{words}: {}", ran.stderr);
    }
}

#[test]
fn an_archive_is_the_folder_that_it_holds() {
    let sandbox = photos();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for name in sandbox.everything().iter().filter(|name| name.ends_with(".png")) {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&sandbox.read(name)).unwrap();
    }
    sandbox.write("packed.zip", zip.finish().unwrap().into_inner());
    let info = |path: &str| {
        let ran = sandbox.trainer(&format!("data info --dataset {path} --json")).ok();
        (ran.json(), ran.stderr)
    };
    let ((folder, _), (archive, said)) = (info("photos"), info("packed.zip"));
    assert!(said.contains("packed.zip is unpacked in data/"), "{said}");
    for key in ["classes", "mean", "std", "pictures"] {
        assert_eq!(folder[key], archive[key]);
    }
    sandbox.trainer(&format!("--dataset packed.zip --epochs 1 --run-dir run {TINY_RUN}")).ok();
    sandbox.trainer("eval run").ok();
}

#[test]
fn eval_matches_other_pictures_by_name() {
    let sandbox = photos();
    sandbox
        .trainer(&format!(
            "--dataset photos --epochs 20 --run-dir run {TINY_RUN} --lr 0.02 --set loss.label_smoothing=0"
        ))
        .ok();
    draw(&sandbox, "others", &[("wolf", 4), ("dog", 5), ("zebra", 3)]);
    let eval = sandbox.trainer("eval run --dataset others --json").ok();
    let score = eval.says(&["does not know wolf, zebra: 7 images", "no images of cat, owl"]).json();
    assert_eq!((&score["n"], &score["dataset"]), (&json!(5), &json!("others")));
    let said = sandbox.trainer("predict run others/dog --json --top-k 1").ok().json();
    let n_dogs = list(&said["pictures"]).iter().filter(|p| p["predictions"][0]["class"] == "dog").count();
    assert!(n_dogs > 2, "it has learnt nothing: {said}");
    assert_eq!(score["accuracy"], json!(n_dogs as f64 / 5.0), "class 0 of the folder is no cat");
    draw(&sandbox, "strangers", &[("wolf", 4), ("zebra", 3)]);
    sandbox.trainer("eval run --dataset strangers").fails(&["cat, dog, owl", "wolf, zebra"]);
}

#[test]
fn predict_does_the_rest_and_turns_as_the_file_says() {
    let sandbox = photos();
    sandbox.trainer(&format!("{TRAIN} {TINY_RUN}")).ok();
    let components = &[(1, 1, 1), (2, 1, 1), (3, 1, 1)];
    let block = |row: usize, column: usize| (50 + 60 * row + 20 * column) as u8;
    let photo = |height, width, segments: &[(u8, &[u8])], luma: &dyn Fn(usize, usize) -> u8| {
        let value = |component, row, column| if component == 0 { luma(row, column) } else { 150 };
        let scans: &[&[usize]] = &[&[0, 1, 2]];
        Jpeg { height, width, components, scans, restart_interval: 0, segments, value: &value }.bytes()
    };
    // EXIF orientation 6: the first stored row is the last column
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    sandbox.write("mixed/TURNED.JPG", photo(16, 24, &[(0xe1, exif)], &block));
    sandbox.write("mixed/upright.jpg", photo(24, 16, &[], &|row, column| block(1 - column, row)));
    sandbox.write("mixed/stored.jpg", photo(16, 24, &[], &block));
    sandbox.write("empty.jpg", "");
    sandbox.write("page.jpg", "<html>404</html>");
    let ran = sandbox
        .trainer("predict run mixed empty.jpg page.jpg gone.jpg --json --csv answers.csv")
        .ends_with(1);
    let ran = ran.says(&["empty.jpg: an empty file", "page.jpg: ", "gone.jpg: does not exist"]);
    let document = ran.json();
    let answer = |name: &str| {
        let is_of = |picture: &&Value| picture["file"] == *format!("mixed/{name}");
        list(&document["pictures"]).iter().find(is_of).unwrap()["predictions"].clone()
    };
    assert_eq!(list(&document["pictures"]).len(), 3);
    assert_eq!(answer("TURNED.JPG"), answer("upright.jpg"));
    assert_ne!(answer("TURNED.JPG"), answer("stored.jpg"));
    let mut failed: Vec<&str> = list(&document["failed"]).iter().map(|f| text(&f["file"])).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["empty.jpg", "gone.jpg", "page.jpg"]);
    assert_eq!(sandbox.text("answers.csv").lines().count(), 4);
}

/// Names that a page, a table or a terminal could take for commands.
#[test]
fn names_are_never_orders() {
    let sandbox = Sandbox::new();
    draw(&sandbox, "photos", &[("<b>bold", 8), ("=1+1", 8)]);
    fs::rename(sandbox.path("photos/=1+1/03.png"), sandbox.path("photos/=1+1/\u{1b}[31m,\n.png")).unwrap();
    let ran = sandbox.trainer(&format!("{TRAIN} {TINY_RUN}")).ok();
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{ran:?}");
    let page = sandbox.text("run/report.html");
    assert!(!page.contains("<b>bold") && page.contains("&lt;b&gt;bold"));
    let said = sandbox.trainer("predict run photos --csv answers.csv --json").ok();
    assert!(said.stdout.contains(r#""=1+1""#), "in JSON a name is as it is");
    for name in ["answers.csv", "run/evaluation/predictions_test.csv"] {
        let (table, mut n) = (sandbox.text(name), 0);
        for cell in table.lines().flat_map(|line| line.split(',')) {
            assert!(!cell.trim_matches('"').starts_with('='), "{name}: {cell}");
            n += usize::from(cell.contains("=1+1"));
        }
        assert!(n > 0, "{name}: {table}");
    }
    // a picture of one colour is accepted
    sandbox.write("plain.png", png(1, 3, &[200; 9]));
    sandbox.trainer("predict run plain.png").ok();
}
