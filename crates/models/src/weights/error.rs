//! [`WeightsError`]: why weights cannot be found, read or loaded. Each message says what to do.

use std::path::PathBuf;

use tallow_core::memory::Exhausted;
use tallow_core::shown::{shown, shown_path};
use tallow_core::{FileError, StopSignal};
use tallow_nn::{NnError, NonFinite};

/// Why weights cannot be found, read or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is not a valid source of weights.
    #[error(
        "weights {text:?}: {problem}; expected a folder with config.json and model.safetensors, a safetensors file, \
         or hf:OWNER/NAME[@REVISION]"
    )]
    Source {
        /// The text.
        text: String,
        /// What is wrong with the text.
        problem: &'static str,
    },
    /// The path does not exist.
    #[error(
        "there is neither a folder nor a file {}: expected a folder with config.json and model.safetensors, a \
         safetensors file, or hf:OWNER/NAME[@REVISION]",
        shown_path(path)
    )]
    Absent {
        /// The path.
        path: PathBuf,
    },
    /// The folder lacks one of its two files.
    #[error(
        "the folder {} has no {missing}: expected config.json and model.safetensors (if you name a \
         safetensors file instead, it needs no config.json)",
        shown_path(folder)
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The missing file.
        missing: &'static str,
    },
    /// The file is damaged, or is not a safetensors file.
    #[error("{} is damaged or is not a safetensors file: {source} (get it again)", shown_path(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        source: NnError,
    },
    /// There is no memory for the tensors of the file.
    #[error("{}: {exhausted}", shown_path(path))]
    Exhausted {
        /// The file.
        path: PathBuf,
        /// How much memory was wanted.
        exhausted: Exhausted,
    },
    /// A tensor holds NaN or infinity.
    #[error(
        "{} holds {broken}: such weights cannot classify anything; get the file again, or name another with \
         --weights",
        shown_path(path)
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor, and the number of its values that are NaN or infinite.
        broken: NonFinite,
    },
    /// A value in `config.json` is not of the expected form.
    #[error("{}: {field}: {}", shown_path(path), shown(problem))]
    Config {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// Tensors do not fit the network, or a device failed.
    #[error(transparent)]
    Network(#[from] NnError),
    /// No environment variable names the hub's cache, and there is no home folder.
    #[error("there is no home folder to keep the hub's cache in: set HF_HOME to a folder")]
    NoCache,
    /// The model is not complete in the cache, and the hub cannot be reached.
    #[error(
        "{model} is not complete in the cache {} and cannot be downloaded: {}. Either run once with a \
         network connection{} (HF_HOME sets the place of the cache), or give --weights a folder with \
         config.json and model.safetensors, or a file",
        shown_path(cache_dir),
        shown(reason),
        if reason.starts_with("http") { "" } else { " and without this setting" }
    )]
    Unreachable {
        /// The model.
        model: String,
        /// The folder of the cache.
        cache_dir: PathBuf,
        /// The setting that forbids requests ([`offline`](super::HubOptions::offline)), or the network's error message.
        reason: String,
    },
    /// The hub refused the request.
    #[error("{} returned status {status}: {}", shown(url), remedy_of(*status))]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not one that a hub gives.
    #[error(
        "{}: {} (check that HF_ENDPOINT names a Hugging Face hub, and that the network does not \
         require a login)",
        shown(url),
        shown(problem)
    )]
    Answer {
        /// The address.
        url: String,
        /// What was expected and what came.
        problem: String,
    },
    /// The model lacks a required file.
    #[error(
        "{model} has no {file} (commit {commit}): choose a model that has this file, or name a folder or a \
         file"
    )]
    NoSuchFile {
        /// The model.
        model: String,
        /// The commit of the model.
        commit: String,
        /// The file.
        file: &'static str,
    },
    /// The download failed otherwise.
    #[error(transparent)]
    Download(tallow_fetch::Error),
    /// The digest or the length of the download differs from the hub's statement.
    #[error(
        "the file from {url} does not match the hub's statement: {actual}, expected {expected}; the \
         download was deleted (try again; a proxy or a mirror may be at fault)"
    )]
    Digest {
        /// The address.
        url: String,
        /// The digest that the hub states, with its kind, and the length if that differs.
        expected: String,
        /// The digest of the download with its kind, or its length if that differs.
        actual: String,
    },
    /// Ctrl-C or SIGTERM stopped the download; the downloaded part is kept.
    #[error("stopped")]
    Stopped(StopSignal),
}

fn remedy_of(status: u16) -> &'static str {
    match status {
        401 => "the model does not exist or requires a token: check the name, or set HF_TOKEN",
        403 => {
            "the token (HF_TOKEN) may not read this model; for a gated model, accept the terms on its page \
             first"
        }
        404 => "the model, revision or file does not exist: check the name",
        429 | 500.. => "try again later",
        _ => "check the name and HF_ENDPOINT",
    }
}
