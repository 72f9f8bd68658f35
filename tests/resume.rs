//! Runs that are interrupted, killed or extended and then resumed end with the same bits as an undisturbed run. Runs that
//! must not be resumed are refused.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Ran, Running, Sandbox, TINY, TINY_MODEL, wait_until};
use serde_json::Value;
use tallow_core::{Purpose, Stream};
use tallow_metrics::parse_history;

/// All state that a run must restore: dropout, augmentation, Adam, early stopping and a rate that is lowered.
const PROTOCOL: &str = r#"
base = "keras"
batch_size = 16
[data]
dataset = "sample"
train_subset = 60
[augment]
cutout_px = 4
[model]
widths = [4, 4, 8, 8]
dropout = [0.1, 0.1]
dense = 8
"#;

/// [`PROTOCOL`] in f32. The callback stops it after 8 of 20 epochs whatever the readings are, since nothing improves by 100.
/// Then the weights of the first epoch are restored.
const STOPPED_EARLY: &str = "
epochs = 20
precision = 'f32'
callbacks.early_stopping = { patience = 7, min_delta = 100.0 }
callbacks.reduce_lr_on_plateau = { patience = 2, factor = 0.5, min_delta = 100.0 }
";

/// [`PROTOCOL`] for 12 epochs with ordinary improvements, in the processor's best precision.
const UNTIL_THE_END: &str = "
epochs = 12
callbacks.early_stopping = { patience = 4 }
callbacks.reduce_lr_on_plateau = { patience = 1, factor = 0.5 }
";

const N_KILLS: usize = 10;

/// Creates a sandbox with the recipe and an undisturbed run of it in `alone`.
fn with_run_alone(ending: &str, threads: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("protocol.toml", format!("{ending}{PROTOCOL}"));
    sandbox.trainer(&format!("--recipe protocol.toml --threads {threads} --run-dir alone")).ok();
    sandbox
}

/// Asserts that the run `name` ended as `alone` did.
#[track_caller]
fn ended_as_alone(sandbox: &Sandbox, name: &str) {
    for file in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv"] {
        let [alone, other] = ["alone", name].map(|run| sandbox.read(&format!("{run}/{file}")));
        assert!(alone == other, "{name}/{file} is not as that of a run left alone");
    }
    let [alone, other] = ["alone", name].map(|run| sandbox.json(&format!("{run}/summary.json")));
    for key in ["epochs_run", "best_epoch", "val", "test", "n_train"] {
        assert_eq!(alone[key], other[key], "{key}");
    }
    let events = sandbox.text(&format!("{name}/events.jsonl"));
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let tested: Vec<Value> = events.filter(|event| event["event"] == "tested").collect();
    assert_eq!(tested.len(), 1, "however often its end was done");
    assert_eq!(tested[0]["score"], other["test"]);
}

/// Returns the last event of this kind in `run`.
#[track_caller]
fn event(sandbox: &Sandbox, kind: &str) -> Value {
    let events = sandbox.text("run/events.jsonl");
    let mut events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.rfind(|event| event["event"] == kind).unwrap_or_else(|| panic!("no event {kind}"))
}

/// Starts the protocol in `run` and stops it with `signal` after 2 epochs.
#[track_caller]
fn interrupted(sandbox: &Sandbox, signal: &str) -> Ran {
    let mut running = sandbox.start("--recipe protocol.toml --threads 1 --run-dir run");
    wait_until("2 epochs are over", || sandbox.n_epochs("run") >= 2 || !running.is_at_work());
    running.signal(signal);
    running.wait()
}

#[test]
fn killed_at_random_instants_with_1_thread() {
    survives_sigkill(STOPPED_EARLY, 1);
}

#[test]
fn killed_at_random_instants_with_2_threads() {
    survives_sigkill(UNTIL_THE_END, 2);
}

