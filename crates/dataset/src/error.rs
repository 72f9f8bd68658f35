//! What can go wrong with data, said to the person who has to put it right.

use std::path::PathBuf;

use tallow_core::FileError;
use tallow_core::shown::shown_path;

/// A file that is no picture, or a damaged one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", shown_path(path))]
pub struct BadPicture {
    /// The file.
    pub path: PathBuf,
    /// "ends early: the JPEG is cut short", "an empty file", …
    pub reason: String,
}

/// Why data could not be had or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A picture cannot be read.
    #[error(transparent)]
    BadPicture(#[from] BadPicture),
    /// Pictures of a data set that cannot be read: more than may be left out, or nobody said that they may be.
    #[error("{}", bad_pictures(bad, *n_pictures, *is_skipping))]
    BadPictures {
        /// Which, and why.
        bad: Vec<BadPicture>,
        /// How many pictures there are, these among them.
        n_pictures: usize,
        /// Whether some may be left out.
        is_skipping: bool,
    },
    /// What a path holds is no data set.
    #[cfg(feature = "files")]
    #[error(transparent)]
    Folder(#[from] crate::folder::FolderError),
    /// A data set of files that cannot be split as it must be.
    #[error("{}: {problem}", shown_path(path))]
    Pictures {
        /// The data set.
        path: PathBuf,
        /// What is there, what is expected, and what to do.
        problem: String,
    },
    /// The data set is not in the data folder.
    #[error("{dataset} is not in {}: get it with `{remedy}`", folder.display())]
    Absent {
        /// "CIFAR-10", …
        dataset: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
        /// The command that gets it.
        remedy: &'static str,
    },
    /// A file of a data set is too short or too long.
    #[error(
        "{} has {found} bytes, {expected} are expected: {} (see `trainer data verify`; get it again with `{remedy}`)",
        path.display(),
        length_trouble(*found, *expected)
    )]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length that it should have.
        expected: u64,
        /// The command that gets it anew.
        remedy: &'static str,
    },
    /// A record's label is no class.
    #[error(
        "{}, record {record}: label {label}, 0 to {} are expected: the file is damaged \
         (see `trainer data verify`; get it again with `{remedy}`)",
        path.display(),
        n_classes - 1
    )]
    RecordLabel {
        /// The file.
        path: PathBuf,
        /// The record, counted from 0.
        record: usize,
        /// What stands there.
        label: u32,
        /// How many classes there are.
        n_classes: usize,
        /// The command that gets it anew.
        remedy: &'static str,
    },
    /// Files of CIFAR's Python version that cannot be used: each with what is wrong with it.
    #[error(
        "{} (get good files from https://www.cs.toronto.edu/~kriz/cifar.html, or the binary version with \
         `cargo xtask fetch-data`)",
        each(.0)
    )]
    CifarPickles(Vec<(PathBuf, String)>),
    /// A class has more or fewer images than the data set is known to have.
    #[error(
        "{}: {found} {part} images of class {class:?}, {expected} are expected: a file is damaged or there twice \
         (see `trainer data verify`; get it again with `{remedy}`)",
        folder.display()
    )]
    ClassCount {
        /// The data set's folder.
        folder: PathBuf,
        /// "training" or "test".
        part: &'static str,
        /// The class.
        class: String,
        /// How many images it has.
        found: usize,
        /// How many it should have.
        expected: usize,
        /// The command that gets it anew.
        remedy: &'static str,
    },
    /// The embedded sample cannot be decoded: the program itself is damaged, or was built from a damaged copy.
    #[error("the embedded sample ({part}) is damaged: {reason}; build again from a clean copy")]
    Sample {
        /// "train.png" or "test.png".
        part: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Images, labels and class names that do not fit together.
    #[error("images do not fit together: {0}")]
    Images(String),
    /// A fraction for validation that cannot be used.
    #[error("validation fraction {fraction}: {reason}")]
    ValFraction {
        /// The fraction that was asked for.
        fraction: f64,
        /// Why it cannot be used.
        reason: String,
    },
    /// Folds that cannot be made.
    #[error(
        "{n_folds} folds cannot be made of {n_groups} different pictures: at least 2 folds, and a picture for each, are expected"
    )]
    Folds {
        /// How many were asked for.
        n_folds: usize,
        /// How many pictures there are, those that are the same photograph counted once.
        n_groups: usize,
    },
    /// A subset that cannot be made.
    #[error("a training subset of {n} images: {reason}")]
    Subset {
        /// How many were asked for.
        n: usize,
        /// Why they cannot be had.
        reason: String,
    },
    /// A setting of how pictures are fitted to the model's input size that cannot be.
    #[error("preprocess.{field} = {value}: {reason}")]
    Preprocess {
        /// The key.
        field: &'static str,
        /// What it holds.
        value: String,
        /// Why it cannot be.
        reason: String,
    },
    /// A setting of the augmentation that cannot be, or does not fit the images.
    #[error("augment.{field} = {value}: {reason}")]
    Augment {
        /// The recipe's key.
        field: &'static str,
        /// What it holds.
        value: String,
        /// Why it cannot be.
        reason: String,
    },
    /// A setting of mixup or cutmix that cannot be.
    #[error("mix.{field} = {value}: {reason}")]
    Mix {
        /// The recipe's key.
        field: &'static str,
        /// What it holds.
        value: f64,
        /// Why it cannot be.
        reason: String,
    },
    /// Batches that cannot be made.
    #[error("batches of {batch_size} from {n_images} images: {reason}")]
    Batches {
        /// The size that was asked for.
        batch_size: usize,
        /// How many images there are.
        n_images: usize,
        /// Why they cannot be made.
        reason: String,
    },
    /// The thread that prepares batches could not be started.
    #[error("cannot start a thread to prepare batches: {0}")]
    Thread(#[source] std::io::Error),
    /// A name that is no data set's.
    #[error("unknown data set {0:?}: cifar10 and cifar100 are known")]
    UnknownDataset(String),
}

fn each(problems: &[(PathBuf, String)]) -> String {
    let lines: Vec<_> =
        problems.iter().map(|(path, problem)| format!("{}: {problem}", path.display())).collect();
    lines.join("\n")
}

fn length_trouble(found: u64, expected: u64) -> &'static str {
    if found < expected { "it is cut short" } else { "it is not the official file" }
}

/// Files of a list that a message names.
const MAX_NAMED: usize = 20;

fn bad_pictures(bad: &[BadPicture], n_pictures: usize, is_skipping: bool) -> String {
    let named = bad.iter().take(MAX_NAMED).map(|bad| format!("  {bad}\n")).collect::<String>();
    let more = match bad.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        n => format!("  and {n} more\n"),
    };
    let n = bad.len();
    let count = format!("{n} of {n_pictures} pictures cannot be read");
    let share = "up to 1 % of them may be left out, and at least 1";
    let remedy = match is_skipping {
        true => format!("--skip-bad leaves out no more than that: {share}. Mend or remove them"),
        false => format!("Mend or remove them, or leave them out with --skip-bad ({share})"),
    };
    format!("{count}:\n{named}{more}{remedy}")
}
