//! What can be typed about data sets: the commands of `trainer data`, and how a user's files are read.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// What a data set holds: shapes, classes, counts, mean and deviation
    Info(DataArgs),
    /// Whether a data set's files are whole and the official ones
    Verify(DataArgs),
    /// Draw 5 x 5 training images with their class names under them
    Grid(GridArgs),
    /// Which test images are near-duplicates of training images: a model knows those already
    Duplicates(DuplicatesArgs),
    /// Which labels of a run's pictures may be wrong, by the answers of models that had not seen them
    Suspects(SuspectsArgs),
    /// Which features of frozen backbones are kept under the data folder; removes them on request
    Caches(CachesArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// A folder of pictures, a table of labels, an archive; or auto, cifar10, cifar100, cifar100-coarse, sample. auto is
    /// CIFAR-10 if it is there, else the embedded sample
    #[arg(long, value_name = "PATH|NAME", default_value = "auto")]
    pub(crate) dataset: String,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// Where data sets lie
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trainer data grid
  trainer data grid --augmented --recipe cnn-5 --out augmented.png")]
pub(crate) struct GridArgs {
    /// The images as the first epoch's augmentation changes them
    #[arg(long)]
    pub(crate) augmented: bool,
    /// Whose training images they are: its data set, split, seed and augmentation count
    #[arg(long, value_name = "NAME|FILE", default_value = "cnn")]
    pub(crate) recipe: String,
    /// Another data set than the recipe's, by name or path
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) dataset: Option<String>,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// Where data sets lie [default: as the recipe says]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The picture
    #[arg(long, value_name = "FILE.png", default_value = "grid.png")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trainer data duplicates
  trainer data duplicates --dataset cifar100 --out pairs.csv
  trainer eval runs/cnn-1 --without-duplicates")]
pub(crate) struct DuplicatesArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The list of pairs, a CSV file [default: duplicates-DATASET.csv]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trainer --dataset photos/ --folds 5
  trainer data suspects runs/photos-1")]
pub(crate) struct SuspectsArgs {
    /// A run that was trained with --folds
    pub(crate) run: PathBuf,
    /// Where its data set lies now [default: where it was]
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) dataset: Option<String>,
    /// Where data sets lie [default: where the run had them]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How many pictures the page shows
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_shown: usize,
    /// The page; the table lies beside it, as .csv [default: RUN/suspects.html]
    #[arg(long, value_name = "FILE.html")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Features are computed once per image and kept in DIR/features; what is removed is computed again when a run wants it.

Examples:
  trainer data caches
  trainer data caches --remove 0f3a 9c41
  trainer data caches --remove --unused-days 30
  trainer data caches --remove --all")]
pub(crate) struct CachesArgs {
    /// Remove the caches with these keys, or the beginnings of keys
    #[arg(long, value_name = "KEY", num_args = 0.., required_if_eq("all", "true"))]
    pub(crate) remove: Option<Vec<String>>,
    /// With --remove: all of them
    #[arg(long)]
    pub(crate) all: bool,
    /// With --remove: those that no run has used for so many days
    #[arg(long, value_name = "N", requires = "remove", conflicts_with = "all")]
    pub(crate) unused_days: Option<u64>,
    /// Where data sets lie
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
}

/// How a data set of files is read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LabelArgs {
    /// Go on without damaged pictures, up to 1 % of all; they are named
    #[arg(long, help_heading = "Data")]
    pub(crate) skip_bad: bool,
    /// The column of a table that names the pictures [default: found by its name]
    #[arg(long, help_heading = "Data", value_name = "NAME")]
    pub(crate) file_column: Option<String>,
    /// The column of a table that has the classes [default: found by its name]
    #[arg(long, help_heading = "Data", value_name = "NAME")]
    pub(crate) label_column: Option<String>,
    /// The column of a table that says train, val or test [default: found by its name]
    #[arg(long, help_heading = "Data", value_name = "NAME")]
    pub(crate) split_column: Option<String>,
}

impl LabelArgs {
    /// The same as a recipe has it.
    pub(crate) fn config(&self, data_dir: &std::path::Path) -> tallow_training::DataConfig {
        tallow_training::DataConfig {
            data_dir: data_dir.to_owned(),
            skip_bad: self.skip_bad,
            file_column: self.file_column.clone(),
            label_column: self.label_column.clone(),
            split_column: self.split_column.clone(),
            ..Default::default()
        }
    }
}
