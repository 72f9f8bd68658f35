//! Runs one process of the campaign: starts it, disturbs it with a signal at an instant, waits for its end within bounded
//! time, and says whether it ended in a sane way.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Time limit; a process that takes longer counts as hanging. Beside other work one has taken two minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Words that no message for a user has.
const WORDS_OF_A_PANIC: [&str; 2] = ["panicked", "RUST_BACKTRACE"];

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// Not at all: it was killed after the time limit.
    Hung,
}

impl End {
    /// All work is done.
    pub const SUCCESS: Self = Self::Status(0);
    /// By SIGKILL.
    pub const KILLED: Self = Self::Signal(9);
    /// An error, which the last message explains.
    pub const FAILURE: Self = Self::Status(1);
    /// The results are there, but not all that follows them, such as the report.
    pub const INCOMPLETE: Self = Self::Status(3);
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

/// A signal for a process, and when to send it.
#[derive(Clone, Copy, Debug)]
pub struct Interruption {
    /// The time since the start of the process.
    pub after: Duration,
    /// The name of the signal, such as `INT`.
    pub signal: &'static str,
}

/// Runs `command` to its end. Its output goes to files in the folder `logs`.
///
/// # Errors
/// If the process cannot be started, or its output cannot be read.
pub fn run(mut command: Command, logs: &Path, interruption: Option<Interruption>) -> Result<Ended> {
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| logs.join(name));
    command.stdin(Stdio::null()).stdout(File::create(stdout)?).stderr(File::create(&stderr)?);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut to_send = interruption;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if let Some(Interruption { signal, .. }) = to_send.take_if(|i| started.elapsed() >= i.after) {
            send(&mut child, signal)?;
        }
        if started.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let took = started.elapsed();
    let end = match status {
        None => End::Hung,
        Some(status) => match status.code() {
            Some(code) => End::Status(code),
            None => End::Signal(status.signal().unwrap_or_default()),
        },
    };
    let stderr = fs::read(&stderr).with_context(|| format!("cannot read {}", stderr.display()))?;
    Ok(Ended { end, stderr: String::from_utf8_lossy(&stderr).into_owned(), took })
}

/// Returns `inner` as the last arguments of `outer`, which is to run it, in the same folder and environment.
pub fn within(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// Sends the signal to a process that has not been waited for, so its number is still its own.
fn send(child: &mut Child, signal: &str) -> Result<()> {
    if signal == "KILL" {
        return Ok(child.kill()?);
    }
    let status = Command::new("sh").arg("-c").arg(format!("kill -s {signal} {}", child.id())).status();
    ensure!(status.context("cannot run sh")?.success(), "cannot send SIG{signal}");
    Ok(())
}

impl Ended {
    /// Returns what is wrong about the end, if anything: a hanging process, the text of a panic, an end that is not among
    /// `allowed`.
    pub fn complaint(&self, allowed: &[End]) -> Option<String> {
        let Self { end, stderr, took } = self;
        let has_panicked = WORDS_OF_A_PANIC.iter().any(|word| stderr.contains(word));
        if *end == End::Hung {
            return Some(format!("still at work after {took:.0?}; it said:\n{stderr}"));
        }
        (has_panicked || !allowed.contains(end)).then(|| format!("it ended with {end:?} and said:\n{stderr}"))
    }

    /// Whether the process did all of its work.
    pub fn is_success(&self) -> bool {
        self.end == End::SUCCESS
    }
}
