//! `trainer train`: the files of a run, its output, and what its results depend on.

use crate::drawn::{TINY_RUN, picture};
use crate::support::{Sandbox, TINY, TINY_MODEL, read_safetensors, wait_until};
use serde_json::Value;
use tallow_metrics::{Summary, parse_history, parse_predictions_csv};

/// Arguments that a user may type: only flags that make the run small.
const BARE: &str = "--offline --train-subset 60 --epochs 2 --batch-size 16 --set model.widths=[4,4,8,8] \
     --set model.dropout=[0.1,0.1] --set model.dense=8";

const RESULTS: [&str; 2] = ["model.safetensors", "history.csv"];

/// Trains with `args` and returns model and history.
#[track_caller]
fn results(args: &str) -> [Vec<u8>; 2] {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{args} --run-dir run")).ok();
    RESULTS.map(|name| sandbox.read(&format!("run/{name}")))
}

#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn without_cifar10_the_sample_is_used_and_that_is_said() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer(BARE).ok().says(&[
        "CIFAR-10 is not in data (--offline was given)",
        "Using the embedded sample of it: 2,000 training and 1,000 test images",
        "cargo xtask fetch-data",
        "run folder runs/cnn-1",
    ]);
    assert!(ran.stdout.contains("on 1000 images of sample"), "{}", ran.stdout);
    assert_eq!(sandbox.json("runs/cnn-1/summary.json")["dataset"], "sample");
    sandbox.trainer(BARE).ok().says(&["run folder runs/cnn-2"]);
    let top: Vec<String> = sandbox.everything().into_iter().filter(|name| !name.contains("-1/")).collect();
    assert_eq!(top[..3], ["runs", "runs/cnn-1", "runs/cnn-2"]);
}

#[test]
fn a_run_folder_holds_this() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --precision f32")).ok();
    let mut expected = [
        "runs",
        "runs/cnn-1",
        "runs/cnn-1/checkpoints",
        "runs/cnn-1/checkpoints/best",
        "runs/cnn-1/checkpoints/last",
        "runs/cnn-1/checkpoints/previous",
        "runs/cnn-1/evaluation",
        "runs/cnn-1/evaluation/confusion_matrix.csv",
        "runs/cnn-1/evaluation/predictions_test.csv",
        "runs/cnn-1/evaluation/predictions_val.csv",
        "runs/cnn-1/evaluation/report.json",
        "runs/cnn-1/evaluation/report.txt",
        "runs/cnn-1/events.jsonl",
        "runs/cnn-1/events.out.tfevents",
        "runs/cnn-1/history.csv",
        "runs/cnn-1/images",
        "runs/cnn-1/manifest.json",
        "runs/cnn-1/model.safetensors",
        "runs/cnn-1/plots",
        "runs/cnn-1/recipe.toml",
        "runs/cnn-1/report.html",
        "runs/cnn-1/summary.json",
    ];
    expected.sort_unstable();
    // tests/pictures.rs checks the page and its pictures
    let for_the_eye =
        |name: &String| ["images", "plots"].iter().any(|f| name.starts_with(&format!("runs/cnn-1/{f}/")));
    let found: Vec<String> = sandbox.everything().into_iter().filter(|name| !for_the_eye(name)).collect();
    assert_eq!(untimed(found), expected);

    let history = parse_history(&sandbox.text("runs/cnn-1/history.csv")).unwrap();
    assert_eq!(history.len(), 2);
    assert!(history.iter().all(|row| row.val_accuracy.is_some() && row.val_loss.is_some()));
    the_summary_is_whole(&sandbox);
    the_evaluation_agrees_with_the_summary(&sandbox);
    the_model_describes_itself(&sandbox);
    the_events_are_versioned(&sandbox);
}

/// Removes the time from the event file's name.
fn untimed(mut names: Vec<String>) -> Vec<String> {
    for name in &mut names {
        name.truncate(name.find(".tfevents.").map_or(name.len(), |at| at + ".tfevents".len()));
    }
    names
}

