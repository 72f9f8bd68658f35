//! Unpacks an untrusted archive once: `.zip`, `.tar` or `.tar.gz`, recognised by its first bytes.
//!
//! ```text
//! name = file's stem - first 12 digits of its SHA-256;  does data_dir/unpacked/name exist? -> done
//! unpack into a staging folder beside it: regular files only, below the folder, each name once, within the caps
//! sync all, rename
//! ```
//!
//! So a folder under its final name is complete. A folder that a killed call left is never taken for a complete one.

mod members;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tallow_core::digest::Hasher;
use tallow_core::shown::shown_path;
use tallow_core::{Bar, FileError, Progress, StopFlag, Unit, files, shown};

use super::FolderError;
use crate::staging;
use members::{Caps, Out};

/// Format of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Zip,
    Tar,
    TarGz,
}

/// Number of first bytes that show the format: `ustar` begins at byte 257.
const HEAD_BYTES: u64 = 265;

/// Returns the format of the archive at `path`; `None` if the file is not an archive.
///
/// # Errors
/// If the file cannot be read, or is an archive of a kind that is not supported.
pub(super) fn packing(path: &Path) -> Result<Option<Packing>, FolderError> {
    let mut head = Vec::new();
    files::open(path)?.take(HEAD_BYTES).read_to_end(&mut head).map_err(FileError::reading(path))?;
    let unknown = |kind: &str| {
        let reason = format!("cannot read a {kind} archive: unpack it, and give the folder");
        Err(FolderError::Archive { path: path.to_owned(), reason })
    };
    match head.as_slice() {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(Some(Packing::Zip)),
        [0x1f, 0x8b, ..] => Ok(Some(Packing::TarGz)),
        _ if head.get(257..262) == Some(b"ustar") => Ok(Some(Packing::Tar)),
        [b'7', b'z', 0xbc, 0xaf, ..] => unknown("7z"),
        [b'R', b'a', b'r', b'!', ..] => unknown("rar"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => unknown("xz"),
        [b'B', b'Z', b'h', ..] => unknown("bzip2"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => unknown("zstd"),
        _ => Ok(None),
    }
}

/// Returns the folder with the contents of the archive at `path`. Unpacks the archive if that folder does not exist
/// yet.
///
/// # Errors
/// If the archive is damaged, has members that are refused for safety, exceeds the caps, or the user asks to stop. No
/// unpacked files are left then.
pub(super) fn unpack(
    path: &Path,
    packing: Packing,
    data_dir: &Path,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<PathBuf, FolderError> {
    let n_packed_bytes = fs::metadata(path).map_err(FileError::reading(path))?.len();
    let sha256 = sha256(path, n_packed_bytes, progress, stop)?;
    let parent = data_dir.join("unpacked");
    let name = format!("{}-{}", stem(path), &sha256[..12]);
    let folder = parent.join(&name);
    if files::is_folder(&folder)? {
        return Ok(folder);
    }
    files::create_folder(&parent)?;
    let _lock = lock(&parent, stop)?;
    if files::is_folder(&folder)? {
        return Ok(folder); // another call was quicker
    }
    staging::remove_leftovers(&parent)?;
    let staging = tempfile::Builder::new()
        .prefix(staging::PREFIX)
        .tempdir_in(&parent)
        .map_err(FileError::new("create a folder in", &parent))?;
    let inner = staging.path().join(&name);
    files::create_folder(&inner)?;
    let bar = Bar::begin(progress, &format!("unpacking {}", shown_path(path)), None, Unit::Items("files"));
    let mut out = Out::new(path, &inner, Caps::of(n_packed_bytes), bar, stop);
    match packing {
        Packing::Zip => members::zip(&mut out)?,
        Packing::Tar | Packing::TarGz => members::tar(&mut out, packing)?,
    }
    out.sync()?;
    fs::rename(&inner, &folder).map_err(FileError::new("rename", &inner))?;
    files::sync_folder(&parent)?;
    Ok(folder)
}

/// Returns the digest of an archive. Shows progress and can be stopped, because the archive may be large.
fn sha256(
    path: &Path,
    n_bytes: u64,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<String, FolderError> {
    let mut file = files::open(path)?;
    let bar = Bar::begin(progress, &format!("reading {}", shown_path(path)), Some(n_bytes), Unit::Bytes);
    let (mut hasher, mut buffer, mut done) = (Hasher::new(), vec![0; 1 << 20], 0);
    loop {
        if let Some(signal) = stop.raised() {
            return Err(FolderError::Stopped(signal));
        }
        match file.read(&mut buffer).map_err(FileError::reading(path))? {
            0 => return Ok(hasher.finish()),
            n => {
                hasher.update(&buffer[..n]);
                done += n as u64;
                bar.advance(done);
            }
        }
    }
}

/// Waits until no other call unpacks, and returns the lock.
fn lock(parent: &Path, stop: &StopFlag) -> Result<File, FolderError> {
    loop {
        if let Some(file) = staging::lock(&parent.join(".lock"))? {
            return Ok(file);
        }
        if let Some(signal) = stop.raised() {
            return Err(FolderError::Stopped(signal));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Returns the file's name without archive suffixes, usable as a folder name.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let suffix =
        [".tar.gz", ".tgz", ".tar", ".zip", ".gz"].into_iter().find(|suffix| lower.ends_with(suffix));
    let stem = &name[..name.len() - suffix.map_or(0, str::len)];
    shown(stem).chars().take(100).collect()
}

#[cfg(test)]
mod tests;
