//! Cross-validation, end to end: every picture is predicted by a model that had not seen it, a stopped run is resumed, and
//! labels that the predictions contradict are listed.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::drawn::{CLASSES, TINY_RUN, brightened, draw, photos, picture};
use crate::support::{Ran, Sandbox};
use tallow_metrics::{PredictionsTable, parse_predictions_csv};

/// Three folds of a small network that learns the drawn pictures in a second.
const FOLDS: &str = "--dataset photos --recipe photos-cnn --epochs 12 --lr 0.01 --folds 3";

fn folds(sandbox: &Sandbox, more: &str) -> Ran {
    sandbox.trainer(&format!("{FOLDS} {TINY_RUN} {more}"))
}

fn answers(sandbox: &Sandbox, file: &str) -> PredictionsTable {
    parse_predictions_csv(&sandbox.text(file)).unwrap()
}

/// Returns the files that the fold `fold`, from 1, of `run` held out.
fn held_out(sandbox: &Sandbox, run: &str, fold: usize) -> BTreeSet<String> {
    answers(sandbox, &format!("{run}/folds/{fold}/evaluation/predictions_test.csv"))
        .files
        .into_iter()
        .map(|file| file.into_raw())
        .collect()
}

#[test]
fn every_picture_is_answered_by_a_model_that_had_not_seen_it() {
    let sandbox = photos();
    let ran = folds(&sandbox, "--run-dir run").ok();
    assert!(ran.stderr.contains("39 in 3 folds, 0 test"), "{}", ran.stderr);
    for fold in ["Fold 1 of 3: ", "Fold 3 of 3: "] {
        assert!(ran.stderr.contains(fold), "{}", ran.stderr);
    }
    assert!(
        ran.stdout.contains("Accuracy by 3 folds") && !ran.stdout.contains("Test accuracy"),
        "{}",
        ran.stdout
    );

    let all = answers(&sandbox, "run/evaluation/predictions_test.csv");
    let n_files = all.files.iter().collect::<BTreeSet<_>>().len();
    assert_eq!((all.predictions.len(), n_files), (39, 39), "each picture once");
    let parts = [1, 2, 3].map(|fold| held_out(&sandbox, "run", fold));
    assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), 39);
    for (part, (n_cats, n_owls)) in parts.iter().zip([(5, 4), (5, 4), (4, 4)]) {
        let n = |class: &str| part.iter().filter(|file| file.starts_with(class)).count();
        assert!(n("cat").abs_diff(n_cats) <= 1 && n("owl") == n_owls, "{part:?}");
    }
    // a fold's run is an ordinary run: its recipe gives the same predictions; and it keeps no model
    let again = "--recipe run/folds/2/recipe.toml --run-dir again";
    sandbox.trainer(again).ok();
    let predictions = |run: &str| sandbox.read(&format!("{run}/evaluation/predictions_test.csv"));
    assert!(predictions("again") == predictions("run/folds/2"), "the recipe of a fold gives its answers");
    for run in ["again", "run/folds/2"] {
        assert!(!sandbox.path(&format!("{run}/model.safetensors")).exists(), "{run}");
    }
    // killed before its pictures: it has no model file to draw the maps of its errors with
    let images = |sandbox: &Sandbox| -> Vec<Vec<u8>> {
        let names = sandbox.everything().into_iter().filter(|name| name.starts_with("again/images/"));
        names.map(|name| sandbox.read(&name)).collect()
    };
    let drawn = images(&sandbox);
    sandbox.write("again/checkpoints/ending", "");
    fs::remove_dir_all(sandbox.path("again/images")).unwrap();
    sandbox.trainer("--resume again").ok();
    assert!(!drawn.is_empty() && images(&sandbox) == drawn, "the pictures of a fold's run");
    let fold = answers(&sandbox, "again/evaluation/predictions_test.csv");
    for (i, file) in fold.files.iter().enumerate() {
        let place = all.files.iter().position(|other| other == file).unwrap();
        assert_eq!(fold.predictions.row(i), all.predictions.row(place), "{file:?}");
    }

    let summary = sandbox.json("run/summary.json");
    let of_folds = &summary["folds"];
    assert_eq!(of_folds["predictions"], "evaluation/predictions_test.csv");
    assert_eq!(of_folds["accuracies"].as_array().unwrap().len(), 3);
    assert_eq!([&summary["n_train"], &summary["n_val"], &summary["n_test"]], [39, 0, 39]);
    assert_eq!(summary["test"]["accuracy"], of_folds["accuracy"]);
    assert_eq!(summary["test"]["accuracy_interval"], of_folds["accuracy_interval"]);
    let page = sandbox.text("run/report.html");
    assert!(page.contains("The folds") && page.contains("by models that had not seen them"));
    sandbox.trainer("predict run photos/owl/00.png").ok();
    sandbox.trainer("card run").ok();
    sandbox.trainer("runs .").ok();
    sandbox.trainer("verify run run/folds/1 again").ok();
    // the model file alone is enough to know that
    for args in ["eval run/model.safetensors --dataset photos", "eval run/model.safetensors"] {
        let refused = sandbox.trainer(args).ends_with(1);
        assert!(refused.stderr.contains("tested with folds"), "{args}: {}", refused.stderr);
    }
    let refused = sandbox.trainer("predict again photos/owl/00.png").ends_with(1);
    assert!(refused.stderr.contains("the run of a fold keeps no model"), "{}", refused.stderr);
    let refused = sandbox.trainer("data suspects run/folds/1").ends_with(1);
    assert!(refused.stderr.contains("the run of one fold"), "{}", refused.stderr);
    let refused = sandbox.trainer("eval run").ends_with(1);
    assert!(refused.stderr.contains("tested with folds"), "{}", refused.stderr);
}

