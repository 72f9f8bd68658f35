//! The command line of `trainer train`. Every command that trains has the same settings.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{LabelArgs, PrecisionArg, text_of_path};

/// The settings of a run, except its seed: everything that decides the run, and the machine it uses.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SettingsArgs {
    /// A built-in recipe, or a file ending in .toml [default: cnn; for your own pictures, a suitable one]
    #[arg(long)]
    pub(crate) recipe: Option<PathBuf>,
    /// Set any other value of the recipe, such as optimizer.weight_decay=0.01; may be given more than once. All keys:
    /// trainer recipes --keys
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// A folder of pictures, a table of labels (.csv), an archive (.zip, .tar, .tar.gz); or auto, cifar10, cifar100,
    /// cifar100-coarse, sample. auto is CIFAR-10, downloaded if necessary, else the embedded sample
    #[arg(long, help_heading = "Data", value_name = "PATH|NAME", value_parser = text_of_path())]
    pub(crate) dataset: Option<String>,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// The share of the pictures for the test, if they are not yet divided into parts
    #[arg(long, help_heading = "Data", value_name = "F")]
    pub(crate) test_fraction: Option<f64>,
    /// Folder of data sets [default: data; with --resume, that of the run]
    #[arg(long, help_heading = "Data", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Never use the network
    #[arg(long, help_heading = "Data")]
    pub(crate) offline: bool,
    /// The share of the training images for validation; 0: none
    #[arg(long, help_heading = "Data", value_name = "F", conflicts_with = "validate_on")]
    pub(crate) val_fraction: Option<f64>,
    /// Validate on the test images, as the Keras baseline does; the test score is then not honest
    #[arg(long, help_heading = "Data", value_name = "SPLIT")]
    pub(crate) validate_on: Option<ValidateOn>,
    /// Train on N images only, balanced over the classes as far as possible
    #[arg(long, help_heading = "Data", value_name = "N")]
    pub(crate) train_subset: Option<usize>,
    /// Cross-validation, for few pictures: each of K parts is held out in turn and tested by a model trained on the others;
    /// the run's own model is trained on all, so no pictures need to be kept for a test
    #[arg(long, help_heading = "Data", value_name = "K", conflicts_with_all = ["validate_on", "test_fraction", "val_fraction"])]
    pub(crate) folds: Option<usize>,

    /// Passes over the training data
    #[arg(long, help_heading = "Training", value_name = "N")]
    pub(crate) epochs: Option<u64>,
    /// Images per step
    #[arg(long, help_heading = "Training", value_name = "N")]
    pub(crate) batch_size: Option<usize>,
    /// The highest learning rate; with --resume, the rate at which more --epochs begin [default with --resume: a fifth of the
    /// recipe's]
    #[arg(long, help_heading = "Training", value_name = "X")]
    pub(crate) lr: Option<f64>,
    /// Start from the weights of another run or of a model file; the run records which images those weights had seen
    #[arg(long, help_heading = "Training", value_name = "RUN|FILE")]
    pub(crate) init_from: Option<PathBuf>,

    /// Pretrained weights for the recipe's model: a folder with config.json and model.safetensors, a file, or
    /// hf:OWNER/NAME@REVISION on the Hugging Face hub; the revision is optional
    #[arg(long, help_heading = "Training", value_name = "SOURCE", value_parser = text_of_path())]
    pub(crate) weights: Option<String>,

    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, help_heading = "Machine", value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Precision in which activations are stored and multiplied
    #[arg(long, help_heading = "Machine")]
    pub(crate) precision: Option<PrecisionArg>,
    /// Number of compute threads; results do not depend on it [default: all cores]
    #[arg(long, help_heading = "Machine", value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = TRAIN_EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// The seed of every random choice: the same seed gives the same bits
    #[arg(long, help_heading = "Training", value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// A frozen pretrained backbone. auto tries several on a tenth of the pictures and takes the fastest of the best: those
    /// of --candidates or, without --candidates, those on disk and a few small ones of the hub
    #[arg(long, help_heading = "Backbone", value_name = "auto|NAME", conflicts_with_all = ["resume", "init_from"])]
    pub(crate) backbone: Option<String>,
    /// Backbones to try: names, or weights as for --weights, each optionally with an input size such as :128
    #[arg(
        long,
        help_heading = "Backbone",
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = text_of_path(),
        conflicts_with_all = ["resume", "init_from", "weights"]
    )]
    pub(crate) candidates: Vec<String>,
    /// Time limit for everything, such as 90s or 10m; backbone, size and epochs are chosen to fit it, and printed first
    #[arg(long, help_heading = "Backbone", value_name = "TIME", value_parser = args_time, conflicts_with_all = ["resume", "init_from"])]
    pub(crate) time: Option<f64>,

    /// With mpirun: let MPI add gradients in any order, which is faster on some networks; results then depend on the number of
    /// processes
    #[arg(long, help_heading = "Machine")]
    pub(crate) fast_sums: bool,

    /// The run folder to create; it must not exist yet [default: runs/RECIPE-N]
    #[arg(long, help_heading = "Run folder", value_name = "DIR", conflicts_with = "resume")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Resume an interrupted run, with the same final bits; or extend a run with a larger --epochs: the learning rate
    /// restarts and falls again, and the run keeps the model that validates better. Other flags that would change the run are
    /// refused; --dataset, --data-dir and --weights give the present place of the same data and weights
    #[arg(long, help_heading = "Run folder", value_name = "RUN", conflicts_with_all = ["recipe", "init_from"])]
    pub(crate) resume: Option<PathBuf>,
}

/// Parses a time; returns seconds.
fn args_time(text: &str) -> Result<f64, String> {
    tallow_core::parse_duration(text).ok_or_else(|| "expected a time such as 90s, 10m or 1h30m".to_owned())
}

const TRAIN_EXAMPLES: &str = "\
If the model is trained and tested, but its report or another file of its end cannot be written, the results stay, the exit \
status is 3, and --json names what is missing. --resume tries again.

Examples:
  trainer train --dataset photos/
  trainer train --dataset photos/ --backbone auto --time 10m
  trainer train --dataset labels.csv --label-column type
  trainer train --dataset photos/ --folds 5
  trainer train --recipe cnn-5
  trainer train --dataset sample --epochs 2 --set augment.cutout_px=8
  trainer train --recipe keras --init-from runs/keras-5-1 --validate-on test
  trainer train --resume runs/cnn-1 --epochs 30";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ValidateOn {
    Test,
}
