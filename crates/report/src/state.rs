//! The progress of a run, read from its files.

use tallow_core::Foreign;

use crate::record::RunRecord;

/// A problem that is not damage: a run that has not finished has no summary.
const NO_SUMMARY: &str = "summary.json is missing";

/// The progress of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// The run has finished.
    Finished,
    /// A process works on the run.
    Running(Epochs),
    /// The run has not finished, or lacks its report or another file of its end; and no process works on it.
    Interrupted(Epochs),
    /// A file is missing or cannot be read; the text says which file and why.
    Damaged(Foreign),
}

/// The number of finished epochs, and the total if the recipe gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// Number of epochs that are finished.
    pub n_done: u64,
    /// Total number of epochs; `None` if the recipe does not give it.
    pub n: Option<u64>,
}

impl RunState {
    /// Returns the state of `run`; `in_use` says whether a process works on it.
    pub fn of(run: &RunRecord, in_use: bool) -> Self {
        let damage: Vec<&str> =
            run.problems.iter().map(Foreign::raw).filter(|problem| *problem != NO_SUMMARY).collect();
        if !damage.is_empty() {
            return Self::Damaged(damage.join("; ").into());
        }
        let n = run.recipe_value(&["epochs"]).and_then(|text| text.raw().parse().ok());
        let epochs = Epochs { n_done: run.history.last().map_or(0, |record| record.epoch), n };
        match run.summary.is_some() && !run.is_ending {
            _ if in_use => Self::Running(epochs),
            true => Self::Finished,
            false => Self::Interrupted(epochs),
        }
    }

    /// Returns the state in one word: "finished", "running", "interrupted" or "damaged".
    pub fn word(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Running(_) => "running",
            Self::Interrupted(_) => "interrupted",
            Self::Damaged(_) => "damaged",
        }
    }
}

/// Writes the word, followed by the progress if the run has not finished: "interrupted 3/20".
impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Running(Epochs { n_done, n: Some(n) })
            | Self::Interrupted(Epochs { n_done, n: Some(n) }) => {
                write!(f, " {n_done}/{n}")
            }
            _ => Ok(()),
        }
    }
}
