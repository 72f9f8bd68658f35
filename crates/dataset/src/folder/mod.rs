//! What a person's path holds: class folders, split folders, a label table, an archive of these (feature `files`).
//!
//! ```text
//! archive?  unpack it once (archive) and go on with the folder
//! walk the folder (tree); tell pictures by suffix or first bytes (kind)
//! a table with labels? -> labels by file (table, columns, lookup, labels)
//! one folder that wraps all? -> go into it, look again
//! train/, val/, test/? -> splits of class folders; else class folders (layout)
//! class names: twins, empty ones, their order; labels (classes)
//! ```
//!
//! Nothing is decoded here: a file with a picture's suffix is listed whatever it holds. What is not listed is counted or
//! named: nothing disappears without a word.
//!
//! # Which folders are classes
//! On the level of classes a folder is
//! * **left alone and named** if a system made it (`lost+found`, `__MACOSX`, a leading dot), if it is a run folder of
//!   this program or holds nothing but runs, or if all that it holds is notes (texts, tables, code, models);
//! * **refused by name** if it has no picture otherwise: empty, hidden files only, or files that no one would keep there
//!   but as examples of a class (videos, raw photographs, links to nothing);
//! * **a class** in all other cases, with every picture below it.

mod archive;
mod classes;
mod columns;
mod error;
mod kind;
mod labels;
mod layout;
mod left_alone;
mod lookup;
mod split_name;
mod splits;
mod table;
mod tree;
mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tallow_core::shown::shown_path;
use tallow_core::{FileError, Progress, StopFlag, files};

use classes::Draft;
pub use error::FolderError;
pub use split_name::SplitName;
use tree::Folder;
pub(crate) use words::pictures;

/// A file that is a picture as far as its name or its first bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Where it is, exactly.
    pub path: PathBuf,
    /// From the root, `/` joined; bytes that are no UTF-8 are U+FFFD. Not escaped.
    pub name: String,
}

impl Picture {
    /// By the bytes of where they are.
    fn by_name(a: &Self, b: &Self) -> std::cmp::Ordering {
        a.path.as_os_str().as_encoded_bytes().cmp(b.path.as_os_str().as_encoded_bytes())
    }
}

/// A picture of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, exactly.
    pub path: PathBuf,
    /// From the root, `/` joined; bytes that are no UTF-8 are U+FFFD. Not escaped.
    pub name: String,
    /// Index into [`Listing::class_names`].
    pub label: u32,
    /// The part that its owner put it into, if the data set has parts.
    pub split: Option<SplitName>,
}

/// Something that stands where a picture could, and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// Where it is, exactly.
    pub path: PathBuf,
    /// From the root, as [`Picture::name`].
    pub name: String,
    /// Why: "a link to nothing".
    pub reason: String,
}

impl BadFile {
    fn new(found: Picture, reason: String) -> Self {
        Self { path: found.path, name: found.name, reason }
    }
}

/// What a path holds.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The folder that names are relative to; of an archive, the folder that it was unpacked into.
    pub root: PathBuf,
    /// The classes; an index into them is a label. By value if all are numbers (2 before 10), else by code point.
    pub class_names: Vec<String>,
    /// The pictures that have a class: by split, then class, then name; from a table: by split, then in its order.
    pub entries: Vec<Entry>,
    /// Pictures that have no class: beside the class folders, or not in the table.
    pub unlabelled: Vec<Picture>,
    /// What cannot be had.
    pub bad: Vec<BadFile>,
    /// How many files and folders are none of the data set's: notes, and what systems put there.
    pub n_left_alone: usize,
    /// A few of their names.
    pub left_alone_examples: Vec<String>,
    /// What the user should know about how the path was read, a line each, fit to be shown.
    pub notices: Vec<String>,
}

impl Listing {
    /// Whether the owner made parts.
    pub fn has_splits(&self) -> bool {
        self.entries.iter().any(|entry| entry.split.is_some())
    }
}

/// What a user says about a table of labels. `None`: found out.
#[derive(Clone, Debug, Default)]
pub struct ListingOptions {
    /// The column with the pictures' names.
    pub file_column: Option<String>,
    /// The column with their classes.
    pub label_column: Option<String>,
    /// The column with their splits.
    pub split_column: Option<String>,
}

impl ListingOptions {
    fn any(&self) -> bool {
        self.file_column.is_some() || self.label_column.is_some() || self.split_column.is_some()
    }
}

