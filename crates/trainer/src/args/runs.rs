//! The command line for folders of runs, and for the check of runs.

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

#[derive(Debug, Args)]
#[command(after_help = "\
Compares every file of a run with the sizes and digests in its manifest.json, the model file and the checkpoints with the \
digests that they carry, and the tables of predictions with the accuracies in summary.json. A run that is not finished, or of \
an older version, has no manifest; then the rest is checked. Files that nobody recorded are listed. This command changes \
nothing. It exits with status 1 if anything differs, and else with status 3 if a run has its results, but not all files of its \
end, such as its report: trainer --resume makes them.

Examples:
  trainer verify runs/cnn-1
  trainer verify runs/* --json
  trainer verify model.safetensors")]
pub(crate) struct VerifyArgs {
    /// Run folders or model files
    #[arg(required = true, value_name = "RUN|MODEL")]
    pub(crate) paths: Vec<PathBuf>,
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
