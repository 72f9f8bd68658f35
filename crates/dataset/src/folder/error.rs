//! Reasons why a path does not hold a usable data set, worded for the person who made it.

use std::path::PathBuf;

use tallow_core::shown::{shown, shown_path};
use tallow_core::{FileError, StopSignal, path_text};

use super::kind::READ_KINDS;

/// Reason why pictures and their classes could not be listed. Names of files and classes in it are safe to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file or folder could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The user asked to stop.
    #[error("stopped")]
    Stopped(StopSignal),
    /// The path does not exist.
    #[error("{} does not exist: check the path", shown_path(path))]
    NotThere {
        /// Path given by the user.
        path: PathBuf,
    },
    /// The path is a file that is neither a table nor an archive.
    #[error(
        "{} is {what}: give a folder of class folders, a label table (.csv, .tsv) or an archive (.zip, .tar, .tar.gz)",
        shown_path(path)
    )]
    NoDataSet {
        /// Path given by the user.
        path: PathBuf,
        /// Description of the file.
        what: &'static str,
    },
    /// There are too many files, or folders are nested too deeply.
    #[error("{}: {reason}: give a folder that holds only the pictures", shown_path(path))]
    TooMuch {
        /// Path of the folder.
        path: PathBuf,
        /// Limit that was exceeded.
        reason: String,
    },
    /// There is not a single picture.
    #[error("{}: no pictures; found: {found}; supported formats: {READ_KINDS}{hint}", shown_path(path))]
    NoPictures {
        /// Path of the folder.
        path: PathBuf,
        /// Kinds of the files found, with counts.
        found: String,
        /// Hint at what the user may have meant.
        hint: String,
    },
    /// There are pictures, but nothing gives their classes.
    #[error(
        "{}: {found}, but their classes are unknown: put the pictures of each class into a folder named \
         after the class, or add a table with a column of file names and a column of labels{hint}",
        shown_path(path)
    )]
    NoClasses {
        /// Path of the folder.
        path: PathBuf,
        /// Pictures that were found.
        found: String,
        /// Reasons why existing tables cannot be used, and similar hints.
        hint: String,
    },
    /// There is only one class.
    #[error("{}: expected at least two classes, found one: {class}{hint}", shown_path(path))]
    OneClass {
        /// Path of the folder or table.
        path: PathBuf,
        /// Name of the class.
        class: String,
        /// Hint at what the user may have meant.
        hint: String,
    },
    /// Classes have no picture to train on.
    #[error("{}: no {part}pictures of {classes}: add some, or remove the class everywhere", shown_path(path))]
    EmptyClasses {
        /// Path of the folder or table.
        path: PathBuf,
        /// "training " if there are splits, otherwise empty.
        part: &'static str,
        /// Names of the classes, with what was found in place of pictures.
        classes: String,
    },
    /// Class names differ so little that a person takes them for the same.
    #[error(
        "{}: class names that differ only in case, spaces or the spelling of accents: {names}: \
         merge them, or give them different names",
        shown_path(path)
    )]
    TwinNames {
        /// Path of the folder or table.
        path: PathBuf,
        /// Similar names, grouped: `"Cat" and "cat"`.
        names: String,
    },
    /// A class folder's name is not text.
    #[error(
        "{}: the name of this folder is not UTF-8 text, so it cannot be the name of a class: rename the folder",
        shown(&path_text(path))
    )]
    ClassName {
        /// Path of the class folder.
        path: PathBuf,
    },
    /// Folders may be splits or classes; it is unclear which.
    #[error("{}: {what}", shown_path(path))]
    Splits {
        /// Path of the folder that holds them.
        path: PathBuf,
        /// Problem and remedy.
        what: String,
    },
    /// A file cannot be read as a table.
    #[error("{}: {reason}", shown_path(path))]
    Table {
        /// Path of the table.
        path: PathBuf,
        /// Problem, its place, and the remedy.
        reason: String,
    },
    /// The columns of a table cannot be identified.
    #[error("{}: {what} (its columns: {columns}): name the column with {flag}", shown_path(path))]
    Columns {
        /// Path of the table.
        path: PathBuf,
        /// What is missing or ambiguous.
        what: String,
        /// Names of all columns.
        columns: String,
        /// Command-line flag that names the column.
        flag: &'static str,
    },
    /// A table and the pictures beside it contradict each other.
    #[error(
        "{} and the pictures contradict each other; correct this and run again:\n  {troubles}",
        shown_path(path)
    )]
    Troubles {
        /// Path of the table.
        path: PathBuf,
        /// Problems, one a line, each with its row and file.
        troubles: String,
    },
    /// Several tables could be the label table.
    #[error(
        "{}: several tables have labels: {tables}: give the path of the table that you mean",
        shown_path(path)
    )]
    ManyTables {
        /// Path of the folder.
        path: PathBuf,
        /// Names of the tables.
        tables: String,
    },
    /// An archive is damaged, or is not unpacked for safety.
    #[error("{}: {reason}", shown_path(path))]
    Archive {
        /// Path of the archive.
        path: PathBuf,
        /// Problem and remedy.
        reason: String,
    },
}

impl FolderError {
    /// If folders give no classes, returns the error of the first unusable table instead: that is what the user can
    /// correct.
    pub(super) fn or_of_table(self, unused: &mut Vec<Self>) -> Self {
        match self {
            Self::NoClasses { .. } | Self::Splits { .. } if !unused.is_empty() => unused.swap_remove(0),
            other => other,
        }
    }
}
