//! `trainer predict`: predicts the classes of pictures with a trained model.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tallow_core::shown::{shown, shown_path};
use tallow_core::{Foreign, Progress as _, files};
use tallow_dataset::folder::{BadFile, FolderError, Picture, walk_pictures};
use tallow_dataset::{Files, ImageSet, MAX_PICTURE_BYTES};
use tallow_metrics::{Answer, answers_to_csv, most_probable};
use tallow_report::{columns, padded};
use tallow_training::Predictor;

use crate::App;
use crate::args::PredictArgs;
use crate::{model, output, train};

#[derive(Serialize)]
struct Document<'a> {
    model: Foreign,
    classes: &'a [Foreign],
    /// Whether the model has a temperature, fitted on validation images.
    calibrated: bool,
    pictures: Vec<Answered>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Answered {
    file: Foreign,
    /// The predicted classes, the most probable first.
    predictions: Vec<Prediction>,
    /// The share of known pictures that are at least as unlike the training pictures as this one; `None` if the model has no
    /// novelty detector.
    typicality: Option<f64>,
    /// Whether the picture is unlike anything that the model was trained on: its typicality is at most 0.05.
    none_of_these: Option<bool>,
}

#[derive(Serialize)]
struct Prediction {
    class: Foreign,
    probability: f64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) file: Foreign,
    pub(crate) reason: String,
}

/// A picture to predict.
pub(crate) struct Asked {
    pub(crate) path: PathBuf,
    /// The text of its path as the user typed it; in a folder, joined to that of the folder.
    pub(crate) name: Foreign,
}

pub(crate) fn run(args: &PredictArgs, app: &App) -> Result<ExitCode> {
    train::set_threads(args.threads)?;
    let predictor = model::open(&args.model, &args.device)?;
    let n_classes = predictor.info().class_names.len();
    ensure!(args.top_k >= 1, "--top-k must be at least 1");
    let top_k = args.top_k.min(n_classes);
    let staging = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut failed = Vec::new();
    let mut asked = asked(&args.images, staging.path(), &mut failed, app)?;
    ensure!(
        !app.company.is_shared() || !args.images.iter().any(|image| image == Path::new("-")),
        "a picture on standard input reaches only one process: start this command without the launcher"
    );
    let own: Vec<Asked> = asked.drain(app.company.own(asked.len())).collect();
    let (mut pictures, mut unread) = (Vec::new(), Vec::new());
    let is_done = own.is_empty() || answer(&predictor, own, top_k, &mut pictures, &mut unread, app)?;
    let Some(parts) = app.company.gathered(is_done.then_some((pictures, unread)))? else {
        return Ok(ExitCode::from(app.stop.raised().map_or(1, tallow_core::StopSignal::exit_status)));
    };
    let (pictures, unread): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let pictures: Vec<Answer> = pictures.into_iter().flatten().collect();
    failed.extend(unread.into_iter().flatten());
    let status = if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if !app.company.is_first() {
        return Ok(status);
    }
    for Failed { file, reason } in &failed {
        app.progress.say(&format!("{}: {}", file.shown(), shown(reason)));
    }
    match &args.csv {
        Some(csv) if csv == Path::new("-") => {
            ensure!(!app.global.json, "--csv - and --json both print on standard output: choose one");
            output::line(answers_to_csv(&pictures, top_k).trim_end())?;
            return Ok(status);
        }
        Some(csv) => files::write(csv, answers_to_csv(&pictures, top_k).as_bytes())?,
        None => {}
    }
    tell(args, &predictor, pictures, failed, top_k, app)?;
    Ok(status)
}

/// Returns all pictures that the arguments name; errors are added to `failed`.
pub(crate) fn asked(
    images: &[PathBuf],
    staging: &Path,
    failed: &mut Vec<Failed>,
    app: &App,
) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for image in images {
        if image == Path::new("-") {
            asked.push(from_stdin(staging)?);
            continue;
        }
        match walk_pictures(image, &app.progress, &app.stop) {
            Ok(walked) => {
                if image.is_dir() && walked.pictures.is_empty() {
                    let reason = "there is no picture in this folder".into();
                    failed.push(Failed { file: Foreign::of_path(image), reason });
                }
                let picture = |p: Picture| Asked { name: Foreign::of_path(&p.path), path: p.path };
                asked.extend(walked.pictures.into_iter().map(picture));
                let bad = |bad: BadFile| Failed { file: Foreign::of_path(&bad.path), reason: bad.reason };
                failed.extend(walked.bad.into_iter().map(bad));
            }
            Err(e) => {
                let reason = match e {
                    FolderError::NotThere { .. } => "does not exist".to_owned(),
                    other => other.to_string(),
                };
                failed.push(Failed { reason, file: Foreign::of_path(image) });
            }
        }
    }
    Ok(asked)
}