fn the_summary_is_whole(sandbox: &Sandbox) {
    let summary = sandbox.json("runs/cnn-1/summary.json");
    let expected = "run_dir dataset dataset_about data_digest n_train n_val n_test model n_parameters \
         n_trained_parameters recipe seed device isa precision threads epochs_run best_epoch train_seconds features_seconds images_per_second peak_rss_bytes val test";
    assert_eq!(keys(&summary), expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(keys(&summary["val"]), ["accuracy", "loss"]);
    assert_eq!(keys(&summary["test"]), ["accuracy", "loss", "accuracy_interval"]);
    let counts =
        ["n_train", "n_val", "n_test", "n_parameters", "epochs_run"].map(|key| summary[key].as_u64());
    assert_eq!(counts, [60, 200, 1_000, 5_382, 2].map(Some));
    let names = ["run_dir", "dataset", "model", "recipe", "device", "precision"].map(|key| &summary[key]);
    assert_eq!(names, ["runs/cnn-1", "sample", "cnn", "cnn", "cpu", "f32"]);
    let summary: Summary = serde_json::from_value(summary).unwrap();
    assert!(summary.train_seconds > 0.0 && summary.images_per_second > 0.0);
}

fn the_evaluation_agrees_with_the_summary(sandbox: &Sandbox) {
    let summary: Summary = serde_json::from_value(sandbox.json("runs/cnn-1/summary.json")).unwrap();
    let table = |name: &str| {
        let text = sandbox.text(&format!("runs/cnn-1/evaluation/predictions_{name}.csv"));
        parse_predictions_csv(&text).unwrap().predictions
    };
    let (val, test) = (table("val"), table("test"));
    assert_eq!((val.len(), test.len()), (200, 1_000));
    let (val_score, test_score) = (summary.val.unwrap(), summary.test.unwrap());
    assert_eq!(val.accuracy(), Some(val_score.accuracy));
    assert_eq!(test.accuracy(), Some(test_score.accuracy));
    assert_eq!(test.mean_nll(), Some(test_score.loss));
    let [low, high] = test_score.accuracy_interval;
    assert!(low < test_score.accuracy && test_score.accuracy < high);

    let matrix = sandbox.text("runs/cnn-1/evaluation/confusion_matrix.csv");
    assert_eq!(matrix.lines().count(), 11, "{matrix}");
    let report = sandbox.json("runs/cnn-1/evaluation/report.json");
    assert_eq!(report["accuracy"].as_f64(), Some(test_score.accuracy));
    assert!(sandbox.text("runs/cnn-1/evaluation/report.txt").contains("weighted avg"));
}

fn the_model_describes_itself(sandbox: &Sandbox) {
    let (header, tensors) = read_safetensors(&sandbox.read("runs/cnn-1/model.safetensors"));
    assert_eq!(keys(&header["__metadata__"]), ["tallow"]);
    let text = header["__metadata__"]["tallow"].as_str().unwrap();
    let description: Value = serde_json::from_str(text).unwrap();
    assert_eq!(description["class_names"][9], "truck");
    assert_eq!(description["model"]["widths"], serde_json::json!([4, 4, 8, 8]));
    let digest = &sandbox.json("runs/cnn-1/summary.json")["data_digest"];
    assert_eq!(&description["data_digest"], digest);
    assert_eq!(tensors["features.0.weight"].len(), 4 * 4 * 3 * 3 * 3);
    assert!(tensors.contains_key("features.1.running_var"));
}

fn the_events_are_versioned(sandbox: &Sandbox) {
    let text = sandbox.text("runs/cnn-1/events.jsonl");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["version"] == 1 && line["time_unix_secs"].is_f64()));
    let names: Vec<&Value> = lines.iter().map(|line| &line["event"]).filter(|e| *e != "estimate").collect();
    assert_eq!(names, ["started", "epoch", "epoch", "tested"]);
    let tested = &lines[lines.len() - 1];
    let test = &sandbox.json("runs/cnn-1/summary.json")["test"];
    assert_eq!((&tested["epoch"], &tested["score"]), (&2.into(), test));
}

