//! Power loss: strace records what a run does to its files. Every state of the disk that a file system may keep of it, at every
//! instant, must be a run that goes on, or no run yet. Some of these states are resumed to the end, and have the same bits.
//!
//! The states are those of `xtask/src/torture/disk.rs`. Without strace there is nothing to test.
#![cfg(unix)]

#[allow(dead_code, reason = "the campaign is not used here")]
#[path = "../xtask/src/torture/mod.rs"]
pub mod torture;

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::Path;

use tallow_core::{Purpose, Stream};
use tallow_dataset::{Dataset, load_sample};
use tallow_training::{Device, RunFolder, Session, TrainData, TrainingError};
use torture::bench::{Bench, KINDS, Reference};
use torture::compare::differences;
use torture::disk::{Fate, Operation, Recording};
use torture::process;
use torture::recording::record;

/// Largest number of uncertain operations of which each alone is lost, and each alone is kept: the last ones.
const MAX_ALONE: usize = 12;

/// Largest number of states of each recording that are opened, drawn from all. With the environment variable
/// TALLOW_ALL_STATES all of them are, which takes minutes.
const MAX_OPENED: usize = 200;

/// Number of states of each recording that are resumed to their end.
const N_RESUMED: usize = 6;

#[test]
#[expect(clippy::print_stderr, reason = "a test that did not take place must say so")]
fn what_a_power_loss_leaves_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(Path::new(env!("CARGO_BIN_EXE_trainer")), folder.path()).unwrap();
    let Some(strace) = &bench.strace else {
        eprintln!("SKIPPED: what_a_power_loss_leaves_goes_on (strace cannot be used here)");
        return;
    };
    let reference = bench.reference(&KINDS[0]).unwrap();
    let test = Test { bench: &bench, reference, dataset: load_sample().unwrap() };

    bench.clear().unwrap();
    let (ended, whole) = record(strace, &bench.command(&KINDS[0], 2), &bench.work, &bench.logs).unwrap();
    assert!(ended.is_success(), "{}", ended.stderr);
    test.survives(&whole, 0);

    // a run that was killed in its middle, and its resume
    let is_summary =
        |operation: &Operation| matches!(operation, Operation::Rename(_, (_, to), _) if to == "summary.json");
    let n = whole.operations().iter().position(is_summary).unwrap() / 2;
    empty(&bench.work);
    whole.write(&whole.state(n, &[]), &bench.work).unwrap();
    assert!(bench.has_run());
    let (ended, resumed) = record(strace, &bench.command(&KINDS[0], 2), &bench.work, &bench.logs).unwrap();
    assert!(ended.is_success() && ended.stderr.contains("Going on"), "{}", ended.stderr);
    test.survives(&resumed, 1);
}

/// A run that is over stays whole: nothing of it is lost that is not made again.
#[test]
#[expect(clippy::print_stderr, reason = "a test that did not take place must say so")]
fn a_run_by_folds_is_certain_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(Path::new(env!("CARGO_BIN_EXE_trainer")), folder.path()).unwrap();
    let Some(strace) = &bench.strace else {
        eprintln!("SKIPPED: a_run_by_folds_is_certain_at_its_end (strace cannot be used here)");
        return;
    };
    let kind = KINDS.iter().find(|kind| kind.name == "folds").unwrap();
    bench.clear().unwrap();
    let (ended, recording) = record(strace, &bench.command(kind, 2), &bench.work, &bench.logs).unwrap();
    assert!(ended.is_success(), "{}", ended.stderr);
    let whole = folder.path().join("whole");
    fs::rename(&bench.work, &whole).unwrap();
    let n = recording.operations().len();
    for fate in [Fate::Lost, Fate::Zeroed] {
        let fates: Vec<_> = recording.unsynced(n).into_iter().map(|i| (i, fate)).collect();
        fs::create_dir(&bench.work).unwrap();
        recording.write(&recording.state(n, &fates), &bench.work).unwrap();
        let ended = process::run(bench.command(kind, 2), &bench.logs, None).unwrap();
        assert!(ended.is_success(), "{}", ended.stderr);
        let shown: Vec<_> = fates.iter().map(|(i, _)| recording.operations()[*i].shown()).collect();
        assert_eq!(differences(&whole, &bench.work).unwrap(), [""; 0], "{fate:?}: {}", shown.join(", "));
        fs::remove_dir_all(&bench.work).unwrap();
    }
}

struct Test<'a> {
    bench: &'a Bench,
    reference: Reference,
    dataset: Dataset,
}

