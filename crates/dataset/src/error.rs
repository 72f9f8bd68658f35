//! Errors about data, worded for the person who has to correct the data.

use std::path::PathBuf;

use tallow_core::shown::shown_path;
use tallow_core::{FileError, Foreign};

/// A file that is not a picture, or a damaged picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", shown_path(path))]
pub struct BadPicture {
    /// Path of the file.
    pub path: PathBuf,
    /// Reason: "ends early: the JPEG is cut short", "an empty file", …
    pub reason: String,
}

/// Reason why data could not be loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A picture cannot be read.
    #[error(transparent)]
    BadPicture(#[from] BadPicture),
    /// Pictures of a data set cannot be read, and are more than may be left out, or leaving them out was not allowed.
    #[error("{}", bad_pictures(bad, *n_pictures))]
    BadPictures {
        /// Unreadable pictures, with the reasons.
        bad: Vec<BadPicture>,
        /// Number of all pictures, including the unreadable ones.
        n_pictures: usize,
    },
    /// A path does not hold a data set.
    #[cfg(feature = "files")]
    #[error(transparent)]
    Folder(#[from] crate::folder::FolderError),
    /// A data set of files cannot be split as required.
    #[error("{}: {problem}", shown_path(path))]
    Pictures {
        /// Path of the data set.
        path: PathBuf,
        /// What was found, what is expected, and what to do.
        problem: String,
    },
    /// The data set is not in the data folder.
    #[error("{dataset} is not in {}: get it with `{remedy}`", shown_path(folder))]
    Absent {
        /// Name of the data set: "CIFAR-10", …
        dataset: &'static str,
        /// Folder in which the data set was expected.
        folder: PathBuf,
        /// Command that fetches the data set.
        remedy: &'static str,
    },
    /// A file of a data set is too short or too long.
    #[error(
        "{} has {found} bytes, expected {expected}: {} (see `trainer data verify`; get it again with \
         `{remedy}`)",
        shown_path(path),
        length_trouble(*found, *expected)
    )]
    FileLength {
        /// Path of the file.
        path: PathBuf,
        /// Actual length in bytes.
        found: u64,
        /// Expected length in bytes.
        expected: u64,
        /// Command that fetches the data set again.
        remedy: &'static str,
    },
    /// A record's label is not a class.
    #[error(
        "{}, record {record}: label {label}, expected 0 to {}: the file is damaged (see `trainer data \
         verify`; get it again with `{remedy}`)",
        shown_path(path),
        n_classes - 1
    )]
    RecordLabel {
        /// Path of the file.
        path: PathBuf,
        /// Number of the record, counted from 0.
        record: usize,
        /// Label in the record.
        label: u32,
        /// Number of classes.
        n_classes: usize,
        /// Command that fetches the data set again.
        remedy: &'static str,
    },
    /// Files of CIFAR's Python version cannot be used. Each file comes with its problem.
    #[error(
        "{} (get good files from https://www.cs.toronto.edu/~kriz/cifar.html, or the binary version with \
         `cargo xtask fetch-data`)",
        each(.0)
    )]
    CifarPickles(Vec<(PathBuf, String)>),
    /// A class does not have the number of images that the data set is known to have.
    #[error(
        "{}: {found} {part} images of class {class:?}, expected {expected}: a file is damaged or exists \
         twice (see `trainer data verify`; get it again with `{remedy}`)",
        shown_path(folder)
    )]
    ClassCount {
        /// Folder of the data set.
        folder: PathBuf,
        /// "training" or "test".
        part: &'static str,
        /// The class.
        class: Foreign,
        /// Number of images found.
        found: usize,
        /// Expected number of images.
        expected: usize,
        /// Command that fetches the data set again.
        remedy: &'static str,
    },
    /// The embedded sample cannot be decoded: the program itself is damaged, or was built from a damaged copy.
    #[error("the embedded sample ({part}) is damaged: {reason}; build again from a clean copy")]
    Sample {
        /// "train.png" or "test.png".
        part: &'static str,
        /// Problem of the data.
        reason: String,
    },
    /// Images, labels and class names do not match.
    #[error("images do not fit together: {0}")]
    Images(String),
    /// The validation fraction cannot be used.
    #[error("validation fraction {fraction}: {reason}")]
    ValFraction {
        /// Requested fraction.
        fraction: f64,
        /// Reason why the fraction cannot be used.
        reason: String,
    },
    /// The requested folds cannot be made.
    #[error(
        "cannot make {n_folds} folds of {n_groups} different pictures: expected at least 2 folds, and at \
         least one picture for each"
    )]
    Folds {
        /// Requested number of folds.
        n_folds: usize,
        /// Number of different photographs: near-duplicates count as one.
        n_groups: usize,
    },
    /// The requested subset cannot be made.
    #[error("a training subset of {n} images: {reason}")]
    Subset {
        /// Requested number of images.
        n: usize,
        /// Reason why the subset cannot be made.
        reason: String,
    },
    /// A setting for fitting pictures to the model's input size is not valid.
    #[error("preprocess.{field} = {value}: {reason}")]
    Preprocess {
        /// Key of the setting.
        field: &'static str,
        /// Value of the setting.
        value: String,
        /// Reason why the value is not valid.
        reason: String,
    },
    /// An augmentation setting is not valid, or does not fit the images.
    #[error("augment.{field} = {value}: {reason}")]
    Augment {
        /// The recipe's key.
        field: &'static str,
        /// Value of the setting.
        value: String,
        /// Reason why the value is not valid.
        reason: String,
    },
    /// A setting of mixup or cutmix is not valid.
    #[error("mix.{field} = {value}: {reason}")]
    Mix {
        /// The recipe's key.
        field: &'static str,
        /// Value of the setting.
        value: f64,
        /// Reason why the value is not valid.
        reason: String,
    },
    /// The requested batches cannot be made.
    #[error("batches of {batch_size} from {n_images} images: {reason}")]
    Batches {
        /// Requested batch size.
        batch_size: usize,
        /// Number of images.
        n_images: usize,
        /// Reason why the batches cannot be made.
        reason: String,
    },
    /// The thread that prepares batches could not be started.
    #[error("cannot start a thread to prepare batches: {0}")]
    Thread(#[source] std::io::Error),
    /// An unknown name of a data set.
    #[error("unknown data set {0:?}: expected cifar10 or cifar100")]
    UnknownDataset(String),
}

