//! Fresh folders beside a final one, for what is unpacked: one call at a time writes, and what a killed call left goes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use tallow_core::FileError;

/// Fresh folders for unpacking begin with this; one that is found is left from a call that was killed.
pub(crate) const PREFIX: &str = ".unpacking-";

/// Keeps other calls from writing beside the file at `path` until it is dropped; `None` if one is writing. The lock file
/// itself stays: removing it would let two others lock two files of the same name.
pub(crate) fn lock(path: &Path) -> Result<Option<File>, FileError> {
    let opened = File::options().create(true).truncate(false).write(true).open(path);
    let file = opened.map_err(FileError::writing(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        // some network file systems cannot lock; then it is the user who sees to it
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(Some(file)),
        Err(TryLockError::Error(e)) => Err(FileError::new("lock", path)(e)),
    }
}

/// Removes what a call that was killed while unpacking left in `folder`. We hold the lock: nobody uses it.
pub(crate) fn remove_leftovers(folder: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(FileError::reading(folder))? {
        let entry = entry.map_err(FileError::reading(folder))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(FileError::new("remove", &entry.path()))?;
        }
    }
    Ok(())
}