#[test]
fn a_test_of_the_owners_is_looked_at_once_by_the_model_of_all() {
    let sandbox = Sandbox::new();
    draw(&sandbox, "photos/train", &CLASSES);
    let test = CLASSES.map(|(name, _)| (name, 4));
    draw(&sandbox, "photos/test", &test);
    // other pictures, since the same ones would be copies
    for (class, (name, _)) in CLASSES.iter().enumerate() {
        for i in 0..4 {
            sandbox.write(&format!("photos/test/{name}/{i:02}.png"), picture(class, 15 + i));
        }
    }
    let ran = folds(&sandbox, "--run-dir run").ok();
    assert!(
        ran.stdout.contains("Accuracy by 3 folds") && ran.stdout.contains("Test accuracy"),
        "{}",
        ran.stdout
    );
    assert_eq!(answers(&sandbox, "run/evaluation/predictions_val.csv").predictions.len(), 39);
    assert_eq!(answers(&sandbox, "run/evaluation/predictions_test.csv").predictions.len(), 12);
    let summary = sandbox.json("run/summary.json");
    assert_eq!(summary["folds"]["predictions"], "evaluation/predictions_val.csv");
    let score = sandbox.trainer("eval run --json").ok().json();
    assert_eq!(score["accuracy"], summary["test"]["accuracy"]);
}

#[test]
fn copies_and_near_duplicates_are_held_out_together() {
    let sandbox = photos();
    // a copy under another name, and pictures that differ only in brightness
    fs::copy(sandbox.path("photos/cat/03.png"), sandbox.path("photos/cat/copy.png")).unwrap();
    let alike: Vec<(String, String)> =
        (0..8).map(|i| (format!("owl/{i:02}.png"), format!("owl/bright{i}.png"))).collect();
    for (i, (_, bright)) in alike.iter().enumerate() {
        sandbox.write(&format!("photos/{bright}"), brightened(2, i as u64, 10));
    }
    folds(&sandbox, "--run-dir run").ok();
    for fold in 1..=3 {
        let part = held_out(&sandbox, "run", fold);
        assert_eq!(part.contains("cat/03.png"), part.contains("cat/copy.png"), "fold {fold}: {part:?}");
        for (original, bright) in &alike {
            assert_eq!(part.contains(original), part.contains(bright), "fold {fold}, {bright}: {part:?}");
        }
    }
}

