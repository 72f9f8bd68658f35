//! A small hub on loopback: serves one model at one commit like the real hub, or with the errors that a test sets.
#![allow(dead_code, reason = "each test program uses a part of it")]

#[path = "../../../fetch/tests/server/mod.rs"]
mod server;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::Digest as _;
use tallow_core::{Purpose, Silent, StopFlag, Stream, digest};
use tallow_models::weights::{HubOptions, Patience, WeightFiles, WeightsError, resolve};
use tallow_nn::{HostTensor, Tensors};

use server::Server;
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub(crate) use server::{Reply, hang_up, range_start, ranged, status, with_head};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const CONFIG: &str = r#"{"architecture": "resnet18", "num_classes": 1000}"#;

/// Returns the weights of the model: about 200 kB, more than one piece of a transfer.
pub(crate) fn weights() -> Tensors {
    let mut stream = Stream::new(0, Purpose::Test, 0, 0);
    let data = (0..50_000).map(|_| stream.next_u32() as f32).collect();
    Tensors::from([("fc.weight".to_owned(), HostTensor { shape: vec![50, 1000], data })])
}

/// Returns the safetensors file with the weights.
pub(crate) fn model_file() -> Vec<u8> {
    tallow_nn::encode(&weights(), "").unwrap()
}

#[derive(Default)]
struct State {
    /// Replies to the next requests for the weights, one each; the ordinary replies follow.
    replies: VecDeque<Reply>,
    files: BTreeMap<&'static str, Vec<u8>>,
    /// A false listing of the model, if set.
    listing: Option<String>,
    /// The status of every answer, if it is not 200.
    status: Option<&'static str>,
    token: Option<&'static str>,
}

/// A hub that runs until the test program ends.
pub(crate) struct TestHub {
    pub(crate) url: String,
    server: Server,
    state: Arc<Mutex<State>>,
}

impl TestHub {
    /// Starts a hub with the model `timm/tiny`: `config.json` and `model.safetensors`.
    pub(crate) fn start() -> Self {
        let files = BTreeMap::from([
            ("config.json", CONFIG.as_bytes().to_vec()),
            ("model.safetensors", model_file()),
        ]);
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = Arc::clone(&state);
        let server = Server::answering(move |head| reply_to(head, &mut shared.lock().unwrap()));
        Self { url: server.url.clone(), server, state }
    }

    pub(crate) fn reply(&self, replies: Vec<Reply>) {
        self.state.lock().unwrap().replies.extend(replies);
    }

    pub(crate) fn say(&self, listing: impl Into<String>) {
        self.state.lock().unwrap().listing = Some(listing.into());
    }

    pub(crate) fn refuse(&self, status: &'static str) {
        self.state.lock().unwrap().status = Some(status);
    }

    pub(crate) fn want_token(&self, token: &'static str) {
        self.state.lock().unwrap().token = Some(token);
    }

    pub(crate) fn remove(&self, file: &str) {
        self.state.lock().unwrap().files.remove(file);
    }

    /// Returns the heads of the requests so far, in lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.server.requests()
    }

    /// Returns the start of the range in each request for the weights; `None` for a request of the whole file.
    pub(crate) fn range_starts(&self) -> Vec<Option<usize>> {
        let of_model = |head: &String| head.contains("/model.safetensors").then(|| range_start(head));
        self.requests().iter().filter_map(of_model).collect()
    }

    /// Returns options for this hub with an empty cache below `folder`, with short time-outs.
    pub(crate) fn options(&self, folder: &Path) -> HubOptions {
        HubOptions {
            endpoint: self.url.clone(),
            patience: Patience {
                connect: Duration::from_secs(2),
                stall: Duration::from_secs(2),
                retry_delay: Duration::from_millis(5),
                ..Patience::default()
            },
            ..HubOptions::new(folder.join("hub"))
        }
    }
}

