//! Fetches a data set from its official address, or from a local archive (feature `fetch`).
//!
//! ```text
//! complete data set in the data folder? -> done
//! download to FOLDER.part (see `tallow_fetch`)     or use the local archive
//! check the digest, if it should be the official archive
//! unpack into a staging folder beside (see `unpack`); check sizes, digests, labels
//! rename into place, sync
//! ```
//!
//! So the data folder gets either the whole data set or nothing. A download is kept unless the archive itself is to
//! blame for a failure, and the next call continues it. Empty folders that a failed call created are removed. Only one
//! fetch at a time writes to a data folder.

mod error;
mod spec;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tallow_core::shown::shown_path;
use tallow_core::{Bar, FileError, Progress, StopFlag, Unit, digest, files};
use tallow_fetch::{Client, RemoteFile, remove_part};

pub use error::FetchError;
pub use spec::{Check, FileSpec, Packing, Spec, Which};
pub use tallow_fetch::Patience;
use unpack::Packed;

use crate::staging;

/// Lock file, held while a call writes.
const LOCK_FILE: &str = ".fetch.lock";

/// A request: what to fetch, from where, to where.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The data set.
    pub spec: Spec,
    /// Data folder that gets the data set's folder; created if it does not exist.
    pub data_dir: PathBuf,
    /// Address (http, https) or local archive; `None`: the official address.
    pub from: Option<String>,
    /// How long the download waits.
    pub patience: Patience,
}

impl FetchRequest {
    /// Creates a request for `dataset` from its official address.
    pub fn new(dataset: Which, data_dir: impl Into<PathBuf>) -> Self {
        Self { spec: Spec::of(dataset), data_dir: data_dir.into(), from: None, patience: Patience::default() }
    }
}

/// Result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The whole data set already existed; nothing was done.
    AlreadyThere {
        /// The data set's folder.
        path: PathBuf,
    },
    /// The data set was fetched.
    Fetched {
        /// The data set's folder.
        path: PathBuf,
        /// Total size of its files in bytes.
        n_bytes: u64,
    },
}

