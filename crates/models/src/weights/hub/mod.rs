//! Gets models from the Hugging Face hub, through its cache.
//!
//! ```text
//! the cache has config and weights of the revision, with the right digests -> done, without a request
//! request the listing from the hub: the commit of the revision, and the length and digest of each file
//! per file: lock the blob -> download to DIGEST.part -> check the digest -> rename to DIGEST -> link in snapshots/COMMIT
//! note the commit of the revision
//! ```
//!
//! The crate hf-hub provides the layout of the cache and the token of a login; `tallow_fetch` talks to the servers. hf-hub's own
//! client (version 0.5.0) is not used, for these reasons:
//!
//! - It builds paths from the commit and the ETag that the server states. It requests both anew each time, so a check before the
//!   call does not help.
//! - It appends a whole body (status 200) to the part of a file that already exists.
//! - It requests the rest of a complete part without end.
//! - It checks no digest.
//! - It waits for a silent server without end.
//! - It panics on a redirect without an address.
//! - It sends the token to every port of the hub's host.
//!
//! Therefore this module requests a listing first, accepts the listing's names only if they are digests (`names`), and downloads
//! the files by the commit in the listing.

mod cache;
mod listing;
mod names;
mod options;

use std::fs;
use std::path::{Path, PathBuf};

use tallow_core::{FileError, Progress, StopFlag, files};
use tallow_fetch::{Client, Error, Kind, RemoteFile};

use super::config::MAX_CONFIG_BYTES;
use super::error::WeightsError;
use super::load::MAX_MODEL_BYTES;
use super::source::HubModel;
use super::{CONFIG_FILE, MODEL_FILE, WeightFiles};
use cache::{ModelCache, remove};
use listing::{ListedFile, Listing, MAX_LISTING_BYTES};
use names::Commit;
pub use options::HubOptions;

/// Finds the files of `model` in the cache, or downloads them.
pub(super) fn resolve(
    model: &HubModel,
    options: &HubOptions,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<WeightFiles, WeightsError> {
    let cache = ModelCache::new(&options.cache_dir, model);
    if let Some(commit) = cache.commit()
        && let Some(files) = cache.find(&commit, progress)?
    {
        return Ok(files);
    }
    let token = options.token.as_deref().map(|token| (&*options.endpoint, token));
    let client = Client::new(token, options.patience, progress, stop);
    let hub = Hub { model, options, cache, client, progress, stop };
    if let Some(why) = options.offline {
        return Err(hub.unreachable(why.to_owned()));
    }
    hub.get()
}

/// One model on the hub, and everything that a download needs.
struct Hub<'a> {
    model: &'a HubModel,
    options: &'a HubOptions,
    cache: ModelCache<'a>,
    client: Client<'a>,
    progress: &'a dyn Progress,
    stop: &'a StopFlag,
}

