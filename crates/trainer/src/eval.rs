//! `trainer eval`: a trained model's answers on a data set.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tallow_core::Progress as _;
use tallow_dataset::Dataset;
use tallow_metrics::{Bands, ClassificationReport, ConfusionMatrix, Predictions, wilson_interval};
use tallow_report::confusion_text;
use tallow_training::{
    CONFIDENCE, ModelInfo, Part, Predictor, RunFolder, TrainData, ValidateOn, device, read_model,
};

use crate::App;
use crate::args::{EvalArgs, SplitName};
use crate::calibration::Calibration;
use crate::duplicates::{self, Duplicate};
use crate::{output, source, train};

#[derive(Serialize)]
struct Score<'a> {
    model: String,
    dataset: &'a str,
    split: &'static str,
    n: usize,
    accuracy: f64,
    accuracy_interval: [f64; 2],
    loss: f64,
    calibration: Calibration,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_duplicates: Option<WithoutDuplicates>,
    report: serde_json::Value,
}

/// The score on the images that are no near-duplicates of training images.
#[derive(Serialize)]
struct WithoutDuplicates {
    n_duplicates: usize,
    n: usize,
    accuracy: f64,
    accuracy_interval: [f64; 2],
    loss: f64,
}

pub(crate) fn run(args: &EvalArgs, app: &App) -> Result<ExitCode> {
    train::set_threads(args.threads)?;
    let (info, tensors) = read_model(&args.model)?;
    let dataset = source::load_local(args.dataset.as_deref().unwrap_or(&info.dataset), &data_dir(args))?;
    let device = device(&args.device)?;
    let model = tallow_models::build(&info.model, info.class_names.len(), 0, &device)
        .with_context(|| format!("{}: its architecture cannot be built", args.model.display()))?;
    model.params.load_tensors(&tensors).with_context(|| args.model.display().to_string())?;
    let classes = model_classes(&info, &dataset)?;
    let part = part(args, &info, &dataset)?;
    check_duplicates_count(args, &info, &dataset)?;
    let predictor = Predictor::new(info, model);
    let info = predictor.info();
    let stopped = || Ok(ExitCode::from(app.stop.raised().map_or(1, tallow_core::StopSignal::exit_status)));
    let label = args.split.as_str();
    let seen = predictor.evaluate(&part, label, &app.progress, &app.stop)?;
    let Some(seen) = seen else { return stopped() };
    let targets = seen.targets().iter().map(|&target| classes[target as usize]).collect();
    let (log_probs, indices) = (seen.log_probs().to_vec(), seen.indices().to_vec());
    let predictions = Predictions::new(seen.n_classes(), targets, log_probs, indices)?;
    let rest = match args.without_duplicates {
        true => match duplicates::find(&dataset.train, &dataset.test, &app.progress, &app.stop)? {
            Some(found) => Some(without(&predictions, &found)?),
            None => return stopped(),
        },
        false => None,
    };
    report(&predictions, rest, info, &dataset, args, app)?;
    Ok(ExitCode::SUCCESS)
}

/// Where data sets lie: as the flag says, else as the run's recipe does.
fn data_dir(args: &EvalArgs) -> PathBuf {
    let of_run = || Some(RunFolder::recipe_of(&args.model).ok()?.data.data_dir);
    args.data_dir.clone().or_else(of_run).unwrap_or_else(|| "data".into())
}

/// For each class of the data set, which of the model's it is. Classes are matched by name, in whatever order.
fn model_classes(info: &ModelInfo, dataset: &Dataset) -> Result<Vec<u32>> {
    let names = dataset.test.class_names();
    let place = |name| info.class_names.iter().position(|known| known == name).map(|place| place as u32);
    let places: Option<Vec<u32>> = names.iter().map(place).collect();
    match places {
        Some(places) if names.len() == info.class_names.len() => Ok(places),
        _ => bail!(
            "the model knows the classes {}, the data set {} has {}: choose another --dataset",
            info.class_names.join(", "),
            dataset.name,
            names.join(", ")
        ),
    }
}