/// Sends SIGKILL at instants all over a run, from before its folder exists to its evaluation. Each time the run is resumed
/// and killed again, until it finishes; then the next run begins.
fn survives_sigkill(ending: &str, threads: usize) {
    let sandbox = with_run_alone(ending, threads);
    let mut random = Stream::new(threads as u64, Purpose::Test, 0, 0);
    let share =
        |i: usize, random: &mut Stream| (i as f64 + f64::from(random.next_u32()) / 2f64.powi(32)) / 10.0;
    let mut instants: Vec<f64> = (0..N_KILLS).map(|i| share(i, &mut random)).collect();
    random.shuffle(&mut instants);
    let started = Instant::now();
    sandbox.trainer(&format!("--recipe protocol.toml --threads {threads} --run-dir run-0")).ok();
    let (mut whole, mut n_runs) = (started.elapsed(), 1);
    for (i, instant) in instants.into_iter().enumerate() {
        let mut n_tries = 0;
        loop {
            let run = format!("run-{n_runs}");
            let is_new = !sandbox.path(&run).exists();
            match killed_after(start_or_resume(&sandbox, &run, threads), whole.mul_f64(instant)) {
                Ok(()) => break,
                // it finished first: kill the next run earlier
                Err(took) if is_new => whole = took,
                Err(_) => {}
            }
            ended_as_alone(&sandbox, &run);
            n_runs += 1;
            n_tries += 1;
            assert!(n_tries < 10, "kill {i}: at {instant:.2} of {whole:?} every run is over");
        }
    }
    let run = format!("run-{n_runs}");
    start_or_resume(&sandbox, &run, threads).wait().ok();
    ended_as_alone(&sandbox, &run);
}

fn start_or_resume(sandbox: &Sandbox, run: &str, threads: usize) -> Running {
    sandbox.start(&match sandbox.path(run).exists() {
        true => format!("--resume {run} --threads {threads}"),
        false => format!("--recipe protocol.toml --threads {threads} --run-dir {run}"),
    })
}

/// Kills the process at the instant. If it had ended before, returns its duration as the error.
fn killed_after(mut running: Running, instant: Duration) -> Result<(), Duration> {
    let started = Instant::now();
    while started.elapsed() < instant {
        if !running.is_at_work() {
            let took = started.elapsed();
            running.wait().ok();
            return Err(took);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    match running.kill() {
        true => Ok(()),
        false => Err(started.elapsed()),
    }
}

#[test]
fn a_signal_stops_after_the_step_and_says_how_to_go_on() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let sandbox = with_run_alone(UNTIL_THE_END, 1);
        let ran = interrupted(&sandbox, signal).ends_with(status);
        let ran = ran.says(&["Stopped. To go on: trainer --resume run\n"]);
        assert_eq!(ran.stdout, "", "a run that is not over has no result");
        assert!(!sandbox.path("run/summary.json").exists());
        let stopped = event(&sandbox, "interrupted");
        assert!(stopped["batch"].as_u64() >= Some(1), "{stopped}");
        let ran = sandbox.trainer("train --resume run").ok();
        let going_on = format!("Going on with epoch {} after {} step", stopped["epoch"], stopped["batch"]);
        assert!(ran.stderr.contains(&going_on) && ran.stdout.contains("Test accuracy"), "{}", ran.stderr);
        ended_as_alone(&sandbox, "run");
    }
}

/// The first signal waits for the end of the step, which a process with a blocked output never reaches.
#[test]
fn a_second_signal_ends_at_once() {
    let sandbox = Sandbox::new();
    let (mut running, _gag) = sandbox.start_gagged(&format!("{TINY} --run-dir run"));
    wait_until("the run folder is there", || sandbox.path("run").exists());
    running.signal("INT");
    std::thread::sleep(Duration::from_millis(200));
    assert!(running.is_at_work(), "the first signal ended it at once");
    running.signal("INT");
    running.wait().ends_with(130);
    sandbox.trainer("--resume run").ok();
}

/// Killed after lines were written and before the checkpoint: the lines are written again, but not twice.
#[test]
fn logs_are_cut_back_to_the_checkpoint() {
    let sandbox = with_run_alone(UNTIL_THE_END, 1);
    interrupted(&sandbox, "INT").ends_with(130);
    for (name, line) in
        [("history.csv", "3,0.5,1.0,0.5,1.0,0.1\n4,0.5,"), ("events.jsonl", "{\"version\":1,\"ti")]
    {
        let log = [&sandbox.read(&format!("run/{name}"))[..], line.as_bytes()].concat();
        sandbox.write(&format!("run/{name}"), log);
    }
    sandbox.trainer("--resume run").ok();
    ended_as_alone(&sandbox, "run");
    let n_epochs = &sandbox.json("run/summary.json")["epochs_run"];
    assert_eq!(&event(&sandbox, "epoch")["record"]["epoch"], n_epochs, "every line can be read");
    assert_eq!(Value::from(sandbox.n_epochs("run")), *n_epochs);
}

#[test]
fn two_processes_do_not_work_on_one_run() {
    let sandbox = Sandbox::new();
    let (running, _gag) = sandbox.start_gagged(&format!("{TINY} --run-dir run"));
    wait_until("the run folder is there", || sandbox.path("run").exists());
    sandbox.trainer("--resume run").fails(&["run is in use by another process"]);
    assert!(running.kill());
    sandbox.trainer("--resume run").ok();
}