/// Makes sure that the data folder contains the complete and undamaged data set.
///
/// An incomplete or damaged folder of the same name is renamed and kept.
///
/// # Errors
/// The error says what went wrong and what to do. The data set's folder is then unchanged.
pub fn fetch(
    request: &FetchRequest,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Fetched, FetchError> {
    let FetchRequest { spec, data_dir, .. } = request;
    let path = data_dir.join(&spec.folder);
    if let Found::Whole = look(request, &path, progress)? {
        return Ok(Fetched::AlreadyThere { path });
    }
    let source = Source::of(request)?;
    let is_missing = |f: &&Path| !f.as_os_str().is_empty() && fs::symlink_metadata(f).is_err();
    let missing: Vec<&Path> = data_dir.ancestors().take_while(is_missing).collect();
    files::create_folder(data_dir)
        .map_err(FetchError::from)
        .and_then(|()| get(request, source, progress, stop))
        .inspect_err(|_| {
            for folder in missing {
                let _ = fs::remove_dir(folder); // innermost first; a folder that is not empty stays
            }
        })
}

/// Fetches the data set into the data folder, which exists.
fn get(
    request: &FetchRequest,
    source: Source,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Fetched, FetchError> {
    let data_dir = &request.data_dir;
    let _lock = lock(data_dir)?;
    get_alone(request, source, progress, stop)
        .inspect_err(|_| staging::remove_lock(&data_dir.join(LOCK_FILE)))
}

/// Does the work of [`get`] while the caller holds the lock.
fn get_alone(
    request: &FetchRequest,
    source: Source,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Fetched, FetchError> {
    let FetchRequest { spec, data_dir, .. } = request;
    let path = data_dir.join(&spec.folder);
    staging::remove_leftovers(data_dir)?;
    match look(request, &path, progress)? {
        Found::Whole => return Ok(Fetched::AlreadyThere { path }), // another call was quicker
        Found::Absent => {}
        Found::Damaged(why) => {
            progress.say(&format!("{} is incomplete or damaged: {why}", shown_path(&path)))
        }
    }
    match source {
        Source::Url(url) => install_from_url(request, &url, progress, stop)?,
        Source::File(archive) => {
            let from = shown_path(&archive);
            let packed = Packed { path: &archive, from: &from, sha256: None, remedy: "use another archive" };
            install(request, &packed, false, progress, stop)?;
        }
    }
    Ok(Fetched::Fetched { path, n_bytes: spec.files.iter().map(|file| file.n_bytes).sum() })
}

enum Source {
    Url(String),
    File(PathBuf),
}

impl Source {
    fn of(request: &FetchRequest) -> Result<Self, FetchError> {
        let from = request.from.as_ref().unwrap_or(&request.spec.url);
        if from.starts_with("http://") || from.starts_with("https://") {
            return Ok(Self::Url(from.clone()));
        }
        match Path::new(from) {
            path if path.is_file() => Ok(Self::File(path.to_owned())),
            _ => Err(FetchError::Address(from.clone())),
        }
    }
}

/// State of the data set in the data folder.
enum Found {
    Whole,
    Absent,
    /// Incomplete or damaged, with the problem.
    Damaged(String),
}

fn look(request: &FetchRequest, path: &Path, progress: &dyn Progress) -> Result<Found, FetchError> {
    let spec = &request.spec;
    if fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Ok(Found::Absent);
    }
    for file in &spec.files {
        let found = files::metadata(&path.join(&file.name))?;
        let n_bytes = found.filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        if n_bytes != Some(file.n_bytes) {
            let found = n_bytes.map_or("is missing".to_owned(), |n_bytes| format!("has {n_bytes} bytes"));
            return Ok(Found::Damaged(format!("{} {found}, expected {} bytes", file.name, file.n_bytes)));
        }
    }
    let n_files = Some(spec.files.len() as u64);
    let bar = Bar::begin(progress, &format!("checking {}", spec.title), n_files, Unit::Items("files"));
    for (done, file) in spec.files.iter().enumerate() {
        if let Some(expected) = &file.sha256 {
            let actual = digest::of_file(&path.join(&file.name))?;
            if actual != *expected {
                return Ok(Found::Damaged(format!(
                    "{} has SHA-256 {actual}, expected {expected}",
                    file.name
                )));
            }
        }
        bar.advance(done as u64 + 1);
    }
    Ok(match spec.check.map(|check| check(&request.data_dir)) {
        Some(Err(error)) => Found::Damaged(error.to_string()),
        _ => Found::Whole,
    })
}

/// Locks `data_dir` against other calls until the returned file is dropped.
fn lock(data_dir: &Path) -> Result<File, FetchError> {
    let path = data_dir.join(LOCK_FILE);
    staging::lock(&path)?.ok_or(FetchError::Busy { lock: path })
}

/// Downloads and installs the data set. After a failure the download is kept, unless the archive is to blame.
fn install_from_url(
    request: &FetchRequest,
    url: &str,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<(), FetchError> {
    let FetchRequest { spec, data_dir, patience, .. } = request;
    let part = data_dir.join(format!("{}.part", spec.folder));
    let label = format!("downloading {}", spec.title);
    let (max_bytes, check) = (spec.max_bytes, unpack::check_is_gzip);
    let remote = RemoteFile { url, label: &label, n_bytes: None, max_bytes, check };
    let sha256 = Client::new(None, *patience, progress, stop).download(&remote, &part)?.sha256;
    let remedy = "the download was deleted: try again, or give another address with `--from`";
    let packed = Packed { path: &part, from: url, sha256: Some(sha256), remedy };
    let installed = install(request, &packed, url == spec.url, progress, stop);
    if installed.as_ref().err().is_none_or(FetchError::blames_archive) {
        remove_part(&part)?;
    }
    installed
}

/// Unpacks an archive, checks it, and moves the data set's folder into place.
fn install(
    request: &FetchRequest,
    packed: &Packed<'_>,
    is_official: bool,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<(), FetchError> {
    let FetchRequest { spec, data_dir, .. } = request;
    check_packing(spec, packed, is_official)?;
    let staging = tempfile::Builder::new().prefix(staging::PREFIX).tempdir_in(data_dir);
    let staging = staging.map_err(FileError::new("create a folder in", data_dir))?;
    unpack::unpack(packed, spec, staging.path(), progress, stop)?;
    if let Some(check) = spec.check {
        check(staging.path()).map_err(FetchError::Data)?;
    }
    move_into_place(&staging.path().join(&spec.folder), &data_dir.join(&spec.folder), progress)?;
    Ok(())
}

/// Compares the archive with the digest of the official archive, if its address or its length says that it should be
/// the official one.
fn check_packing(spec: &Spec, packed: &Packed<'_>, is_official: bool) -> Result<(), FetchError> {
    let Some(packing) = &spec.archive else { return Ok(()) };
    let n_bytes = fs::metadata(packed.path).map_err(FileError::reading(packed.path))?.len();
    if !is_official && n_bytes != packing.n_bytes {
        return Ok(());
    }
    let actual = match &packed.sha256 {
        Some(sha256) => sha256.clone(),
        None => digest::of_file(packed.path)?,
    };
    if actual == packing.sha256 {
        return Ok(());
    }
    let (what, expected) = (format!("the archive {}", packed.from), packing.sha256.clone());
    Err(FetchError::Digest { what, expected, actual, remedy: packed.remedy })
}

/// Renames `new` to `path`. An existing `path` is renamed first.
fn move_into_place(new: &Path, path: &Path, progress: &dyn Progress) -> Result<(), FileError> {
    let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(FileError::new("rename", from));
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    if is_there(path) {
        let (mut i, mut aside) = (1, path.with_added_extension("damaged-1"));
        while is_there(&aside) {
            i += 1;
            aside = path.with_added_extension(format!("damaged-{i}"));
        }
        rename(path, &aside)?;
        rename(new, path).inspect_err(|_| drop(fs::rename(&aside, path)))?;
        progress.say(&format!("the old contents of {} are now in {}", shown_path(path), shown_path(&aside)));
    } else {
        rename(new, path)?;
    }
    files::sync_folder(files::folder_of(path))
}
