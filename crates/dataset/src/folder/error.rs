//! Why a path holds no data set that can be trained on, said to the person who made it.

use std::path::PathBuf;

use tallow_core::shown::shown_path;
use tallow_core::{FileError, StopSignal};

use super::kind::READ_KINDS;

/// Why pictures and their classes could not be listed. Names from outside stand in it fit to be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file or folder could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The user asked to stop.
    #[error("stopped")]
    Stopped(StopSignal),
    /// Nothing has this name.
    #[error("{} is not there: check the path", shown_path(path))]
    NotThere {
        /// The path that was given.
        path: PathBuf,
    },
    /// A file that is neither a table nor an archive.
    #[error(
        "{} is {what}: give a folder of class folders, a label table (.csv, .tsv) or an archive (.zip, .tar, .tar.gz)",
        shown_path(path)
    )]
    NoDataSet {
        /// The path that was given.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Too many files, or too deep.
    #[error("{}: {reason}: give the folder that holds the pictures alone", shown_path(path))]
    TooMuch {
        /// The folder.
        path: PathBuf,
        /// What there is too much of.
        reason: String,
    },
    /// Not one picture.
    #[error("{}: no pictures; found: {found}; read are {READ_KINDS}{hint}", shown_path(path))]
    NoPictures {
        /// The folder.
        path: PathBuf,
        /// The kinds of files that are there, counted.
        found: String,
        /// What may have been meant.
        hint: String,
    },
    /// Pictures, but nothing that says what they are.
    #[error(
        "{}: {found}, but nothing says which class they are: put each class's pictures into a folder of its name, or \
         add a table with a column of file names and a column of labels{hint}",
        shown_path(path)
    )]
    NoClasses {
        /// The folder.
        path: PathBuf,
        /// The pictures that were found.
        found: String,
        /// Why tables that are there do not serve, and the like.
        hint: String,
    },
    /// One class.
    #[error("{}: two classes are needed, found one: {class}{hint}", shown_path(path))]
    OneClass {
        /// The folder or table.
        path: PathBuf,
        /// The class.
        class: String,
        /// What may have been meant.
        hint: String,
    },
    /// Classes without a picture to learn from.
    #[error(
        "{}: no {part}pictures of {classes}: put some there, or remove the class everywhere",
        shown_path(path)
    )]
    EmptyClasses {
        /// The folder or table.
        path: PathBuf,
        /// "training " where there are splits.
        part: &'static str,
        /// The classes, and what is there in place of pictures.
        classes: String,
    },
    /// Classes whose names a person takes for the same.
    #[error(
        "{}: class names that differ only in case, spaces or the spelling of accents: {names}: \
         merge them, or give them different names",
        shown_path(path)
    )]
    TwinNames {
        /// The folder or table.
        path: PathBuf,
        /// The names, together: `"Cat" and "cat"`.
        names: String,
    },
    /// Folders of which it is not clear whether they are splits or classes.
    #[error("{}: {what}", shown_path(path))]
    Splits {
        /// The folder that holds them.
        path: PathBuf,
        /// What is unclear, and the remedy.
        what: String,
    },
    /// A file that cannot be read as a table.
    #[error("{}: {reason}", shown_path(path))]
    Table {
        /// The table.
        path: PathBuf,
        /// What is wrong, where, and the remedy.
        reason: String,
    },
    /// A table whose columns do not say what they are.
    #[error("{}: {what} (its columns: {columns}): name it with {flag}", shown_path(path))]
    Columns {
        /// The table.
        path: PathBuf,
        /// What is missing or ambiguous.
        what: String,
        /// All columns.
        columns: String,
        /// The flag that says it.
        flag: &'static str,
    },
    /// A table and the pictures beside it that do not agree.
    #[error("{} and the pictures do not agree; put right and run again:\n  {troubles}", shown_path(path))]
    Troubles {
        /// The table.
        path: PathBuf,
        /// Each trouble with its row and file, a line each.
        troubles: String,
    },
    /// Several tables that could be meant.
    #[error(
        "{}: several tables have labels: {tables}: give the path of the one that is meant",
        shown_path(path)
    )]
    ManyTables {
        /// The folder.
        path: PathBuf,
        /// Their names.
        tables: String,
    },
    /// An archive that is damaged, or that is not unpacked for safety.
    #[error("{}: {reason}", shown_path(path))]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
}

impl FolderError {
    /// Where folders say no classes, why the first table beside them does not either: that is what can be put right.
    pub(super) fn or_of_table(self, unused: &mut Vec<Self>) -> Self {
        match self {
            Self::NoClasses { .. } | Self::Splits { .. } if !unused.is_empty() => unused.swap_remove(0),
            other => other,
        }
    }
}
