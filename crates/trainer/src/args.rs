//! The command line, as plain structs. This module reads no files and makes no decisions.

mod data;
mod export;
mod recipes;
mod runs;
mod series;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod train;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tallow_core::path_text;

pub(crate) use data::{CachesArgs, DataArgs, DataCommand, DuplicatesArgs, GridArgs, LabelArgs, SuspectsArgs};
pub(crate) use export::{ExplainArgs, ExportArgs, ExportFormat, ExportWeights, SummaryArgs};
pub(crate) use recipes::{DiffArgs, RecipesArgs, RecipesCommand};
pub(crate) use runs::{RunsArgs, RunsColumn, VerifyArgs};
pub(crate) use series::{FindLrArgs, SeedsArgs};
#[cfg(feature = "serve")]
pub(crate) use serve::ServeArgs;
pub(crate) use shell::{CompletionsArgs, ManArgs, ShellName};
pub(crate) use train::{SettingsArgs, TrainArgs, ValidateOn};

/// Train image classifiers and look at what they learnt.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// The message if only the program's name was typed.
pub(crate) const ALONE: &str =
    "Training with the recipe cnn. For its options: trainer train --help; for other commands: trainer --help";

const EXAMPLES: &str = "\
`trainer train --help` lists all options of training, `trainer recipes` lists the recipes, and `trainer recipes --keys` \
lists every key that --set takes, with its meaning.

Without a command, trainer trains: `trainer` alone runs the recipe cnn on CIFAR-10, or on the embedded sample of it \
if CIFAR-10 is not available.

Exit status: 0 for success; 1 for an error; 2 for invalid arguments; 3 if a model is trained and tested, but its report or \
another file of its end could not be written (--resume tries again); 130 or 143 if stopped by Ctrl-C or SIGTERM.

Examples:
  trainer --dataset photos/                          train on your own pictures, with one folder for each class
  trainer predict runs/photos-1 cat.jpg              classify a picture with the trained model
  trainer                                            train the reference network
  trainer --recipe cnn-5 --seed 1                    another recipe, another seed
  trainer --resume runs/cnn-1                        resume an interrupted run
  trainer eval runs/cnn-1                            test a trained model again
  trainer export runs/cnn-1 --format onnx            write the model for other programs
  trainer report runs/cnn-1                          write its report page again
  trainer runs                                       list all runs with their accuracies
  trainer verify runs/cnn-1                          check that its files are as they were written
  trainer seeds --recipe cnn-5 --seeds 5             train a recipe with five seeds: mean and interval
  trainer find-lr --recipe cnn                       find a learning rate for a recipe
  trainer bench --model cnn                          measure how fast it is here, and where the time goes
  trainer recipes cnn > my.toml                      start a recipe of your own
  trainer data info                                  describe the data";

