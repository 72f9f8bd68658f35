//! The command line for folders of runs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(after_help = "\
The table has as many columns as fit the terminal; through a pipe, it has all columns. This command changes nothing.

Examples:
  trainer runs
  trainer runs --sort accuracy
  trainer runs elsewhere/runs --json")]
pub(crate) struct RunsArgs {
    /// The folder that holds run folders
    #[arg(value_name = "DIR", default_value = "runs")]
    pub(crate) dir: PathBuf,
    /// The column to sort by; the latest, the most accurate or the fastest runs come first
    #[arg(long, value_name = "COLUMN", default_value = "started")]
    pub(crate) sort: RunsColumn,
}

/// The columns of the table of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunsColumn {
    Name,
    State,
    Data,
    Model,
    Recipe,
    Seed,
    Accuracy,
    Validation,
    Epochs,
    Time,
    Started,
}