impl Hub<'_> {
    /// Requests the model's listing, and downloads the files that are not in the cache.
    fn get(&self) -> Result<WeightFiles, WeightsError> {
        let (listing, url) = self.list()?;
        let commit = &listing.commit;
        let config = match listing.file(CONFIG_FILE, MAX_CONFIG_BYTES, &url)? {
            Some(file) => Some(self.ensure(commit, &file)?),
            None => {
                self.cache.publish_absence(commit, CONFIG_FILE)?;
                None
            }
        };
        let Some(file) = listing.file(MODEL_FILE, MAX_MODEL_BYTES, &url)? else {
            let (model, commit) = (self.model.to_string(), commit.as_str().to_owned());
            return Err(WeightsError::NoSuchFile { model, commit, file: MODEL_FILE });
        };
        let model = self.ensure(commit, &file)?;
        self.cache.publish_revision(commit)?;
        Ok(self.cache.files(commit, config, model))
    }

    /// Requests the listing of the model at its revision. Returns it with its address.
    fn list(&self) -> Result<(Listing, String), WeightsError> {
        let (endpoint, id) = (&self.options.endpoint, self.model.id());
        let revision = self.model.revision().replace('/', "%2F");
        let url = format!("{endpoint}/api/models/{id}/revision/{revision}?blobs=true");
        let json = self.client.document(&url, MAX_LISTING_BYTES).map_err(|e| self.explain(e))?;
        let listing = Listing::parse(&json, &url)?;
        if let Some(asked) = Commit::parse(self.model.revision()).filter(|asked| *asked != listing.commit) {
            let (asked, found) = (asked.as_str(), listing.commit.as_str());
            return Err(WeightsError::Answer {
                url,
                problem: format!("asked for the commit {asked}, got {found}"),
            });
        }
        Ok((listing, url))
    }

    /// Returns the path of the file in its snapshot, and downloads the file if the cache lacks it.
    fn ensure(&self, commit: &Commit, file: &ListedFile) -> Result<PathBuf, WeightsError> {
        let blob = self.cache.blob_path(&file.blob);
        let _lock = self.cache.lock(&file.blob, self.progress, self.stop)?;
        if !self.cache.has_blob(&file.blob, self.progress)? {
            let part = blob.with_extension("part"); // as in hf-hub
            self.download(commit, file, &part)?;
            fs::rename(&part, &blob).map_err(FileError::new("rename", &part))?;
            files::sync_folder(files::folder_of(&blob))?;
        }
        Ok(self.cache.publish(commit, file.name, &file.blob)?)
    }

    /// Completes the part of a file. On success its digest is the one that the hub states. The address has the commit and not
    /// the branch, because a branch may move on meanwhile.
    fn download(&self, commit: &Commit, file: &ListedFile, part: &Path) -> Result<(), WeightsError> {
        let ListedFile { name, n_bytes, blob } = file;
        let url = format!("{}/{}/resolve/{}/{name}", self.options.endpoint, self.model.id(), commit.as_str());
        let label = format!("downloading {name} of {}", self.model);
        let (max_bytes, n_bytes) = (*n_bytes, Some(*n_bytes));
        let remote = RemoteFile { url: &url, label: &label, n_bytes, max_bytes, check: |_, _| Ok(()) };
        let refuse = |expected, actual| WeightsError::Digest { url: url.clone(), expected, actual };
        let mut may_be_patched = true;
        loop {
            let got = self.client.download(&remote, part).map_err(|error| match error.kind {
                Kind::TooLong(n) => refuse(format!("{blob} with {n} bytes"), format!("more than {n} bytes")),
                _ => self.explain(error),
            })?;
            let actual = blob.alike(got.sha256, part)?;
            if actual == *blob {
                return Ok(());
            }
            remove(part)?;
            if !(got.is_patched && may_be_patched) {
                return Err(refuse(blob.to_string(), actual.to_string()));
            }
            may_be_patched = false;
            self.progress
                .say(&format!("the part of {name} on the disk was damaged: downloading the file again"));
        }
    }

    /// Adds what a user of this model can do about the error.
    fn explain(&self, error: Error) -> WeightsError {
        let url = error.url.clone();
        match error.kind {
            Kind::File(error) => WeightsError::File(error),
            Kind::Connect(reason) => self.unreachable(format!("{url}: {reason}")),
            Kind::Status(status) => WeightsError::Status { url, status },
            Kind::Answer(problem) => WeightsError::Answer { url, problem },
            Kind::TooLong(n) => WeightsError::Answer {
                url,
                problem: format!("the description of a model has more than {n} bytes"),
            },
            Kind::Stopped(signal) => WeightsError::Stopped(signal),
            _ => WeightsError::Download(error),
        }
    }

    fn unreachable(&self, reason: String) -> WeightsError {
        let (model, cache_dir) = (self.model.to_string(), self.options.cache_dir.clone());
        WeightsError::Unreachable { model, cache_dir, reason }
    }
}
