//! `trainer eval`: gives the run's own figures on any part of its data; and refuses other requests.

use std::fs;

use crate::drawn::{CLASSES, TINY_RUN, photos, picture};
use crate::support::{Sandbox, TINY, read_safetensors, with_description, with_header};
use serde_json::{Value, json};
use tallow_dataset::cifar::CIFAR10_CLASSES;
use tallow_metrics::{
    Predictions, expected_calibration_error, fit_temperature, parse_predictions_csv, wilson_interval,
    with_temperature,
};

/// A network that learns enough in a second that its predictions differ.
const LEARNS: &str = "--dataset sample --offline --train-subset 600 --epochs 3 --batch-size 16 --lr 0.002 \
     --set model.widths=[8,8] --set model.dropout=[0.0] --set model.dense=16";

/// A sandbox with a finished run in `run`.
fn with_run(args: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} {args} --run-dir run")).ok();
    sandbox
}

#[track_caller]
fn eval_json(sandbox: &Sandbox, args: &str) -> Value {
    sandbox.trainer(&format!("eval --json {args}")).ok().json()
}

#[test]
fn eval_repeats_the_figures_of_the_run_exactly() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{LEARNS} --run-dir run")).ok();
    let summary = sandbox.json("run/summary.json");
    for (split, n) in [("test", 1_000), ("val", 200)] {
        for model in ["run", "run/model.safetensors"] {
            let score = eval_json(&sandbox, &format!("{model} --split {split}"));
            assert_eq!(score["accuracy"], summary[split]["accuracy"]);
            assert_eq!(score["loss"], summary[split]["loss"]);
            assert_eq!((&score["n"], &score["model"]), (&json!(n), &json!(model)));
        }
    }
    assert_eq!(eval_json(&sandbox, "run")["accuracy_interval"], summary["test"]["accuracy_interval"]);
    assert_eq!(eval_json(&sandbox, "run")["report"], sandbox.json("run/evaluation/report.json"));
}

#[test]
fn the_training_part_is_what_the_run_trained_on() {
    let sandbox = with_run("");
    let score = eval_json(&sandbox, "run --split train");
    assert_eq!((&score["n"], &score["split"]), (&json!(60), &json!("train")));
    let supports = CIFAR10_CLASSES.map(|class| score["report"][class]["support"].as_u64());
    assert_eq!(supports, [Some(6); 10]);

    let sandbox = with_run("--val-fraction 0");
    assert_eq!(eval_json(&sandbox, "run --split train")["n"], 60);
    sandbox
        .trainer("eval run --split val")
        .fails(&["--split val", "the model was trained without validation images"]);
}