fn each(problems: &[(PathBuf, String)]) -> String {
    let lines: Vec<_> =
        problems.iter().map(|(path, problem)| format!("{}: {problem}", shown_path(path))).collect();
    lines.join("\n")
}

fn length_trouble(found: u64, expected: u64) -> &'static str {
    if found < expected { "it is cut short" } else { "it is not the official file" }
}

/// Returns the largest number of unreadable pictures, of `n_pictures`, that may be left out.
pub(crate) fn max_skipped(n_pictures: usize) -> usize {
    (n_pictures / 100).max(1)
}

/// Largest number of files that a message names.
const MAX_NAMED: usize = 20;

fn bad_pictures(bad: &[BadPicture], n_pictures: usize) -> String {
    let named = bad.iter().take(MAX_NAMED).map(|bad| format!("  {bad}\n")).collect::<String>();
    let more = match bad.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        n => format!("  and {n} more\n"),
    };
    let n = bad.len();
    let count = format!("{n} of {n_pictures} pictures cannot be read");
    let share = "1 picture or 1 % of all pictures, whichever is more";
    let remedy = match n <= max_skipped(n_pictures) {
        true => format!("Repair or remove them, or leave them out with --skip-bad (at most {share})"),
        false => format!("Repair or remove the damaged pictures. (--skip-bad leaves out at most {share})"),
    };
    format!("{count}:\n{named}{more}{remedy}")
}
