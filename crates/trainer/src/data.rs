//! `trainer data info` and `trainer data verify`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tallow_core::shown::shown;
use tallow_core::{Foreign, Progress as _, StopSignal};
use tallow_dataset::cifar::{load_cifar100, verify_cifar10};
use tallow_dataset::{Dataset, Error, ImageSet, Normalization, load_sample};

use crate::App;
use crate::args::DataArgs;
use crate::output;
use crate::source::{self, Spec};

/// Number of columns of the longest bar of a class.
const BAR: usize = 30;

#[derive(Serialize)]
struct Info {
    dataset: Foreign,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'static str>,
    digest: String,
    /// Images, rows, columns, channels; only images and channels if pictures have different sizes.
    train_shape: Vec<usize>,
    test_shape: Vec<usize>,
    classes: Vec<ClassInfo>,
    /// Mean of the training pixels; the standard deviation follows.
    mean: [f32; 3],
    std: [f32; 3],
    /// Mean and standard deviation that normalise pixels, if they differ from those above.
    #[serde(skip_serializing_if = "Option::is_none")]
    normalized_by: Option<Normalization>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pictures: Option<PicturesInfo>,
}

#[derive(Serialize)]
struct ClassInfo {
    name: Foreign,
    n_train: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_val: Option<usize>,
    n_test: usize,
}

/// Results of the scan of files.
#[derive(Serialize)]
struct PicturesInfo {
    /// Number of files of each format.
    formats: BTreeMap<&'static str, usize>,
    /// Number of files whose metadata ask to turn or mirror them.
    n_turned: usize,
    /// Smallest, median and largest height, in pixels; the widths follow.
    heights_px: [u32; 3],
    widths_px: [u32; 3],
}

