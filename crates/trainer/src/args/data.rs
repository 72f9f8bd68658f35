//! The command line for data sets: the commands of `trainer data`, and the options for reading a user's files.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::text_of_path;

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Print the shapes, classes, counts, mean and deviation of a data set
    Info(DataArgs),
    /// Check that a data set's files are undamaged and the official ones
    Verify(DataArgs),
    /// Draw 5 x 5 training images with their class names under them
    Grid(GridArgs),
    /// List test images that are near-duplicates of training images, which a model already knows
    Duplicates(DuplicatesArgs),
    /// List pictures of a run with possibly wrong labels, judged by models that had not seen them
    Suspects(SuspectsArgs),
    /// List the cached features of frozen backbones under the data folder; remove them on request
    Caches(CachesArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// A folder of pictures, a table of labels, an archive; or auto, cifar10, cifar100, cifar100-coarse, sample. auto is
    /// CIFAR-10 if it exists, else the embedded sample
    #[arg(long, value_name = "PATH|NAME", default_value = "auto", value_parser = text_of_path())]
    pub(crate) dataset: String,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// Folder of data sets
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trainer data grid
  trainer data grid --augmented --recipe cnn-5 --out augmented.png")]
pub(crate) struct GridArgs {
    /// Show the images as augmented in the first epoch
    #[arg(long)]
    pub(crate) augmented: bool,
    /// The recipe that gives data set, split, seed and augmentation
    #[arg(long, value_name = "NAME|FILE", default_value = "cnn")]
    pub(crate) recipe: PathBuf,
    /// Use another data set than the recipe's, by name or path
    #[arg(long, value_name = "PATH|NAME", value_parser = text_of_path())]
    pub(crate) dataset: Option<String>,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// Folder of data sets [default: as the recipe says]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The picture file to write
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
    /// The share of the pictures for the test, as in training, if they are not yet divided into parts
    #[arg(long, value_name = "F")]
    pub(crate) test_fraction: Option<f64>,
    /// The CSV file for the list of pairs [default: duplicates-DATASET.csv]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trainer --dataset photos/ --folds 5
  trainer data suspects runs/photos-1")]
pub(crate) struct SuspectsArgs {
    /// A run trained with --folds
    pub(crate) run: PathBuf,
    /// Present place of the run's data set [default: where it was]
    #[arg(long, value_name = "PATH|NAME", value_parser = text_of_path())]
    pub(crate) dataset: Option<String>,
    /// Folder of data sets [default: that of the run]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Number of pictures on the page
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_shown: usize,
    /// The page to write; the table is written beside it as .csv [default: RUN/suspects.html]
    #[arg(long, value_name = "FILE.html")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Features are computed once per image and kept in DIR/features; removed features are computed again when a run needs them.

Examples:
  trainer data caches
  trainer data caches --remove 0f3a 9c41
  trainer data caches --remove --unused-days 30
  trainer data caches --remove --all")]
pub(crate) struct CachesArgs {
    /// Remove the caches with these keys; the beginning of a key is enough
    #[arg(long, value_name = "KEY", num_args = 0.., required_if_eq("all", "true"))]
    pub(crate) remove: Option<Vec<String>>,
    /// With --remove: remove all caches
    #[arg(long)]
    pub(crate) all: bool,
    /// With --remove: remove caches that no run has used for this many days
    #[arg(long, value_name = "N", requires = "remove", conflicts_with = "all")]
    pub(crate) unused_days: Option<u64>,
    /// Folder of data sets
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
}

/// The options for reading a data set of files.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LabelArgs {
    /// Skip damaged pictures, up to 1 % of all, and name them
    #[arg(long, help_heading = "Data")]
    pub(crate) skip_bad: bool,
    /// The column with the file names in a table [default: found by its name]
    #[arg(long, help_heading = "Data", value_name = "NAME")]
    pub(crate) file_column: Option<String>,
    /// The column with the classes in a table [default: found by its name]
    #[arg(long, help_heading = "Data", value_name = "NAME")]
    pub(crate) label_column: Option<String>,
    /// The column with train, val or test in a table [default: found by its name]
    #[arg(long, help_heading = "Data", value_name = "NAME")]
    pub(crate) split_column: Option<String>,
}

impl LabelArgs {
    /// Returns a recipe's settings with these options in place of its own.
    pub(crate) fn over(&self, config: tallow_training::DataConfig) -> tallow_training::DataConfig {
        let own = self.clone();
        tallow_training::DataConfig {
            skip_bad: own.skip_bad || config.skip_bad,
            file_column: own.file_column.or(config.file_column),
            label_column: own.label_column.or(config.label_column),
            split_column: own.split_column.or(config.split_column),
            ..config
        }
    }

    /// Returns these options as a recipe holds them.
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