/// The options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print one JSON document on standard output, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print more on standard error; twice for everything (RUST_LOG takes precedence)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print only errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model, test it, and write everything to a run folder (the default command)
    Train(Box<TrainArgs>),
    /// Train a recipe with several seeds, and print the mean with its interval
    Seeds(Box<SeedsArgs>),
    /// Search for a suitable learning rate of a recipe on its data, by a short sweep
    FindLr(Box<FindLrArgs>),
    /// Predict the classes of pictures with a trained model
    Predict(PredictArgs),
    /// Let a browser and other programs ask trained models about pictures
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Evaluate a trained model on a data set
    Eval(EvalArgs),
    /// Draw which places of pictures speak for a class
    Explain(ExplainArgs),
    /// Write a trained model as a file for other programs
    Export(ExportArgs),
    /// Show the layers of a network: output sizes, parameters, multiply-adds
    Summary(SummaryArgs),
    /// Measure how fast an architecture trains or infers on this processor, and where the time goes
    Bench(BenchArgs),
    /// Write a report page about a run folder, or one that compares several
    Report(ReportArgs),
    /// Compare runs that were tested on the same images, or two series of seeds
    Compare(CompareArgs),
    /// Write a model card beside a run's model, ready for a model hub
    Card(CardArgs),
    /// List the runs of a folder with their state, progress and accuracy
    Runs(RunsArgs),
    /// Check that the files of runs, and model files, are as they were written
    Verify(VerifyArgs),
    /// List the built-in recipes, print one, compare two, or list every key that a recipe takes
    Recipes(RecipesArgs),
    /// Inspect data sets
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Print a script that completes commands in a shell
    Completions(CompletionsArgs),
    /// Write man pages of all commands
    #[command(hide = true)]
    Man(ManArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PrecisionArg {
    Auto,
    F32,
    Bf16,
}

impl PrecisionArg {
    /// Returns the precision as recipes express it.
    pub(crate) fn in_recipe(self) -> tallow_training::PrecisionSetting {
        match self {
            Self::Auto => tallow_training::PrecisionSetting::Auto,
            Self::F32 => tallow_training::PrecisionSetting::F32,
            Self::Bf16 => tallow_training::PrecisionSetting::Bf16,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Probabilities are calibrated on the validation images, if the run had any. If some pictures cannot be read, they are\n\
named, the others are classified, and the exit status is 1.

A model on a frozen backbone also reports how usual a picture is: the share of pictures of its classes that are at least\n\
as unlike the training pictures. If the share is 5 % or less, it asks \"none of these?\".

Examples:
  trainer predict runs/photos-1 cat.jpg
  trainer predict runs/photos-1 holiday/ --csv answers.csv
  curl -s https://example.org/cat.jpg | trainer predict runs/photos-1 - --json")]
pub(crate) struct PredictArgs {
    /// A run folder, or a model file
    #[arg(value_name = "RUN|MODEL")]
    pub(crate) model: PathBuf,
    /// Pictures, folders of pictures, or - for a picture on standard input
    #[arg(required = true, value_name = "IMAGE|FOLDER|-")]
    pub(crate) images: Vec<PathBuf>,
    /// Number of classes printed for each picture, the most probable first
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) top_k: usize,
    /// Write the predictions to a CSV file; - stands for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: String,
    /// Number of compute threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trainer eval runs/cnn-1
  trainer eval runs/cnn-1 --split val
  trainer eval runs/cnn-1 --without-duplicates
  trainer eval model.safetensors --dataset cifar10 --json")]
pub(crate) struct EvalArgs {
    /// A run folder, or a model file
    #[arg(value_name = "RUN|MODEL")]
    pub(crate) model: PathBuf,
    /// Another data set than the model's own, by name or path; classes are matched by name
    #[arg(long, value_name = "PATH|NAME", value_parser = text_of_path())]
    pub(crate) dataset: Option<String>,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// Test-time augmentation: flip averages the logits of each picture and its mirror image [default: as the model was tested]
    #[arg(long)]
    pub(crate) tta: Option<Tta>,
    /// Folder of data sets [default: that of the run, or data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Part of the data set to evaluate; val and train need the model's own data set and use the split of its run
    #[arg(long, default_value = "test")]
    pub(crate) split: SplitName,
    /// Also print the score without test images that are near-duplicates of training images; needs the model's own data set
    #[arg(long)]
    pub(crate) without_duplicates: bool,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: String,
    /// Number of compute threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tta {
    None,
    Flip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitName {
    Test,
    Val,
    Train,
}

impl SplitName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Val => "val",
            Self::Train => "train",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct BenchArgs {
    /// The architecture, as published
    #[arg(long, value_name = "NAME", default_value = "cnn")]
    pub(crate) model: String,
    /// Measure whole training steps, or forward passes of a trained model
    #[arg(long, default_value = "train")]
    pub(crate) mode: BenchMode,
    /// Precision in which activations are stored and multiplied
    #[arg(long, default_value = "auto")]
    pub(crate) precision: PrecisionArg,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) batch_size: usize,
    /// Rows and columns of the images [default: the architecture's own]
    #[arg(long, value_name = "PX")]
    pub(crate) size: Option<usize>,
    /// Number of compute threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Work in slices that standard input asks for, as a contestant of benches/peers/compare.py
    #[arg(long, hide = true)]
    pub(crate) slices: bool,
}

const BENCH_EXAMPLES: &str = "\
Uses only synthetic images and writes nothing. GFLOP/s count the multiplications and additions of convolutions and linear \
layers, and are compared with the peak that the threads reach without memory access. f2 or f4 beside a convolution means \
that Winograd's transforms save multiplications, which count as if they were done. TALLOW_ISA=avx2 selects a lower \
instruction set, TALLOW_CONV=direct|f2|f4 selects the method of convolution.

Examples:
  trainer bench
  trainer bench --mode infer --precision f32
  trainer bench --model cnn --batch-size 32 --size 64 --threads 2 --json";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BenchMode {
    Train,
    Infer,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trainer report runs/cnn-1
  trainer report runs/cnn-1 --target-accuracy 0.98
  trainer report runs/keras-1 runs/cnn-1 --out comparison.html")]
pub(crate) struct ReportArgs {
    /// Run folders: one for its report, several for a comparison
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// File for the page, with a name that ends in .html, in an existing folder; the charts are written beside it as SVG and
    /// PNG [default: report.html in the run folder, or comparison.html]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Open the page when it is written
    #[arg(long)]
    pub(crate) open: bool,
    /// A TOML file with the costs of errors
    #[arg(long, value_name = "FILE")]
    pub(crate) costs: Option<PathBuf>,
    /// Target accuracy of the answers that the model gives if it may leave uncertain images to a person
    #[arg(long, value_name = "F")]
    pub(crate) target_accuracy: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Run folders, or two series folders of trainer seeds
    #[arg(required = true, num_args = 2.., value_name = "RUN|SERIES")]
    pub(crate) runs: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CardArgs {
    /// A run folder
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
}

/// Parses a name or a path, as the text that a recipe holds.
fn text_of_path() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|given| path_text(Path::new(&given)))
}

/// Returns the arguments, with `train` inserted if they name no command.
pub(crate) fn with_default_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let is_global = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        ["--json", "--verbose", "--quiet", "-q"].contains(&arg.as_ref())
            || arg.strip_prefix('-').is_some_and(is_v)
    };
    let at = 1 + args.iter().skip(1).take_while(|arg| is_global(arg)).count();
    let is_command = args.get(at).is_some_and(|arg| {
        let arg = arg.to_string_lossy();
        !arg.starts_with('-') || ["-h", "--help", "-V", "--version"].contains(&arg.as_ref())
    });
    if !is_command {
        args.insert(at.min(args.len()), "train".into());
    }
    args
}

/// `v`, `vv`, …
fn is_v(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b == b'v')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_train() {
        let with = |text: &str| {
            let args = with_default_command(text.split(' ').map(OsString::from));
            args.join(" ".as_ref()).into_string().unwrap()
        };
        assert_eq!(with("trainer"), "trainer train");
        assert_eq!(with("trainer --recipe eval"), "trainer train --recipe eval");
        assert_eq!(with("trainer --json -vv --epochs 1"), "trainer --json -vv train --epochs 1");
        for unchanged in
            ["trainer eval x", "trainer --json eval x", "trainer --help", "trainer -V", "trainer train"]
        {
            assert_eq!(with(unchanged), unchanged);
        }
    }
}
