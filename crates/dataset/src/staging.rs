//! Staging folders beside the final folder, for unpacking. A lock lets only one call at a time write. The leftovers of
//! a killed call are removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use tallow_core::FileError;

/// Name prefix of staging folders. A staging folder that is found while the lock is held was left by a call that was
/// killed.
pub(crate) const PREFIX: &str = ".unpacking-";

/// Locks the file at `path`, so that no other call writes beside it until the returned file is dropped. Returns `None`
/// if another call holds the lock. The lock file itself stays after a success; only the holder of the lock may remove
/// it.
pub(crate) fn lock(path: &Path) -> Result<Option<File>, FileError> {
    loop {
        let opened = File::options().create(true).truncate(false).write(true).open(path);
        let file = opened.map_err(FileError::writing(path))?;
        match file.try_lock() {
            // The previous holder may have removed the file between our opening it and its unlocking. Other calls would
            // then lock a new file of this name and not see our lock.
            Ok(()) if !is_still_at(&file, path) => {}
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some network file systems cannot lock. There the user has to make sure that only one call writes.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => return Ok(Some(file)),
            Err(TryLockError::Error(e)) => return Err(FileError::new("lock", path)(e)),
        }
    }
}

#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|ours| id(there) == id(ours)))
}

/// Systems without Unix inodes cannot compare the two files. There the lock file is never removed.
#[cfg(not(unix))]
fn is_still_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Removes the lock file at `path`, which the caller holds. Does so only on systems where [`lock`] notices the removal.
pub(crate) fn remove_lock(path: &Path) {
    if cfg!(unix) {
        let _ = fs::remove_file(path); // on failure an empty file stays, which does no harm
    }
}

/// Removes the staging folders in `folder` that killed calls left. The caller holds the lock, so no running call uses
/// them.
pub(crate) fn remove_leftovers(folder: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(FileError::reading(folder))? {
        let entry = entry.map_err(FileError::reading(folder))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(FileError::new("remove", &entry.path()))?;
        }
    }
    Ok(())
}