/// Resolves `source` without progress output and without a stop.
pub(crate) fn get(source: &str, options: &HubOptions) -> Result<WeightFiles, WeightsError> {
    resolve(&source.parse().unwrap(), options, &Silent, &StopFlag::default())
}

/// Whether the files are those of the hub.
pub(crate) fn are_right(files: &WeightFiles) -> bool {
    let config = files.config.as_ref().map(|path| std::fs::read(path).unwrap());
    config.as_deref() == Some(CONFIG.as_bytes()) && std::fs::read(&files.model).unwrap() == model_file()
}

/// Returns the relative path of every file and link below `folder`.
pub(crate) fn paths_in(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, paths: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), root, paths),
                false => paths.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    let mut paths = Vec::new();
    walk(folder, folder, &mut paths);
    paths.sort();
    paths
}

/// Returns the hub's listing of the model at `commit`.
pub(crate) fn listing(commit: &str, siblings: &[String]) -> String {
    format!(r#"{{"id": "timm/tiny", "sha": "{commit}", "siblings": [{}]}}"#, siblings.join(", "))
}

pub(crate) fn small(name: &str, content: &[u8]) -> String {
    let (n_bytes, id) = (content.len(), git_blob(content));
    format!(r#"{{"rfilename": "{name}", "size": {n_bytes}, "blobId": "{id}"}}"#)
}

pub(crate) fn large(name: &str, n_bytes: usize, sha256: &str) -> String {
    let lfs = format!(r#"{{"sha256": "{sha256}", "size": {n_bytes}, "pointerSize": 134}}"#);
    format!(r#"{{"rfilename": "{name}", "size": {n_bytes}, "blobId": "{COMMIT}", "lfs": {lfs}}}"#)
}

pub(crate) fn git_blob(content: &[u8]) -> String {
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", content.len()));
    hasher.update(content);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn reply_to(head: &str, state: &mut State) -> Reply {
    let is_allowed = state.token.is_none_or(|token| head.contains(&format!("authorization: bearer {token}")));
    let path = head.split(' ').nth(1).unwrap_or("").to_owned();
    if let Some(refusal) = state.status {
        status(refusal)
    } else if !is_allowed {
        status("401 Unauthorized")
    } else if path.starts_with("/api/models/timm/tiny/revision/") && path.ends_with("?blobs=true") {
        let siblings = state.files.iter().map(|(name, content)| match *name {
            "config.json" => small(name, content),
            _ => large(name, content.len(), &digest::of_bytes(content)),
        });
        let truth = listing(COMMIT, &siblings.collect::<Vec<_>>());
        with_head(state.listing.as_ref().unwrap_or(&truth).as_bytes(), "200 OK", "")
    } else {
        let path = path.split('?').next().unwrap_or("");
        let file = path.strip_prefix(&format!("/timm/tiny/resolve/{COMMIT}/")).unwrap_or("").to_owned();
        match state.replies.pop_front_if(|_| file == "model.safetensors") {
            Some(reply) => reply,
            None => {
                state.files.get(file.as_str()).map_or_else(|| status("404 Not Found"), |body| ranged(body))
            }
        }
    }
}

/// Announces all of the weights, and closes the connection after `n_bytes` of them.
pub(crate) fn cut_after(n_bytes: usize) -> Reply {
    server::cut_after(&model_file(), n_bytes)
}

/// Announces all of the weights, sends `n_bytes` of them, and keeps the connection until the other side closes it.
pub(crate) fn silent_after(n_bytes: usize) -> Reply {
    server::silent_after(&model_file(), n_bytes)
}

/// Redirects the client to another address for the weights.
pub(crate) fn redirect(to: &str, more: &str) -> Reply {
    let location = format!("Location: {to}/timm/tiny/resolve/{COMMIT}/model.safetensors");
    with_head(b"", "302 Found", &format!("{location}?file=..%2f..%2fx\r\n{more}"))
}
