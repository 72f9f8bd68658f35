//! Reads files within bounds: regular files only, of a limited length.
//!
//! A user may name anything: a FIFO without a writer, a link to an endless device, a file of a terabyte. [`open`] refuses
//! whatever would make the program wait or read without end, and the others also have a limit. Streams that expand, such
//! as compressed ones, are left to the modules that read them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::FileError;
use crate::memory;

/// Opens the regular file at `path`, or the one that it links to, for reading. Never waits: a FIFO without a writer, an
/// endless device and the like are refused.
///
/// # Errors
/// If the file cannot be opened, or is not a regular file.
pub fn open(path: &Path) -> Result<File, FileError> {
    let open = || -> io::Result<File> {
        require_file(&fs::metadata(path)?)?; // opening some devices has effects
        let file = at_once(&mut fs::OpenOptions::new()).read(true).open(path)?;
        require_file(&file.metadata()?)?; // it may have been replaced meanwhile
        Ok(file)
    };
    open().map_err(FileError::reading(path))
}

/// Refuses everything but a regular file.
fn require_file(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let problem = format!("it is {}, not a regular file", kind(metadata));
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// Returns what something is, in words: a regular file, a folder, a FIFO, …
pub fn kind(metadata: &fs::Metadata) -> &'static str {
    match metadata {
        metadata if metadata.is_file() => "a regular file",
        metadata if metadata.is_dir() => "a folder",
        metadata => special(metadata),
    }
}

/// Makes opening a FIFO return at once.
#[cfg(unix)]
fn at_once(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
}

#[cfg(not(unix))]
fn at_once(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    options
}

/// Returns the name of the kind of something that is neither a file nor a folder.
#[cfg(unix)]
fn special(metadata: &fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match metadata.file_type() {
        kind if kind.is_fifo() => "a FIFO (a named pipe)",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn special(_metadata: &fs::Metadata) -> &'static str {
    "a special file"
}

/// Reads the whole regular file at `path`, which may have at most `max_bytes` bytes.
///
/// # Errors
/// If the file cannot be read, is not a regular file, or is longer than `max_bytes` or than the free memory.
pub fn read_at_most(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let n_bytes = file.metadata().map_err(FileError::reading(path))?.len();
    if n_bytes > max_bytes {
        return Err(FileError::reading(path)(too_long(&format!("it has {n_bytes} bytes"), max_bytes)));
    }
    let no_memory =
        |exhausted| FileError::reading(path)(io::Error::new(io::ErrorKind::OutOfMemory, exhausted));
    memory::check(n_bytes).map_err(no_memory)?;
    read_all(file, max_bytes, n_bytes).map_err(FileError::reading(path))
}

/// Reads the whole regular file at `path` as text; it may have at most `max_bytes` bytes.
///
/// # Errors
/// As [`read_at_most`], and if the file is not UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String, FileError> {
    String::from_utf8(read_at_most(path, max_bytes)?).map_err(|e| {
        let problem = format!("it is not UTF-8 text (byte {})", e.utf8_error().valid_up_to());
        FileError::reading(path)(io::Error::new(io::ErrorKind::InvalidData, problem))
    })
}

/// Reads a stream, such as standard input, to its end, which must come within `max_bytes` bytes.
///
/// # Errors
/// If the stream cannot be read, or is longer than `max_bytes`.
pub fn read_stream(stream: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_all(stream, max_bytes, 0)
}

/// Reads to the end, for which `n_bytes` bytes are expected: a file may grow while it is read, or not know its length.
fn read_all(stream: impl Read, max_bytes: u64, n_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(n_bytes).unwrap_or_default())?;
    stream.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_long("it goes on", max_bytes));
    }
    Ok(bytes)
}

fn too_long(found: &str, max_bytes: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("{found}, expected at most {max_bytes} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_or_a_folder_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_at_most(&path, 5).unwrap(), b"12345");
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        let long = read_at_most(&path, 4).unwrap_err().to_string();
        assert!(long.contains("a.txt: it has 5 bytes, expected at most 4 bytes"), "{long}");
        let refused = read_at_most(folder.path(), 4).unwrap_err().to_string();
        assert!(refused.contains("it is a folder, not a regular file"), "{refused}");
        fs::write(&path, b"12\xff").unwrap();
        assert!(read_text(&path, 5).unwrap_err().to_string().contains("not UTF-8 text (byte 2)"));
    }

    #[test]
    fn a_stream_ends_within_its_limit() {
        assert_eq!(read_stream(&b"12345"[..], 5).unwrap(), b"12345");
        let refused = read_stream(io::repeat(0), 5).unwrap_err();
        assert_eq!(refused.to_string(), "it goes on, expected at most 5 bytes");
        assert_eq!(read_stream(&b""[..], 0).unwrap(), b"");
        assert_eq!(read_stream(&b"1"[..], u64::MAX).unwrap(), b"1");
    }

    /// A file that does not know its length is read to the limit, and no further.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_without_a_length_is_read_to_the_limit() {
        let path = Path::new("/proc/self/status");
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        assert!(read_text(path, 1 << 20).unwrap().contains("VmPeak"));
        assert!(read_text(path, 20).unwrap_err().to_string().contains("at most 20 bytes"));
    }

    /// Nothing waits for a writer, and nothing reads without end.
    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        std::os::unix::fs::symlink("gone", path("dangling")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for (name, what) in [
            ("fifo", "it is a FIFO (a named pipe), not a regular file"),
            ("socket", "it is a socket, not a regular file"),
            ("zero", "it is a device, not a regular file"),
            ("folder", "it is a folder, not a regular file"),
            ("dangling", "No such file"),
        ] {
            for message in [
                open(&path(name)).unwrap_err().to_string(),
                read_at_most(&path(name), 5).unwrap_err().to_string(),
                crate::digest::of_file(&path(name)).unwrap_err().to_string(),
            ] {
                assert!(message.contains(what) && message.contains(name), "{name}: {message}");
            }
        }
        fs::write(path("file"), "content").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        assert_eq!(read_at_most(&path("link"), 7).unwrap(), b"content");
    }
}
