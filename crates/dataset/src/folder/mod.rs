//! Lists the data set at a user's path: class folders, split folders, a label table, or an archive of these (feature
//! `files`).
//!
//! ```text
//! archive?  unpack it once (archive) and continue with the folder
//! walk the folder (tree); recognise pictures by suffix or first bytes (kind)
//! a table with labels? -> labels by file (table, columns, lookup, labels)
//! one folder that wraps everything? -> enter it and start again
//! train/, val/, test/? -> splits of class folders; otherwise class folders (layout)
//! class names: similar names, empty classes, their order; labels (classes)
//! ```
//!
//! Nothing is decoded here: a file with a picture suffix is listed, whatever its content. Everything that is not listed
//! is counted or named, so nothing is dropped silently.
//!
//! # Which folders are classes
//! On the level of classes, a folder is
//! * **ignored and named** if a system made it (`lost+found`, `__MACOSX`, a leading dot), if it is a run folder of this
//!   program or holds nothing but runs, or if it holds nothing but notes (texts, tables, code, models);
//! * **refused by name** if it has no picture for another reason: it is empty, has hidden files only, or has files that
//!   are only kept there as examples of a class (videos, raw photographs, links to nothing);
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
use tallow_core::{FileError, Foreign, Progress, StopFlag, files, path_text};

use classes::Draft;
pub use error::FolderError;
pub use split_name::SplitName;
use tree::Folder;
pub(crate) use words::pictures;

/// A file that is a picture according to its name or its first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Exact path.
    pub path: PathBuf,
    /// Text of the path from the root.
    pub name: Foreign,
}

impl Picture {
    /// Compares pictures by the bytes of their paths.
    fn by_name(a: &Self, b: &Self) -> std::cmp::Ordering {
        a.path.as_os_str().as_encoded_bytes().cmp(b.path.as_os_str().as_encoded_bytes())
    }
}

/// A picture of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPicture {
    /// Exact path.
    pub path: PathBuf,
    /// Text of the path from the root.
    pub name: Foreign,
    /// Label: index into [`Listing::class_names`].
    pub label: u32,
    /// Split that the owner put the picture into; `None` if the data set has no splits.
    pub split: Option<SplitName>,
}

/// A file or link that is found among the pictures and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// Exact path.
    pub path: PathBuf,
    /// Path from the root, like [`Picture::name`].
    pub name: Foreign,
    /// Reason: "a link to nothing". Safe to show.
    pub reason: String,
}

impl BadFile {
    fn new(found: Picture, reason: String) -> Self {
        Self { path: found.path, name: found.name, reason }
    }
}

/// The data set found at a path.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Folder that names are relative to. For an archive, the folder that it was unpacked into.
    pub root: PathBuf,
    /// Class names; the index of a name is its label. Sorted by value if all names are numbers (2 before 10), otherwise
    /// by code point.
    pub class_names: Vec<Foreign>,
    /// Pictures with a class, sorted by split, then class, then name. From a table: sorted by split, then in the order
    /// of the table.
    pub entries: Vec<ListedPicture>,
    /// Pictures without a class: beside the class folders, or not in the table.
    pub unlabelled: Vec<Picture>,
    /// Files and links that cannot be read.
    pub bad: Vec<BadFile>,
    /// Number of ignored files and folders: notes, and system files.
    pub n_left_alone: usize,
    /// A few names of ignored files.
    pub left_alone_examples: Vec<Foreign>,
    /// Notices for the user about how the path was read, one line each, safe to print.
    pub notices: Vec<String>,
}

impl Listing {
    /// Returns whether the data set has splits made by its owner.
    pub fn has_splits(&self) -> bool {
        self.entries.iter().any(|entry| entry.split.is_some())
    }
}

/// Settings for reading a data set. A column of a label table that is `None` is detected.
#[derive(Clone, Debug, Default)]
pub struct ListingOptions {
    /// Column with the pictures' file names.
    pub file_column: Option<String>,
    /// Column with the classes.
    pub label_column: Option<String>,
    /// Column with the splits.
    pub split_column: Option<String>,
    /// Whether a single class is enough, as for the test of a trained model.
    pub allows_one_class: bool,
}

impl ListingOptions {
    fn any(&self) -> bool {
        self.file_column.is_some() || self.label_column.is_some() || self.split_column.is_some()
    }
}

/// Lists the pictures and classes at `path`: a folder, a label table, or an archive, which is unpacked once into
/// `data_dir/unpacked`.
///
/// # Errors
/// If the path does not hold a data set of at least two classes, or has contradictory information about a picture or
/// class. Each error says what was found and what to do.
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
    draft.finish(&tree, options.allows_one_class)
}

enum Given {
    Folder,
    Table,
    Archive(archive::Packing),
}

fn what_is(path: &Path) -> Result<Given, FolderError> {
    let metadata = metadata(path)?;
    let no_data_set = |what| Err(FolderError::NoDataSet { path: path.to_owned(), what });
    let name = path_text(path);
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
        no_data_set("not a data set")
    }
}

/// Lists the data set in a folder. Enters folders that wrap everything in them.
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
                let reason = "a column is named, but the folder has no table (.csv, .tsv)".into();
                return Err(FolderError::Table { path: level.path.clone(), reason });
            }
            None => break layout::lay_out(level).map_err(|e| e.or_of_table(&mut unused))?,
        }
    };
    for e in unused {
        draft.hint.push_str(&format!("; a table could not be used as labels: {e}"));
        notices.push(format!("not used as labels: {e}"));
    }
    notices.append(&mut draft.notices);
    draft.notices = notices;
    Ok(draft)
}

/// The pictures found at a path that was given for prediction.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Pictures, in the order of their names' bytes.
    pub pictures: Vec<Picture>,
    /// Files and links that cannot be read.
    pub bad: Vec<BadFile>,
    /// Number of other files.
    pub n_left_alone: usize,
    /// A few names of ignored files.
    pub left_alone_examples: Vec<Foreign>,
}

/// Returns all pictures in a folder and below it. If `path` is a file, returns that file, whatever its name.
///
/// # Errors
/// If `path` does not exist, or a folder cannot be read.
pub fn walk_pictures(path: &Path, progress: &dyn Progress, stop: &StopFlag) -> Result<Walked, FolderError> {
    if !metadata(path)?.is_dir() {
        let picture = Picture { path: path.to_owned(), name: Foreign::of_path(path) };
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
