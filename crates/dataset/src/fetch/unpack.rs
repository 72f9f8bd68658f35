//! Unpacks the expected files, and nothing else, from an untrusted archive.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tallow_core::digest::Hasher;
use tallow_core::{Bar, FileError, Foreign, Progress, StopFlag, Unit, files};
use tar::{Archive, Entry, EntryType};

use super::FetchError;
use super::spec::{FileSpec, Spec};
use crate::capped::Capped;

/// Checks whether content that begins with `head` is a gzip file. If not, returns what it is: often an HTML page of a server
/// or a captive network.
pub(super) fn check_is_gzip(head: &[u8], says_html: bool) -> Result<(), &'static str> {
    let text = String::from_utf8_lossy(head).trim_start().to_ascii_lowercase();
    match head {
        [0x1f, 0x8b, ..] => Ok(()),
        [] => Err("empty"),
        _ if says_html || text.starts_with("<!doctype html") || text.starts_with("<html") => {
            Err("an HTML page")
        }
        _ => Err("something else"),
    }
}

/// An archive to be unpacked: its path, its name in messages, and the remedy that an error about it suggests.
pub(super) struct Packed<'a> {
    pub(super) path: &'a Path,
    pub(super) from: &'a str,
    /// Its digest, if it is known already.
    pub(super) sha256: Option<String>,
    pub(super) remedy: &'static str,
}

/// Unpacks the files of `spec` into `staging/<folder>`, where `staging` is a fresh folder, and syncs them.
pub(super) fn unpack(
    packed: &Packed<'_>,
    spec: &Spec,
    staging: &Path,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<(), FetchError> {
    let file = File::open(packed.path).map_err(FileError::reading(packed.path))?;
    let mut file = BufReader::with_capacity(1 << 16, file);
    let head = file.fill_buf().map_err(FileError::reading(packed.path))?;
    check_is_gzip(head, false)
        .map_err(|what| FetchError::NotAnArchive { from: packed.from.to_owned(), what })?;
    let swelled = Cell::new(false);
    let unzipped = Capped::new(MultiGzDecoder::new(file), spec.max_bytes, &swelled);
    let folder = staging.join(&spec.folder);
    files::create_folder(&folder)?;
    let total = spec.files.iter().map(|file| file.n_bytes).sum();
    let bar = Bar::begin(progress, &format!("unpacking {}", spec.title), Some(total), Unit::Bytes);
    let mut unpacking =
        Unpacking { packed, spec, folder, bar, stop, n_bytes: 0, taken: vec![false; spec.files.len()] };
    let result = unpacking.run(unzipped);
    match result {
        Err(FetchError::Archive { .. }) if swelled.get() => {
            Err(unpacking.refuse(format!("it unpacks to more than {} bytes", spec.max_bytes)))
        }
        other => other,
    }
}

struct Unpacking<'a> {
    packed: &'a Packed<'a>,
    spec: &'a Spec,
    folder: PathBuf,
    bar: Bar<'a>,
    stop: &'a StopFlag,
    n_bytes: u64,
    /// Which of the expected files have been found.
    taken: Vec<bool>,
}

impl Unpacking<'_> {
    fn run(&mut self, unzipped: impl Read) -> Result<(), FetchError> {
        let mut archive = Archive::new(unzipped);
        for entry in archive.entries().map_err(|e| self.damaged(&e))? {
            let entry = entry.map_err(|e| self.damaged(&e))?;
            self.take(entry)?;
        }
        // Reads to the very end, where the checksum of the whole archive is.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|e| self.damaged(&e))?;
        if let Some(missing) = self.taken.iter().position(|&taken| !taken) {
            return Err(self.refuse(format!(
                "it does not contain {}/{}",
                self.spec.folder, self.spec.files[missing].name
            )));
        }
        files::sync_folder(&self.folder)?;
        Ok(())
    }

    fn take(&mut self, entry: Entry<'_, impl Read>) -> Result<(), FetchError> {
        if let Some(signal) = self.stop.raised() {
            return Err(FetchError::Stopped(signal));
        }
        let path = entry.path().map_err(|e| self.damaged(&e))?.into_owned();
        let name = Foreign::of_path(&path);
        if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(self.refuse(format!("{name:?} points outside the folder")));
        }
        match entry.header().entry_type() {
            EntryType::Regular => {}
            EntryType::Directory => return Ok(()),
            kind => return Err(self.refuse(format!("{name:?} is neither a file nor a folder, but {kind:?}"))),
        }
        let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        let is_expected = |file: &FileSpec| plain == Path::new(&self.spec.folder).join(&file.name);
        let Some(i) = self.spec.files.iter().position(is_expected) else { return Ok(()) };
        let expected = &self.spec.files[i];
        if std::mem::replace(&mut self.taken[i], true) {
            return Err(self.refuse(format!("{name:?} is in the archive twice")));
        }
        if entry.size() != expected.n_bytes {
            let (found, expected) = (entry.size(), expected.n_bytes);
            return Err(self.refuse(format!("{name:?} has {found} bytes, expected {expected}")));
        }
        self.write(expected, entry)
    }

    /// Writes the bytes of one expected file and checks their digest.
    fn write(&mut self, expected: &FileSpec, mut content: impl Read) -> Result<(), FetchError> {
        let path = self.folder.join(&expected.name);
        let mut file = File::create_new(&path).map_err(FileError::writing(&path))?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 16];
        let before = self.n_bytes;
        loop {
            if let Some(signal) = self.stop.raised() {
                return Err(FetchError::Stopped(signal));
            }
            let n = content.read(&mut buffer).map_err(|e| self.damaged(&e))?;
            if n == 0 {
                break;
            }
            file.write_all(&buffer[..n]).map_err(FileError::writing(&path))?;
            hasher.update(&buffer[..n]);
            self.n_bytes += n as u64;
            self.bar.advance(self.n_bytes);
        }
        if self.n_bytes - before != expected.n_bytes {
            return Err(self.refuse(format!("it ends in the middle of {}", expected.name)));
        }
        file.sync_all().map_err(FileError::writing(&path))?;
        let actual = hasher.finish();
        match &expected.sha256 {
            Some(digest) if *digest != actual => Err(FetchError::Digest {
                what: format!("{} in {}", expected.name, self.packed.from),
                expected: digest.clone(),
                actual,
                remedy: self.packed.remedy,
            }),
            _ => Ok(()),
        }
    }

    fn damaged(&self, error: &io::Error) -> FetchError {
        self.refuse(format!("it cannot be unpacked ({error})"))
    }

    fn refuse(&self, reason: String) -> FetchError {
        FetchError::Archive { from: self.packed.from.to_owned(), reason, remedy: self.packed.remedy }
    }
}
