//! Data sets by name, and what `auto` means.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tallow_core::{Progress, StopSignal};
use tallow_dataset::cifar::{load_cifar10, load_cifar100, load_cifar100_coarse};
use tallow_dataset::fetch::{FetchError, FetchRequest, Fetched, Which, fetch};
use tallow_dataset::{Dataset, Error, load_sample};

use crate::App;

/// A data set, or the wish to stop that came while it was fetched.
pub(crate) enum Loaded {
    Dataset(Box<Dataset>),
    Stopped(StopSignal),
}

/// The data set called `name`. `auto` is CIFAR-10 from `data_dir`; where it is not there, fetched, unless `offline`;
/// where that fails, the embedded sample, and a plain word about it.
pub(crate) fn load(name: &str, data_dir: &Path, offline: bool, app: &App) -> Result<Loaded> {
    if name != "auto" {
        return Ok(Loaded::Dataset(Box::new(by_name(name, data_dir)?)));
    }
    match load_cifar10(data_dir) {
        Ok(dataset) => return Ok(Loaded::Dataset(Box::new(dataset))),
        Err(Error::Absent { .. }) => {}
        Err(e) => return Err(e.into()), // damaged data are never passed over
    }
    let why = match offline {
        true => "--offline was given".to_owned(),
        false => match fetch_cifar10(data_dir, app) {
            Ok(Fetched::AlreadyThere { .. } | Fetched::Fetched { .. }) => {
                return Ok(Loaded::Dataset(Box::new(load_cifar10(data_dir)?)));
            }
            Err(FetchError::Stopped { .. }) if app.stop.raised().is_some() => {
                return Ok(Loaded::Stopped(app.stop.raised().unwrap_or(StopSignal::Interrupt)));
            }
            Err(e) => format!("it could not be fetched: {e}"),
        },
    };
    app.progress.say(&format!(
        "CIFAR-10 is not in {} ({why}).\nUsing the embedded sample of it: 2,000 training and 1,000 test images. \
         For all 60,000: cargo xtask fetch-data",
        data_dir.display()
    ));
    Ok(Loaded::Dataset(Box::new(load_sample()?)))
}

/// Like [`load`], but `auto` never fetches.
pub(crate) fn load_local(name: &str, data_dir: &Path) -> Result<Dataset> {
    match (name, load_cifar10(data_dir)) {
        ("auto", Err(Error::Absent { .. })) => Ok(load_sample()?),
        ("auto", loaded) => Ok(loaded?),
        (name, _) => by_name(name, data_dir),
    }
}

fn by_name(name: &str, data_dir: &Path) -> Result<Dataset> {
    let loaded = match name {
        "cifar10" => load_cifar10(data_dir),
        "cifar100" => load_cifar100(data_dir),
        "cifar100-coarse" => load_cifar100_coarse(data_dir),
        "sample" => load_sample(),
        other => bail!(
            "unknown data set \"{other}\": expected auto, cifar10, cifar100 or sample \
             (or cifar100-coarse: the 20 superclasses)"
        ),
    };
    loaded.with_context(|| format!("cannot load the data set {name}"))
}

fn fetch_cifar10(data_dir: &Path, app: &App) -> Result<Fetched, FetchError> {
    app.progress.say(&format!("CIFAR-10 is not in {}: fetching it.", data_dir.display()));
    fetch(&FetchRequest::new(Which::Cifar10, data_dir), &app.progress, &app.stop)
}
