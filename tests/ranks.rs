//! Several processes that train together: the same bits for any number of them, and what happens if one of them is killed, hangs,
//! is stopped or does not belong to the others.
#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::drawn::{TINY_RUN, photos};
use crate::novelty;
use crate::support::{Ran, Running, Sandbox, TINY, changed, trainer, wait_until};

/// Two epochs whose last batch has fewer images than shards, with dropout and mixed images.
const SMALL: &str = "--set mix.mixup_alpha=0.4 --set augment.cutout_px=4 --set precision=f32";

/// Returns the arguments of a run that is over only after many epochs.
fn long() -> String {
    TINY.replace("--epochs 2", "--epochs 120")
}

/// The time in which all processes end after one of them is lost.
const BOUND: Duration = Duration::from_secs(10);

/// Starts `trainer` with `args` as `world` processes, which find each other as those of `torchrun` do. The copies of the run that
/// all but the first have are below `tmp`.
fn start(sandbox: &Sandbox, world: usize, args: &str) -> Vec<Running> {
    start_each(sandbox, world, |_| args.to_owned())
}

fn start_each(sandbox: &Sandbox, world: usize, args: impl Fn(usize) -> String) -> Vec<Running> {
    static N_HOSTS: AtomicU32 = AtomicU32::new(1);
    let (id, n) = (std::process::id(), N_HOSTS.fetch_add(1, Ordering::Relaxed));
    // a loopback address of their own, at which nobody else listens
    let host = format!("127.{}.{}.{}", 1 + (id >> 8) % 250, id % 256, n % 250 + 1);
    std::fs::create_dir_all(sandbox.path("tmp")).unwrap();
    let start = |rank: usize| {
        let args = format!("{} --threads 1", args(rank));
        let mut command = trainer(&args);
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", world.to_string());
        command.env("MASTER_ADDR", &host).env("MASTER_PORT", "29512").env("TMPDIR", sandbox.path("tmp"));
        sandbox.start_command(command, &format!("rank {rank}: trainer {args}"))
    };
    (0..world).map(start).collect()
}

fn wait(running: Vec<Running>) -> Vec<Ran> {
    running.into_iter().map(Running::wait).collect()
}