impl Test<'_> {
    /// Opens every state that `recording` may leave, and resumes some.
    fn survives(&self, recording: &Recording, index: u64) {
        let mut losses = losses(recording);
        let mut random = Stream::new(index, Purpose::Test, 0, 0);
        if std::env::var_os("TALLOW_ALL_STATES").is_none() {
            random.shuffle(&mut losses);
            losses.truncate(MAX_OPENED);
        }
        let lose = |loss: &Loss| {
            empty(&self.bench.work);
            recording.write(&recording.state(loss.n, &loss.fates), &self.bench.work).unwrap();
        };
        let mut problems = Vec::new();
        for loss in &losses {
            lose(loss);
            problems.extend(self.problem().map(|problem| format!("{}: {problem}", loss.what)));
        }
        let n = problems.len();
        problems.truncate(20);
        assert!(problems.is_empty(), "{n} of {} states:\n{}", losses.len(), problems.join("\n"));

        for _ in 0..N_RESUMED {
            let loss = &losses[random.below(losses.len() as u32) as usize];
            lose(loss);
            let command = self.bench.command(self.reference.kind, 2);
            let ended = process::run(command, &self.bench.logs, None).unwrap();
            assert!(ended.is_success(), "{}: {}", loss.what, ended.stderr);
            assert_eq!(
                differences(&self.reference.folder, &self.bench.work).unwrap(),
                [""; 0],
                "{}",
                loss.what
            );
        }
    }

    /// Returns what is wrong with the run folder, if there is one.
    fn problem(&self) -> Option<String> {
        let run = self.bench.work.join("run");
        if !run.exists() {
            return None;
        }
        if let Err(error) = self.open(&run) {
            return Some(error.to_string());
        }
        let read =
            |file: &str| (fs::read(run.join(file)), fs::read(self.reference.folder.join("run").join(file)));
        if run.join("summary.json").exists() {
            // a run that is over has all of its results
            let results = [
                "model.safetensors",
                "history.csv",
                "evaluation/predictions_val.csv",
                "evaluation/report.json",
            ];
            let differs = |file: &&&str| !matches!(read(file), (Ok(there), Ok(whole)) if there == whole);
            return results.iter().find(differs).map(|file| format!("it is over, but not its {file}"));
        }
        let (history, whole) = read("history.csv");
        if !whole.unwrap().starts_with(&history.unwrap()) {
            return Some("history.csv is not that of its first epochs".into());
        }
        let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
        let is_whole = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        (!events.lines().all(is_whole)).then(|| "events.jsonl has a line that cannot be read".into())
    }

    /// Opens the run as `--resume` does: reads its checkpoint, and cuts its logs back.
    fn open(&self, run: &Path) -> Result<(), TrainingError> {
        let recipe = RunFolder::load(run, &[])?;
        let data = TrainData::new(self.dataset.clone(), &recipe)?;
        let n_classes = self.dataset.train.class_names().len();
        let model = tallow_models::build(&recipe.model, n_classes, recipe.seed, &Device::Cpu).unwrap();
        Session::resume(recipe, model, data, run, None).map(drop)
    }
}

/// A power loss: the number of operations before it, and what became of those that were not certain.
struct Loss {
    n: usize,
    fates: Vec<(usize, Fate)>,
    what: String,
}

/// Returns the power losses at every instant that leave different states: all operations up to the instant; only those that are
/// certain; these and one other; all but one; and the writes that are not certain as zeros, or halved.
fn losses(recording: &Recording) -> Vec<Loss> {
    let (mut losses, mut states) = (Vec::new(), HashSet::new());
    for n in 0..=recording.operations().len() {
        let last = n.checked_sub(1).map_or("nothing".to_owned(), |i| recording.operations()[i].shown());
        let unsynced = recording.unsynced(n);
        let mut add = |what: &str, fate: &dyn Fn(usize) -> Fate| {
            let fates: Vec<_> = unsynced.iter().map(|&i| (i, fate(i))).collect();
            // a hash in place of a state: there are thousands of them
            if states.insert(hash(&recording.state(n, &fates))) {
                losses.push(Loss { n, fates, what: format!("after {n} operations ({last}), {what}") });
            }
        };
        add("everything", &|_| Fate::Kept);
        add("what is certain", &|_| Fate::Lost);
        add("with zeros", &|_| Fate::Zeroed);
        add("halved", &|_| Fate::Halved);
        for &one in unsynced.iter().rev().take(MAX_ALONE) {
            let shown = recording.operations()[one].shown();
            add(&format!("without: {shown}"), &|i| if i == one { Fate::Lost } else { Fate::Kept });
            add(&format!("what is certain and: {shown}"), &|i| {
                if i == one { Fate::Kept } else { Fate::Lost }
            });
        }
    }
    losses
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Removes everything in `folder`.
fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}