/// Killed at any instant, in any fold or in the run's own training, the result has the same bits.
#[test]
fn a_killed_run_goes_on_in_its_fold() {
    let sandbox = photos();
    let start = Instant::now();
    folds(&sandbox, "--run-dir alone --threads 1").ok();
    let whole = start.elapsed();
    let mut instant = whole / 5;
    let mut is_over = false;
    for _ in 0..200 {
        let running = match sandbox.path("run/recipe.toml").exists() {
            true => sandbox.start("--resume run --offline --threads 2"),
            false => sandbox.start(&format!("{FOLDS} {TINY_RUN} --run-dir run --threads 2")),
        };
        std::thread::sleep(instant);
        if !running.kill() {
            is_over = true;
            break;
        }
        instant += Duration::from_millis(20); // so that a slow machine also finishes
    }
    assert!(is_over, "never came to its end");
    sandbox.trainer("--resume run --offline").ok();
    for file in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv"] {
        let [alone, other] = ["alone", "run"].map(|run| sandbox.read(&format!("{run}/{file}")));
        assert!(alone == other, "{file} is not as that of a run left alone");
    }
    let folds = ["alone", "run"].map(|run| sandbox.json(&format!("{run}/summary.json"))["folds"].clone());
    assert_eq!(folds[0], folds[1]);
    let n_tested = sandbox.text("run/events.jsonl").matches("\"event\":\"fold_tested\"").count();
    assert_eq!(n_tested, 3, "each fold is recorded once");
    let error = sandbox.trainer("--resume run --offline --epochs 20").ends_with(1);
    assert!(error.stderr.contains("a run with folds cannot be extended"), "{}", error.stderr);
}

/// A digit of a fold's records changes. The run does not use them, and what it advises gives the bits from before, whether the
/// run's own model is still in training or trained already.
#[test]
fn a_damaged_fold_is_refused_and_trained_again() {
    let sandbox = photos();
    folds(&sandbox, "--run-dir run").ok();
    let table = "run/folds/2/evaluation/predictions_test.csv";
    let results = || {
        ["run/model.safetensors", "run/history.csv", "run/evaluation/predictions_test.csv", table]
            .map(|file| sandbox.read(file))
    };
    let before = results();
    let with_another_digit = |text: &str| {
        let at = text.rfind(|c: char| c.is_ascii_digit()).unwrap();
        let digit = if &text[at..=at] == "5" { '6' } else { '5' };
        format!("{}{digit}{}", &text[..at], &text[at + 1..])
    };
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    for path in [table, "run/folds/2/summary.json"] {
        let whole = sandbox.text(path);
        sandbox.write(path, with_another_digit(&whole));
        let says =
            [path, "has other content than was recorded", "remove the folder run/folds/2 and continue"];
        sandbox.trainer("--resume run").fails(&says);
        sandbox.write(path, whole);
    }
    for (removed, problem) in
        [(table, "it is missing"), ("run/folds/2/summary.json", "it has neither all results")]
    {
        let whole = sandbox.read(removed);
        fs::remove_file(sandbox.path(removed)).unwrap();
        sandbox.trainer("--resume run").fails(&[problem, "remove the folder run/folds/2 and continue"]);
        sandbox.write(removed, whole);
    }

    // the checkpoint before the last is of the epoch before the last
    fs::remove_dir_all(sandbox.path("run/folds/2")).unwrap();
    fs::remove_file(sandbox.path("run/checkpoints/last")).unwrap();
    sandbox.trainer("--resume run --threads 2").ok().says(&["checkpoints/previous", "Fold 2 of 3: "]);
    assert!(results() == before, "the fold and the rest of the training");
    sandbox.trainer("verify run run/folds/2").ok();

    // as `verify` advises for a run that is over
    sandbox.write(table, with_another_digit(&sandbox.text(table)));
    let remedy = "remove run/folds/2 and run/summary.json, and trainer --resume run trains that fold again";
    for run in ["run", "run/folds/2"] {
        let told = sandbox.trainer(&format!("verify {run}")).ends_with(1).stdout;
        assert!(told.contains(remedy), "{told}");
    }
    fs::remove_dir_all(sandbox.path("run/folds/2")).unwrap();
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    sandbox.trainer("--resume run").ok();
    assert!(results() == before, "the fold and the evaluation");
    sandbox.trainer("verify run").ok();
    assert_eq!(sandbox.text("run/events.jsonl").matches("\"event\":\"fold_tested\"").count(), 3);
}

