//! `cargo xtask torture`: disturbs small runs of every kind of training by kills, signals, faults and power losses, resumes
//! them, and compares what they leave with undisturbed runs, byte for byte.
//!
//! [`mod@bench`] makes the runs; [`faults`] has a file for each kind of fault; [`compare`] says what may differ. [`disk`] and
//! [`recording`] know what a power loss may leave. `tests/torture.rs` runs a short round of this module, and
//! `tests/power_loss.rs` goes through the states after a power loss one after another.
#![expect(clippy::print_stderr, reason = "says what is done and what was found")]

pub mod bench;
pub mod compare;
pub mod disk;
pub mod faults;
pub mod process;
pub mod recording;
pub mod strace;
pub mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use tallow_core::{Progress, Purpose, Stream};

use bench::{Bench, DIFFERENCE, KINDS, Kind, Reference};
use compare::{differences, n_left_over};
use faults::{Disturbed, Fault, Scene};
use table::{Counts, table};

/// Most disturbances of one run by its fault, and most kills after each of them.
const MAX_DISTURBANCES: u32 = 3;
const MAX_KILLS: u32 = 2;
/// Number of processes that may end before their fault comes: then the run is over, and little happens to it.
const MAX_UNDISTURBED: u32 = 2;
/// Most threads of a process.
const MAX_THREADS: u32 = 3;
/// Number of runs after which a campaign shows its counts: one that somebody stops has told what it did.
const COUNTED_EVERY: u64 = 100;

/// Disturb small runs by kills, signals and faults, resume them, and compare their bits
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Longest duration of the campaign [default: 1, or as long as --kills takes]
    #[arg(long, value_name = "N")]
    pub minutes: Option<f64>,
    /// End the campaign after so many kills
    #[arg(long, value_name = "N")]
    pub kills: Option<u64>,
    /// The seed of every choice [default: a new one]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Disturb this binary instead of building one
    #[arg(long, value_name = "FILE")]
    pub trainer: Option<PathBuf>,
    /// Repeat this run of a campaign alone
    #[arg(long, value_name = "RUN", requires = "seed")]
    pub only: Option<u64>,
}

