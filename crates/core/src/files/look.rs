//! Looks whether a file or a folder is there. An error of the system is not an answer.
//!
//! `Path::exists` and its kin say no if a disk fails or a permission is missing. A file would then be left out, or be
//! overwritten, without a word. These functions return the error.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use super::FileError;

/// Returns the metadata of what is at `path`, or of what a link there leads to; `None` if there is nothing.
///
/// # Errors
/// If the system cannot tell.
pub fn metadata(path: &Path) -> Result<Option<Metadata>, FileError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(FileError::reading(path)(e)),
    }
}

/// Whether anything is at `path`. A link to nothing is nothing.
///
/// # Errors
/// If the system cannot tell.
pub fn exists(path: &Path) -> Result<bool, FileError> {
    Ok(metadata(path)?.is_some())
}

/// Whether a regular file, or a link to one, is at `path`.
///
/// # Errors
/// If the system cannot tell.
pub fn is_file(path: &Path) -> Result<bool, FileError> {
    Ok(metadata(path)?.is_some_and(|metadata| metadata.is_file()))
}

/// Whether a folder, or a link to one, is at `path`.
///
/// # Errors
/// If the system cannot tell.
pub fn is_folder(path: &Path) -> Result<bool, FileError> {
    Ok(metadata(path)?.is_some_and(|metadata| metadata.is_dir()))
}

/// Whether the error says that there is nothing at a path: the file is missing, or a folder above it is missing or is a file.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let look = |path: &Path| (exists(path).unwrap(), is_file(path).unwrap(), is_folder(path).unwrap());
        assert_eq!(look(&file), (true, true, false));
        assert_eq!(look(folder.path()), (true, false, true));
        for nothing in [folder.path().join("other"), folder.path().join("no/file"), file.join("below")] {
            assert_eq!(look(&nothing), (false, false, false), "{nothing:?}");
        }
    }

    /// Nobody can follow a link to itself: here it stands for a disk that fails.
    #[cfg(unix)]
    #[test]
    fn what_the_system_cannot_tell_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        std::os::unix::fs::symlink("gone", path("dangling")).unwrap();
        assert!(!exists(&path("dangling")).unwrap());
        for looked in [exists(&path("loop")), is_file(&path("loop")), is_folder(&path("loop"))] {
            let error = looked.unwrap_err().to_string();
            assert!(error.starts_with("cannot read ") && error.contains("loop: "), "{error}");
        }
    }
}