/// Lists the pictures and classes of `path`: a folder, a label table, or an archive, which is unpacked under
/// `data_dir/unpacked` once.
///
/// # Errors
/// If the path holds no data set of two classes or more, or says two things about one picture or class: each error says
/// what was found and what to do.
pub fn list(
    path: &Path,
    options: &ListingOptions,
    data_dir: &Path,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Listing, FolderError> {
    let mut notices = Vec::new();
    let (root, table) = match what_is(path)? {
        Given::Folder => (path.to_owned(), None),
        Given::Table => (files::folder_of(path).to_owned(), Some(path)),
        Given::Archive(packing) => {
            let unpacked = archive::unpack(path, packing, data_dir, progress, stop)?;
            notices.push(format!("{} is unpacked in {}", shown_path(path), shown_path(&unpacked)));
            (unpacked, None)
        }
    };
    let tree = tree::walk(&root, progress, stop)?;
    let mut draft = match table {
        Some(table) => labels::of_table(&tree, table, options)?,
        None => of_folder(&tree, options)?,
    };
    notices.append(&mut draft.notices);
    draft.notices = notices;
    draft.finish(&tree)
}

enum Given {
    Folder,
    Table,
    Archive(archive::Packing),
}

fn what_is(path: &Path) -> Result<Given, FolderError> {
    let metadata = metadata(path)?;
    let no_data_set = |what| Err(FolderError::NoDataSet { path: path.to_owned(), what });
    let name = path.to_string_lossy();
    if metadata.is_dir() {
        Ok(Given::Folder)
    } else if !metadata.is_file() {
        no_data_set("neither a file nor a folder")
    } else if matches!(kind::suffix(&name).as_str(), "csv" | "tsv") {
        Ok(Given::Table)
    } else if let Some(packing) = archive::packing(path)? {
        Ok(Given::Archive(packing))
    } else if kind::is_picture(path, &name).map_err(FileError::reading(path))? {
        no_data_set("a single picture")
    } else {
        no_data_set("no data set")
    }
}

/// A folder, through folders that wrap all that is in them.
fn of_folder(tree: &Folder, options: &ListingOptions) -> Result<Draft, FolderError> {
    let (mut notices, mut unused) = (Vec::new(), Vec::new());
    let mut level = tree;
    let mut draft = loop {
        if let Some(draft) = labels::of_folder(level, options, &mut notices, &mut unused)? {
            break draft;
        }
        match layout::wrapped(level) {
            Some(inner) => {
                notices.extend(layout::wrapping_notices(level, inner));
                level = inner;
            }
            None if options.any() => {
                let reason = "a column is named, and no table (.csv, .tsv) is in the folder".into();
                return Err(FolderError::Table { path: level.path.clone(), reason });
            }
            None => break layout::lay_out(level).map_err(|e| e.or_of_table(&mut unused))?,
        }
    };
    for e in unused {
        draft.hint.push_str(&format!("; as labels, a table was not read: {e}"));
        notices.push(format!("not read as labels: {e}"));
    }
    notices.append(&mut draft.notices);
    draft.notices = notices;
    Ok(draft)
}

/// The pictures of a path that is given for prediction.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// The pictures, in the order of their names' bytes.
    pub pictures: Vec<Picture>,
    /// What cannot be had.
    pub bad: Vec<BadFile>,
    /// How many other files are there.
    pub n_left_alone: usize,
    /// A few of their names.
    pub left_alone_examples: Vec<String>,
}

/// All pictures in a folder and below it; a file is taken as it is, whatever its name.
///
/// # Errors
/// If nothing has this name, or a folder cannot be read.
pub fn walk_pictures(path: &Path, progress: &dyn Progress, stop: &StopFlag) -> Result<Walked, FolderError> {
    if !metadata(path)?.is_dir() {
        let picture = Picture { path: path.to_owned(), name: path.to_string_lossy().into_owned() };
        return Ok(Walked { pictures: vec![picture], ..Walked::default() });
    }
    let tree = tree::walk(path, progress, stop)?;
    let left_alone = left_alone::LeftAlone::of(&tree, &[]);
    Ok(Walked {
        pictures: tree.all_pictures(),
        bad: left_alone::all_bad(&tree),
        n_left_alone: left_alone.n,
        left_alone_examples: left_alone.examples(),
    })
}

fn metadata(path: &Path) -> Result<fs::Metadata, FolderError> {
    fs::metadata(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => FolderError::NotThere { path: path.to_owned() },
        _ => FileError::reading(path)(e).into(),
    })
}
