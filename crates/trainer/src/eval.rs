//! `trainer eval`: evaluates a trained model on a data set.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tallow_core::shown::shown;
use tallow_core::{Foreign, Progress as _};
use tallow_dataset::Dataset;
use tallow_metrics::{Bands, Caveat, ClassificationReport, ConfusionMatrix, Predictions, wilson_interval};
use tallow_report::confusion_text;
use tallow_training::{CONFIDENCE, DataConfig, ModelInfo, Part, RunFolder, TrainData, Views};

use crate::App;
use crate::args::{EvalArgs, SplitName, Tta};
use crate::calibration::Calibration;
use crate::duplicates::{self, Duplicate};
use crate::model_at::run_of;
use crate::source::{self, Loaded, Spec};
use crate::{model, output, train, trained_on};

/// Number of columns without a terminal, if nothing else gives it.
const COLUMNS_ELSEWHERE: usize = 100;

#[derive(Serialize)]
struct Score<'a> {
    model: Foreign,
    dataset: &'a Foreign,
    split: &'static str,
    n: usize,
    accuracy: f64,
    accuracy_interval: [f64; 2],
    loss: f64,
    calibration: Calibration,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_duplicates: Option<WithoutDuplicates>,
    /// The score on pictures that the model was not trained on, if it was trained on some.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_trained_on: Option<NotTrainedOn>,
    report: serde_json::Value,
    /// Reasons to distrust these figures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    caveats: Vec<Caveat>,
}

/// The score on images that are not near-duplicates of training images.
#[derive(Serialize)]
struct WithoutDuplicates {
    n_duplicates: usize,
    #[serde(flatten)]
    rest: Rest,
}

/// The score on pictures of another data set that the model was not trained on.
#[derive(Serialize)]
struct NotTrainedOn {
    n_trained_on: usize,
    /// Absent if the model was trained on all of them.
    #[serde(flatten)]
    rest: Option<Rest>,
}

/// The score on a part of the images.
#[derive(Serialize)]
struct Rest {
    n: usize,
    accuracy: f64,
    accuracy_interval: [f64; 2],
    loss: f64,
}

/// What was evaluated, and how the model did on parts of it.
struct Evaluated {
    predictions: Predictions,
    without_duplicates: Option<WithoutDuplicates>,
    not_trained_on: Option<NotTrainedOn>,
}

