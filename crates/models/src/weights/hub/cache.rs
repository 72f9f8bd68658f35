//! One model's folder in the cache, which all programs for the hub share:
//!
//! ```text
//! models--OWNER--NAME/refs/REVISION                   the commit that a branch or tag stood at when it was asked
//!                     snapshots/COMMIT/FILE           a link to
//!                     blobs/DIGEST                    the content; DIGEST.part: what came so far; DIGEST.lock
//!                     .no_exist/COMMIT/FILE           the model has no such file
//! ```
//!
//! The name of a blob is the digest of its content, whichever program wrote it. The digest is checked before a file is returned.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use tallow_core::shown::shown_path;
use tallow_core::{FileError, Progress, StopFlag, files};

use super::super::error::WeightsError;
use super::super::source::HubModel;
use super::super::{CONFIG_FILE, MODEL_FILE, WeightFiles};
use super::names::{BlobId, Commit};

/// Interval at which a lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// One model's folder in the cache.
pub(super) struct ModelCache<'a> {
    model: &'a HubModel,
    folder: PathBuf,
    repo: CacheRepo,
}

impl<'a> ModelCache<'a> {
    pub(super) fn new(cache_dir: &Path, model: &'a HubModel) -> Self {
        let (id, revision) = (model.id().to_owned(), model.revision().to_owned());
        let repo = Repo::with_revision(id, RepoType::Model, revision);
        let folder = cache_dir.join(repo.folder_name());
        Self { model, folder, repo: Cache::new(cache_dir.to_owned()).repo(repo) }
    }

    /// Returns the commit of the revision: the revision itself if it is a commit, or else the commit that the cache noted for it.
    pub(super) fn commit(&self) -> Option<Commit> {
        Commit::parse(self.model.revision()).or_else(|| {
            let model = self.repo.get(MODEL_FILE)?; // snapshots/COMMIT/FILE
            Commit::parse(model.parent()?.file_name()?.to_str()?)
        })
    }

    /// Returns the files at `commit`, if the cache has all of them.
    pub(super) fn find(
        &self,
        commit: &Commit,
        progress: &dyn Progress,
    ) -> Result<Option<WeightFiles>, WeightsError> {
        let config = self.checked(commit, CONFIG_FILE, progress)?;
        if config.is_none() && !files::exists(&self.absence_of(commit, CONFIG_FILE))? {
            return Ok(None); // the config may state `downsample_in_bottleneck`
        }
        let model = self.checked(commit, MODEL_FILE, progress)?;
        Ok(model.map(|model| self.files(commit, config, model)))
    }

    pub(super) fn files(&self, commit: &Commit, config: Option<PathBuf>, model: PathBuf) -> WeightFiles {
        let commit = commit.as_str().to_owned();
        WeightFiles {
            config,
            model,
            origin: format!("hf:{}@{commit}", self.model.id()),
            commit: Some(commit),
        }
    }

    /// Returns the path of a file in a snapshot, if the file exists and its content has the digest in its blob's name. On systems
    /// without symbolic links, the snapshot holds the file itself; its digest is then unknown and not checked.
    fn checked(
        &self,
        commit: &Commit,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Option<PathBuf>, WeightsError> {
        let path = self.repo.pointer_path(commit.as_str()).join(name);
        let content = match fs::canonicalize(&path) {
            Ok(content) => content,
            Err(e) if files::is_absent(&e) => return Ok(None),
            Err(e) => return Err(FileError::reading(&path)(e).into()),
        };
        if let Some(blob) = content.file_name().and_then(|name| BlobId::parse(name.to_str()?))
            && blob.of_file_alike(&content)? != blob
        {
            remove(&path)?;
            self.drop_blob(&blob, progress)?;
            return Ok(None);
        }
        Ok(Some(path))
    }

    fn drop_blob(&self, blob: &BlobId, progress: &dyn Progress) -> Result<(), FileError> {
        let path = self.blob_path(blob);
        progress.say(&format!("{} was damaged, and is deleted", shown_path(&path)));
        remove(&path)
    }

    /// Whether the cache has the blob with the right content. A blob with wrong content is deleted.
    pub(super) fn has_blob(&self, blob: &BlobId, progress: &dyn Progress) -> Result<bool, FileError> {
        let path = self.blob_path(blob);
        if !files::exists(&path)? {
            return Ok(false);
        }
        let is_right = blob.of_file_alike(&path)? == *blob;
        if !is_right {
            self.drop_blob(blob, progress)?;
        }
        Ok(is_right)
    }

    pub(super) fn blob_path(&self, blob: &BlobId) -> PathBuf {
        self.folder.join("blobs").join(blob.as_str())
    }

    /// Locks this blob against writes by other programs until the returned file is dropped; hf-hub uses the same lock. The lock
    /// file itself is not deleted: otherwise two other programs could lock two files of the same name.
    pub(super) fn lock(
        &self,
        blob: &BlobId,
        progress: &dyn Progress,
        stop: &StopFlag,
    ) -> Result<File, WeightsError> {
        let path = self.blob_path(blob).with_extension("lock");
        files::create_folder(files::folder_of(&path))?;
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(FileError::writing(&path))?;
        let mut is_said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                // some network file systems cannot lock; the user must then avoid two downloads at once
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => return Ok(file),
                Err(TryLockError::Error(e)) => return Err(FileError::new("lock", &path)(e).into()),
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(signal) = stop.raised() {
                return Err(WeightsError::Stopped(signal));
            }
            if !std::mem::replace(&mut is_said, true) {
                progress.say(&format!("another program is downloading {}: waiting", self.model));
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// Links the file `name` of a snapshot to a blob.
    pub(super) fn publish(&self, commit: &Commit, name: &str, blob: &BlobId) -> Result<PathBuf, FileError> {
        let snapshot = self.repo.pointer_path(commit.as_str());
        files::create_folder(&snapshot)?;
        let (path, content) = (snapshot.join(name), self.blob_path(blob));
        if fs::canonicalize(&path).ok() != fs::canonicalize(&content).ok() {
            remove(&path)?;
            match link(&content, blob, &path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {} // another program was faster
                linked => linked.map_err(FileError::writing(&path))?,
            }
            files::sync_folder(&snapshot)?;
        }
        Ok(path)
    }

    /// Notes that the model has no file `name`.
    pub(super) fn publish_absence(&self, commit: &Commit, name: &str) -> Result<(), FileError> {
        let path = self.absence_of(commit, name);
        files::create_folder(files::folder_of(&path))?;
        files::write(&path, b"")
    }

    fn absence_of(&self, commit: &Commit, name: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit.as_str()).join(name)
    }

    /// Notes the commit that the revision points to. This is the last step, so that a noted revision has all of its files.
    pub(super) fn publish_revision(&self, commit: &Commit) -> Result<(), FileError> {
        if Commit::parse(self.model.revision()).is_some() {
            return Ok(());
        }
        let refs = self.folder.join("refs");
        self.repo.create_ref(commit.as_str()).map_err(FileError::new("note a revision in", &refs))
    }
}

/// Creates a relative symbolic link, so that the cache can be moved.
#[cfg(unix)]
fn link(_content: &Path, blob: &BlobId, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(Path::new("../../blobs").join(blob.as_str()), path)
}

/// Creates a hard link, because Windows requires a privilege for symbolic links.
#[cfg(not(unix))]
fn link(content: &Path, _blob: &BlobId, path: &Path) -> io::Result<()> {
    fs::hard_link(content, path)
}

/// Removes a file or a link, if it exists.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path)(e)),
        _ => Ok(()),
    }
}