#[test]
fn a_model_that_was_validated_on_the_test_images_says_so() {
    let sandbox = with_run("--validate-on test");
    sandbox.trainer("eval run").ok().says(&["not an honest estimate"]);
    assert_eq!(eval_json(&sandbox, "run --split val")["n"], 1_000);
    let quiet = with_run("").trainer("eval run").ok();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn the_report_and_one_line_are_the_result() {
    let sandbox = with_run("");
    let ran = sandbox.trainer("eval run --split val").ok();
    assert!(ran.stdout.contains("weighted avg"), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let [.., accuracy, calibration] = lines[..] else { panic!("{}", ran.stdout) };
    assert!(
        accuracy.starts_with("Validation accuracy ") && accuracy.ends_with(", on 200 images of sample"),
        "{accuracy}"
    );
    assert!(calibration.starts_with("Expected calibration error "), "{calibration}");
    let score = eval_json(&sandbox, "run");
    let keys: Vec<&String> = score.as_object().unwrap().keys().collect();
    let expected = "model dataset split n accuracy accuracy_interval loss calibration report"
        .split(' ')
        .collect::<Vec<_>>();
    assert_eq!(keys, expected);
}

/// The sample has a few near-duplicates, like the whole of CIFAR-10.
#[test]
fn near_duplicates_are_listed_and_left_out() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{LEARNS} --run-dir run")).ok();
    let told = sandbox.trainer("data duplicates --dataset sample --json").ok().json();
    assert_eq!(
        (&told["dataset"], &told["n_train"], &told["n_test"]),
        (&json!("sample"), &json!(2000), &json!(1000))
    );
    assert_eq!(told["csv"], "duplicates-sample.csv");
    let csv = sandbox.text("duplicates-sample.csv");
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("test_index,train_index,distance"));
    let found: Vec<u32> = lines.map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(told["n_duplicates"], found.len());
    assert!(!found.is_empty() && found.is_sorted(), "{found:?}");

    let text = sandbox.text("run/evaluation/predictions_test.csv");
    let rest = parse_predictions_csv(&text).unwrap().predictions.of_images(|index| !found.contains(&index));
    let score = eval_json(&sandbox, "run --without-duplicates");
    assert_eq!(
        score["accuracy"],
        sandbox.json("run/summary.json")["test"]["accuracy"],
        "the whole score stays"
    );
    let without = &score["without_duplicates"];
    assert_eq!((&without["n"], &without["n_duplicates"]), (&json!(rest.len()), &json!(found.len())));
    assert_eq!((&without["accuracy"], &without["loss"]), (&json!(rest.accuracy()), &json!(rest.mean_nll())));
    let interval = wilson_interval(rest.n_correct(), rest.len() as u64, 0.95).unwrap();
    assert_eq!(without["accuracy_interval"], json!(interval));
    let told = sandbox.trainer("eval run --without-duplicates").ok().stdout;
    assert!(
        told.contains(&format!("Without the {} near-duplicates of training images", found.len())),
        "{told}"
    );

    sandbox.trainer("eval run --without-duplicates --split val").fails(&["use --split test"]);
    let other = with_description(&sandbox.read("run/model.safetensors"), |description| {
        description["data_digest"] = json!("0123456789");
    });
    sandbox.write("other.safetensors", other);
    sandbox
        .trainer("eval other.safetensors --without-duplicates")
        .fails(&["trained on other data than sample"]);
}

/// The temperature is fitted once: the model file, `eval` and the report page show the same number.
#[test]
fn the_temperature_is_kept_in_the_model_file() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{LEARNS} --run-dir run")).ok();
    let table = |name: &str| {
        let text = sandbox.text(&format!("run/evaluation/predictions_{name}.csv"));
        parse_predictions_csv(&text).unwrap().predictions
    };
    let temperature = fit_temperature(&table("val")).unwrap();
    assert!(temperature > 0.1 && temperature < 10.0 && temperature != 1.0, "{temperature}");
    let calibrated = with_temperature(&table("test"), temperature).unwrap();
    let ece = |p: &Predictions| json!(expected_calibration_error(p, 15).unwrap());
    assert_eq!(
        eval_json(&sandbox, "run")["calibration"],
        json!({
            "temperature": temperature,
            "ece": ece(&table("test")),
            "ece_calibrated": ece(&calibrated),
            "loss_calibrated": calibrated.mean_nll(),
        })
    );
    let told = sandbox.trainer("eval run").ok().stdout;
    assert!(told.contains(&format!("with the model's temperature of {temperature:.3}: ")), "{told}");
    sandbox.trainer("report run").ok();
    assert!(sandbox.text("run/report.html").contains(&format!("<strong>{temperature:.3}</strong>")));
}

#[test]
fn a_model_file_without_a_temperature_is_evaluated_as_it_is() {
    let sandbox = with_run("--val-fraction 0");
    let description = |name: &str| {
        let (header, _) = read_safetensors(&sandbox.read(name));
        header["__metadata__"]["tallow"].as_str().unwrap().to_owned()
    };
    assert!(!description("run/model.safetensors").contains("temperature"), "no validation, no temperature");
    let calibration = &eval_json(&sandbox, "run")["calibration"];
    assert!(calibration["ece"].is_f64() && calibration["temperature"].is_null(), "{calibration}");
    assert!(calibration["ece_calibrated"].is_null() && calibration["loss_calibrated"].is_null());
    let told = sandbox.trainer("eval run").ok().stdout;
    assert!(told.contains("the model file has no temperature to calibrate with"), "{told}");
}