pub(crate) fn run(args: &EvalArgs, app: &App) -> Result<ExitCode> {
    train::set_threads(args.threads)?;
    let mut predictor = model::open(&args.model, &args.device)?;
    predictor.share_work(&app.company.comm);
    let info = predictor.info();
    let stopped = || Ok(ExitCode::from(app.stop.raised().map_or(1, tallow_core::StopSignal::exit_status)));
    let Some(dataset) = dataset(args, info, app)? else { return stopped() };
    let part = part(args, info, &dataset)?;
    check_duplicates_count(args, info, &dataset)?;
    let part = of_known_classes(&part, info, &dataset, app)?;
    let views = args.tta.map(|tta| Views { flip: tta == Tta::Flip, shift_px: 0 });
    let seen = predictor.evaluate(&part, views, args.split.as_str(), &app.progress, &app.stop)?;
    let Some(predictions) = seen else { return stopped() };
    let without_duplicates = match args.without_duplicates {
        true => match duplicates::find(&dataset.train, &dataset.test, &app.progress, &app.stop)? {
            Some(found) => Some(without(&predictions, &found)?),
            None => return stopped(),
        },
        false => None,
    };
    let is_other = dataset.digest != info.data_digest;
    let not_trained_on = match is_other && app.company.is_first() {
        true => match trained_on::among(&part, &args.model, info, app) {
            Some(trained) => not_trained_on(&predictions, &trained)?,
            None => return stopped(),
        },
        false => None,
    };
    if app.company.is_first() {
        let evaluated = Evaluated { predictions, without_duplicates, not_trained_on };
        report(evaluated, info, &dataset, args, app)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the data set to evaluate: the run's own, read as it was then, or another one. If another one has no parts, all its
/// pictures are tested. Returns `None` if a stop was requested.
fn dataset(args: &EvalArgs, info: &ModelInfo, app: &App) -> Result<Option<Dataset>> {
    let mut config = match RunFolder::recipe_of(run_of(&args.model)) {
        Ok(recipe) => recipe.data,
        Err(_) => {
            DataConfig { dataset: info.dataset.raw().to_owned(), folds: info.folds, ..DataConfig::default() }
        }
    };
    if let Some(name) = &args.dataset {
        let data_dir = std::mem::take(&mut config.data_dir);
        config = DataConfig {
            dataset: name.clone(),
            test_fraction: config.test_fraction,
            folds: info.folds,
            ..args.labels.config(&data_dir)
        };
    }
    config = args.labels.over(config);
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    let mut spec = Spec::parse(&config.dataset);
    if args.dataset.is_none() {
        let trained_on = shown(&config.dataset);
        spec = spec.with_context(|| {
            format!("the model was trained on \"{trained_on}\": give its present place with --dataset")
        });
    }
    let spec = spec?;
    // a data set is read as for training to see whether it is the run's own; other data may be unfit for training
    let as_trained = source::load_local(&spec, &config, false, app);
    let is_own =
        |loaded: &Loaded| matches!(loaded, Loaded::Dataset(own, _) if own.digest == info.data_digest);
    let loaded = match as_trained {
        loaded if args.dataset.is_none() || !spec.is_of_files() => loaded?,
        Ok(loaded) if is_own(&loaded) => loaded,
        _ => source::load_local(&spec, &config, true, app)?,
    };
    Ok(loaded.told(app).ok())
}

/// Returns the part with its images labelled by the model's classes. Classes are matched by name, in any order. Images of
/// classes that the model does not know are left out and named.
fn of_known_classes(part: &Part, info: &ModelInfo, dataset: &Dataset, app: &App) -> Result<Part> {
    let names = part.set.class_names();
    let place = |name| info.class_names.iter().position(|known| known == name).map(|place| place as u32);
    let places: Vec<Option<u32>> = names.iter().map(place).collect();
    if places.iter().all(Option::is_none) {
        bail!(
            "the model knows the classes {}, but the data set {} has {}: choose another --dataset",
            some(&info.class_names),
            dataset.name.shown(),
            some(names)
        );
    }
    let is_known = |i: &u32| places[part.set.label(*i as usize) as usize].is_some();
    let (known, unknown): (Vec<u32>, Vec<u32>) = part.indices.iter().partition(|i| is_known(i));
    let strangers: Vec<Foreign> = names
        .iter()
        .zip(&places)
        .filter(|(_, place)| place.is_none())
        .map(|(name, _)| name.clone())
        .collect();
    if !strangers.is_empty() {
        app.progress.say(&format!(
            "Note: the model does not know {}: {} are left out",
            some(&strangers),
            output::counted(unknown.len() as u64, "image")
        ));
    }
    let absent: Vec<Foreign> =
        info.class_names.iter().filter(|name| !names.contains(name)).cloned().collect();
    if !absent.is_empty() {
        app.progress.say(&format!("Note: the data set has no images of {}", some(&absent)));
    }
    ensure!(!known.is_empty(), "{} has no image of a class that the model knows", dataset.name.shown());
    let set = part.set.with_classes(info.class_names.clone().into(), &places)?;
    Ok(Part::new(&Arc::new(set), known))
}

/// Formats names for display; of many, only the first.
fn some(names: &[Foreign]) -> String {
    const MAX: usize = 12;
    let shown: Vec<_> = names.iter().take(MAX).map(Foreign::shown).collect();
    let more = if names.len() > MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Returns the images to evaluate. The parts that a run made of its training images require the same data.
fn part(args: &EvalArgs, info: &ModelInfo, dataset: &Dataset) -> Result<Part> {
    if args.split == SplitName::Test {
        ensure!(
            !dataset.test.is_empty() || dataset.digest != info.data_digest,
            "the run was tested with folds, and then all its pictures were used for its model: no pictures \
             are left to test it on. The figures of the folds are in its report; name other pictures with \
             --dataset"
        );
        return Ok(Part::whole(&dataset.test));
    }
    let split = args.split.as_str();
    ensure!(
        dataset.digest == info.data_digest,
        "--split {split}: the model was trained on other data than {} (digest {}, expected {}), so it is \
         unknown which of its images were for validation",
        dataset.name.shown(),
        dataset.digest,
        info.data_digest.shown()
    );
    let data = TrainData::of_model(dataset.clone(), info)?;
    match args.split {
        SplitName::Val => data.val.context("--split val: the model was trained without validation images"),
        _ => Ok(data.train),
    }
}

/// Refuses `--without-duplicates` unless the test images and the model's own data set are evaluated: near-duplicates matter
/// only for a test score, and only if the model was trained on their counterparts.
fn check_duplicates_count(args: &EvalArgs, info: &ModelInfo, dataset: &Dataset) -> Result<()> {
    if !args.without_duplicates {
        return Ok(());
    }
    ensure!(
        args.split == SplitName::Test,
        "--without-duplicates applies only to the test images: use --split test"
    );
    ensure!(
        dataset.digest == info.data_digest,
        "--without-duplicates: the model was trained on other data than {} (digest {}, expected {}), so it \
         is unknown which of its images the model has seen",
        dataset.name.shown(),
        dataset.digest,
        info.data_digest.shown()
    );
    Ok(())
}

fn without(predictions: &Predictions, duplicates: &[Duplicate]) -> Result<WithoutDuplicates> {
    let indices: HashSet<u32> = duplicates.iter().map(|duplicate| duplicate.test_index).collect();
    let rest = rest(predictions, &indices)?.context("--without-duplicates: no test image is left")?;
    Ok(WithoutDuplicates { n_duplicates: duplicates.len(), rest })
}

/// Returns `None` if the model was trained on none of the pictures, as far as is known.
fn not_trained_on(predictions: &Predictions, trained: &HashSet<u32>) -> Result<Option<NotTrainedOn>> {
    let n_trained_on = trained.len();
    Ok(match n_trained_on {
        0 => None,
        _ => Some(NotTrainedOn { n_trained_on, rest: rest(predictions, trained)? }),
    })
}

/// Returns the score on the images whose index is not in `left_out`; `None` if no image is left.
fn rest(predictions: &Predictions, left_out: &HashSet<u32>) -> Result<Option<Rest>> {
    let rest = predictions.of_images(|index| !left_out.contains(&index));
    let Some(accuracy) = rest.accuracy() else { return Ok(None) };
    let n = rest.len();
    let accuracy_interval = wilson_interval(rest.n_correct(), n as u64, CONFIDENCE)?;
    Ok(Some(Rest { n, accuracy, accuracy_interval, loss: rest.mean_nll().unwrap_or_default() }))
}

impl std::fmt::Display for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [low, high] = self.accuracy_interval.map(|share| 100.0 * share);
        let (accuracy, loss, n) = (100.0 * self.accuracy, self.loss, self.n);
        write!(
            f,
            "accuracy {accuracy:.2} % (95 % interval {low:.2} to {high:.2}), loss {loss:.4}, on {n} images"
        )
    }
}

fn report(
    evaluated: Evaluated,
    info: &ModelInfo,
    dataset: &Dataset,
    args: &EvalArgs,
    app: &App,
) -> Result<()> {
    let Evaluated { predictions, without_duplicates, not_trained_on } = evaluated;
    let matrix = ConfusionMatrix::from_predictions(&predictions);
    let report = ClassificationReport::new(&matrix);
    let interval = wilson_interval(predictions.n_correct(), predictions.len() as u64, CONFIDENCE)?;
    let score = Score {
        model: Foreign::of_path(&args.model),
        dataset: &dataset.name,
        split: args.split.as_str(),
        n: predictions.len(),
        accuracy: predictions.accuracy().unwrap_or_default(),
        accuracy_interval: interval,
        loss: predictions.mean_nll().unwrap_or_default(),
        calibration: Calibration::new(&predictions, info.temperature)?,
        without_duplicates,
        not_trained_on,
        report: serde_json::to_value(report.named(&info.class_names)?)?,
        caveats: caveats(info, dataset, args.split),
    };
    if app.global.json {
        return output::json(&score);
    }
    output::line(&report.to_text(&info.class_names)?)?;
    let max_columns = output::columns().unwrap_or(COLUMNS_ELSEWHERE);
    output::colored(&confusion_text(&matrix, &info.class_names, &Bands::default(), true, max_columns))?;
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
        dataset.name.shown()
    ))?;
    if let Some(WithoutDuplicates { n_duplicates, rest }) = &score.without_duplicates {
        output::line(&format!("Without the {n_duplicates} near-duplicates of training images: {rest}"))?;
    }
    match &score.not_trained_on {
        Some(NotTrainedOn { n_trained_on, rest: Some(rest) }) => output::line(&format!(
            "The model was trained on {n_trained_on} of these images, so the accuracy is too good. On the others: {rest}"
        ))?,
        Some(NotTrainedOn { rest: None, .. }) => {
            output::line(
                "The model was trained on all these images: the accuracy says nothing about new ones.",
            )?;
        }
        None => {}
    }
    output::line(&score.calibration.to_string())?;
    for caveat in &score.caveats {
        app.progress.say(&format!("Note: {}", caveat.sentence()));
    }
    Ok(())
}

/// Returns the reasons to distrust a model's figures on its own data.
fn caveats(info: &ModelInfo, dataset: &Dataset, split: SplitName) -> Vec<Caveat> {
    let takes_from = |caveat: &&Caveat| match split {
        SplitName::Test => true,
        SplitName::Val => caveat.spoils_validation(),
        SplitName::Train => false,
    };
    let own = (dataset.digest == info.data_digest).then_some(&info.caveats);
    own.into_iter().flatten().filter(takes_from).cloned().collect()
}
