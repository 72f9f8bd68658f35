//! Saves `checkpoints/last` and `previous` in such a way that a kill at any instant leaves a checkpoint that can be read.
//!
//! A save is a list of steps. After each of them the files hold, with the checkpoints in the order of their saves:
//!
//! ```text
//!                            new  last  previous
//!     before                  -    2     1
//!     Write                   3    2     1
//!     Keep                    3    -     2
//!     Install, Sync           -    3     2
//! ```
//!
//! So `new`, if it is there, is the newest of the three. Who continues from it first completes the save that wrote it. A `last`
//! that is not known to be whole is not kept: it would replace a `previous` that is.

use std::fs;
use std::path::{Path, PathBuf};

use tallow_core::shown::shown_path;
use tallow_core::{FileError, files};
use tallow_run_files::CHECKPOINTS;

use crate::checkpoint::Checkpoint;
use crate::error::{Result, TrainingError};

const NEW: &str = "new";
const LAST: &str = "last";
const PREVIOUS: &str = "previous";

/// A step of a save, which happens completely or not at all.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Writes the checkpoint as `new`.
    Write,
    /// Renames `last` to `previous`.
    Keep,
    /// Renames `new` to `last`.
    Install,
    /// Syncs the folder, so that the renames survive a power cut. Each of the renames may be lost or survive alone: the file
    /// that it moves was on disk before.
    Sync,
}

/// Returns the steps of a save that keeps or replaces `last`.
fn steps(keeps_last: bool) -> &'static [Step] {
    match keeps_last {
        true => &[Step::Write, Step::Keep, Step::Install, Step::Sync],
        false => &[Step::Write, Step::Install, Step::Sync],
    }
}

/// The checkpoints of a run that continue it.
#[derive(Debug)]
pub(crate) struct Rotation {
    run: PathBuf,
    /// Whether this process has written `last`, or read it without finding damage.
    last_is_whole: bool,
}

impl Rotation {
    /// Returns the checkpoints of the run folder `run`. `last_is_whole` says whether this process has just written the last.
    pub(crate) fn new(run: &Path, last_is_whole: bool) -> Self {
        Self { run: run.to_owned(), last_is_whole }
    }

    /// Makes the checkpoint with these bytes the last one, and the former last one the previous.
    pub(crate) fn save(&mut self, bytes: &[u8]) -> Result<()> {
        for &step in self.steps()? {
            self.take(step, bytes)?;
        }
        self.last_is_whole = true;
        Ok(())
    }

    /// Reads the newest checkpoint that can be read. If that takes passing over a damaged or missing file, also returns this
    /// as a text.
    pub(crate) fn read(&mut self) -> Result<(Checkpoint, Option<String>)> {
        let mut problems = Vec::new();
        let Some((name, checkpoint)) = self.newest(&mut problems) else {
            let problem = format!("no checkpoint can be read ({}): start a new run", problems.join("; "));
            return Err(TrainingError::Damaged { path: self.run.clone(), problem });
        };
        if name == NEW {
            self.complete_save()?;
        }
        let notice = format!("{}; continuing from {}", problems.join("; "), shown_path(&self.path(name)));
        Ok((checkpoint, (!problems.is_empty()).then_some(notice)))
    }

    /// Returns the newest checkpoint that can be read, and its name. Adds what cannot be read to `problems`.
    fn newest(&mut self, problems: &mut Vec<String>) -> Option<(&'static str, Checkpoint)> {
        let last = self.read_one(LAST, problems);
        let new = self.read_one(NEW, problems);
        self.last_is_whole = last.is_some();
        let progress = |checkpoint: &Checkpoint| (checkpoint.state.epoch, checkpoint.state.batch);
        // a run that is extended saves twice at the same step: then, too, `new` is newer
        match (new, last) {
            (Some(new), Some(last)) if progress(&last) > progress(&new) => Some((LAST, last)),
            (Some(new), _) => Some((NEW, new)),
            (None, Some(last)) => Some((LAST, last)),
            (None, None) => {
                if problems.is_empty() {
                    problems.push(format!("{} is missing", shown_path(&self.path(LAST))));
                }
                self.read_one(PREVIOUS, problems).map(|previous| (PREVIOUS, previous))
            }
        }
    }

    /// Takes the steps of a save that follow its writing. The run may end without another save, and then its manifest names
    /// `last`.
    fn complete_save(&mut self) -> Result<()> {
        for &step in self.steps()?.iter().filter(|step| !matches!(step, Step::Write)) {
            self.take(step, &[])?;
        }
        self.last_is_whole = true;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.run.join(CHECKPOINTS).join(name)
    }

