//! Unpacks the members of an archive one by one. Decides which members are accepted, and limits their number and size.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tallow_core::{Bar, FileError, StopFlag, files, shown};
use zip::ZipArchive;

use super::Packing;
use crate::capped::Capped;
use crate::folder::FolderError;

/// Limits for the contents of an archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    /// Number of files and folders.
    pub(super) max_members: u64,
    /// Total size of all files in bytes.
    pub(super) max_bytes: u64,
}

impl Caps {
    /// Returns the limits: a million members, and 100 GiB. The size is also limited to 200 times the archive's own
    /// size, or to 1 GiB if that is more: packing hardly shrinks pictures, so an archive that expands more is made to
    /// fill a disk.
    pub(super) fn of(n_packed_bytes: u64) -> Self {
        let by_ratio = n_packed_bytes.saturating_mul(200).max(1 << 30);
        Self { max_members: 1_000_000, max_bytes: by_ratio.min(100 << 30) }
    }
}

/// Destination of the members, with counts of what has been written.
pub(super) struct Out<'a> {
    archive: &'a Path,
    folder: &'a Path,
    caps: Caps,
    bar: Bar<'a>,
    stop: &'a StopFlag,
    n_members: u64,
    n_bytes: u64,
    buffer: Vec<u8>,
}

impl<'a> Out<'a> {
    /// Creates the destination of the members of `archive`: `folder`, which is empty.
    pub(super) fn new(
        archive: &'a Path,
        folder: &'a Path,
        caps: Caps,
        bar: Bar<'a>,
        stop: &'a StopFlag,
    ) -> Self {
        let buffer = vec![0; 1 << 16];
        Self { archive, folder, caps, bar, stop, n_members: 0, n_bytes: 0, buffer }
    }

    /// Counts a member called `name` and returns its path in the destination.
    fn member(&mut self, name: &Path) -> Result<PathBuf, FolderError> {
        if let Some(signal) = self.stop.raised() {
            return Err(FolderError::Stopped(signal));
        }
        self.n_members += 1;
        self.bar.advance(self.n_members);
        if self.n_members > self.caps.max_members {
            return Err(self.refuse(format!("it holds more than {} files", self.caps.max_members)));
        }
        if name.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(self.refuse(format!("{} points outside the folder", quoted(name))));
        }
        Ok(self.folder.join(name))
    }

    fn write(&mut self, name: &Path, mut content: impl Read) -> Result<(), FolderError> {
        let path = self.member(name)?;
        files::create_folder(files::folder_of(&path))?;
        let mut file = File::create_new(&path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => self.refuse(format!("{} is in the archive twice", quoted(name))),
            _ => FileError::writing(&path)(e).into(),
        })?;
        loop {
            if let Some(signal) = self.stop.raised() {
                return Err(FolderError::Stopped(signal));
            }
            let n = content.read(&mut self.buffer).map_err(|e| self.damaged(&quoted(name), &e))?;
            if n == 0 {
                break;
            }
            self.n_bytes += n as u64;
            if self.n_bytes > self.caps.max_bytes {
                return Err(self.too_large());
            }
            file.write_all(&self.buffer[..n]).map_err(FileError::writing(&path))?;
        }
        Ok(())
    }

    fn folder(&mut self, name: &Path) -> Result<(), FolderError> {
        let path = self.member(name)?;
        Ok(files::create_folder(&path)?)
    }

    /// Makes the written files survive a power cut.
    pub(super) fn sync(&self) -> Result<(), FolderError> {
        Ok(sync_all(self.folder).map_err(FileError::new("sync the folder", self.folder))?)
    }

    fn too_large(&self) -> FolderError {
        self.refuse(format!("it unpacks to more than {} MiB", self.caps.max_bytes >> 20))
    }

    fn damaged(&self, what: &str, error: &dyn std::fmt::Display) -> FolderError {
        let reason =
            format!("{what} cannot be unpacked ({}): get the archive again", shown(&error.to_string()));
        FolderError::Archive { path: self.archive.to_owned(), reason }
    }

    fn refuse(&self, reason: String) -> FolderError {
        let reason = format!(
            "{reason}: not unpacked; if you trust the archive, unpack it yourself and give the folder"
        );
        FolderError::Archive { path: self.archive.to_owned(), reason }
    }
}

