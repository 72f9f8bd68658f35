//! The kinds of faults, one file each. A fault runs `trainer` once, disturbed, and says how that ended.

mod error_at_call;
mod full_disk;
mod kill;
mod kill_at_call;
mod power_loss;
mod short_write;
mod signal;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tallow_core::Stream;

use super::bench::{Bench, Reference};
use super::process::{self, End, Ended, Interruption};
use super::strace;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL at an instant.
    Kill,
    /// SIGINT, SIGTERM or SIGHUP at an instant.
    Signal,
    /// Writes that end at a limit of a file's size.
    ShortWrite,
    /// A file system without free space.
    FullDisk,
    /// SIGKILL at a system call.
    KillAtCall,
    /// An error of a system call.
    ErrorAtCall,
    /// The state of the disk after a power loss.
    PowerLoss,
}

/// All faults, and whether they need strace.
const FAULTS: [(Fault, bool); 7] = [
    (Fault::Kill, false),
    (Fault::ErrorAtCall, true),
    (Fault::Signal, false),
    (Fault::KillAtCall, true),
    (Fault::ShortWrite, false),
    (Fault::PowerLoss, true),
    (Fault::FullDisk, true),
];

/// What a fault disturbs.
pub struct Scene<'a> {
    /// The place.
    pub bench: &'a Bench,
    /// The kind of training, as it went undisturbed.
    pub reference: &'a Reference,
    /// Number of threads.
    pub threads: u32,
}

/// What a fault did.
pub struct Disturbed {
    /// The fault in words.
    pub what: String,
    /// Whether the process noticed it before its end.
    pub happened: bool,
    /// What was wrong about the end of the process, if anything.
    pub complaint: Option<String>,
}

impl Fault {
    /// Returns the faults that can be made on this bench.
    pub fn possible(bench: &Bench) -> Vec<Self> {
        let is_possible = |(_, needs_strace): &&(Self, bool)| !needs_strace || bench.strace.is_some();
        FAULTS.iter().filter(is_possible).map(|(fault, _)| *fault).collect()
    }

    /// Starts the run of `scene`, or resumes it, and disturbs it.
    ///
    /// # Errors
    /// If the process cannot be run as the fault needs it.
    pub fn disturb(self, scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
        match self {
            Self::Kill => kill::disturb(scene, random),
            Self::Signal => signal::disturb(scene, random),
            Self::ShortWrite => short_write::disturb(scene, random),
            Self::FullDisk => full_disk::disturb(scene, random),
            Self::KillAtCall => kill_at_call::disturb(scene, random),
            Self::ErrorAtCall => error_at_call::disturb(scene, random),
            Self::PowerLoss => power_loss::disturb(scene, random),
        }
    }
}

impl Disturbed {
    /// A process that noticed the fault unless it succeeded, and that may end in the ways `allowed`.
    fn new(what: String, ended: &Ended, allowed: &[End]) -> Self {
        Self { what, happened: !ended.is_success(), complaint: ended.complaint(allowed) }
    }
}

impl Scene<'_> {
    fn command(&self) -> Command {
        self.bench.command(self.reference.kind, self.threads)
    }

    fn strace(&self) -> Result<&PathBuf> {
        self.bench.strace.as_ref().context("this fault needs strace")
    }

    /// Runs the process and sends it `signal` at a random instant. Returns the instant, too.
    fn interrupted(&self, signal: &'static str, random: &mut Stream) -> Result<(Ended, Duration)> {
        let after = self.reference.took.mul_f32(random.unit_f32());
        let ended = process::run(self.command(), &self.bench.logs, Some(Interruption { after, signal }))?;
        Ok((ended, after))
    }

    /// Chooses one of the calls that the undisturbed run made, among those that `is_wanted`, and which of its invocations.
    fn call(&self, is_wanted: impl Fn(&str) -> bool, random: &mut Stream) -> Result<(&str, u32)> {
        let calls: &BTreeMap<String, u32> = &self.reference.calls;
        let wanted: Vec<_> = calls.iter().filter(|(name, _)| is_wanted(name)).collect();
        let (name, n) = *wanted.get(pick(wanted.len(), random)).context("no such call was made")?;
        Ok((name, 1 + random.below(*n)))
    }

    /// Runs the process while strace tampers with calls as `inject` says. Returns whether it did, too.
    fn tampered(&self, inject: &str) -> Result<(Ended, bool)> {
        let log = self.bench.logs.join("strace");
        let calls = inject.split(':').next().unwrap_or_default();
        let quick = (!inject.contains(":signal=")).then(|| strace::QUICK.to_owned());
        let tamper = ["-e".to_owned(), format!("trace={calls}"), "-e".to_owned(), format!("inject={inject}")];
        let options: Vec<String> = quick.into_iter().chain(tamper).collect();
        let command = strace::wrapped(self.strace()?, &self.command(), &options, &log);
        let ended = process::run(command, &self.bench.logs, None)?;
        let is_injected = String::from_utf8_lossy(&fs::read(&log)?).contains("(INJECTED)");
        Ok((ended, is_injected))
    }
}

/// Chooses one of `n` things.
fn pick(n: usize, random: &mut Stream) -> usize {
    random.below(n as u32) as usize
}
