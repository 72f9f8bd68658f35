//! Loads data sets by name or by path, and resolves `auto`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tallow_core::shown::{shell_word, shown, shown_path};
use tallow_core::{FileError, Progress, StopSignal, did_you_mean, files, memory, path_of, path_text};
use tallow_dataset::cifar::{load_cifar_python, load_cifar10, load_cifar100, load_cifar100_coarse};
use tallow_dataset::fetch::{FetchError, FetchRequest, Fetched, Which, fetch};
use tallow_dataset::folder::ListingOptions;
use tallow_dataset::{Dataset, Error, PhotographsRequest, Preprocess, load_photographs, load_sample};
use tallow_training::DataConfig;

use crate::App;

/// The named data sets.
const NAMES: [&str; 5] = ["auto", "cifar10", "cifar100", "cifar100-coarse", "sample"];

/// What the names of tables and archives end in.
const FILE_ENDS: [&str; 6] = [".csv", ".tsv", ".zip", ".tar", ".tar.gz", ".tgz"];

/// Memory limit for keeping pictures that are read once after the scan, for a frozen backbone's features. It is small because
/// decoding takes little time compared with the backbone.
const MAX_KEPT_ONCE_BYTES: usize = 1 << 30;

/// A data set, or the signal that stopped its download or scan.
pub(crate) enum Loaded {
    /// The data set and notices about it.
    Dataset(Box<Dataset>, Vec<String>),
    Stopped(StopSignal),
}

impl Loaded {
    /// Prints the notices and returns the data set; returns the signal if loading was stopped.
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

/// The data set that the user names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Spec {
    Named(String),
    /// A folder, a table, an archive, or a published version of CIFAR.
    Path(PathBuf),
}

impl Spec {
    /// Parses a name, `folder:PATH`, or an existing path; a path is given as its text ([`path_text()`]).
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if NAMES.contains(&text) {
            return Ok(Self::Named(text.to_owned()));
        }
        let path = path_of(text.strip_prefix("folder:").unwrap_or(text));
        // what the system cannot tell is reported when the data are loaded
        if path.try_exists().unwrap_or(true)
            || text.starts_with("folder:")
            || text.contains(std::path::MAIN_SEPARATOR)
        {
            return Ok(Self::Path(path));
        }
        let beside = names_in(Path::new("."));
        let all = NAMES.into_iter().chain(beside.iter().map(String::as_str));
        let meant = did_you_mean(text, all);
        let is_file_name = FILE_ENDS.iter().any(|end| text.to_ascii_lowercase().ends_with(end));
        ensure!(!is_file_name, "{} does not exist{meant}", shown(text));
        bail!(
            "unknown data set \"{}\": expected {}, or the path of a folder, a table of labels (.csv) or an archive \
             (.zip, .tar, .tar.gz){meant}",
            shown(text),
            NAMES.join(", "),
        )
    }

    /// Returns the data set's name for a recipe, which does not depend on the current folder.
    pub(crate) fn resolved(&self, dataset: &Dataset) -> String {
        match self {
            Self::Named(_) => dataset.name.raw().to_owned(),
            Self::Path(path) => path_text(&path.canonicalize().unwrap_or_else(|_| path.clone())),
        }
    }

    /// Whether the data set consists of picture files, which may have different sizes.
    pub(crate) fn is_of_files(&self) -> bool {
        matches!(self, Self::Path(path) if !matches!(Cifar::at(path), Ok(Some(_))))
    }
}

/// A request to load a data set.
pub(crate) struct Request<'a> {
    pub(crate) spec: &'a Spec,
    /// The folder of named data sets, and the options for reading others.
    pub(crate) config: &'a DataConfig,
    /// Whether `auto` may download CIFAR-10. The error has a reason to print, if any.
    pub(crate) fetches: Result<(), Option<&'static str>>,
    /// How pictures are fitted to the model's size, if they may be kept in memory.
    pub(crate) preprocess: Option<Preprocess>,
    /// Whether all pictures of a data set without parts are used for the test.
    pub(crate) is_all_test: bool,
    /// Whether pictures are read only once, for the features of a frozen backbone.
    pub(crate) is_read_once: bool,
}

/// Loads the data set that `request` names. `auto` is CIFAR-10, which is downloaded if it is missing and `request` allows it.
/// Otherwise `auto` is the embedded sample; unless the download was ruled out without a reason, that is reported.
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
        Err(e) => return Err(e.into()), // damaged data are always an error
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
        shown_path(data_dir)
    ));
    Ok(Loaded::named(load_sample()?))
}

/// Does the same as [`load`], but never downloads. With `is_all_test`, the data set is not used for training.
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
            anyhow::anyhow!("{error}, or name the folder that holds it with --data-dir")
        }
        other => other.into(),
    };
    loaded.map_err(told).with_context(|| format!("cannot load the data set {name}"))
}