    fn steps(&self) -> Result<&'static [Step]> {
        Ok(steps(self.last_is_whole && files::exists(&self.path(LAST))?))
    }

    fn take(&self, step: Step, bytes: &[u8]) -> Result<()> {
        let rename = |from: &str, to: &str| {
            let from = self.path(from);
            fs::rename(&from, self.path(to)).map_err(FileError::new("rename", &from))
        };
        match step {
            Step::Write => files::write(&self.path(NEW), bytes)?,
            Step::Keep => rename(LAST, PREVIOUS)?,
            Step::Install => rename(NEW, LAST)?,
            Step::Sync => files::sync_folder(&self.run.join(CHECKPOINTS))?,
        }
        Ok(())
    }

    /// Reads a checkpoint, if it is there. Adds its damage to `problems`.
    fn read_one(&self, name: &str, problems: &mut Vec<String>) -> Option<Checkpoint> {
        let path = self.path(name);
        let read = match files::exists(&path) {
            Ok(false) => return None,
            Ok(true) => Checkpoint::read(&path),
            Err(e) => Err(e.into()),
        };
        read.map_err(|e| problems.push(e.to_string())).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use tallow_nn::Tensors;

    use super::*;
    use crate::recipe_source::load_recipe;
    use crate::state::State;

    const DAMAGED: &[u8] = b"damaged";

    /// A checkpoint after `epoch` epochs, at most 5.
    fn checkpoint(epoch: u64) -> &'static [u8] {
        static ALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
            let recipe = load_recipe("keras", &[]).unwrap();
            let state = |epoch| State { epoch, ..State::new(&recipe, "d", &[], None) };
            let (model, optimizer) = (Tensors::new(), Tensors::new());
            let mut checkpoint = Checkpoint { state: state(0), model, optimizer, average: None };
            let at = |epoch| {
                checkpoint.state = state(epoch);
                checkpoint.to_bytes().unwrap()
            };
            (0..=5).map(at).collect()
        });
        &ALL[epoch as usize]
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Content {
        Whole,
        Damaged,
        Missing,
    }

    /// Creates a run folder in which each of the files is whole, damaged or missing. They are of the epochs 3, 2 and 1.
    fn run_with(new: Content, last: Content, previous: Content) -> (tempfile::TempDir, Option<u64>) {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("checkpoints")).unwrap();
        let files = [(NEW, new, 3), (LAST, last, 2), (PREVIOUS, previous, 1)];
        for (name, content, epoch) in files {
            let path = run.path().join("checkpoints").join(name);
            match content {
                Content::Whole => fs::write(path, checkpoint(epoch)).unwrap(),
                Content::Damaged => fs::write(path, DAMAGED).unwrap(),
                Content::Missing => {}
            }
        }
        let newest = files.iter().find(|(_, content, _)| *content == Content::Whole);
        (run, newest.map(|(.., epoch)| *epoch))
    }

    /// Returns the epoch of the checkpoint that a new process would continue from, and changes nothing.
    fn epoch_of(run: &Path) -> Option<u64> {
        let newest = Rotation::new(run, false).newest(&mut Vec::new());
        newest.map(|(_, checkpoint)| checkpoint.state.epoch)
    }

    /// A save was stopped after it had written its file, and the run ends without another one.
    #[test]
    fn a_save_that_was_stopped_is_completed_by_who_continues_from_it() {
        for (last, kept) in [(Content::Whole, 2), (Content::Damaged, 1), (Content::Missing, 1)] {
            let (run, _) = run_with(Content::Whole, last, Content::Whole);
            let (read, _) = Rotation::new(run.path(), false).read().unwrap();
            assert_eq!(read.state.epoch, 3);
            let path = |name: &str| run.path().join("checkpoints").join(name);
            assert!(!files::exists(&path(NEW)).unwrap());
            assert!(fs::read(path(LAST)).unwrap() == checkpoint(3), "{last:?}");
            assert!(fs::read(path(PREVIOUS)).unwrap() == checkpoint(kept), "{last:?}");
            assert_eq!(epoch_of(run.path()), Some(3), "again");
        }
    }

    fn initial_states() -> impl Iterator<Item = [Content; 3]> {
        let all = [Content::Whole, Content::Damaged, Content::Missing];
        let pairs = all.into_iter().flat_map(move |new| all.map(|last| (new, last)));
        pairs.flat_map(move |(new, last)| all.map(|previous| [new, last, previous]))
    }

    /// Kills a save after each of its steps, from every initial state; then kills the save of the process that continues, also
    /// after each of its steps. The newest checkpoint from before can be read, or a newer one. `knows` is whether the process
    /// reads the files before it saves, or trusts a `last` that it wrote before it was damaged.
    #[test]
    fn a_kill_after_any_step_of_a_save_loses_no_checkpoint() {
        let mut n_kills = 0;
        for ([new, last, previous], knows) in
            initial_states().flat_map(|state| [(state, true), (state, false)])
        {
            let begin = |run: &Path| {
                let mut rotation = Rotation::new(run, true);
                if knows {
                    let _ = rotation.read();
                }
                rotation
            };
            let case = format!("new {new:?}, last {last:?}, previous {previous:?}, knows {knows}");
            let n_steps = begin(run_with(new, last, previous).0.path()).steps().unwrap().len();
            for n_before_kill in 0..=n_steps {
                let (run, newest) = run_with(new, last, previous);
                assert_eq!(epoch_of(run.path()), newest, "{case}");
                let first = begin(run.path());
                for &step in &first.steps().unwrap()[..n_before_kill] {
                    first.take(step, checkpoint(4)).unwrap();
                }
                let continued = epoch_of(run.path());
                assert!(continued >= newest, "{case}, killed after {n_before_kill} steps: {continued:?}");
                assert!(n_before_kill < n_steps || continued == Some(4), "{case}: a whole save is read");

                let mut second = Rotation::new(run.path(), false);
                if second.read().is_err() {
                    continue; // a run without checkpoints is not continued
                }
                let taken = second.steps().unwrap();
                for &step in taken {
                    second.take(step, checkpoint(5)).unwrap();
                    assert_eq!(epoch_of(run.path()), Some(5), "{case}, {n_before_kill}, {step:?}");
                }
                n_kills += 1 + taken.len();
            }
        }
        assert!(n_kills > 500, "{n_kills}");
    }

    /// The damaged file goes, the whole one stays, also through a second save.
    #[test]
    fn a_damaged_file_replaces_no_whole_one() {
        let (run, _) = run_with(Content::Missing, Content::Damaged, Content::Whole);
        let mut rotation = Rotation::new(run.path(), false);
        let (checkpoint_read, notice) = rotation.read().unwrap();
        assert_eq!(checkpoint_read.state.epoch, 1);
        let notice = notice.unwrap();
        assert!(notice.contains("checkpoints/last") && notice.contains("continuing from "), "{notice}");
        let read = |name: &str| fs::read(run.path().join("checkpoints").join(name)).unwrap();
        rotation.save(checkpoint(4)).unwrap();
        assert!(read(LAST) == checkpoint(4) && read(PREVIOUS) == checkpoint(1));
        rotation.save(checkpoint(5)).unwrap();
        assert!(read(LAST) == checkpoint(5) && read(PREVIOUS) == checkpoint(4));
        assert!(!files::exists(&run.path().join("checkpoints").join(NEW)).unwrap());
    }

    /// A kill is nothing to report, and damage is.
    #[test]
    fn damage_is_told_and_a_kill_is_not() {
        use Content::{Damaged, Missing, Whole};
        let notice = |new, last, previous| {
            let (run, _) = run_with(new, last, previous);
            Rotation::new(run.path(), false).read().map(|(_, notice)| notice)
        };
        for (new, last) in [(Missing, Whole), (Whole, Whole), (Whole, Missing)] {
            assert_eq!(notice(new, last, Whole).unwrap(), None, "{new:?} {last:?}");
        }
        for (new, last, parts) in [
            (Whole, Damaged, ["checkpoints/last", "continuing from", "checkpoints/new"]),
            (Damaged, Whole, ["checkpoints/new", "continuing from", "checkpoints/last"]),
            (Missing, Missing, ["checkpoints/last is missing", "continuing from", "checkpoints/previous"]),
        ] {
            let told = notice(new, last, Whole).unwrap().unwrap();
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        }
        let error = notice(Damaged, Damaged, Missing).unwrap_err().to_string();
        assert!(error.contains("no checkpoint can be read") && error.contains("start a new run"), "{error}");
    }

    /// A file that the system cannot look at is not missing.
    #[cfg(unix)]
    #[test]
    fn what_cannot_be_looked_at_is_told() {
        let (run, _) = run_with(Content::Missing, Content::Whole, Content::Whole);
        std::os::unix::fs::symlink(NEW, run.path().join("checkpoints").join(NEW)).unwrap(); // a link to itself
        let (read, notice) = Rotation::new(run.path(), false).read().unwrap();
        let notice = notice.unwrap();
        assert_eq!(read.state.epoch, 2);
        assert!(notice.contains("cannot read") && notice.contains("checkpoints/new"), "{notice}");
    }

    /// Of two checkpoints of one step, `new` is the later one; an older `new` does not count.
    #[test]
    fn the_newest_is_the_one_that_is_furthest() {
        let (run, _) = run_with(Content::Missing, Content::Whole, Content::Whole);
        let new = run.path().join("checkpoints").join(NEW);
        for (epoch, expected) in [(1, 2), (3, 3)] {
            fs::write(&new, checkpoint(epoch)).unwrap();
            assert_eq!(epoch_of(run.path()), Some(expected));
        }
        let mut later = State::new(&load_recipe("keras", &[]).unwrap(), "d", &[], None);
        (later.epoch, later.n_averaged) = (3, 7);
        let (model, optimizer) = (Tensors::new(), Tensors::new());
        let later = Checkpoint { state: later, model, optimizer, average: None };
        fs::write(&new, later.to_bytes().unwrap()).unwrap();
        assert_eq!(Rotation::new(run.path(), false).read().unwrap().0, later);
    }
}
