//! Why weights cannot be had, read or loaded, and what to do about it.

use std::path::PathBuf;

use tallow_core::{FileError, StopSignal};
use tallow_nn::{NnError, NonFinite};

/// Why weights cannot be had, read or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A text that names no source.
    #[error(
        "weights {text:?}: {problem}; expected a folder with config.json and model.safetensors, a safetensors file, \
         or hf:OWNER/NAME[@REVISION]"
    )]
    Source {
        /// The text.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A path where nothing is.
    #[error(
        "there is neither a folder nor a file {}: expected a folder with config.json and model.safetensors, a \
         safetensors file, or hf:OWNER/NAME[@REVISION]",
        path.display()
    )]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// A folder without one of its two files.
    #[error(
        "the folder {} has no {missing}: expected config.json and model.safetensors (a safetensors file that is \
         named itself needs no config.json)",
        folder.display()
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The file that is not there.
        missing: &'static str,
    },
    /// A file that cannot be understood.
    #[error("{} is damaged, or no file of weights: {source} (get it again)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NnError,
    },
    /// Weights that are no numbers.
    #[error(
        "{} holds {broken}: such weights answer nothing; get the file again, or name another with --weights",
        path.display()
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        broken: NonFinite,
    },
    /// A `config.json` that says what it cannot mean.
    #[error("{}: {field}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where in it.
        field: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// Tensors do not fit the network, or a device failed.
    #[error(transparent)]
    Network(#[from] NnError),
    /// Nothing says where the hub's cache is.
    #[error("there is no home folder to keep the hub's cache in: set HF_HOME to a folder")]
    NoCache,
    /// The model is not in the cache, and the hub is out of reach.
    #[error(
        "{model} is not wholly in the cache {} and cannot be fetched: {reason}. Either run once with a network{} \
         (HF_HOME says where the cache is), or name with --weights a folder that holds config.json and \
         model.safetensors, or a file",
        cache_dir.display(),
        if reason.starts_with("http") { "" } else { " and without that" }
    )]
    Unreachable {
        /// The model.
        model: String,
        /// The cache.
        cache_dir: PathBuf,
        /// The setting that forbids it ([`offline`](super::HubOptions::offline)), or what the network said.
        reason: String,
    },
    /// The hub refuses.
    #[error("{url} answers with status {status}: {}", remedy_of(*status))]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The hub answers with something else than a hub would.
    #[error(
        "{url}: {problem} (does HF_ENDPOINT name a Hugging Face hub, and does the network want no login?)"
    )]
    Answer {
        /// The address.
        url: String,
        /// What was expected and what came.
        problem: String,
    },
    /// A model without the file that is needed.
    #[error("{model} has no {file} (commit {commit}): take a model that has, or name a folder or a file")]
    NoSuchFile {
        /// The model.
        model: String,
        /// The commit that was looked at.
        commit: String,
        /// The file.
        file: &'static str,
    },
    /// The download broke off, and trying again did not help.
    #[error(
        "the download from {url} broke off after {n_bytes} of {total_bytes} bytes: {reason} (what came is kept: the \
         same command goes on from there)"
    )]
    Cut {
        /// The address.
        url: String,
        /// How much is there.
        n_bytes: u64,
        /// How much there is to be.
        total_bytes: u64,
        /// What happened.
        reason: String,
    },
    /// The bytes are not those that the hub describes.
    #[error(
        "what {url} sends is not what the hub says that it is: {actual}, expected {expected}; the download was \
         deleted (try again; a proxy or a mirror may be at fault)"
    )]
    Digest {
        /// The address.
        url: String,
        /// The kind of digest and its value, as stated.
        expected: String,
        /// The same of what came.
        actual: String,
    },
    /// Ctrl-C or SIGTERM came; what was downloaded is kept.
    #[error("stopped")]
    Stopped(StopSignal),
}

fn remedy_of(status: u16) -> &'static str {
    match status {
        401 => "there is no such model, or it wants a token: check the name, or set HF_TOKEN",
        403 => {
            "the token (HF_TOKEN) may not read this model; a gated model wants its terms accepted on its page"
        }
        404 => "there is no such model, revision or file: check the name",
        429 | 500.. => "try again later",
        _ => "check the name and HF_ENDPOINT",
    }
}
