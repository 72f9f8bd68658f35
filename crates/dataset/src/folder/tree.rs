//! Walks a folder and lists its contents, in an order that does not depend on the file system. Interpreting the
//! contents is left to `layout`.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::path::{Path, PathBuf};

use tallow_core::{Bar, FileError, Progress, StopFlag, Unit, path_text};

use super::{BadFile, FolderError, Picture, kind};

/// Limits that end a walk through links into links long before memory is used up.
const MAX_FILES: u64 = 10_000_000;
const MAX_DEPTH: usize = 64;

/// A folder and everything below it. Lists are in the order of the names' bytes.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Text of the path from the root ([`path_text`]); empty for the root.
    pub(super) name: String,
    pub(super) pictures: Vec<Picture>,
    /// Files that are not pictures.
    pub(super) others: Vec<Picture>,
    pub(super) folders: Vec<Folder>,
    /// Names of system files and folders; folders end in `/` and are not entered.
    pub(super) system: Vec<String>,
    /// Links to nothing, and other entries that cannot be read.
    pub(super) bad: Vec<BadFile>,
    /// Links that lead back to a folder above them.
    pub(super) loops: Vec<String>,
}

impl Folder {
    /// Returns the last part of the folder's name.
    pub(super) fn own_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Returns whether an earlier training of this program wrote the folder: it has the marker files and no pictures
    /// beside them.
    pub(super) fn is_run(&self) -> bool {
        self.pictures.is_empty() && self.others.iter().any(|file| kind::marks_run(last(file.name.raw())))
    }

    /// Returns this folder and all folders below it, without run folders and their contents.
    pub(super) fn within(&self) -> Vec<&Folder> {
        let mut all = vec![self];
        let mut next = 0;
        while let Some(folder) = all.get(next).copied() {
            all.extend(folder.folders.iter().filter(|folder| !folder.is_run()));
            next += 1;
        }
        all
    }

    /// Returns the number of pictures in the folder and below it, without those of runs.
    pub(super) fn n_pictures(&self) -> usize {
        self.within().iter().map(|folder| folder.pictures.len()).sum()
    }

    /// Returns the pictures in the folder and below it, without those of runs, in the order of their names' bytes.
    pub(super) fn all_pictures(&self) -> Vec<Picture> {
        let mut all: Vec<Picture> =
            self.within().iter().flat_map(|folder| &folder.pictures).cloned().collect();
        all.sort_by(Picture::by_name);
        all
    }

    /// Returns the direct subfolders that have pictures.
    pub(super) fn with_pictures(&self) -> impl Iterator<Item = &Folder> {
        self.folders.iter().filter(|folder| !folder.is_run() && folder.n_pictures() > 0)
    }
}

/// Returns the last part of a name joined by `/`.
pub(super) fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Walks `root`. Links are followed, except links to one of the folders that lead to the link, or to a folder above
/// these.
///
/// # Errors
/// If a folder cannot be read, a limit is exceeded, or the user asks to stop.
pub(super) fn walk(root: &Path, progress: &dyn Progress, stop: &StopFlag) -> Result<Folder, FolderError> {
    let bar = Bar::begin(progress, "looking for pictures", None, Unit::Items("files"));
    Walk { root, bar, stop, chain: Vec::new(), n_files: 0 }.folder(root.to_owned(), String::new())
}

struct Walk<'a> {
    root: &'a Path,
    bar: Bar<'a>,
    stop: &'a StopFlag,
    /// Folders that lead to the current one, with links resolved.
    chain: Vec<PathBuf>,
    n_files: u64,
}

impl Walk<'_> {
    fn folder(&mut self, path: PathBuf, name: String) -> Result<Folder, FolderError> {
        if let Some(signal) = self.stop.raised() {
            return Err(FolderError::Stopped(signal));
        }
        if self.chain.len() > MAX_DEPTH {
            return Err(self.too_much(format!("folders are nested more than {MAX_DEPTH} deep")));
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
        let found = Picture { name: joined(&folder.name, &own_name).into(), path };
        let link_or_not = entry.file_type().map_err(FileError::reading(&found.path))?;
        if kind::is_system(&own_name) {
            let slash = if link_or_not.is_dir() { "/" } else { "" };
            folder.system.push(format!("{}{slash}", found.name.raw()));
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
                folder.loops.push(found.name.into_raw());
            } else {
                folder.folders.push(self.folder(found.path, found.name.into_raw())?);
            }
        } else if file_type.is_file() {
            match kind::is_picture(&found.path, last(found.name.raw())) {
                Ok(true) => folder.pictures.push(found),
                Ok(false) => folder.others.push(found),
                // the suffix shows that it is not a picture
                Err(_) if !kind::suffix(last(found.name.raw())).is_empty() => folder.others.push(found),
                Err(e) => folder.bad.push(BadFile::new(found, format!("cannot be read: {e}"))),
            }
        } else {
            folder.bad.push(BadFile::new(found, "neither a file nor a folder".into()));
        }
        Ok(())
    }

    /// Returns whether a linked folder contains the link itself, so that following the link would never end.
    fn leads_back(&self, link: &Path) -> Result<bool, FileError> {
        let target = fs::canonicalize(link).map_err(FileError::new("follow the link", link))?;
        Ok(self.chain.iter().any(|folder| folder.starts_with(&target)))
    }

    fn too_much(&self, reason: String) -> FolderError {
        FolderError::TooMuch { path: self.root.to_owned(), reason }
    }
}

/// Returns the file type of a link's target, or of the entry itself if it is not a link.
fn followed(path: &Path, link_or_not: FileType) -> Result<FileType, String> {
    if !link_or_not.is_symlink() {
        return Ok(link_or_not);
    }
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.file_type()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err("a broken link".into()),
        Err(e) => Err(format!("a link that cannot be followed: {e}")),
    }
}

fn joined(folder: &str, own_name: &OsStr) -> String {
    let own_name = path_text(Path::new(own_name));
    if folder.is_empty() { own_name } else { format!("{folder}/{own_name}") }
}
