//! Models on the Hugging Face hub, through its cache.
//!
//! ```text
//! the cache has config and weights of the revision, and their digests are right -> done, without a request
//! ask the hub: the commit that the revision is at; of each file the length and the digest
//! per file: lock the blob -> download to DIGEST.part -> digest -> rename to DIGEST -> link in snapshots/COMMIT
//! note the commit of the revision
//! ```
//!
//! The crate hf-hub gives addresses, the token, TLS, redirects, and the layout of the cache; every request is one of
//! its client's. Its own `download` is not called (version 0.5.0): it makes paths of the commit and the ETag as the
//! server states them, and asks for both anew each time, so that no check before the call holds; it appends a whole
//! body (status 200) to what was there of a file; it asks for ever for the rest of a part that is complete; it checks
//! no digest; it waits for a silent server without end; a redirect without an address makes it panic. So what an
//! answer becomes is decided here: a listing is asked for first, its names are taken only if they are digests
//! (`names`), and the files are got by the commit in it.

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

/// Finds the files of `model` in the cache, or gets them.
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

/// One model on the hub, and everything that is at hand to get it.
struct Hub<'a> {
    model: &'a HubModel,
    options: &'a HubOptions,
    cache: ModelCache<'a>,
    api: Api,
    progress: &'a dyn Progress,
    stop: &'a StopFlag,
}

impl Hub<'_> {
    /// Asks for the model and gets the files that the cache has not.
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

    /// The model at its revision, and the address that said so.
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
                return Err(refuse(format!("it says more than {MAX_LISTING_BYTES} bytes about a model")));
            }
        }
        let listing = Listing::parse(&json, &url)?;
        if let Some(asked) = Commit::parse(self.model.revision()).filter(|asked| *asked != listing.commit) {
            let (asked, found) = (asked.as_str(), listing.commit.as_str());
            return Err(refuse(format!("asked for the commit {asked}, it speaks of {found}")));
        }
        Ok((listing, url))
    }

    /// The file in its snapshot, got if need be.
    fn ensure(&self, commit: &Commit, file: &RemoteFile) -> Result<PathBuf, WeightsError> {
        let blob = self.cache.blob_path(&file.blob);
        let _lock = self.cache.lock(&file.blob, self.progress, self.stop)?;
        if !self.cache.has_blob(&file.blob, self.progress)? {
            let part = blob.with_extension("part"); // hf-hub's name for it
            let url = self.address(commit, file.name);
            Download { hub: self, file, url, part: part.clone() }.run()?;
            put_in_place(&part, &blob)?;
        }
        Ok(self.cache.publish(commit, file.name, &file.blob)?)
    }

    fn repo(&self) -> ApiRepo {
        self.api.repo(repo_of(self.model))
    }

    /// Where a file is, by its commit: the branch may move on meanwhile.
    fn address(&self, commit: &Commit, name: &str) -> String {
        let id = self.model.id().to_owned();
        let repo = hf_hub::Repo::with_revision(id, hf_hub::RepoType::Model, commit.as_str().to_owned());
        self.api.repo(repo).url(name)
    }

    /// A request of hf-hub's client, which has no other way to ask for one.
    fn request(&self, url: &str) -> RequestBuilder<WithoutBody> {
        self.repo().info_request().uri(url)
    }

    fn unreachable(&self, reason: String) -> WeightsError {
        let (model, cache_dir) = (self.model.to_string(), self.options.cache_dir.clone());
        WeightsError::Unreachable { model, cache_dir, reason }
    }
}