#[test]
fn a_changed_setting_is_refused_by_name() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --precision f32 --run-dir run")).ok();
    let before = bytes_of(&sandbox, "run");
    let cases = [
        ("--seed 7", "seed is 7 now, but the run was started with 0"),
        ("--batch-size 8", "batch_size is 8 now, but the run was started with 16"),
        (
            "--epochs 1",
            "epochs is 1 now, but the run was started with 2; only --epochs may change, and only to a larger number",
        ),
        ("--train-subset 50", "data.train_subset is 50 now"),
        ("--val-fraction 0.2", "data.val_fraction is 0.2 now"),
        ("--validate-on test", "data.validate_on is \"test\" now"),
        ("--set model.dense=9", "model.dense is 9 now"),
        ("--set augment.flip=alternate", "augment.flip is \"alternate\" now"),
        ("--set max_grad_norm=1.0", "max_grad_norm is 1.0 now, but the run was started with not set"),
        ("--precision bf16", "precision is \"bf16\" now, but the run was started with \"f32\""),
        ("--set name=other", "name is \"other\" now"),
    ];
    for (args, message) in cases {
        sandbox.trainer(&format!("--resume run {args}")).fails(&["--resume: ", message]);
    }
    for other in ["--recipe keras", "--run-dir other", "--init-from run"] {
        sandbox
            .trainer(&format!("--resume run {other}"))
            .ends_with(2)
            .says(&["cannot be used with", "--resume"]);
    }
    assert!(bytes_of(&sandbox, "run") == before, "a refusal changed the run");
}

/// If the rate does not depend on the length of the run, an extended run equals a longer one.
#[test]
fn more_epochs_extend_a_run() {
    let sandbox = Sandbox::new();
    let constant =
        format!("{TINY_MODEL} --train-subset 60 --batch-size 16 --set schedule={{kind=\"constant\"}}");
    sandbox.trainer(&format!("{constant} --epochs 3 --run-dir alone")).ok();
    sandbox.trainer(&format!("{constant} --epochs 2 --run-dir run")).ok();
    sandbox.trainer("export run").ok();
    let stale = "model.onnx is of the model before the extension: make it again with trainer export";
    let extended =
        sandbox.trainer("--resume run --epochs 3").ok().says(&["extended from 2 to 3 epochs\n", stale]);
    assert!(extended.stderr.contains("Going on with epoch 3"), "{}", extended.stderr);
    for file in ["history.csv", "evaluation/predictions_test.csv"] {
        assert!(sandbox.read(&format!("alone/{file}")) == sandbox.read(&format!("run/{file}")), "{file}");
    }
    let tensors = |run: &str| tallow_training::read_model(&sandbox.path(run)).unwrap().weights;
    assert!(tensors("alone") == tensors("run"), "the model files differ in what they say of the test alone");
    assert_eq!(sandbox.text("alone/recipe.toml"), sandbox.text("run/recipe.toml"));
}

/// A schedule that has ended restarts at a fifth of its rate, or at the requested rate, and falls. A killed and resumed run
/// continues that.
#[test]
fn an_extended_schedule_begins_again_and_falls() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let [model, summary] = ["model.safetensors", "summary.json"].map(|f| sandbox.read(&format!("run/{f}")));
    let notice = "from epoch 3 on, the learning rate starts again at 0.0008 and falls linearly";
    sandbox.trainer("--resume run --epochs 4").ok().says(&["extended from 2 to 4 epochs", notice]);
    let rates = |run: &str| -> Vec<f64> {
        let history = parse_history(&sandbox.text(&format!("{run}/history.csv"))).unwrap();
        history.iter().map(|row| row.learning_rate).collect()
    };
    // rates of the last of 4 steps: after 3 and 7 of 8 steps down to 0
    for (found, expected) in rates("run")[2..].iter().zip([0.0008 * 5.0 / 8.0, 0.0008 / 8.0]) {
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }
    assert_eq!(sandbox.json("run/summary.json")["epochs_run"], 4);
    assert!(sandbox.read("run/before-extension/epoch-2/model.safetensors") == model);
    assert!(sandbox.read("run/before-extension/epoch-2/summary.json") == summary);
    sandbox.trainer("--recipe run/recipe.toml --offline --run-dir again").ok();
    assert_eq!(rates("again"), rates("run"), "the recipe of an extended run is a whole one");

    sandbox.trainer("--resume run --epochs 5 --lr 0.002").ok().says(&["starts again at 0.002"]);
    sandbox.trainer("--resume run --epochs 5 --lr 0.002").ok(); // the same request again changes nothing
    sandbox.trainer("--resume run --lr 0.003").fails(&["--lr: with --resume", "give more --epochs"]);
}

