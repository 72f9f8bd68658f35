//! Data sets by name or by path, and what `auto` means.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tallow_core::shown::shown;
use tallow_core::{Progress, StopSignal, did_you_mean};
use tallow_dataset::cifar::{load_cifar_python, load_cifar10, load_cifar100, load_cifar100_coarse};
use tallow_dataset::fetch::{FetchError, FetchRequest, Fetched, Which, fetch};
use tallow_dataset::folder::ListingOptions;
use tallow_dataset::{Dataset, Error, PhotographsRequest, Preprocess, load_photographs, load_sample};
use tallow_training::DataConfig;

use crate::App;

/// The data sets that have a name.
const NAMES: [&str; 5] = ["auto", "cifar10", "cifar100", "cifar100-coarse", "sample"];

/// Pictures that are read once after the scan, for a frozen backbone's features, are kept up to here: decoding is little
/// beside the backbone.
const MAX_KEPT_ONCE_BYTES: usize = 1 << 30;

/// A data set, or the wish to stop that came while it was fetched or looked at.
pub(crate) enum Loaded {
    /// With what there is to say about it.
    Dataset(Box<Dataset>, Vec<String>),
    Stopped(StopSignal),
}

impl Loaded {
    /// The data set, and a word about what is not as it ought to be; or the wish to stop.
    pub(crate) fn told(self, app: &App) -> std::result::Result<Dataset, StopSignal> {
        match self {
            Self::Dataset(dataset, notices) => {
                notices.iter().for_each(|notice| app.progress.say(&format!("Note: {notice}")));
                Ok(*dataset)
            }
            Self::Stopped(signal) => Err(signal),
        }
    }

    fn named(dataset: Dataset) -> Self {
        Self::Dataset(Box::new(dataset), Vec::new())
    }
}

/// Which data set is meant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Spec {
    Named(String),
    /// A folder, a table, an archive, or the folder of CIFAR's Python version.
    Path(PathBuf),
}

impl Spec {
    /// A name, `folder:PATH`, or a path that is there.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if NAMES.contains(&text) {
            return Ok(Self::Named(text.to_owned()));
        }
        let path = PathBuf::from(text.strip_prefix("folder:").unwrap_or(text));
        if path.exists() || text.starts_with("folder:") || text.contains(std::path::MAIN_SEPARATOR) {
            return Ok(Self::Path(path));
        }
        bail!(
            "unknown data set \"{}\": expected {}, or the path of a folder, a table of labels (.csv) or an archive \
             (.zip, .tar, .tar.gz){}",
            shown(text),
            NAMES.join(", "),
            did_you_mean(text, NAMES)
        )
    }

    /// As a recipe has it: what does not depend on where the program was started.
    pub(crate) fn resolved(&self, dataset: &Dataset) -> String {
        match self {
            Self::Named(_) => dataset.name.clone(),
            Self::Path(path) => {
                let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
                whole.to_string_lossy().into_owned()
            }
        }
    }

    /// Whether pictures have sizes of their own.
    pub(crate) fn is_of_files(&self) -> bool {
        matches!(self, Self::Path(path) if !is_cifar_python(path))
    }
}

/// How a data set is loaded.
pub(crate) struct Request<'a> {
    pub(crate) spec: &'a Spec,
    /// Where named data sets lie, and what is found out about others.
    pub(crate) config: &'a DataConfig,
    /// Whether CIFAR-10 is fetched where `auto` wants it; with the reason where not, if there is one to tell.
    pub(crate) fetches: Result<(), Option<&'static str>>,
    /// How pictures are fitted to the model's size, where they are to be kept in memory.
    pub(crate) preprocess: Option<Preprocess>,
    /// Whether all pictures of a data set without parts are for the test.
    pub(crate) is_all_test: bool,
    /// Whether pictures are read once, for the features of a frozen backbone.
    pub(crate) is_read_once: bool,
}