/// Runs `trainer` as `world` processes. All must succeed, and only the first may talk.
#[track_caller]
fn together(sandbox: &Sandbox, world: usize, args: &str) -> Ran {
    let mut ran = wait(start(sandbox, world, args)).into_iter();
    let first = ran.next().unwrap().ok();
    for other in ran {
        let other = other.ok();
        assert_eq!((&*other.stdout, &*other.stderr), ("", ""), "{}", other.command);
    }
    let left = std::fs::read_dir(sandbox.path("tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary folders");
    first
}

#[track_caller]
fn same_bits(sandbox: &Sandbox, runs: [&str; 2]) {
    for file in ["model.safetensors", "history.csv", "evaluation/predictions_test.csv"] {
        let [a, b] = runs.map(|run| sandbox.read(&format!("{run}/{file}")));
        assert!(a == b, "{file} of {runs:?}");
    }
}

#[test]
fn any_number_of_processes_gives_the_same_bits() {
    let sandbox = Sandbox::new();
    let args = changed(TINY, SMALL);
    sandbox.trainer(&format!("{args} --set shards=8 --run-dir alone")).ok();
    for world in [1, 2, 4, 8] {
        let run = format!("of-{world}");
        let ran = together(&sandbox, world, &format!("{args} --run-dir {run}"));
        assert!(ran.stdout.contains("Test accuracy"), "{}", ran.stdout);
        same_bits(&sandbox, ["alone", &run]);
    }
    // the cut itself changes the sums
    sandbox.trainer(&format!("{args} --run-dir uncut")).ok();
    assert_ne!(sandbox.read("uncut/model.safetensors"), sandbox.read("alone/model.safetensors"));
}

#[test]
fn folds_and_photographs_are_shared() {
    let sandbox = photos();
    let args = format!(
        "--dataset photos --recipe photos-cnn --epochs 3 --lr 0.01 --folds 3 {TINY_RUN} --set shards=4"
    );
    sandbox.trainer(&format!("{args} --run-dir alone")).ok();
    together(&sandbox, 4, &format!("{args} --run-dir shared"));
    same_bits(&sandbox, ["alone", "shared"]);
}

#[test]
fn features_are_shared_and_each_process_keeps_all() {
    let sandbox = novelty::with_weights();
    let args = format!("{} --set shards=8", novelty::HEAD).replace(" --run-dir run", "");
    sandbox.trainer(&format!("{args} --data-dir a --run-dir alone")).ok();
    let shared = |run: &str| together(&sandbox, 2, &format!("{args} --data-dir b --run-dir {run}"));
    shared("shared");
    same_bits(&sandbox, ["alone", "shared"]);
    shared("again");
    let own_secs = &sandbox.json("again/summary.json")["features_own_seconds"];
    assert_eq!(own_secs.as_f64(), Some(0.0), "all features were in the cache");
    same_bits(&sandbox, ["alone", "again"]);
}

#[test]
fn predictions_are_shared() {
    let sandbox = photos();
    sandbox.write("photos/broken.png", b"no picture");
    sandbox
        .trainer(&format!(
            "--dataset photos --recipe photos-cnn --epochs 1 --skip-bad {TINY_RUN} --run-dir run"
        ))
        .ok();
    let args = "predict run photos --json --csv answers.csv";
    let alone = (sandbox.trainer(args).ends_with(1).json(), sandbox.text("answers.csv"));
    let ran = wait(start(&sandbox, 4, args));
    assert_eq!(ran.iter().map(|ran| ran.status).collect::<Vec<_>>(), [Some(1); 4], "one cannot be read");
    assert_eq!((ran[0].json(), sandbox.text("answers.csv")), alone);
    assert!(ran[1..].iter().all(|ran| ran.stdout.is_empty() && ran.stderr.is_empty()));
}

#[test]
fn an_evaluation_is_shared() {
    let sandbox = Sandbox::new();
    sandbox.trainer(&format!("{TINY} --run-dir run")).ok();
    let alone = sandbox.trainer("eval run --json").ok().json();
    assert_eq!(together(&sandbox, 4, "eval run --json").json(), alone);
}

/// Starts a long run as 4 processes, and calls `disturb` with them after two epochs. Returns how they ended, and when.
fn disturbed(sandbox: &Sandbox, disturb: impl FnOnce(&mut Vec<Running>)) -> (Vec<Ran>, Duration) {
    let mut running = start(sandbox, 4, &format!("{} --run-dir run", long()));
    wait_until("2 epochs are over", || sandbox.n_epochs("run") >= 2 || !running[0].is_at_work());
    disturb(&mut running);
    let since = Instant::now();
    (wait(running), since.elapsed())
}

/// Resumes the long run as `world` processes, for a few more epochs than it has, and compares it with one that was left alone.
fn resumed(sandbox: &Sandbox, world: usize) {
    let n_epochs = sandbox.n_epochs("run");
    assert!(n_epochs < 120, "it was disturbed on its way");
    together(sandbox, world, "--resume run");
    sandbox.trainer(&format!("{} --set shards=8 --run-dir alone", long())).ok();
    same_bits(sandbox, ["alone", "run"]);
}

#[test]
fn a_killed_process_ends_all_and_another_number_goes_on() {
    let sandbox = Sandbox::new();
    let (ran, secs) = disturbed(&sandbox, |running| {
        assert!(running.remove(2).kill());
    });
    assert!(secs < BOUND, "{secs:?}");
    let [first, second, third] = &ran[..] else { panic!() };
    assert_eq!([first, second, third].map(|ran| ran.status), [Some(1); 3], "{}", first.stderr);
    assert!(
        first.stderr.contains("error: rank 2 is gone: its process ended without a word"),
        "{}",
        first.stderr
    );
    assert_eq!((&*second.stderr, &*third.stderr), ("", ""), "one message");
    resumed(&sandbox, 2);
}

#[test]
fn a_signal_to_one_stops_all() {
    let sandbox = Sandbox::new();
    let (ran, secs) = disturbed(&sandbox, |running| running[3].signal("TERM"));
    assert!(secs < BOUND, "{secs:?}");
    assert_eq!(ran.iter().map(|ran| ran.status).collect::<Vec<_>>(), [Some(143); 4]);
    assert!(ran[0].stderr.contains("Stopped. To go on: trainer --resume run"), "{}", ran[0].stderr);
    assert!(ran[1..].iter().all(|ran| ran.stderr.is_empty()));
    resumed(&sandbox, 1);
}

#[test]
fn a_process_that_hangs_ends_all() {
    let sandbox = Sandbox::new();
    let (mut running, since) = (start(&sandbox, 2, &format!("{} --run-dir run", long())), Instant::now());
    wait_until("2 epochs are over", || sandbox.n_epochs("run") >= 2 || !running[0].is_at_work());
    running[1].signal("STOP");
    let (hanging, first) = (running.remove(1), running.remove(0));
    let stopped = Instant::now();
    let first = first.wait().ends_with(1).says(&["error: rank 1 is gone: no sign of life for 8 s"]);
    assert!(stopped.elapsed() < BOUND, "{:?}: {}", since.elapsed(), first.stderr);
    assert!(hanging.kill());
    sandbox.path("run/checkpoints/last").metadata().unwrap();
}

#[test]
fn the_first_process_is_missed_by_the_second() {
    let sandbox = Sandbox::new();
    let (ran, secs) = disturbed(&sandbox, |running| {
        assert!(running.remove(0).kill());
    });
    assert!(secs < BOUND, "{secs:?}");
    let said: Vec<&str> = ran.iter().map(|ran| ran.stderr.trim_end()).collect();
    assert_eq!(said, ["error: rank 0 is gone: its process ended without a word", "", ""]);
}

#[test]
fn who_does_not_belong_to_the_others_is_refused() {
    let sandbox = Sandbox::new();
    let refused = |world: usize, args: &dyn Fn(usize) -> String, message: &str| {
        for (rank, ran) in wait(start_each(&sandbox, world, args)).into_iter().enumerate() {
            match rank {
                0 => drop(ran.ends_with(1).says(&[message])),
                _ => assert_eq!((ran.status, &*ran.stderr), (Some(1), ""), "rank {rank}"),
            }
        }
    };
    let tiny = |more: &str| format!("{TINY} {more}");
    refused(
        2,
        &|rank| tiny(&format!("--seed {rank} --run-dir a")),
        "rank 1 has not the same recipe as rank 0",
    );
    refused(3, &|_| tiny("--run-dir b"), "shards is 8, but there are 3 processes");
    refused(2, &|_| tiny("--set shards=1 --run-dir c"), "shards is 1, but there are 2 processes");
    refused(
        2,
        &|rank| if rank == 1 { TINY.replace("sample", "missing") } else { tiny("--run-dir d") },
        "rank 1 failed: ",
    );
    let ran = wait(start(&sandbox, 2, "explain run a.png")).swap_remove(1);
    ran.fails(&["only `train`, `eval` and `predict` share their work between 2 processes"]);
}
