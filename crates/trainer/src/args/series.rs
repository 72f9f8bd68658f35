//! The command line for a recipe rather than a single run: training it with several seeds, and searching for its learning
//! rate.

use std::path::PathBuf;

use clap::Args;

use super::SettingsArgs;

#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Each run has a run folder in the folder of the series (seed-0 and so on); seeds.csv beside them has a row for each finished run.
The same command continues an interrupted series: finished runs are kept, and a larger --seeds adds runs.

Examples:
  trainer seeds --recipe cnn-5 --seeds 5
  trainer seeds --recipe cnn-5 --seeds 5 --precision f32 --out runs/cnn-5-f32
  trainer compare runs/cnn-5-seeds runs/cnn-5-f32"
)]
pub(crate) struct SeedsArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// Number of runs, each with its own seed
    #[arg(long, help_heading = "Series", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// The seed of the first run; the others count up from it [default: the recipe's]
    #[arg(long, help_heading = "Series", value_name = "N")]
    pub(crate) first_seed: Option<u64>,
    /// The folder of the series [default: runs/RECIPE-seeds]
    #[arg(long, help_heading = "Series", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
The rate grows from step to step, until the loss diverges. Only training images are used, and no run folder is written.

Examples:
  trainer find-lr --recipe cnn
  trainer find-lr --dataset photos/ --out lr
  trainer find-lr --recipe keras --from 1e-6 --to 1 --steps 200"
)]
pub(crate) struct FindLrArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// The seed of every random choice: the same seed gives the same bits
    #[arg(long, help_heading = "Training", value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The first and smallest rate
    #[arg(long, help_heading = "Sweep", value_name = "X", default_value_t = 1e-7)]
    pub(crate) from: f64,
    /// The last and largest rate
    #[arg(long, help_heading = "Sweep", value_name = "X", default_value_t = 10.0)]
    pub(crate) to: f64,
    /// Largest number of steps; the sweep ends earlier if the loss diverges
    #[arg(long, help_heading = "Sweep", value_name = "N", default_value_t = 100)]
    pub(crate) steps: usize,
    /// The folder for the plot and the table: lr.svg, lr.png and lr.csv
    #[arg(long, help_heading = "Sweep", value_name = "DIR", default_value = "find-lr")]
    pub(crate) out: PathBuf,
}