/// Killed when the longer recipe is written and the shorter run's summary still exists: that summary does not count.
#[test]
fn a_summary_from_before_an_extension_is_no_last_word() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let old = sandbox.read("run/summary.json");
    let mut running = sandbox.start("--resume run --epochs 200");
    wait_until("it trains", || sandbox.n_epochs("run") >= 3 || !running.is_at_work());
    running.signal("INT");
    running.wait().ends_with(130);
    sandbox.write("run/summary.json", &old);
    sandbox.write("run/report.html", "of two epochs");
    let mut running = sandbox.start("--resume run");
    wait_until("it goes on", || !sandbox.path("run/summary.json").exists() || !running.is_at_work());
    running.signal("INT");
    running.wait().ends_with(130);
    assert!(!sandbox.path("run/summary.json").exists(), "what is not over has no last word");
}

/// If an extension's rate ruins the weights, the run keeps its earlier model.
#[test]
fn the_best_model_so_far_is_never_lost() {
    let sandbox = Sandbox::new();
    let recipe = "--dataset sample --offline --train-subset 500 --batch-size 25 --epochs 4 --precision f32 \
         --set model.widths=[8,8,16,16] --set model.dropout=[0.1,0.1] --set model.dense=16";
    sandbox.trainer(&format!("{recipe} --run-dir run")).ok();
    let before = sandbox.json("run/summary.json");
    let ran = sandbox.trainer("--resume run --epochs 5 --lr 0.3").ok();
    ran.says(&["the model after 4 epochs, from before the run was extended, is better"]);
    let after = sandbox.json("run/summary.json");
    assert!(before["val"]["accuracy"].as_f64() > Some(0.15), "{before}");
    assert_eq!(
        (&after["val"], &after["test"], &after["epochs_run"]),
        (&before["val"], &before["test"], &5.into())
    );
    let [now, then] = ["run", "run/before-extension/epoch-4"].map(|run| {
        tallow_training::read_model(&sandbox.path(&format!("{run}/model.safetensors"))).unwrap().weights
    });
    assert!(now == then, "the tensors");
}

/// Killed just after the longer run was recorded, it still knows that it must continue.
#[test]
fn an_extension_of_a_run_that_stopped_early_survives_a_kill() {
    let sandbox = with_run_alone(STOPPED_EARLY, 1);
    assert_eq!(sandbox.json("alone/summary.json")["epochs_run"], 8);
    let rates = parse_history(&sandbox.text("alone/history.csv")).unwrap();
    assert_eq!(rates.last().unwrap().learning_rate, 1e-3 / 8.0, "lowered after epochs 3, 5 and 7");
    let (running, _gag) = sandbox.start_gagged("--resume alone --epochs 21");
    wait_until("the extension is written down", || sandbox.text("alone/recipe.toml").contains("epochs = 21"));
    assert!(running.kill());
    let ran = sandbox.trainer("--resume alone").ok().says(&["Going on with epoch 9"]);
    assert!(ran.stdout.contains("15 epochs in"), "{}", ran.stdout);
    let n_epochs = parse_history(&sandbox.text("alone/history.csv")).unwrap().len();
    assert_eq!(n_epochs, 15, "after 8 epochs, the patience of 7 begins anew");
    assert_eq!(sandbox.json("alone/summary.json")["epochs_run"], 15);
}

#[test]
fn a_run_that_is_over_says_its_last_word_again() {
    let sandbox = with_run_alone(STOPPED_EARLY, 1);
    let before = bytes_of(&sandbox, "alone");
    let ran = sandbox.trainer("--resume alone").ok().says(&["the run is over, and nothing is left to train"]);
    assert!(
        ran.stdout.contains("Test accuracy") && !ran.stderr.contains("images/s    loss"),
        "{}",
        ran.stdout
    );
    let json = sandbox.trainer("--resume alone --data-dir elsewhere --json").ok();
    assert_eq!(json.stdout, sandbox.text("alone/summary.json"));
    assert!(bytes_of(&sandbox, "alone") == before, "the run was changed");
}

