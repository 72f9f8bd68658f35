//! Durable files: a file is either complete or absent, even after a power cut.
//!
//! Content goes to a temporary name in the same folder and is synced. The temporary file is then renamed to the final
//! name, and the folder is synced. `temporary.rs` creates temporary files, and removes those that killed processes left.
//! `read.rs` reads files within bounds, `look.rs` tells whether one is there. Logs, which grow line by line, are left to
//! the modules that write them.

mod look;
mod read;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use look::{exists, is_absent, is_file, is_folder, metadata};
pub use read::{kind, open, read_at_most, read_stream, read_text};

use crate::shown::shown_path;
use crate::temporary;

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
/// A link is followed to its file. A device or a FIFO is written to, not replaced; nothing is durable there.
///
/// # Errors
/// If `path` is a folder, a socket or a link to nothing, if the folder around it is missing or cannot be written, or if the
/// disk is full. The old file is then untouched.
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
    let path = &match target(path).map_err(FileError::writing(path))? {
        Target::File(path) => path,
        Target::Stream => return write_stream(path, produce),
    };
    let folder = folder_of(path);
    let mut temporary = temporary::file(folder).map_err(FileError::writing(path))?;
    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    produce(&mut writer).and_then(|()| writer.flush()).map_err(FileError::writing(path))?;
    drop(writer);
    temporary.as_file().sync_all().map_err(FileError::writing(path))?;
    temporary.persist(path).map_err(|e| FileError::writing(path)(e.error))?;
    sync_folder(folder)
}

/// The place that a path to write to names.
enum Target {
    /// A file, or no file yet.
    File(PathBuf),
    /// A device or a FIFO.
    Stream,
}

/// Returns the place that `path` names.
fn target(path: &Path) -> io::Result<Target> {
    let refuse = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
    let link = match fs::symlink_metadata(path) {
        Ok(link) => link,
        Err(e) if is_absent(&e) => return Ok(Target::File(path.to_owned())),
        Err(e) => return Err(e), // what is there could be a link or a device, which must not be replaced
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(_) if link.is_symlink() => {
            return refuse("it is a link to nothing: remove it, or choose another file");
        }
        Err(e) => return Err(e),
    };
    if metadata.is_dir() {
        return refuse("it is a folder: choose a file");
    }
    if is_stream(&metadata) {
        return Ok(Target::Stream);
    }
    match (metadata.is_file(), link.is_symlink()) {
        (false, _) => refuse("it is not a regular file: choose another"),
        (true, true) => Ok(Target::File(fs::canonicalize(path)?)),
        (true, false) => Ok(Target::File(path.to_owned())),
    }
}

#[cfg(unix)]
fn is_stream(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    kind.is_char_device() || kind.is_block_device() || kind.is_fifo()
}

#[cfg(not(unix))]
fn is_stream(_metadata: &fs::Metadata) -> bool {
    false
}

/// Writes to a device or a FIFO.
fn write_stream(
    path: &Path,
    produce: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let mut file = fs::OpenOptions::new().write(true).open(path).map_err(FileError::writing(path))?;
    let mut writer = BufWriter::with_capacity(1 << 20, &mut file);
    produce(&mut writer).and_then(|()| writer.flush()).map_err(FileError::writing(path))
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

/// Creates `folder` and its missing parents, durably: after a power cut, none of them is missing while a later file is there.
///
/// # Errors
/// If the folder cannot be created or synced, or if a file of that name is in the way.
pub fn create_folder(folder: &Path) -> Result<(), FileError> {
    let is_missing = |f: &&Path| !f.as_os_str().is_empty() && fs::symlink_metadata(f).is_err();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(folder).map_err(FileError::new("create the folder", folder))?;
    // the name of a new folder is certain once the folder around it is synced
    missing.into_iter().try_for_each(|folder| match sync_folder(folder_of(folder)) {
        // only a folder that may be read can be synced
        Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    })
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

    /// As any file that `File::create` makes.
    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        File::create(folder.path().join("any")).unwrap();
        write(&folder.path().join("a.txt"), b"one").unwrap();
        assert_eq!(mode("a.txt"), mode("any"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_streams_are_written_to() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write(&path("file"), b"one").unwrap();
        symlink("file", path("link")).unwrap();
        write(&path("link"), b"two").unwrap();
        assert_eq!(fs::read(path("file")).unwrap(), b"two");
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());

        symlink("nowhere", path("dangling")).unwrap();
        assert!(write(&path("dangling"), b"x").unwrap_err().to_string().contains("link to nothing"));
        assert!(write(folder.path(), b"x").unwrap_err().to_string().contains("it is a folder"));

        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        let reader = std::thread::spawn({
            let fifo = path("fifo");
            move || fs::read(fifo).unwrap()
        });
        write(&path("fifo"), b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert!(fs::metadata(path("fifo")).unwrap().file_type().is_fifo());
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