/// The data set that `request` names. `auto` is CIFAR-10; where it is not there, fetched, if that is wanted; where that
/// fails, the embedded sample, and a plain word about it.
pub(crate) fn load(request: &Request<'_>, app: &App) -> Result<Loaded> {
    let name = match request.spec {
        Spec::Path(path) => return photographs(path, request, app),
        Spec::Named(name) => name,
    };
    let data_dir = &request.config.data_dir;
    if name != "auto" {
        return Ok(Loaded::named(by_name(name, data_dir)?));
    }
    match load_cifar10(data_dir) {
        Ok(dataset) => return Ok(Loaded::named(dataset)),
        Err(Error::Absent { .. }) => {}
        Err(e) => return Err(e.into()), // damaged data are never passed over
    }
    let why = match request.fetches {
        Err(None) => return Ok(Loaded::named(load_sample()?)),
        Err(Some(why)) => why.to_owned(),
        Ok(()) => match fetch_cifar10(data_dir, app) {
            Ok(Fetched::AlreadyThere { .. } | Fetched::Fetched { .. }) => {
                return Ok(Loaded::named(load_cifar10(data_dir)?));
            }
            Err(FetchError::Stopped { .. }) if app.stop.raised().is_some() => return Ok(stopped(app)),
            Err(e) => format!("it could not be fetched: {e}"),
        },
    };
    app.progress.say(&format!(
        "CIFAR-10 is not in {} ({why}).\nUsing the embedded sample of it: 2,000 training and 1,000 test images. \
         For all 60,000: cargo xtask fetch-data",
        data_dir.display()
    ));
    Ok(Loaded::named(load_sample()?))
}

/// Like [`load`], but nothing is fetched. With `is_all_test`, nothing is trained on the data set.
pub(crate) fn load_local(spec: &Spec, config: &DataConfig, is_all_test: bool, app: &App) -> Result<Loaded> {
    load(
        &Request { spec, config, fetches: Err(None), preprocess: None, is_all_test, is_read_once: false },
        app,
    )
}

fn by_name(name: &str, data_dir: &Path) -> Result<Dataset> {
    let loaded = match name {
        "cifar10" => load_cifar10(data_dir),
        "cifar100" => load_cifar100(data_dir),
        "cifar100-coarse" => load_cifar100_coarse(data_dir),
        _ => load_sample(),
    };
    let told = |error: Error| match error {
        Error::Absent { .. } => {
            anyhow::anyhow!("{error}, or name with --data-dir the folder that holds it")
        }
        other => other.into(),
    };
    loaded.map_err(told).with_context(|| format!("cannot load the data set {name}"))
}

/// What a recipe says about a table of labels.
pub(crate) fn listing_options(config: &DataConfig) -> ListingOptions {
    let DataConfig { file_column, label_column, split_column, .. } = config.clone();
    ListingOptions { file_column, label_column, split_column }
}

/// Whether a folder holds CIFAR's Python version.
fn is_cifar_python(path: &Path) -> bool {
    path.join("batches.meta").is_file() || (path.join("meta").is_file() && path.join("train").is_file())
}

fn photographs(path: &Path, request: &Request<'_>, app: &App) -> Result<Loaded> {
    if is_cifar_python(path) {
        return Ok(Loaded::named(load_cifar_python(path)?));
    }
    if !path.exists() {
        bail!(
            "there is nothing at {}: name with --dataset the folder, the table or the archive where it lies",
            shown(&path.to_string_lossy())
        );
    }
    let config = request.config;
    let n_bytes = match request.is_read_once {
        true => MAX_KEPT_ONCE_BYTES,
        false => free_memory_bytes().unwrap_or(2 << 30) / 2,
    };
    let photographs = PhotographsRequest {
        path,
        options: listing_options(config),
        data_dir: &config.data_dir,
        test_fraction: config.test_share(),
        skip_bad: config.skip_bad,
        is_all_test: request.is_all_test,
        keep: request.preprocess.map(|preprocess| (preprocess, n_bytes)),
    };
    let loaded = load_photographs(&photographs, &app.progress, &app.stop);
    let Some(loaded) = loaded.with_context(|| format!("cannot use {}", shown(&path.to_string_lossy())))?
    else {
        return Ok(stopped(app));
    };
    Ok(Loaded::Dataset(Box::new(loaded.dataset), loaded.notices))
}

fn stopped(app: &App) -> Loaded {
    Loaded::Stopped(app.stop.raised().unwrap_or(StopSignal::Interrupt))
}

/// What the system could give without swapping, where it says so.
pub(crate) fn free_memory_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

fn fetch_cifar10(data_dir: &Path, app: &App) -> Result<Fetched, FetchError> {
    app.progress.say(&format!("CIFAR-10 is not in {}: fetching it.", data_dir.display()));
    fetch(&FetchRequest::new(Which::Cifar10, data_dir), &app.progress, &app.stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart() {
        let spec = |text: &str| Spec::parse(text).unwrap();
        assert_eq!(spec("cifar10"), Spec::Named("cifar10".into()));
        assert_eq!(spec("folder:x"), Spec::Path("x".into()));
        assert_eq!(spec("no/such/place"), Spec::Path("no/such/place".into()));
        assert_eq!(spec("."), Spec::Path(".".into()));
        let message = Spec::parse("cifar11").unwrap_err().to_string();
        assert!(
            message.contains("\"cifar11\"") && message.ends_with("did you mean \"cifar10\"?"),
            "{message}"
        );
    }
}