/// Runs a campaign on the binary that the arguments name, or on the one that `build` makes.
///
/// # Errors
/// If a run differs from an undisturbed one; the message has the command to repeat it.
pub fn run(args: &Args, build: impl FnOnce() -> Result<PathBuf>, progress: &dyn Progress) -> Result<()> {
    let trainer = args.trainer.clone().map_or_else(build, Ok)?;
    let seed =
        args.seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()));
    let minutes = args.minutes.or(args.kills.is_none().then_some(1.0));
    let limit = minutes.map(|minutes| Duration::try_from_secs_f64(60.0 * minutes)).transpose()?;
    let folder = std::env::temp_dir().join(format!("torture-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    progress.say(&format!("Seed {seed}; the runs are in {}", folder.display()));
    // a copy, which a build during the campaign does not change
    let copy = folder.join("trainer");
    fs::copy(&trainer, &copy).with_context(|| format!("cannot copy {}", trainer.display()))?;
    let campaign = Campaign::new(&copy, &folder, &KINDS, seed)?;
    if campaign.bench.strace.is_none() {
        progress.say("Note: strace cannot be used here: no faults at system calls, no power losses");
    }
    let started = Instant::now();
    let numbers = match args.only {
        Some(number) => number..number + 1,
        None => 0..u64::MAX,
    };
    let is_over = |so_far: Counts| {
        let is_late = limit.is_some_and(|limit| started.elapsed() >= limit);
        args.only.is_none() && (is_late || args.kills.is_some_and(|kills| so_far.kills >= kills))
    };
    let found = campaign.round(numbers, &is_over, progress)?;
    eprint!("{}", found.table);
    if let Some((number, text)) = found.first_difference {
        bail!(
            "run {number}: {text}\nIts files are in {}; to repeat it: cargo xtask torture --seed {seed} --only {number}",
            folder.join(DIFFERENCE).display()
        );
    }
    Ok(fs::remove_dir_all(&folder)?)
}

/// Undisturbed runs, and a seed that decides how others are disturbed.
pub struct Campaign {
    bench: Bench,
    references: Vec<Reference>,
    faults: Vec<Fault>,
    seed: u64,
}

/// What a round found.
pub struct Found {
    /// The counts, as text.
    pub table: String,
    /// The number of the first run that differed, and what happened to it. Its files stay in the folder of the bench.
    pub first_difference: Option<(u64, String)>,
}

/// What happened to one run.
#[derive(Default)]
struct Story {
    counts: Counts,
    /// What was done to it, in order.
    lines: Vec<String>,
    /// Number of processes that ended before their fault came.
    n_undisturbed: u32,
    /// What is wrong with it, if anything.
    problem: Option<String>,
}

impl Campaign {
    /// Makes the undisturbed runs of `kinds` in the empty folder `folder`.
    ///
    /// # Errors
    /// If one of them fails.
    pub fn new(trainer: &Path, folder: &Path, kinds: &'static [Kind], seed: u64) -> Result<Self> {
        let bench = Bench::new(trainer, folder)?;
        let references = kinds.iter().map(|kind| bench.reference(kind)).collect::<Result<Vec<_>>>()?;
        ensure!(!references.is_empty(), "no kind of training was asked for");
        let faults = Fault::possible(&bench);
        Ok(Self { bench, references, faults, seed })
    }

    /// Disturbs the runs of these numbers, until the counts so far say that the round is over.
    ///
    /// # Errors
    /// If a process cannot be run at all.
    pub fn round(
        &self,
        numbers: impl IntoIterator<Item = u64>,
        is_over: &dyn Fn(Counts) -> bool,
        progress: &dyn Progress,
    ) -> Result<Found> {
        let mut rows: Vec<_> = self.references.iter().map(|r| (r.kind.name, Counts::default())).collect();
        let mut so_far = Counts::default();
        let mut first_difference = None;
        for number in numbers {
            if is_over(so_far) {
                break;
            }
            let (kind, story) = self.disturbed(number)?;
            let counts = &mut rows[kind].1;
            *counts = counts.plus(story.counts);
            so_far = so_far.plus(story.counts);
            if let Some(problem) = story.problem {
                let text = format!("{} {}: {problem}", rows[kind].0, story.lines.join(", "));
                progress.say(&format!("Run {number} differs: {text}"));
                if first_difference.is_none() {
                    self.bench.set_aside()?;
                    first_difference = Some((number, text));
                }
            } else {
                progress.say(&format!("Run {number}: {} {}", rows[kind].0, story.lines.join(", ")));
            }
            if so_far.runs.is_multiple_of(COUNTED_EVERY) {
                progress.say(&table(&rows));
            }
        }
        Ok(Found { table: table(&rows), first_difference })
    }

    /// Disturbs a run, lets it end, and compares it. Returns the index of its kind, too. Kinds and faults take turns, so that
    /// every fault meets every kind; the rest is drawn. After each fault the run may be killed while it takes up what the fault
    /// left. A kill costs a part of a run only, and many of them cost little more than one.
    fn disturbed(&self, number: u64) -> Result<(usize, Story)> {
        let mut random = Stream::new(self.seed, Purpose::Test, number, 0);
        let (n_faults, n_kinds) = (self.faults.len() as u64, self.references.len() as u64);
        let fault = self.faults[(number % n_faults) as usize];
        let kind = ((number + number / n_faults) % n_kinds) as usize;
        let mut story = Story { counts: Counts { runs: 1, ..Counts::default() }, ..Story::default() };
        self.bench.clear()?;
        'run: for _ in 0..1 + random.below(MAX_DISTURBANCES) {
            let kills = random.below(1 + MAX_KILLS) as usize;
            for fault in std::iter::once(fault).chain(std::iter::repeat_n(Fault::Kill, kills)) {
                if self.is_wrong_after(fault, kind, &mut random, &mut story)? {
                    return Ok((kind, story));
                }
                if story.n_undisturbed >= MAX_UNDISTURBED {
                    break 'run;
                }
            }
        }
        let threads = 1 + random.below(MAX_THREADS);
        story.counts.resumes += u64::from(self.bench.has_run());
        let command = self.bench.command(self.references[kind].kind, threads);
        let ended = process::run(command, &self.bench.logs, None)?;
        story.lines.push(format!("then left alone with {threads} threads"));
        story.problem = ended.complaint(&[process::End::SUCCESS]);
        if story.problem.is_none() {
            let found = differences(&self.references[kind].folder, &self.bench.work)?;
            story.problem = (!found.is_empty()).then(|| found.join("\n"));
        }
        story.counts.left_over = n_left_over(&self.bench.work)? as u64;
        story.counts.differences = u64::from(story.problem.is_some());
        Ok((kind, story))
    }

    /// Disturbs one process of a run. Returns whether it ended in no sane way.
    fn is_wrong_after(
        &self,
        fault: Fault,
        kind: usize,
        random: &mut Stream,
        story: &mut Story,
    ) -> Result<bool> {
        let (threads, is_resumed) = (1 + random.below(MAX_THREADS), self.bench.has_run());
        let scene = Scene { bench: &self.bench, reference: &self.references[kind], threads };
        let Disturbed { what, happened, complaint } = fault.disturb(&scene, random)?;
        match happened {
            true => story.counts.add(fault),
            false => story.n_undisturbed += 1,
        }
        story.counts.resumes += u64::from(is_resumed);
        story.counts.differences = u64::from(complaint.is_some());
        story.lines.push(format!("{what}{}", if happened { "" } else { " (after its end)" }));
        story.problem = complaint;
        Ok(story.problem.is_some())
    }
}