/// The images to look at. The parts that a run made of the training images can only be had of the same data.
fn part(args: &EvalArgs, info: &ModelInfo, dataset: &Dataset) -> Result<Part> {
    if args.split == SplitName::Test {
        return Ok(Part::whole(&dataset.test));
    }
    let split = args.split.as_str();
    ensure!(
        dataset.digest == info.data_digest,
        "--split {split}: the model was trained on other data than {} (digest {}, expected {}): which of its images \
         were for validation cannot be told",
        dataset.name,
        dataset.digest,
        info.data_digest
    );
    let data = TrainData::of_model(dataset.clone(), info)?;
    match args.split {
        SplitName::Val => data.val.context("--split val: the model was trained without validation images"),
        _ => Ok(data.train),
    }
}

/// Near-duplicates say something of a test score alone, and of a model that was trained on their other halves.
fn check_duplicates_count(args: &EvalArgs, info: &ModelInfo, dataset: &Dataset) -> Result<()> {
    if !args.without_duplicates {
        return Ok(());
    }
    ensure!(args.split == SplitName::Test, "--without-duplicates is about the test images: use --split test");
    ensure!(
        dataset.digest == info.data_digest,
        "--without-duplicates: the model was trained on other data than {} (digest {}, expected {}): which of its \
         images the model has seen cannot be told",
        dataset.name,
        dataset.digest,
        info.data_digest
    );
    Ok(())
}

fn without(predictions: &Predictions, duplicates: &[Duplicate]) -> Result<WithoutDuplicates> {
    let indices: HashSet<u32> = duplicates.iter().map(|duplicate| duplicate.test_index).collect();
    let rest = predictions.of_images(|index| !indices.contains(&index));
    let n = rest.len();
    Ok(WithoutDuplicates {
        n_duplicates: duplicates.len(),
        n,
        accuracy: rest.accuracy().context("--without-duplicates: no test image is left")?,
        accuracy_interval: wilson_interval(rest.n_correct(), n as u64, CONFIDENCE)?,
        loss: rest.mean_nll().unwrap_or_default(),
    })
}

fn report(
    predictions: &Predictions,
    without_duplicates: Option<WithoutDuplicates>,
    info: &ModelInfo,
    dataset: &Dataset,
    args: &EvalArgs,
    app: &App,
) -> Result<()> {
    let matrix = ConfusionMatrix::from_predictions(predictions);
    let report = ClassificationReport::new(&matrix);
    let interval = wilson_interval(predictions.n_correct(), predictions.len() as u64, CONFIDENCE)?;
    let score = Score {
        model: args.model.display().to_string(),
        dataset: &dataset.name,
        split: args.split.as_str(),
        n: predictions.len(),
        accuracy: predictions.accuracy().unwrap_or_default(),
        accuracy_interval: interval,
        loss: predictions.mean_nll().unwrap_or_default(),
        calibration: Calibration::new(predictions, info.temperature)?,
        without_duplicates,
        report: serde_json::to_value(report.named(&info.class_names)?)?,
    };
    if app.global.json {
        return output::json(&score);
    }
    output::line(&report.to_text(&info.class_names)?)?;
    output::colored(&confusion_text(&matrix, &info.class_names, &Bands::default(), true))?;
    let [low, high] = interval.map(|share| 100.0 * share);
    output::line(&format!(
        "{} accuracy {:.2} % (95 % interval {low:.2} to {high:.2}), loss {:.4}, on {} images of {}",
        match args.split {
            SplitName::Test => "Test",
            SplitName::Val => "Validation",
            SplitName::Train => "Training",
        },
        100.0 * score.accuracy,
        score.loss,
        score.n,
        dataset.name
    ))?;
    if let Some(rest) = &score.without_duplicates {
        let [low, high] = rest.accuracy_interval.map(|share| 100.0 * share);
        output::line(&format!(
            "Without the {} near-duplicates of training images: accuracy {:.2} % (95 % interval {low:.2} to {high:.2}), \
             loss {:.4}, on {} images",
            rest.n_duplicates,
            100.0 * rest.accuracy,
            rest.loss,
            rest.n
        ))?;
    }
    output::line(&score.calibration.to_string())?;
    if info.validate_on == ValidateOn::Test && args.split != SplitName::Train {
        app.progress.say("Note: the model was validated on the test images; its accuracy on them is not an honest estimate");
    }
    Ok(())
}