#[test]
fn the_resolved_recipe_makes_the_same_model_again() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --seed 3 --lr 0.01")).ok();
    sandbox.trainer("--recipe runs/cnn-1/recipe.toml").ok().says(&["run folder runs/cnn-2"]);
    for name in ["model.safetensors", "history.csv", "recipe.toml"] {
        let [first, second] = ["cnn-1", "cnn-2"].map(|run| sandbox.read(&format!("runs/{run}/{name}")));
        assert!(first == second, "{name} differs");
    }
}

#[test]
fn results_go_to_standard_output_and_the_rest_to_standard_error() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer(TINY).ok().says(&[
        "5,382 parameters",
        " 1/2 ",
        " 2/2 ",
        "Next:",
        "trainer predict runs/cnn-1",
    ]);
    let report = sandbox.text("runs/cnn-1/evaluation/report.txt");
    assert!(ran.stdout.contains(&report) && ran.stdout.contains("Test accuracy "), "{}", ran.stdout);
    assert!(
        ran.stdout.ends_with("Run folder runs/cnn-1\nReport runs/cnn-1/report.html\n")
            && !ran.stdout.contains("val_accuracy"),
        "{}",
        ran.stdout
    );

    let quiet = sandbox.trainer(&format!("-q {TINY}")).ok();
    assert_eq!(quiet.stderr, "");
    assert!(quiet.stdout.contains(&report), "{}", quiet.stdout);
}