pub(crate) fn info(args: &DataArgs, app: &App) -> Result<ExitCode> {
    let (spec, config) = (Spec::parse(&args.dataset)?, args.labels.config(&args.data_dir));
    let dataset = match source::load_local(&spec, &config, false, app)?.told(app) {
        Ok(dataset) => dataset,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let info = gather(&dataset)?;
    match app.global.json {
        true => output::json(&info)?,
        false => print(&info)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn gather(dataset: &Dataset) -> Result<Info> {
    let shape = |set: &ImageSet| match set.block_shape() {
        Some([h, w, c]) => vec![set.len(), h, w, c],
        None => vec![set.len(), set.channels()],
    };
    let names = dataset.train.class_names();
    let (mut train, test) = (dataset.train.class_counts(), dataset.test.class_counts());
    let val = dataset.val_indices.as_ref().map(|indices| {
        let mut counts = vec![0; names.len()];
        indices.iter().for_each(|&i| counts[dataset.train.label(i as usize) as usize] += 1);
        train.iter_mut().zip(&counts).for_each(|(train, val)| *train -= val);
        counts
    });
    let class = |(i, name): (usize, &Foreign)| ClassInfo {
        name: name.clone(),
        n_train: train[i],
        n_val: val.as_ref().map(|val| val[i]),
        n_test: test[i],
    };
    // a data set that is part of another one is normalised like the whole
    let normalized_by = dataset.about.map(|_| dataset.normalization);
    let own = match normalized_by {
        Some(_) => {
            let all: Vec<u32> = (0..dataset.train.len() as u32).collect();
            Normalization::of(&dataset.train, &all)?
        }
        None => dataset.normalization,
    };
    Ok(Info {
        dataset: dataset.name.clone(),
        about: dataset.about,
        digest: dataset.digest.clone(),
        train_shape: shape(&dataset.train),
        test_shape: shape(&dataset.test),
        classes: names.iter().enumerate().map(class).collect(),
        mean: own.mean,
        std: own.std,
        normalized_by,
        pictures: pictures(dataset),
    })
}

fn pictures(dataset: &Dataset) -> Option<PicturesInfo> {
    let sets = [&dataset.train, &dataset.test];
    let facts: Vec<_> = sets.iter().flat_map(|set| (0..set.len()).filter_map(|i| set.facts(i))).collect();
    let mut formats = BTreeMap::new();
    facts.iter().for_each(|facts| *formats.entry(facts.format).or_default() += 1);
    let range = |side: usize| {
        let mut sides: Vec<u32> = facts.iter().map(|facts| facts.size_px[side]).collect();
        sides.sort_unstable();
        Some([*sides.first()?, sides[sides.len() / 2], *sides.last()?])
    };
    Some(PicturesInfo {
        n_turned: facts.iter().filter(|facts| facts.is_turned).count(),
        heights_px: range(0)?,
        widths_px: range(1)?,
        formats,
    })
}

/// Prints shapes as NumPy does, and so the Keras baseline.
fn print(info: &Info) -> Result<()> {
    let about = info.about.map(|about| format!(": {about}")).unwrap_or_default();
    output::line(&format!("Data set              {}{about}", info.dataset.shown()))?;
    match &info.pictures {
        Some(pictures) => print_pictures(info, pictures)?,
        None => {
            let shape = |shape: &[usize]| {
                format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            };
            output::line(&format!("Training data shape   {}", shape(&info.train_shape)))?;
            output::line(&format!("Training labels shape ({}, 1)", info.train_shape[0]))?;
            output::line(&format!("Test data shape       {}", shape(&info.test_shape)))?;
            output::line(&format!("Test labels shape     ({}, 1)", info.test_shape[0]))?;
            output::line("Pixels                0 to 255, red green blue")?;
        }
    }
    output::line(&format!("Mean, per channel     {:?}", info.mean))?;
    output::line(&format!("Deviation             {:?}", info.std))?;
    if let Some(Normalization { mean, std }) = info.normalized_by {
        output::line(&format!("Normalised by         {mean:?} and {std:?}, those of the full data set"))?;
    }
    output::line(&format!("Digest                {}\n", info.digest))?;
    let has_val = info.classes.iter().any(|class| class.n_val.is_some());
    let val = |text: String| if has_val { format!(" {text:>10}") } else { String::new() };
    let head = format!(
        "{:>5}  {:<20} {:>8}{} {:>8}",
        "label",
        "class",
        "training",
        val("validation".into()),
        "test"
    );
    output::line(&head)?;
    let n_of = |class: &ClassInfo| class.n_train + class.n_val.unwrap_or(0) + class.n_test;
    let largest = info.classes.iter().map(n_of).max().unwrap_or(0).max(1);
    for (label, class) in info.classes.iter().enumerate() {
        let n_val = val(class.n_val.unwrap_or(0).to_string());
        let bar = match info.pictures {
            Some(_) => format!("  {}", "#".repeat((n_of(class) * BAR).div_ceil(largest))),
            None => String::new(),
        };
        let name = class.name.shown();
        output::line(&format!(
            "{label:>5}  {name:<20} {:>8}{n_val} {:>8}{bar}",
            class.n_train, class.n_test
        ))?;
    }
    Ok(())
}

fn print_pictures(info: &Info, pictures: &PicturesInfo) -> Result<()> {
    let formats: Vec<String> = pictures.formats.iter().map(|(name, n)| format!("{n} {name}")).collect();
    let range = |[least, middle, greatest]: [u32; 3]| format!("{least} to {greatest}, median {middle}");
    let (n_train, n_test) = (info.train_shape[0], info.test_shape[0]);
    output::line(&format!("Pictures              {n_train} to train and validate on, {n_test} to test on"))?;
    output::line(&format!("Formats               {}", formats.join(", ")))?;
    output::line(&format!("Heights, in pixels    {}", range(pictures.heights_px)))?;
    output::line(&format!("Widths                {}", range(pictures.widths_px)))?;
    output::line(&format!("Turned by EXIF        {}", pictures.n_turned))
}

#[derive(Serialize)]
struct FileVerdict {
    file: Foreign,
    expected: Option<String>,
    actual: Option<String>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl FileVerdict {
    fn ok(file: &str) -> Self {
        Self { file: file.into(), expected: None, actual: None, ok: true, reason: None }
    }
}

pub(crate) fn verify(args: &DataArgs, app: &App) -> Result<ExitCode> {
    let spec = Spec::parse(&args.dataset)?;
    let (verdicts, remedy) = match &spec {
        Spec::Named(name) => {
            (named(name, args, app)?, "Get the files again: remove the folder and run cargo xtask fetch-data")
        }
        Spec::Path(_) => {
            let Some(verdicts) = files(&spec, args, app)? else {
                return Ok(ExitCode::from(app.stop.raised().map_or(1, StopSignal::exit_status)));
            };
            (verdicts, "Get these files again, or remove them")
        }
    };
    if app.global.json {
        output::json(&verdicts)?;
    } else {
        for FileVerdict { file, expected, actual, ok, reason } in &verdicts {
            let text = match (ok, expected, actual, reason) {
                (true, ..) => format!("ok       {}", file.shown()),
                (false, _, _, Some(reason)) => format!("BAD      {}: {}", file.shown(), shown(reason)),
                (false, Some(expected), Some(actual), None) => {
                    format!("WRONG    {}: sha256 {actual}, expected {expected}", file.shown())
                }
                (false, ..) => format!("MISSING  {}", file.shown()),
            };
            output::line(&text)?;
        }
    }
    if verdicts.iter().all(|v| v.ok) {
        return Ok(ExitCode::SUCCESS);
    }
    app.progress.say(remedy);
    Ok(ExitCode::FAILURE)
}

fn named(name: &str, args: &DataArgs, app: &App) -> Result<Vec<FileVerdict>> {
    Ok(match name {
        "sample" => {
            load_sample()?;
            vec![FileVerdict::ok("the embedded sample")]
        }
        "cifar100" | "cifar100-coarse" => {
            load_cifar100(&args.data_dir)?; // sizes, labels and counts; no digests of its files are published
            vec![FileVerdict::ok("CIFAR-100")]
        }
        "auto" => match cifar10(args, app) {
            Err(error) if matches!(error.downcast_ref(), Some(Error::Absent { .. })) => {
                return named("sample", args, app);
            }
            verdicts => verdicts?,
        },
        _ => cifar10(args, app)?,
    })
}

/// Checks whether every picture of a path can be read. Returns those that cannot, each with its reason, or else how many can.
/// Returns `None` if a stop was requested.
fn files(spec: &Spec, args: &DataArgs, app: &App) -> Result<Option<Vec<FileVerdict>>> {
    match source::load_local(spec, &args.labels.config(&args.data_dir), false, app) {
        Ok(loaded) => Ok(loaded.told(app).ok().map(|dataset| {
            let n = dataset.train.len() + dataset.test.len();
            vec![FileVerdict::ok(&format!("{n} pictures of {}", dataset.name.raw()))]
        })),
        Err(error) => match error.downcast::<Error>() {
            Ok(Error::BadPictures { bad, .. }) => Ok(Some(bad.into_iter().map(verdict).collect())),
            Ok(error) => Err(error.into()),
            Err(error) => Err(error),
        },
    }
}

fn verdict(bad: tallow_dataset::BadPicture) -> FileVerdict {
    let file = Foreign::of_path(&bad.path);
    FileVerdict { file, expected: None, actual: None, ok: false, reason: Some(bad.reason) }
}

fn cifar10(args: &DataArgs, app: &App) -> Result<Vec<FileVerdict>> {
    let checks = verify_cifar10(&args.data_dir, &app.progress)?;
    let verdict = |check: tallow_dataset::cifar::FileCheck| FileVerdict {
        ok: check.is_ok(),
        file: Foreign::of_path(&check.path),
        expected: Some(check.expected.to_owned()),
        actual: check.actual,
        reason: None,
    };
    Ok(checks.into_iter().map(verdict).collect())
}