#[test]
fn a_temperature_that_is_none_is_refused() {
    let sandbox = with_run("");
    let model = sandbox.read("run/model.safetensors");
    let out_of_range = "expected a number from 0.05 to 20";
    for (value, part) in [
        (json!(0), "temperature 0,"),
        (json!(-1.5), "temperature -1.5,"),
        (json!(1e300), out_of_range),
        (json!("NaN"), "expected f64"),
        (json!([1.0]), "expected f64"),
    ] {
        let changed = with_description(&model, |description| description["temperature"] = value);
        sandbox.write("hostile.safetensors", changed);
        sandbox.trainer("eval hostile.safetensors").fails(&["hostile.safetensors: its description", part]);
    }
    // not even JSON accepts it, as JSON has no such number
    let (mut header, _) = read_safetensors(&with_description(&model, |_| ()));
    let text = header["__metadata__"]["tallow"].as_str().unwrap();
    let (before, after) = text.split_once("\"temperature\":").unwrap();
    let after = after.trim_start_matches(|c: char| !",}".contains(c));
    header["__metadata__"]["tallow"] = json!(format!("{before}\"temperature\":NaN{after}"));
    sandbox.write("nan.safetensors", with_header(&model, &header));
    sandbox.trainer("eval nan.safetensors").fails(&["nan.safetensors", "its description cannot be read"]);
}

/// The confusion matrix adapts to the number of columns.
#[test]
fn the_confusion_matrix_fits_the_columns() {
    let sandbox = with_run("");
    let head = |columns: &str| {
        let mut command = crate::support::trainer("eval run");
        command.env("COLUMNS", columns);
        let told =
            sandbox.start_command(command, &format!("COLUMNS={columns} trainer eval run")).wait().ok().stdout;
        let at = told.find("true class").or_else(|| told.find("10 classes; the most confused pairs:"));
        told[at.unwrap()..].lines().take_while(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    for columns in ["50", "60", "80", "100", "200"] {
        let lines = head(columns);
        let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= columns.parse().unwrap(), "{columns}: {lines:#?}");
    }
    assert!(head("200")[0].contains(" automobile "), "whole names where there is room");
    assert!(head("80")[0].contains(" auto… "));
    assert_eq!(head("50")[0], "10 classes; the most confused pairs:");
    assert_eq!(head("nonsense"), head("100"), "a pipe has 100");
}

/// The same weights with reordered class names: class 0 becomes class 9.
#[test]
fn classes_are_matched_by_name() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{LEARNS} --run-dir run")).ok();
    let reversed = with_description(&sandbox.read("run/model.safetensors"), |description| {
        description["class_names"].as_array_mut().unwrap().reverse();
    });
    sandbox.write("reversed.safetensors", reversed);
    let seen =
        parse_predictions_csv(&sandbox.text("run/evaluation/predictions_test.csv")).unwrap().predictions;
    let answers = seen.targets().iter().zip(seen.all_predicted());
    let n_right = answers.filter(|(target, predicted)| **target == 9 - predicted).count() as u64;
    assert_ne!(n_right, seen.n_correct(), "the order would make no difference");
    let score = eval_json(&sandbox, "reversed.safetensors");
    assert_eq!(score["accuracy"], json!(n_right as f64 / 1_000.0));
}

#[test]
fn classes_that_the_model_does_not_know_are_left_out_and_named() {
    let sandbox = with_run("");
    let with_names = |file: &str, names: Value| {
        let other = with_description(&sandbox.read("run/model.safetensors"), |description| {
            description["class_names"] = names;
        });
        sandbox.write(file, other);
    };
    let names = tallow_dataset::cifar::CIFAR10_CLASSES[..9].iter().copied().chain(["lorry"]);
    with_names("other.safetensors", names.collect());
    let ran = sandbox.trainer("eval other.safetensors --json").ok();
    assert_eq!(ran.json()["n"], 900);
    assert!(ran.stderr.contains("does not know truck: 100 images are left out"), "{}", ran.stderr);
    assert!(ran.stderr.contains("no images of lorry"), "{}", ran.stderr);
    with_names("strange.safetensors", (0..10).map(|i| format!("class {i}")).collect());
    sandbox.trainer("eval strange.safetensors").fails(&[
        "class 0",
        "truck",
        "sample",
        "choose another --dataset",
    ]);
}

