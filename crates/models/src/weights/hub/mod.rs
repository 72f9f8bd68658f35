//! Gets models from the Hugging Face hub, through its cache.
//!
//! ```text
//! the cache has config and weights of the revision, with the right digests -> done, without a request
//! request the listing from the hub: the commit of the revision, and the length and digest of each file
//! per file: lock the blob -> download to DIGEST.part -> check the digest -> rename to DIGEST -> link in snapshots/COMMIT
//! note the commit of the revision
//! ```
//!
//! The crate hf-hub provides addresses, the token, TLS, redirects, and the layout of the cache. Every request goes through its
//! client. Its own `download` is not called (version 0.5.0), for these reasons:
//!
//! - It builds paths from the commit and the ETag that the server states. It requests both anew each time, so a check before the
//!   call does not help.
//! - It appends a whole body (status 200) to the part of a file that already exists.
//! - It requests the rest of a complete part without end.
//! - It checks no digest.
//! - It waits for a silent server without end.
//! - It panics on a redirect without an address.
//!
//! Therefore this module handles the answers itself. It requests a listing first, accepts the listing's names only if they are
//! digests (`names`), and downloads the files by the commit in the listing.

mod answer;
mod cache;
mod download;
mod listing;
mod names;
mod options;

use std::path::PathBuf;

use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use tallow_core::{Progress, StopFlag};
use ureq::RequestBuilder;
use ureq::typestate::WithoutBody;

use super::config::MAX_CONFIG_BYTES;
use super::error::WeightsError;
use super::load::MAX_MODEL_BYTES;
use super::source::HubModel;
use super::{CONFIG_FILE, MODEL_FILE, WeightFiles};
use answer::{Answer, Silence};
use cache::{ModelCache, repo_of};
use download::{Download, put_in_place};
use listing::{Listing, MAX_LISTING_BYTES, RemoteFile};
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
    let hub = Hub { model, options, cache, api: api(options)?, progress, stop };
    if let Some(why) = options.offline {
        return Err(hub.unreachable(why.to_owned()));
    }
    hub.get()
}

fn api(options: &HubOptions) -> Result<Api, WeightsError> {
    let builder = ApiBuilder::from_cache(Cache::new(options.cache_dir.clone()))
        .with_endpoint(options.endpoint.clone())
        .with_token(options.token.clone())
        .with_user_agent("tallow", env!("CARGO_PKG_VERSION"));
    let refuse = |e: hf_hub::api::sync::ApiError| e.to_string();
    builder.build().map_err(|e| WeightsError::Answer { url: options.endpoint.clone(), problem: refuse(e) })
}

/// One model on the hub, and everything that a download needs.
struct Hub<'a> {
    model: &'a HubModel,
    options: &'a HubOptions,
    cache: ModelCache<'a>,
    api: Api,
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
        let request = self.repo().info_request().query("blobs", "true");
        let url = request.uri_ref().map(ToString::to_string).unwrap_or_default();
        let lost = |silence| match silence {
            Silence::Stopped(signal) => WeightsError::Stopped(signal),
            Silence::Lost(reason) => self.unreachable(format!("{url}: {reason}")),
        };
        let (head, answer) = Answer::to(request, self.options, self.stop).map_err(lost)?;
        if head.status != 200 {
            return Err(WeightsError::Status { url, status: head.status });
        }
        let refuse = |problem| WeightsError::Answer { url: url.clone(), problem };
        let mut json = Vec::new();
        while let Some(bytes) = answer.bytes().map_err(lost)? {
            json.extend(bytes);
            if json.len() > MAX_LISTING_BYTES {
                return Err(refuse(format!(
                    "the description of a model has more than {MAX_LISTING_BYTES} bytes"
                )));
            }
        }
        let listing = Listing::parse(&json, &url)?;
        if let Some(asked) = Commit::parse(self.model.revision()).filter(|asked| *asked != listing.commit) {
            let (asked, found) = (asked.as_str(), listing.commit.as_str());
            return Err(refuse(format!("asked for the commit {asked}, got {found}")));
        }
        Ok((listing, url))
    }

    /// Returns the path of the file in its snapshot, and downloads the file if the cache lacks it.
    fn ensure(&self, commit: &Commit, file: &RemoteFile) -> Result<PathBuf, WeightsError> {
        let blob = self.cache.blob_path(&file.blob);
        let _lock = self.cache.lock(&file.blob, self.progress, self.stop)?;
        if !self.cache.has_blob(&file.blob, self.progress)? {
            let part = blob.with_extension("part"); // as in hf-hub
            let url = self.address(commit, file.name);
            Download { hub: self, file, url, part: part.clone() }.run()?;
            put_in_place(&part, &blob)?;
        }
        Ok(self.cache.publish(commit, file.name, &file.blob)?)
    }

    fn repo(&self) -> ApiRepo {
        self.api.repo(repo_of(self.model))
    }

    /// Returns the address of a file at a commit. The branch is not used, because it may move on meanwhile.
    fn address(&self, commit: &Commit, name: &str) -> String {
        let id = self.model.id().to_owned();
        let repo = hf_hub::Repo::with_revision(id, hf_hub::RepoType::Model, commit.as_str().to_owned());
        self.api.repo(repo).url(name)
    }

    /// Returns a request of hf-hub's client for `url`. The client has no direct way to create one.
    fn request(&self, url: &str) -> RequestBuilder<WithoutBody> {
        self.repo().info_request().uri(url)
    }

    fn unreachable(&self, reason: String) -> WeightsError {
        let (model, cache_dir) = (self.model.to_string(), self.options.cache_dir.clone());
        WeightsError::Unreachable { model, cache_dir, reason }
    }
}