/// A network so large that the first second ends before the first epoch.
#[test]
fn what_the_run_will_take_is_told_after_the_first_steps() {
    let sandbox = Sandbox::new();
    let large = "--set model.widths=[64,64,128,128,256,256] --batch-size 16 --epochs 100";
    let running = sandbox.start(&format!("--dataset sample --threads 1 {large}"));
    wait_until("the estimate", || running.stderr().contains("\nAbout "));
    let told = running.stderr();
    let told = told.lines().find(|line| line.starts_with("About ")).unwrap();
    assert!(running.kill(), "the run is over");
    for part in [" per epoch, ", " left, ", " MB of memory"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn json_is_one_document_the_summary() {
    let sandbox = Sandbox::new();
    for args in [format!("--json {TINY}"), format!("train {TINY} --json")] {
        let ran = sandbox.trainer(&args).ok().says(&[" 2/2 "]);
        let summary = ran.json();
        let run = summary["run_dir"].as_str().unwrap();
        assert_eq!(ran.stdout, sandbox.text(&format!("{run}/summary.json")));
    }
}

#[test]
fn the_seed_decides_everything_and_the_threads_nothing() {
    for precision in ["f32", "bf16"] {
        let tiny = format!("{TINY} --precision {precision}");
        let one = results(&format!("{tiny} --seed 1 --threads 1"));
        assert!(
            one == results(&format!("{tiny} --seed 1 --threads 1")),
            "{precision}: the same seed, other bytes"
        );
        assert!(
            one == results(&format!("{tiny} --seed 1 --threads 2")),
            "{precision}: two threads, other bytes"
        );
        let other = results(&format!("{tiny} --seed 2 --threads 1"));
        assert!(one[0] != other[0] && one[1] != other[1], "{precision}: another seed, the same bytes");
    }
}

#[test]
fn a_run_without_validation_has_no_val_columns() {
    let sandbox = Sandbox::new();
    let ran = sandbox.trainer(&format!("{TINY} --val-fraction 0")).ok().says(&[" 0 val,"]);
    assert!(!ran.stderr.contains("val_"), "{}", ran.stderr);
    let history = sandbox.text("runs/cnn-1/history.csv");
    assert!(history.starts_with("epoch,accuracy,loss,optimized_loss,learning_rate\n"), "{history}");
    assert_eq!(parse_history(&history).unwrap().len(), 2);
    let summary = sandbox.json("runs/cnn-1/summary.json");
    assert_eq!((&summary["n_val"], &summary["val"]), (&Value::from(0), &Value::Null));
    assert_eq!(summary["best_epoch"], Value::Null);
    assert!(!sandbox.path("runs/cnn-1/evaluation/predictions_val.csv").exists());
}

/// The recipe asks for validation, but all pictures that could validate are copies of pictures to train on.
#[test]
fn a_run_without_a_picture_to_validate_on_has_no_val_columns() {
    let sandbox = Sandbox::new();
    for (class, name) in ["cat", "dog"].into_iter().enumerate() {
        for i in 0..10 {
            sandbox.write(&format!("photos/train/{name}/{i}.png"), picture(class, 0));
        }
        sandbox.write(&format!("photos/test/{name}/0.png"), picture(class, 1));
    }
    let args = format!("--dataset photos --recipe photos-cnn {TINY_RUN} --run-dir run");
    sandbox.trainer(&format!("{args} --epochs 2")).ok().says(&[" 0 val,"]);
    let is_without_val = |n_epochs: usize| {
        let history = sandbox.text("run/history.csv");
        assert!(history.starts_with("epoch,accuracy,loss,optimized_loss,learning_rate\n"), "{history}");
        assert_eq!(parse_history(&history).unwrap().len(), n_epochs);
        sandbox.trainer("verify run").ok();
    };
    is_without_val(2);
    sandbox.trainer("--resume run --epochs 3").ok();
    is_without_val(3);
    let watched = "--set callbacks.early_stopping={patience=1,monitor=\"val_loss\"}";
    let refused = sandbox.trainer(&format!("{} {watched}", args.replace("run-dir run", "run-dir other")));
    refused.fails(&["callbacks.early_stopping.monitor is val_loss", "no image is left to validate on"]);
}

#[test]
fn a_callback_that_watches_validation_needs_some() {
    let sandbox = Sandbox::new();
    sandbox
        .trainer("--recipe keras --dataset sample --val-fraction 0")
        .fails(&["callbacks.early_stopping.monitor is val_loss", "data.val_fraction is 0"]);
    assert_eq!(sandbox.everything(), [""; 0]);
}

#[test]
fn validation_on_the_test_images_is_called_dishonest() {
    let sandbox = Sandbox::new();
    let dishonest = "the test accuracy is not an honest estimate";
    let ran = sandbox.trainer(&format!("{TINY} --validate-on test")).ok();
    assert!(ran.stdout.contains(dishonest), "{}", ran.stdout);
    let summary = sandbox.json("runs/cnn-1/summary.json");
    assert_eq!(summary["n_val"], 1_000);
    assert_eq!(summary["val"]["accuracy"], summary["test"]["accuracy"]);
    let ran = sandbox.trainer(&format!("{TINY} --validate-on test --json")).ok().says(&[dishonest]);
    assert_eq!(ran.json()["n_val"], 1_000);
}

/// With a learning rate of 0 the parameters stay what they were at the start.
#[test]
fn a_run_can_start_from_the_weights_of_another() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir first")).ok();
    sandbox.trainer(&format!("{TINY} --seed 9 --lr 0 --init-from first --run-dir of_run")).ok();
    let file = "first/model.safetensors";
    sandbox.trainer(&format!("{TINY} --seed 9 --lr 0 --init-from {file} --run-dir of_file")).ok();
    let tensors = |run: &str| read_safetensors(&sandbox.read(&format!("{run}/model.safetensors"))).1;
    let (first, of_run) = (tensors("first"), tensors("of_run"));
    let is_parameter = |name: &str| !name.contains("running_");
    for (name, bytes) in first.iter().filter(|(name, _)| is_parameter(name)) {
        assert!(&of_run[name] == bytes, "{name} is not that of the first run");
    }
    assert!(of_run == tensors("of_file"), "a run folder and its model file are not the same start");

    let other = "--set model.dense=9 --init-from first --run-dir other";
    let tiny = TINY.replace("--set model.dense=8", "");
    sandbox
        .trainer(&format!("{tiny} {other}"))
        .fails(&["first", "classifier.0.weight has the shape [8, 512], expected [9, 512]"]);
    assert!(!sandbox.path("other").exists());
}

#[test]
fn the_last_short_batch_is_kept_or_left_out() {
    let n_steps = |args: &str| {
        let sandbox = Sandbox::new();
        sandbox.trainer(&format!("{TINY} {args} --run-dir run")).ok();
        let events = sandbox.text("run/events.jsonl");
        let mut events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.find(|event| event["event"] == "epoch").unwrap()["n_steps"].as_u64().unwrap()
    };
    assert_eq!(n_steps(""), 4);
    assert_eq!(n_steps("--set data.drop_last=true"), 3);
    let none = format!("{TINY_MODEL} --train-subset 60 --batch-size 61 --set data.drop_last=true");
    Sandbox::new().trainer(&none).fails(&["batches of 61 from 60 images", "no batch is full"]);
}

#[test]
fn a_batch_whose_images_do_not_count_changes_nothing() {
    // batches of one: those of the first class have the weight 0
    for shards in ["", "--set shards=2"] {
        let weights = "--set loss.class_weights=[0,1,1,1,1,1,1,1,1,1] --batch-size 1 --epochs 1";
        let sandbox = Sandbox::new();
        sandbox.trainer(&format!("{TINY_MODEL} --train-subset 60 {weights} {shards} --run-dir run")).ok();
        let loss = &sandbox.json("run/summary.json")["test"]["loss"];
        assert!(loss.as_f64().is_some_and(f64::is_finite), "{loss}");
    }
}

#[test]
fn class_weights_count_and_are_counted() {
    let weighted = results(&format!("{TINY} --set loss.class_weights=[1,1,1,1,1,1,1,1,1,3]"));
    assert!(weighted != results(TINY), "the weights change nothing");
    let sandbox = Sandbox::new();
    sandbox
        .trainer(&format!("{TINY} --set loss.class_weights=[1,2,3]"))
        .fails(&["loss.class_weights has 3 entries", "10 classes"]);
    for none in ["[0,0,0,0,0,0,0,0,0,0]", "[0,0,0,0,0,0,0,0,0,1e-60]"] {
        sandbox
            .trainer(&format!("{TINY} --set loss.class_weights={none} --run-dir none"))
            .fails(&["loss.class_weights is 0 for every class", "a weight above 0"]);
        assert!(!sandbox.path("none").exists());
    }
    assert_eq!(sandbox.everything(), [""; 0]);
}

#[test]
fn a_run_dir_that_exists_is_never_touched() {
    let sandbox = Sandbox::new();
    sandbox.write("mine/notes.txt", "mine");
    let tiny = format!("{TINY} --run-dir");
    sandbox.trainer(&format!("{tiny} mine")).fails(&["mine exists already", "--run-dir", "--resume mine"]);
    sandbox.trainer(&format!("{tiny} mine/notes.txt")).fails(&["mine/notes.txt exists already"]);
    assert_eq!(sandbox.everything(), ["mine", "mine/notes.txt"]);
    sandbox.trainer(&format!("{tiny} new/deep/run")).ok();
    assert!(sandbox.path("new/deep/run/summary.json").exists());
}

#[test]
fn help_and_version() {
    let sandbox = Sandbox::new();
    let version = sandbox.trainer("--version").ok();
    assert_eq!(version.stdout, format!("trainer {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["", "train", "eval"] {
        let help = sandbox.trainer(&format!("{command} --help")).ok();
        assert!(help.stdout.contains("Examples:\n  trainer"), "{}", help.stdout);
        assert_eq!(help.stderr, "");
    }
    sandbox.trainer("--no-such-flag").ends_with(2).says(&["--no-such-flag", "--help"]);
    assert_eq!(sandbox.everything(), [""; 0]);
}
