//! `cargo xtask check-mpi`: trains under `mpirun`, over TCP and over MPI, and compares the bits.
//!
//! It needs an MPI with its compiler wrapper, and libclang: `apt install libopenmpi-dev openmpi-bin libclang-dev`, or
//! `libmpich-dev mpich`. So `cargo xtask check` leaves it out; the end-to-end tests have the same processes without `mpirun`.
#![expect(clippy::print_stderr, reason = "says what was compared")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tallow_core::digest;

/// A small run, with a batch that is cut into eight shards.
const TRAIN: &str = "train --recipe cnn-5 --dataset sample --offline --epochs 2 --train-subset 1000 --threads 1 --set shards=8";

/// The same, but too long to end by itself.
const LONG: &str = "train --recipe cnn-5 --dataset sample --offline --epochs 2000 --train-subset 1000 --threads 1 --set shards=8";

/// Trains with 1, 2 and 4 processes, over TCP and over MPI, then kills one of four.
///
/// # Errors
/// If a step fails, two models differ, or processes outlive one that was killed.
pub fn run() -> Result<()> {
    let version = String::from_utf8_lossy(&crate::output(Path::new("mpirun"), &[OsStr::new("--version")])?)
        .into_owned();
    let version = version.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
    eprintln!("{version}");
    let launch = Launch { is_open_mpi: version.contains("Open MPI") };
    let folder = crate::target().join("check-mpi");
    let _ = fs::remove_dir_all(folder.join("runs"));
    fs::create_dir_all(&folder)?;
    let mut expected: Option<String> = None;
    for features in ["", "trainer/mpi"] {
        let over = if features.is_empty() { "TCP" } else { "MPI" };
        let trainer = built(&folder, features, over)?;
        for n in [1, 2, 4] {
            let run = folder.join(format!("runs/{over}-{n}"));
            let started = Instant::now();
            let status = launch.command(&trainer, n, TRAIN, &run).status()?;
            ensure!(status.success(), "{n} processes over {over}: {status}");
            let model = digest::of_file(&run.join("model.safetensors"))?;
            eprintln!("{over}, {n} processes: {model}, {:.1} s", started.elapsed().as_secs_f64());
            let first = expected.get_or_insert_with(|| model.clone());
            ensure!(*first == model, "the model of {n} processes over {over} is another one");
        }
        let run = folder.join(format!("runs/{over}-killed"));
        let secs = killed(&launch, &trainer, &run)?;
        eprintln!("{over}: all ended {secs:.1} s after one of four was killed");
    }
    Ok(())
}

/// How `mpirun` wants to be called.
struct Launch {
    is_open_mpi: bool,
}

impl Launch {
    fn command(&self, trainer: &Path, n: usize, words: &str, run: &Path) -> Command {
        let mut command = Command::new("mpirun");
        if self.is_open_mpi {
            command.args(["--oversubscribe", "--allow-run-as-root"]);
        }
        command.args(["-n", &n.to_string()]).arg(trainer).args(words.split(' ')).arg("--quiet");
        command.arg("--run-dir").arg(run).current_dir(crate::root());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// Builds `trainer` with these features, for messages over TCP or MPI, and returns where it is.
fn built(folder: &Path, features: &str, over: &str) -> Result<PathBuf> {
    let words = ["build", "--release", "--workspace", "--bin", "trainer", "--features", features];
    crate::output(Path::new("cargo"), &words.map(OsStr::new))?;
    let (from, to) = (crate::target().join("release/trainer"), folder.join(format!("trainer-{over}")));
    fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(to)
}

/// Kills one of four processes with SIGKILL once they train. Returns how long the others lived, in seconds.
fn killed(launch: &Launch, trainer: &Path, run: &Path) -> Result<f64> {
    let mut running = launch.command(trainer, 4, LONG, run).stderr(Stdio::null()).spawn()?;
    let started = Instant::now();
    let history = || fs::read_to_string(run.join("history.csv")).unwrap_or_default().lines().count();
    while history() < 3 {
        ensure!(started.elapsed() < Duration::from_secs(120), "two epochs took more than two minutes");
        ensure!(running.try_wait()?.is_none(), "the run ended before one of its processes was killed");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pattern = format!("^{} {LONG}", trainer.display());
    let found = Command::new("pgrep").args(["-n", "-f", &pattern]).output()?;
    let id = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    ensure!(!id.is_empty(), "none of the processes was found");
    ensure!(
        Command::new("kill").args(["-KILL", &id]).status()?.success(),
        "process {id} could not be killed"
    );
    let since = Instant::now();
    while running.try_wait()?.is_none() {
        ensure!(since.elapsed() < Duration::from_secs(30), "the others still run after 30 s");
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::metadata(run.join("checkpoints/last")).context("no checkpoint is left")?;
    Ok(since.elapsed().as_secs_f64())
}