#[test]
fn wrong_labels_are_found() {
    let sandbox = photos();
    // a cat among the owls, a dog among the cats
    sandbox.write("photos/owl/cat.png", picture(0, 16));
    sandbox.write("photos/cat/dog.png", picture(1, 17));
    folds(&sandbox, "--run-dir run").ok();
    let ran = sandbox.trainer("data suspects run").ok();
    let lines: BTreeSet<&str> =
        ran.stdout.lines().take(2).map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(lines, BTreeSet::from(["owl/cat.png", "cat/dog.png"]), "{}", ran.stdout);
    let csv = sandbox.text("run/suspects.csv");
    assert!(csv.starts_with("rank,index,file,label,suggested,p_label,p_suggested\n1,"), "{csv}");
    assert!(csv.contains(",owl/cat.png,owl,cat,") && csv.contains(",cat/dog.png,cat,dog,"), "{csv}");
    let page = sandbox.text("run/suspects.html");
    assert!(page.contains("data:image/png") && page.contains("owl/cat.png") && page.contains("may be wrong"));
    let verified = sandbox.trainer("verify run --json").ok().json();
    assert_eq!(
        verified["verified"][0]["unknown"],
        serde_json::json!([]),
        "the page and the table are recorded"
    );
    let json = sandbox.trainer("data suspects run --json --max-shown 1").ok().json();
    assert_eq!(json["n"], 41);
    assert_eq!(json["suspects"].as_array().unwrap().len(), json["n_suspects"].as_u64().unwrap() as usize);
    assert_eq!(sandbox.text("run/suspects.html").matches("data:image/png").count(), 1);

    // a table that has changed
    let table = sandbox.text("run/evaluation/predictions_test.csv");
    sandbox.write("run/evaluation/predictions_test.csv", table.replacen("owl/cat.png", "owl/cut.png", 1));
    sandbox
        .trainer("data suspects run")
        .fails(&["predictions_test.csv has other content", "trainer verify run"]);
    sandbox.write("run/evaluation/predictions_test.csv", table);
    sandbox.trainer("verify run").ok();
    let path = "run/folds/2/evaluation/predictions_test.csv";
    let table = sandbox.text(path);
    sandbox.write(path, table.replacen("-0.", "-0.1", 1));
    sandbox.trainer("verify run").ends_with(1);
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    sandbox.trainer("--resume run").fails(&[path, "were recorded", "remove the folder run/folds/2"]);
    sandbox.write(path, table);
    sandbox.trainer("--resume run").ok();
    sandbox.trainer("verify run").ok();

    // pictures that are not those of the run, and a run without folds
    sandbox.write("photos/owl/new.png", picture(2, 18));
    let refused = sandbox.trainer("data suspects run").ends_with(1);
    assert!(refused.stderr.contains("have changed since the run"), "{}", refused.stderr);
    sandbox
        .trainer(&format!("--dataset photos --recipe photos-cnn --epochs 1 {TINY_RUN} --run-dir plain"))
        .ok();
    let refused = sandbox.trainer("data suspects plain").ends_with(1);
    assert!(refused.stderr.contains("--recipe plain/recipe.toml --folds 5"), "{}", refused.stderr);
}

#[test]
fn what_folds_cannot_be_is_refused() {
    let sandbox = photos();
    let said =
        |args: &str| sandbox.trainer(&format!("--dataset photos --recipe photos-cnn {TINY_RUN} {args}"));
    let cases = [
        ("--folds 1", 1, "data.folds must be 0 or at least 2"),
        ("--folds 40", 1, "cannot make 40 folds of 39 different pictures"),
        ("--folds 3 --set data.fold=4", 1, "data.fold must be from 1 to data.folds"),
        ("--folds 3 --set data.validate_on=test", 1, "leave out data.validate_on"),
        ("--folds 3 --test-fraction 0.3", 2, "cannot be used with"),
        ("--folds 3 --val-fraction 0.3", 2, "cannot be used with"),
        ("--folds 3 --set data.drop_last=true --train-subset 9", 1, "batch"),
    ];
    for (args, status, message) in cases {
        let ran = said(args).ends_with(status);
        assert!(ran.stderr.contains(message), "{args}: {}", ran.stderr);
    }
    assert!(!sandbox.path("runs").exists(), "nothing was begun");
}

/// The final model has a validation loss where training may stop early, but the folds are the test: no predictions are kept.
#[test]
fn folds_that_may_stop_early_leave_a_whole_run() {
    let sandbox = photos();
    folds(&sandbox, "--set callbacks.early_stopping.patience=1 --run-dir run").ok();
    sandbox.trainer("verify run").ok();
    let told = sandbox.trainer("report run").ok();
    assert!(!told.stderr.contains("predictions_val.csv"), "{}", told.stderr);
    sandbox
        .trainer(&format!("--dataset photos --recipe photos-cnn --epochs 1 {TINY_RUN} --run-dir plain"))
        .ok();
    sandbox.trainer("compare run plain").fails(&["by its folds on all 39 pictures", "both without"]);
}
