//! Durable files: a file is either complete or absent, even after a power cut.
//!
//! Content goes to a temporary name in the same folder and is synced. The temporary file is then renamed to the final
//! name, and the folder is synced. Logs, which grow line by line, are left to the modules that write them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::shown::shown_path;

/// A failed file operation: the operation, the path and the cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}{}", shown_path(path), remedy(source))]
pub struct FileError {
    /// The verb: "read", "write", "create the folder", …
    pub operation: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The cause, usually an error of the operating system.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Returns a closure for `map_err` on an operation on `path`.
    pub fn new(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self { operation, path, source }
    }

    /// Returns a closure for `map_err` on a read of `path`.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        Self::new("read", path)
    }

    /// Returns a closure for `map_err` on a write to `path`.
    pub fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        Self::new("write", path)
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => " (free some space or choose another folder)",
        io::ErrorKind::PermissionDenied => " (check who owns it, or choose another folder)",
        io::ErrorKind::ReadOnlyFilesystem => " (choose a folder that you can write to)",
        _ => "",
    }
}

/// Writes `bytes` to `path` durably: the file holds the old content or the new content, never a part.
///
/// # Errors
/// If the folder is missing or cannot be written, or if the disk is full. The old file is then untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_with(path, |file| file.write_all(bytes))
}

/// Writes a file like [`write()`], for content that `produce` writes piece by piece.
///
/// # Errors
/// The same as [`write()`], and the errors that `produce` returns.
pub fn write_with(
    path: &Path,
    produce: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let folder = folder_of(path);
    let mut temporary =
        tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder).map_err(FileError::writing(path))?;
    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    produce(&mut writer).and_then(|()| writer.flush()).map_err(FileError::writing(path))?;
    drop(writer);
    make_ordinary(temporary.as_file()).map_err(FileError::writing(path))?;
    temporary.as_file().sync_all().map_err(FileError::writing(path))?;
    temporary.persist(path).map_err(|e| FileError::writing(path)(e.error))?;
    sync_folder(folder)
}

/// Makes the file as readable as any new file: temporary files are created for their owner alone.
#[cfg(unix)]
fn make_ordinary(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_ordinary(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Syncs `folder`, so that renames and new names in it survive a power cut.
///
/// # Errors
/// If the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    if cfg!(unix) {
        let sync = File::open(folder).and_then(|f| f.sync_all());
        sync.map_err(FileError::new("sync the folder", folder))?;
    }
    Ok(())
}

/// Creates `folder` and its missing parents.
///
/// # Errors
/// If the folder cannot be created, or if a file of that name is in the way.
pub fn create_folder(folder: &Path) -> Result<(), FileError> {
    fs::create_dir_all(folder).map_err(FileError::new("create the folder", folder))
}

/// Reads the whole file at `path`, which may have at most `max_bytes` bytes.
///
/// # Errors
/// If the file cannot be read, is not a regular file, or is longer than `max_bytes`.
pub fn read_at_most(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let metadata = fs::metadata(path).map_err(FileError::reading(path))?;
    let refuse = |what: String| FileError::reading(path)(io::Error::new(io::ErrorKind::InvalidData, what));
    if !metadata.is_file() {
        return Err(refuse("it is not a regular file".into()));
    }
    if metadata.len() > max_bytes {
        return Err(refuse(format!("it has {} bytes, expected at most {max_bytes}", metadata.len())));
    }
    fs::read(path).map_err(FileError::reading(path))
}

/// Returns the folder that holds `path`; `.` if the path has no folder.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_replaces_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_keeps_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"one").unwrap();
        let failed = write_with(&path, |file| {
            file.write_all(b"tw")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let message = failed.unwrap_err().to_string();
        assert!(message.contains("a.txt") && message.contains("free some space"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_long_file_or_a_folder_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"12345").unwrap();
        assert_eq!(read_at_most(&path, 5).unwrap(), b"12345");
        assert!(read_at_most(&path, 4).unwrap_err().to_string().contains("at most 4"));
        assert!(read_at_most(folder.path(), 4).unwrap_err().to_string().contains("not a regular file"));
    }
}