#[test]
fn the_parts_of_other_data_are_refused() {
    let sandbox = with_run("");
    let other = with_description(&sandbox.read("run/model.safetensors"), |description| {
        description["data_digest"] = json!("0123456789");
    });
    sandbox.write("other.safetensors", other);
    for split in ["val", "train"] {
        let ran = sandbox.trainer(&format!("eval other.safetensors --split {split}"));
        ran.fails(&[&format!("--split {split}"), "trained on other data than sample", "expected 0123456789"]);
    }
    sandbox.trainer("eval other.safetensors").ok();
}

#[test]
fn data_that_are_not_there_are_named_with_the_command_that_gets_them() {
    let sandbox = with_run("");
    sandbox
        .trainer("eval run --dataset cifar10")
        .fails(&["data/cifar-10-batches-bin", "cargo xtask fetch-data"]);
    let fetch = "cargo xtask fetch-data --dataset cifar100";
    sandbox.trainer("eval run --dataset cifar100").fails(&["cifar-100-binary", fetch]);
    sandbox.trainer("eval run --dataset nope").fails(&["\"nope\"", "cifar10", "sample"]);
    // the default is the run's data folder
    let recipe = sandbox.text("run/recipe.toml").replace("\"data\"", "\"elsewhere\"");
    sandbox.write("run/recipe.toml", recipe);
    sandbox.trainer("eval run --dataset cifar10").fails(&["elsewhere/cifar-10-batches-bin"]);
    sandbox.trainer("eval run --dataset cifar10 --data-dir there").fails(&["there/cifar-10-batches-bin"]);
}

#[test]
fn what_is_no_finished_run_is_refused() {
    let sandbox = with_run("");
    sandbox.trainer("eval nowhere").fails(&["nowhere", "No such file"]);
    sandbox.write("folder/notes.txt", "");
    sandbox.trainer("eval folder").fails(&["folder is not a run folder: it has no model.safetensors"]);
    fs::remove_file(sandbox.path("run/model.safetensors")).unwrap();
    sandbox.trainer("eval run").fails(&["run", "no model.safetensors yet", "--resume run"]);
}

#[test]
fn a_damaged_model_file_is_refused() {
    let sandbox = with_run("");
    let model = sandbox.read("run/model.safetensors");
    let check = |name: &str, bytes: &[u8], parts: &[&str]| {
        sandbox.write(name, bytes);
        sandbox.trainer(&format!("eval {name}")).fails(&[&[name][..], parts].concat());
    };
    check("cut.safetensors", &model[..model.len() / 2], &[]);
    check("empty.safetensors", b"", &[]);
    check("page.safetensors", b"<html>404</html>", &[]);
    check("long.safetensors", &[&model[..], b"x"].concat(), &[]);
    let (mut header, _) = read_safetensors(&model);
    header.as_object_mut().unwrap().remove("__metadata__");
    let foreign = with_header(&model, &header);
    check("foreign.safetensors", &foreign, &["no description of the model", "not written by this program"]);
    let newer = with_description(&model, |description| description["version"] = json!(99));
    check("newer.safetensors", &newer, &["version 99, expected 1"]);
    let unknown = with_description(&model, |description| description["colour"] = json!("red"));
    check("unknown.safetensors", &unknown, &["colour", "another version"]);
}

#[test]
fn a_model_file_of_another_architecture_than_its_tensors_is_refused_by_tensor() {
    let sandbox = with_run("");
    let model = sandbox.read("run/model.safetensors");
    let check = |key: &str, value: Value, parts: &[&str]| {
        let changed = with_description(&model, |description| description["model"][key] = value);
        sandbox.write("other.safetensors", changed);
        sandbox.trainer("eval other.safetensors").fails(&[&["other.safetensors"][..], parts].concat());
    };
    let first = "has the shape [4, 3, 3, 3], expected [6, 3, 3, 3]";
    check("widths", json!([6, 4, 8, 8]), &[first]);
    check("widths", json!([4, 4, 8, 8, 8, 8]), &["model.dropout", "3 rates"]);
    let deeper = with_description(&model, |description| {
        description["model"]["widths"] = json!([4, 4, 8, 8, 8, 8]);
        description["model"]["dropout"] = json!([0.1, 0.1, 0.1]);
    });
    sandbox.write("deeper.safetensors", deeper);
    sandbox
        .trainer("eval deeper.safetensors")
        .fails(&["deeper.safetensors", " tensors are missing (features.16."]);
    check("name", json!("vgg"), &["\"vgg\"", "cnn"]);
    let fewer = with_description(&model, |description| {
        description["class_names"].as_array_mut().unwrap().pop();
    });
    sandbox.write("fewer.safetensors", fewer);
    let last = "classifier.2.weight has the shape [10, 8], expected [9, 8]";
    sandbox.trainer("eval fewer.safetensors").fails(&["fewer.safetensors", last]);
}