/// Killed between training and the summary, a state that random instants seldom hit.
#[test]
fn the_end_of_a_run_can_be_done_again() {
    let sandbox = with_run_alone(STOPPED_EARLY, 1);
    sandbox.trainer("--recipe protocol.toml --run-dir run").ok();
    fs::remove_file(sandbox.path("run/summary.json")).unwrap();
    fs::remove_file(sandbox.path("run/model.safetensors")).unwrap();
    fs::remove_dir_all(sandbox.path("run/evaluation")).unwrap();
    sandbox.trainer("--resume run").ok();
    ended_as_alone(&sandbox, "run");
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_serves() {
    let sandbox = with_run_alone(UNTIL_THE_END, 1);
    interrupted(&sandbox, "INT").ends_with(130);
    let last = sandbox.path("run/checkpoints/last");
    let whole = fs::read(&last).unwrap();
    let saved = saved_run(&sandbox);
    let mut flipped = whole.clone();
    flipped[whole.len() - 1_000] ^= 0x40;
    let damages: [(&str, Option<&[u8]>); 4] = [
        ("cut off", Some(&whole[..whole.len() / 2])),
        ("a flipped bit", Some(&flipped)),
        ("empty", Some(&[])),
        ("missing, as after a kill between two renames", None),
    ];
    for (what, damaged) in damages {
        restore_run(&sandbox, &saved);
        match damaged {
            Some(bytes) => fs::write(&last, bytes).unwrap(),
            None => fs::remove_file(&last).unwrap(),
        }
        let ran = sandbox.trainer("--resume run").ok();
        let told = ran.says(&["Note: ", "run/checkpoints/last", "continuing from run/checkpoints/previous"]);
        ended_as_alone(&sandbox, "run");
        assert!(!told.stdout.is_empty(), "{what}");
    }

    // killed in a save, before or between its renames, whatever became of the others
    let part = &whole[..100];
    for (of_last, of_previous) in [(None, part), (Some(part), part), (None, &whole[..])] {
        restore_run(&sandbox, &saved);
        fs::remove_file(&last).unwrap();
        of_last.iter().for_each(|bytes| fs::write(&last, bytes).unwrap());
        sandbox.write("run/checkpoints/previous", of_previous);
        sandbox.write("run/checkpoints/new", &whole);
        sandbox.trainer("--resume run").ok();
        ended_as_alone(&sandbox, "run");
        assert!(!sandbox.path("run/checkpoints/new").exists());
    }

    restore_run(&sandbox, &saved);
    for name in ["last", "previous"] {
        sandbox.write(&format!("run/checkpoints/{name}"), &whole[..100]);
    }
    let before = bytes_of(&sandbox, "run");
    sandbox.trainer("--resume run").fails(&["run: no checkpoint can be read", "start a new run"]);
    assert!(bytes_of(&sandbox, "run") == before, "a refusal changed the run");

    restore_run(&sandbox, &saved);
    sandbox.write("run/checkpoints/best", &whole[..100]);
    sandbox.trainer("--resume run").fails(&["run/checkpoints/best"]);
}

#[test]
fn what_is_no_run_folder_is_not_resumed() {
    let sandbox = Sandbox::new();
    sandbox.trainer("--resume nowhere").fails(&["nowhere is not a run folder"]);
    sandbox.write("file", "");
    sandbox.trainer("--resume file").fails(&["file is not a run folder"]);
    sandbox.write("folder/notes.txt", "");
    sandbox.trainer("--resume folder").fails(&["folder is not a run folder: it has no recipe.toml"]);
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    fs::remove_dir_all(sandbox.path("run/checkpoints")).unwrap();
    sandbox.trainer("--resume run").fails(&["run is not a run folder: it has no checkpoints"]);
    sandbox.write("run/recipe.toml", "epochs = ");
    sandbox.trainer("--resume run").fails(&["recipe run/recipe.toml", "line 1"]);
}

/// Returns the content of every file of a run.
fn bytes_of(sandbox: &Sandbox, run: &str) -> BTreeMap<String, Vec<u8>> {
    let names = sandbox.everything().into_iter().filter(|name| name.starts_with(run));
    names
        .filter(|name| sandbox.path(name).is_file())
        .map(|name| (name.clone(), sandbox.read(&name)))
        .collect()
}

fn saved_run(sandbox: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    bytes_of(sandbox, "run/")
}

fn restore_run(sandbox: &Sandbox, saved: &BTreeMap<String, Vec<u8>>) {
    fs::remove_dir_all(sandbox.path("run")).unwrap();
    for (name, bytes) in saved {
        sandbox.write(name, bytes);
    }
}