/// Syncs everything with one request. A request per file takes milliseconds each, and ten minutes for 100,000 files.
#[cfg(target_os = "linux")]
fn sync_all(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Syncs each file and folder separately: other systems have no single request that waits for the disk.
#[cfg(not(target_os = "linux"))]
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(&path)?.sync_all()? }
    }
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn quoted(name: &Path) -> String {
    format!("\"{}\"", shown(&name.to_string_lossy()))
}

/// Unpacks all members of a zip file. Names are read as UTF-8 if they are valid UTF-8, whatever encoding the archive
/// declares. `\` is a separator, too.
pub(super) fn zip(out: &mut Out<'_>) -> Result<(), FolderError> {
    let file = files::open(out.archive)?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| out.damaged("it", &e))?;
    for i in 0..archive.len() {
        let member = archive.by_index(i).map_err(|e| out.damaged(&format!("member {i}"), &e))?;
        let name = match std::str::from_utf8(member.name_raw()) {
            Ok(name) => name.to_owned(),
            Err(_) => member.name().map_err(|e| out.damaged(&format!("member {i}"), &e))?.into_owned(),
        };
        let name = name.replace('\\', "/");
        let path = Path::new(&name);
        if member.is_symlink() {
            return Err(out.refuse(format!("{} is a link", quoted(path))));
        }
        if name.ends_with('/') { out.folder(path)? } else { out.write(path, member)? }
    }
    Ok(())
}

/// Unpacks all members of a tar file, compressed by gzip or not.
pub(super) fn tar(out: &mut Out<'_>, packing: Packing) -> Result<(), FolderError> {
    let file = BufReader::with_capacity(1 << 16, files::open(out.archive)?);
    let unzipped: Box<dyn Read> = match packing {
        Packing::TarGz => Box::new(MultiGzDecoder::new(file)),
        Packing::Tar | Packing::Zip => Box::new(file),
    };
    let swelled = Cell::new(false);
    // Includes the headers: each has 512 bytes and may be preceded by a long name.
    let max_bytes = out.caps.max_bytes.saturating_add(out.caps.max_members.saturating_mul(2048));
    let between = Cell::new(None);
    let reader = Frugal { inner: Capped::new(unzipped, max_bytes, &swelled), between: &between };
    let mut archive = tar::Archive::new(reader);
    match members(out, &mut archive, &between) {
        Err(FolderError::Archive { .. }) if swelled.get() => Err(out.too_large()),
        Err(e) => Err(e),
        Ok(()) => {
            // Reads to the very end, where the checksum of the whole archive is.
            let rest = io::copy(&mut archive.into_inner(), &mut io::sink());
            rest.map(drop).map_err(|e| if swelled.get() { out.too_large() } else { out.damaged("it", &e) })
        }
    }
}

/// Most bytes between the contents of two members: headers, a long name, other extensions. The reader of tar files keeps them in
/// memory, whatever length they claim.
const MAX_BETWEEN_BYTES: u64 = 1 << 16;

/// A reader that fails if more bytes are read than `between` has left, if it has a number.
struct Frugal<'a, R> {
    inner: R,
    between: &'a Cell<Option<u64>>,
}

impl<R: Read> Read for Frugal<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some(left) = self.between.get() {
            let left = left.checked_sub(n as u64);
            self.between
                .set(Some(left.ok_or_else(|| io::Error::other("the header of a member is too long"))?));
        }
        Ok(n)
    }
}

fn members(
    out: &mut Out<'_>,
    archive: &mut tar::Archive<impl Read>,
    between: &Cell<Option<u64>>,
) -> Result<(), FolderError> {
    let mut entries = archive.entries().map_err(|e| out.damaged("it", &e))?;
    loop {
        between.set(Some(MAX_BETWEEN_BYTES));
        let Some(member) = entries.next() else {
            between.set(None);
            return Ok(());
        };
        between.set(None);
        let member = member.map_err(|e| out.damaged("it", &e))?;
        let name = member.path().map_err(|e| out.damaged("a member", &e))?.into_owned();
        let kind = member.header().entry_type();
        if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            out.write(&name, member)?;
        } else if kind.is_dir() {
            out.folder(&name)?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            return Err(out.refuse(format!("{} is a link", quoted(&name))));
        } else if !kind.is_pax_global_extensions() {
            return Err(out.refuse(format!("{} is neither a file nor a folder", quoted(&name))));
        }
    }
}