/// Data that are only for a test need neither training pictures nor all classes.
#[test]
fn data_that_cannot_be_trained_on_are_tested() {
    let sandbox = photos();
    sandbox
        .trainer(&format!("--dataset photos --recipe photos-cnn --epochs 1 {TINY_RUN} --run-dir run"))
        .ok();
    for (folder, n) in [("only-test/test", 6), ("only-train/train", 6), ("both/train", 6), ("both/test", 4)] {
        for (place, (class, _)) in CLASSES.iter().take(2).enumerate() {
            for i in 0..n / 2 {
                sandbox.write(&format!("{folder}/{class}/{i}.png"), picture(place, 20 + i));
            }
        }
    }
    let class = CLASSES[0].0;
    (0..3).for_each(|i| sandbox.write(&format!("one/{i}.png"), picture(0, 24 + i)));
    let rows: String = (0..3).map(|i| format!("{i}.png,{class}\n")).collect();
    sandbox.write("one/labels.csv", format!("file,label\n{rows}"));
    for (data, n) in [("only-test", 6), ("only-train", 6), ("both", 4), ("one", 3)] {
        assert_eq!(eval_json(&sandbox, &format!("run --dataset {data}"))["n"], n, "{data}");
    }
    let ran = sandbox.trainer("eval run --dataset phtos").fails(&["did you mean \"photos\"?"]);
    assert!(!ran.stderr.contains("was trained on"), "{}", ran.stderr);
}

/// Other data may hold pictures that the model was trained on: a test on them says nothing.
#[test]
fn pictures_that_the_model_was_trained_on_are_counted_and_left_out() {
    let sandbox = photos();
    sandbox
        .trainer(&format!("--dataset photos --recipe photos-cnn --epochs 1 {TINY_RUN} --run-dir run"))
        .ok();
    let trained = eval_json(&sandbox, "run --split train")["n"].clone();
    // all pictures of the run, under other names and with one new one
    for (class, n) in CLASSES {
        for i in 0..n {
            sandbox.write(
                &format!("other/{class}/copy-{i}.png"),
                sandbox.read(&format!("photos/{class}/{i:02}.png")),
            );
        }
    }
    sandbox.write("other/owl/new.png", picture(2, 12));
    let score = eval_json(&sandbox, "run --dataset other");
    assert_eq!((&score["n"], &score["not_trained_on"]["n_trained_on"]), (&json!(40), &trained));
    assert_eq!(score["not_trained_on"]["n"], json!(40 - trained.as_u64().unwrap()));
    let said = sandbox.trainer("eval run --dataset other").ok().stdout;
    assert!(
        said.contains(&format!("was trained on {trained} of these images, so the accuracy is too good")),
        "{said}"
    );

    let new: Vec<_> = (20..23).map(|i| (format!("new/cat/{i}.png"), picture(0, i))).collect();
    new.iter().for_each(|(name, bytes)| sandbox.write(name, bytes));
    sandbox.write("new/dog/20.png", picture(1, 20));
    assert!(eval_json(&sandbox, "run --dataset new").get("not_trained_on").is_none());
    // the run's model file alone says as much, and any other file says that it cannot
    assert_eq!(eval_json(&sandbox, "run/model.safetensors --dataset other"), {
        let mut same = score.clone();
        same["model"] = json!("run/model.safetensors");
        same
    });
    fs::copy(sandbox.path("run/model.safetensors"), sandbox.path("alone.safetensors")).unwrap();
    sandbox.trainer("eval alone.safetensors --dataset other").ok().says(&["no run is with the model"]);

    fs::rename(sandbox.path("photos"), sandbox.path("moved")).unwrap();
    sandbox
        .trainer("eval run --dataset other")
        .ok()
        .says(&["photos\" is not there as it was in training", "unknown which of these pictures"]);
}