/// Returns the options of a recipe for reading a table of labels.
fn listing_options(config: &DataConfig) -> ListingOptions {
    let DataConfig { file_column, label_column, split_column, .. } = config.clone();
    ListingOptions { file_column, label_column, split_column, allows_one_class: false }
}

/// Returns the options that name a data set again, each after a space.
pub(crate) fn flags(config: &DataConfig) -> String {
    let DataConfig { dataset, file_column, label_column, split_column, .. } = config;
    let usual = DataConfig::default();
    let data_dir = (config.data_dir != usual.data_dir).then(|| path_text(&config.data_dir));
    let test_fraction =
        (config.test_fraction != usual.test_fraction).then(|| config.test_fraction.to_string());
    let named = [
        ("dataset", Some(dataset)),
        ("data-dir", data_dir.as_ref()),
        ("file-column", file_column.as_ref()),
        ("label-column", label_column.as_ref()),
        ("split-column", split_column.as_ref()),
        ("test-fraction", test_fraction.as_ref()),
    ];
    let named = named.into_iter().filter_map(|(option, value)| Some((option, value?)));
    let all = named.map(|(option, value)| format!(" --{option} {}", shell_word(&path_of(value))));
    all.chain(config.skip_bad.then(|| " --skip-bad".to_owned())).collect()
}

/// Returns the names of the entries of a folder; none if the system does not tell them.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A version of CIFAR as its authors published it.
enum Cifar {
    /// The folder of the Python version.
    Python,
    /// The folder of the binary version.
    Binary(&'static str),
    /// The archive of the binary version.
    Archive(Which, &'static str),
}

impl Cifar {
    /// Returns the version at `path`, if there is one.
    fn at(path: &Path) -> std::result::Result<Option<Self>, FileError> {
        let named = |[for_10, for_100]: [&str; 2]| match path {
            _ if path.ends_with(for_10) => Some((Which::Cifar10, "cifar10")),
            _ if path.ends_with(for_100) => Some((Which::Cifar100, "cifar100")),
            _ => None,
        };
        let archive = named(["cifar-10-binary.tar.gz", "cifar-100-binary.tar.gz"]);
        if let Some((which, name)) = archive.filter(|_| files::is_file(path).unwrap_or(false)) {
            return Ok(Some(Self::Archive(which, name)));
        }
        if let Some((_, name)) = named(["cifar-10-batches-bin", "cifar-100-binary"]) {
            return Ok(Some(Self::Binary(name)));
        }
        let holds = |name: &str| files::is_file(&path.join(name));
        let is_python = holds("batches.meta")? || (holds("meta")? && holds("train")?);
        Ok(is_python.then_some(Self::Python))
    }

    /// Loads this version from `path`. An archive is unpacked into `data_dir`.
    fn load(&self, path: &Path, data_dir: &Path, app: &App) -> Result<Loaded> {
        match *self {
            Self::Python => Ok(Loaded::named(load_cifar_python(path)?)),
            Self::Binary(name) => Ok(Loaded::named(by_name(name, path.parent().unwrap_or(Path::new(".")))?)),
            Self::Archive(which, name) => {
                let request =
                    FetchRequest { from: Some(path_text(path)), ..FetchRequest::new(which, data_dir) };
                match fetch(&request, &app.progress, &app.stop) {
                    Err(FetchError::Stopped { .. }) if app.stop.raised().is_some() => Ok(stopped(app)),
                    fetched => {
                        fetched.with_context(|| format!("cannot use {}", shown_path(path)))?;
                        Ok(Loaded::named(by_name(name, data_dir)?))
                    }
                }
            }
        }
    }
}

fn photographs(path: &Path, request: &Request<'_>, app: &App) -> Result<Loaded> {
    if let Some(cifar) = Cifar::at(path)? {
        return cifar.load(path, &request.config.data_dir, app);
    }
    if !files::exists(path)? {
        bail!(
            "{} does not exist: name the folder, the table or the archive with --dataset",
            shown_path(path)
        );
    }
    let config = request.config;
    let n_bytes = match request.is_read_once {
        true => MAX_KEPT_ONCE_BYTES,
        false => memory::free().map_or(1 << 30, |free| free.bytes / 2) as usize,
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
    let Some(loaded) = loaded.with_context(|| format!("cannot use {}", shown_path(path)))? else {
        return Ok(stopped(app));
    };
    Ok(Loaded::Dataset(Box::new(loaded.dataset), loaded.notices))
}

fn stopped(app: &App) -> Loaded {
    Loaded::Stopped(app.stop.raised().unwrap_or(StopSignal::Interrupt))
}

fn fetch_cifar10(data_dir: &Path, app: &App) -> Result<Fetched, FetchError> {
    app.progress.say(&format!("CIFAR-10 is not in {}: fetching it.", shown_path(data_dir)));
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
