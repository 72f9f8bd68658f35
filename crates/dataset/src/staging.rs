//! Fresh folders beside a final one, for what is unpacked: one call at a time writes, and what a killed call left goes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use tallow_core::FileError;

/// Fresh folders for unpacking begin with this; one that is found is left from a call that was killed.
pub(crate) const PREFIX: &str = ".unpacking-";

/// Keeps other calls from writing beside the file at `path` until it is dropped; `None` if one is writing. The lock file
/// itself stays where all went well; who holds it may remove it.
pub(crate) fn lock(path: &Path) -> Result<Option<File>, FileError> {
    loop {
        let opened = File::options().create(true).truncate(false).write(true).open(path);
        let file = opened.map_err(FileError::writing(path))?;
        match file.try_lock() {
            // the holder before may have removed the file between our opening it and its letting go: then others see another
            // file of this name, and would not know of our lock
            Ok(()) if !is_still_at(&file, path) => {}
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => return Ok(None),
            // some network file systems cannot lock; then it is the user who sees to it
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

/// Where files cannot be told apart, none is removed.
#[cfg(not(unix))]
fn is_still_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Removes the lock file at `path`, which we hold, where [`lock`] notices that.
pub(crate) fn remove_lock(path: &Path) {
    if cfg!(unix) {
        let _ = fs::remove_file(path); // an empty file that nobody minds
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
