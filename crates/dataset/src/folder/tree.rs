//! Walking a folder: what lies where, in an order that no file system decides. What it means is for `layout`.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::path::{Path, PathBuf};

use tallow_core::{Bar, FileError, Progress, StopFlag, Unit};

use super::{BadFile, FolderError, Picture, kind};

/// A root of links into links ends here, long before memory does.
const MAX_FILES: u64 = 10_000_000;
const MAX_DEPTH: usize = 64;

/// A folder and all below it. Lists are in the order of the names' bytes.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// From the root, `/` joined, lossy; empty for the root.
    pub(super) name: String,
    pub(super) pictures: Vec<Picture>,
    /// Files that are no pictures.
    pub(super) others: Vec<Picture>,
    pub(super) folders: Vec<Folder>,
    /// What systems left: names, with a `/` after a folder's. Nobody looked into those.
    pub(super) system: Vec<String>,
    /// Links to nothing, and what else is there and cannot be had.
    pub(super) bad: Vec<BadFile>,
    /// Links that lead back to a folder above them.
    pub(super) loops: Vec<String>,
}

impl Folder {
    /// The last part of its name.
    pub(super) fn own_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Whether an earlier training of this program wrote it: its marks, and no pictures beside them.
    pub(super) fn is_run(&self) -> bool {
        self.pictures.is_empty() && self.others.iter().any(|file| kind::marks_run(last(&file.name)))
    }

    /// Itself and all folders below, without runs and what is in them.
    pub(super) fn within(&self) -> Vec<&Folder> {
        let mut all = vec![self];
        let mut next = 0;
        while let Some(folder) = all.get(next).copied() {
            all.extend(folder.folders.iter().filter(|folder| !folder.is_run()));
            next += 1;
        }
        all
    }

    /// How many pictures are in it and below, those of runs left out.
    pub(super) fn n_pictures(&self) -> usize {
        self.within().iter().map(|folder| folder.pictures.len()).sum()
    }

    /// The pictures in it and below, those of runs left out, in the order of their names' bytes.
    pub(super) fn all_pictures(&self) -> Vec<Picture> {
        let mut all: Vec<Picture> =
            self.within().iter().flat_map(|folder| &folder.pictures).cloned().collect();
        all.sort_by(Picture::by_name);
        all
    }

    /// The folders directly in it that have pictures.
    pub(super) fn with_pictures(&self) -> impl Iterator<Item = &Folder> {
        self.folders.iter().filter(|folder| !folder.is_run() && folder.n_pictures() > 0)
    }
}

/// The last part of a `/` joined name.
pub(super) fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Walks `root`. Links are followed; one that leads to a folder on the way to itself, or above that, is not.
///
/// # Errors
/// If a folder cannot be read, there is too much, or the user asks to stop.
pub(super) fn walk(root: &Path, progress: &dyn Progress, stop: &StopFlag) -> Result<Folder, FolderError> {
    let bar = Bar::begin(progress, "looking for pictures", None, Unit::Items("files"));
    Walk { root, bar, stop, chain: Vec::new(), n_files: 0 }.folder(root.to_owned(), String::new())
}

struct Walk<'a> {
    root: &'a Path,
    bar: Bar<'a>,
    stop: &'a StopFlag,
    /// The folders that lead to this one, without links.
    chain: Vec<PathBuf>,
    n_files: u64,
}

impl Walk<'_> {
    fn folder(&mut self, path: PathBuf, name: String) -> Result<Folder, FolderError> {
        if let Some(signal) = self.stop.raised() {
            return Err(FolderError::Stopped(signal));
        }
        if self.chain.len() > MAX_DEPTH {
            return Err(self.too_much(format!("folders within folders, more than {MAX_DEPTH} deep")));
        }
        let reading = || FileError::new("read the folder", &path);
        self.chain.push(fs::canonicalize(&path).map_err(reading())?);
        let mut entries: Vec<DirEntry> = fs::read_dir(&path).and_then(Iterator::collect).map_err(reading())?;
        entries.sort_by(|a, b| a.file_name().as_encoded_bytes().cmp(b.file_name().as_encoded_bytes()));
        self.n_files += entries.len() as u64;
        self.bar.advance(self.n_files);
        if self.n_files > MAX_FILES {
            return Err(self.too_much(format!("more than {MAX_FILES} files")));
        }
        let mut folder = Folder { path, name, ..Folder::default() };
        for entry in entries {
            self.take(&entry, &mut folder)?;
        }
        self.chain.pop();
        Ok(folder)
    }

    fn take(&mut self, entry: &DirEntry, folder: &mut Folder) -> Result<(), FolderError> {
        let path = entry.path();
        let own_name = entry.file_name();
        let found = Picture { name: joined(&folder.name, &own_name), path };
        let link_or_not = entry.file_type().map_err(FileError::reading(&found.path))?;
        if kind::is_system(&own_name) {
            let slash = if link_or_not.is_dir() { "/" } else { "" };
            folder.system.push(format!("{}{slash}", found.name));
            return Ok(());
        }
        let file_type = match followed(&found.path, link_or_not) {
            Ok(file_type) => file_type,
            Err(reason) => {
                folder.bad.push(BadFile::new(found, reason));
                return Ok(());
            }
        };
        if file_type.is_dir() {
            if link_or_not.is_symlink() && self.leads_back(&found.path)? {
                folder.loops.push(found.name);
            } else {
                folder.folders.push(self.folder(found.path, found.name)?);
            }
        } else if file_type.is_file() {
            match kind::is_picture(&found.path, last(&found.name)) {
                Ok(true) => folder.pictures.push(found),
                Ok(false) => folder.others.push(found),
                // its suffix says that it is something else
                Err(_) if !kind::suffix(last(&found.name)).is_empty() => folder.others.push(found),
                Err(e) => folder.bad.push(BadFile::new(found, format!("cannot be read: {e}"))),
            }
        } else {
            folder.bad.push(BadFile::new(found, "neither a file nor a folder".into()));
        }
        Ok(())
    }

    /// Whether a linked folder holds one that leads to the link: following it would not end.
    fn leads_back(&self, link: &Path) -> Result<bool, FileError> {
        let target = fs::canonicalize(link).map_err(FileError::new("follow the link", link))?;
        Ok(self.chain.iter().any(|folder| folder.starts_with(&target)))
    }

    fn too_much(&self, reason: String) -> FolderError {
        FolderError::TooMuch { path: self.root.to_owned(), reason }
    }
}

/// What a link leads to, or what is there itself.
fn followed(path: &Path, link_or_not: FileType) -> Result<FileType, String> {
    if !link_or_not.is_symlink() {
        return Ok(link_or_not);
    }
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.file_type()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err("a link to nothing".into()),
        Err(e) => Err(format!("a link that cannot be followed: {e}")),
    }
}

fn joined(folder: &str, own_name: &OsStr) -> String {
    let own_name = own_name.to_string_lossy();
    if folder.is_empty() { own_name.into_owned() } else { format!("{folder}/{own_name}") }
}