/// Saves the picture on standard input in a file.
fn from_stdin(staging: &Path) -> Result<Asked> {
    let path = staging.join("standard-input");
    let stdin = std::io::stdin().lock();
    let bytes = files::read_stream(stdin, MAX_PICTURE_BYTES).context("cannot read standard input")?;
    let mut file = std::fs::File::create(&path).context("cannot write a temporary file")?;
    file.write_all(&bytes).context("cannot write a temporary file")?;
    Ok(Asked { path, name: "-".into() })
}

/// Predicts all pictures; returns false if a stop was requested.
fn answer(
    predictor: &Predictor,
    asked: Vec<Asked>,
    top_k: usize,
    pictures: &mut Vec<Answer>,
    failed: &mut Vec<Failed>,
    app: &App,
) -> Result<bool> {
    let class_names: Arc<[Foreign]> = predictor.info().class_names.clone().into();
    let (paths, names): (Vec<PathBuf>, Vec<Foreign>) = asked.into_iter().map(|a| (a.path, a.name)).unzip();
    let labels = vec![0; paths.len()]; // labels are not used
    let set = ImageSet::of(Arc::new(Files::unseen(paths)), labels, class_names.clone(), None)?;
    predictor.predict::<anyhow::Error>(&Arc::new(set), &app.progress, &app.stop, |answer| {
        let file = names[answer.index as usize].clone();
        match answer.log_probs {
            Ok(log_probs) => {
                let told = |(class, probability): (usize, f64)| (class_names[class].clone(), probability);
                let top = most_probable(&log_probs, top_k).into_iter().map(told).collect();
                pictures.push(Answer { file, top, typicality: answer.typicality });
            }
            Err(error) => failed.push(Failed { file, reason: reason(&error) }),
        }
        Ok(())
    })
}

/// Returns the reason why a picture cannot be read, without its name, which is shown beside it.
pub(crate) fn reason(error: &tallow_dataset::Error) -> String {
    match error {
        tallow_dataset::Error::BadPicture(bad) => bad.reason.clone(),
        other => other.to_string(),
    }
}

fn tell(
    args: &PredictArgs,
    predictor: &Predictor,
    pictures: Vec<Answer>,
    failed: Vec<Failed>,
    top_k: usize,
    app: &App,
) -> Result<()> {
    if app.global.json {
        let prediction = |(class, probability)| Prediction { class, probability };
        let answered = |answer: Answer| Answered {
            typicality: answer.typicality,
            none_of_these: answer.is_none_of_these(),
            file: answer.file,
            predictions: answer.top.into_iter().map(prediction).collect(),
        };
        return output::json(&Document {
            model: Foreign::of_path(&args.model),
            classes: &predictor.info().class_names,
            calibrated: predictor.info().temperature.is_some(),
            pictures: pictures.into_iter().map(answered).collect(),
            failed,
        });
    }
    if let Some(csv) = &args.csv {
        return output::line(&format!("{} predictions in {}", pictures.len(), shown_path(csv)));
    }
    output::line(table(&pictures, top_k).trim_end())
}

/// Formats one line per picture: its name, and its classes with their probabilities in percent.
fn table(pictures: &[Answer], top_k: usize) -> String {
    let names: Vec<String> = pictures.iter().map(|answer| answer.file.shown().into_owned()).collect();
    let width = |texts: &mut dyn Iterator<Item = &str>| texts.map(columns).max().unwrap_or(0);
    let name_width = width(&mut names.iter().map(String::as_str));
    let classes = |place: usize| pictures.iter().filter_map(move |a| Some(a.top.get(place)?.0.shown()));
    let widths: Vec<usize> =
        (0..top_k).map(|place| classes(place).map(|class| columns(&class)).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (name, answer) in names.iter().zip(pictures) {
        text.push_str(&padded(name, name_width));
        for ((class, probability), &width) in answer.top.iter().zip(&widths) {
            text.push_str(&format!("  {} {:5.1} %", padded(&class.shown(), width), 100.0 * probability));
        }
        if answer.is_none_of_these() == Some(true) {
            text.push_str("  none of these? it is unlike the training pictures");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_shows_no_escapes() {
        let answer = |file: &str, class: &str, p| Answer {
            file: file.into(),
            top: vec![(class.into(), p), ("dog".into(), 1.0 - p)],
            typicality: Some(p),
        };
        let text = table(&[answer("a.jpg", "猫", 0.05), answer("b\u{1b}.jpg", "cat", 0.25)], 2);
        assert_eq!(
            text,
            "a.jpg          猫    5.0 %  dog  95.0 %  none of these? it is unlike the training pictures\n\
             b<U+001B>.jpg  cat  25.0 %  dog  75.0 %\n"
        );
    }
}
