//! How far a run has come, by its files.

use crate::record::RunRecord;

/// What is no damage: a run that is not over has none.
const NO_SUMMARY: &str = "summary.json is not there";

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It is over.
    Finished,
    /// A process works on it.
    Running(Epochs),
    /// It is not over, and nobody works on it.
    Interrupted(Epochs),
    /// A file is missing or cannot be read: which, and why.
    Damaged(String),
}

/// Epochs that are over, and epochs in all where the recipe says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// Epochs that are over.
    pub n_done: u64,
    /// Epochs in all.
    pub n: Option<u64>,
}

impl RunState {
    /// The state of `run`; `in_use`: whether a process works on it.
    pub fn of(run: &RunRecord, in_use: bool) -> Self {
        let damage: Vec<&str> =
            run.problems.iter().map(String::as_str).filter(|problem| *problem != NO_SUMMARY).collect();
        if !damage.is_empty() {
            return Self::Damaged(damage.join("; "));
        }
        let n = run.recipe_value(&["epochs"]).and_then(|text| text.parse().ok());
        let epochs = Epochs { n_done: run.history.last().map_or(0, |record| record.epoch), n };
        match (&run.summary, in_use) {
            (_, true) => Self::Running(epochs),
            (Some(_), false) => Self::Finished,
            (None, false) => Self::Interrupted(epochs),
        }
    }

    /// The state in one word: "finished", "running", "interrupted" or "damaged".
    pub fn word(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Running(_) => "running",
            Self::Interrupted(_) => "interrupted",
            Self::Damaged(_) => "damaged",
        }
    }
}

/// The word, and for a run that is not over how far it has come: "interrupted 3/20".
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
