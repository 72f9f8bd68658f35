//! `trainer data info` and `trainer data verify`.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tallow_core::Progress as _;
use tallow_dataset::cifar::{load_cifar100, verify_cifar10};
use tallow_dataset::{Dataset, ImageSet, load_sample};

use crate::App;
use crate::args::DataArgs;
use crate::{output, source};

#[derive(Serialize)]
struct Info {
    dataset: String,
    digest: String,
    train_shape: [usize; 4],
    test_shape: [usize; 4],
    classes: Vec<ClassInfo>,
    mean: [f32; 3],
    std: [f32; 3],
}

#[derive(Serialize)]
struct ClassInfo {
    name: String,
    n_train: usize,
    n_test: usize,
}

pub(crate) fn info(args: &DataArgs, app: &App) -> Result<ExitCode> {
    let dataset = source::load_local(&args.dataset, &args.data_dir)?;
    let info = gather(&dataset);
    match app.global.json {
        true => output::json(&info)?,
        false => print(&info)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn gather(dataset: &Dataset) -> Info {
    let shape = |set: &ImageSet| {
        let [h, w, c] = set.block_shape().unwrap_or_default();
        [set.len(), h, w, c]
    };
    let (train, test) = (dataset.train.class_counts(), dataset.test.class_counts());
    let names = dataset.train.class_names().iter();
    let classes = names.zip(train.into_iter().zip(test));
    Info {
        dataset: dataset.name.clone(),
        digest: dataset.digest.clone(),
        train_shape: shape(&dataset.train),
        test_shape: shape(&dataset.test),
        classes: classes
            .map(|(name, (n_train, n_test))| ClassInfo { name: name.clone(), n_train, n_test })
            .collect(),
        mean: dataset.normalization.mean,
        std: dataset.normalization.std,
    }
}

/// Shapes as NumPy, and so the Keras baseline, prints them.
fn print(info: &Info) -> Result<()> {
    let shape = |[n, h, w, c]: [usize; 4]| format!("({n}, {h}, {w}, {c})");
    output::line(&format!("Data set              {}", info.dataset))?;
    output::line(&format!("Training data shape   {}", shape(info.train_shape)))?;
    output::line(&format!("Training labels shape ({}, 1)", info.train_shape[0]))?;
    output::line(&format!("Test data shape       {}", shape(info.test_shape)))?;
    output::line(&format!("Test labels shape     ({}, 1)", info.test_shape[0]))?;
    output::line("Pixels                0 to 255, red green blue")?;
    output::line(&format!("Mean, per channel     {:?}", info.mean))?;
    output::line(&format!("Deviation             {:?}", info.std))?;
    output::line(&format!("Digest                {}\n", info.digest))?;
    output::line(&format!("{:>5}  {:<20} {:>8} {:>8}", "label", "class", "training", "test"))?;
    for (label, class) in info.classes.iter().enumerate() {
        output::line(&format!("{label:>5}  {:<20} {:>8} {:>8}", class.name, class.n_train, class.n_test))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct FileVerdict {
    file: String,
    expected: Option<String>,
    actual: Option<String>,
    ok: bool,
}

pub(crate) fn verify(args: &DataArgs, app: &App) -> Result<ExitCode> {
    let verdicts = match args.dataset.as_str() {
        "sample" => {
            load_sample()?;
            vec![FileVerdict { file: "the embedded sample".into(), expected: None, actual: None, ok: true }]
        }
        "cifar100" => {
            load_cifar100(&args.data_dir)?; // sizes, labels and counts; no digests of its files are published
            vec![FileVerdict { file: "CIFAR-100".into(), expected: None, actual: None, ok: true }]
        }
        "auto" | "cifar10" => cifar10(args, app)?,
        other => anyhow::bail!("unknown data set \"{other}\": expected auto, cifar10, cifar100 or sample"),
    };
    if app.global.json {
        output::json(&verdicts)?;
    } else {
        for FileVerdict { file, expected, actual, ok } in &verdicts {
            let text = match (ok, expected, actual) {
                (true, ..) => format!("ok       {file}"),
                (false, Some(expected), Some(actual)) => {
                    format!("WRONG    {file}: sha256 {actual}, expected {expected}")
                }
                (false, ..) => format!("MISSING  {file}"),
            };
            output::line(&text)?;
        }
    }
    if verdicts.iter().all(|v| v.ok) {
        return Ok(ExitCode::SUCCESS);
    }
    app.progress.say("Get the files again: remove the folder and run cargo xtask fetch-data");
    Ok(ExitCode::FAILURE)
}

fn cifar10(args: &DataArgs, app: &App) -> Result<Vec<FileVerdict>> {
    let checks = verify_cifar10(&args.data_dir, &app.progress)?;
    let verdict = |check: tallow_dataset::cifar::FileCheck| FileVerdict {
        ok: check.is_ok(),
        file: check.path.display().to_string(),
        expected: Some(check.expected.to_owned()),
        actual: check.actual,
    };
    Ok(checks.into_iter().map(verdict).collect())
}
