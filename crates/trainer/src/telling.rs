//! Prints the messages of `trainer train` during training and at its end.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use tallow_core::shown::{shell_word, shown, shown_lines, shown_path};
use tallow_core::{Foreign, Progress as _, duration, files};
use tallow_metrics::{Caveat, Summary};
use tallow_report::chart::grouped;
use tallow_report::shortened;
use tallow_run_files::REPORT_TEXT;
use tallow_training::{Event, Part, RunFolder, Session, ValidateOn, isa_name};

use crate::train::Ended;
use crate::{App, output};

/// Size limit of a report as text, in bytes.
const MAX_REPORT_BYTES: u64 = 64 << 20;
/// Largest number of columns for a name given by the user.
const NAME_COLUMNS: usize = 24;

/// Prints three lines: the data, the model with its recipe, and the machine with the run folder.
pub(crate) fn begin(session: &Session, app: &App) {
    let (recipe, data, params) = (session.recipe(), session.data(), &session.model().params);
    let number = |n: usize| grouped(n as f64, 0);
    let set = &data.dataset;
    let about = set.about.map(|about| format!(" ({about})")).unwrap_or_default();
    let n_val = data.val.as_ref().map_or(0, Part::len);
    let parts = match recipe.data.folds {
        0 => format!(
            "{} train, {} val, {} test",
            number(data.train.len()),
            number(n_val),
            number(data.test.len())
        ),
        k if recipe.data.fold.is_some() => {
            format!(
                "{} train, {} val, one of {k} folds of {} is the test",
                number(data.train.len()),
                number(n_val),
                number(data.test.len())
            )
        }
        k => format!("{} in {k} folds, {} test", number(data.train.len() + n_val), number(set.test.len())),
    };
    app.progress.say(&format!(
        "Data   {}{about}; {parts}; {}",
        shortened(&set.name, NAME_COLUMNS),
        counted_classes(set.train.class_names().len())
    ));
    let (n_parameters, n_trained) = (params.n_parameters(), params.n_trained());
    let trained = match n_trained == n_parameters {
        true => format!("{} parameters", number(n_parameters)),
        false => format!("{} of {} parameters are trained", number(n_trained), number(n_parameters)),
    };
    let model = recipe.model.get("name").and_then(toml::Value::as_str).unwrap_or_default();
    app.progress.say(&format!(
        "Model  {}, {trained}; recipe {}, seed {}, {}",
        shown(model),
        shortened(&recipe.name, NAME_COLUMNS),
        recipe.seed,
        output::counted(recipe.epochs, "epoch")
    ));
    app.progress.say(&format!(
        "On     {} ({}), {}, {}; run folder {}",
        recipe.device,
        isa_name(),
        output::counted(rayon::current_num_threads() as u64, "thread"),
        recipe.precision.as_str(),
        shell_word(session.run_dir())
    ));
}

fn counted_classes(n: usize) -> String {
    if n == 1 { "1 class".to_owned() } else { format!("{n} classes") }
}

/// Prints the message of an event.
pub(crate) fn event(event: &Event, app: &App) {
    let text = match event {
        Event::Started { epoch, batch, n_val, .. } => {
            match (epoch, batch) {
                (1, 0) => {}
                (epoch, 0) => app.progress.say(&format!("Going on with epoch {epoch}")),
                (epoch, batch) => {
                    let steps = output::counted(*batch as u64, "step");
                    app.progress.say(&format!("Going on with epoch {epoch} after {steps}"));
                }
            }
            if *n_val > 0 {
                format!("{EPOCH_COLUMNS}{VAL_COLUMNS}{RATE_COLUMN}")
            } else {
                format!("{EPOCH_COLUMNS}{RATE_COLUMN}")
            }
        }
        Event::Estimate { epoch_secs, left_secs, peak_rss_bytes } => {
            let memory =
                peak_rss_bytes.map_or(String::new(), |b| format!(", {} MB of memory", b / 1_000_000));
            format!("About {} per epoch, {} left{memory}", duration(*epoch_secs), duration(*left_secs))
        }
        Event::Epoch { .. } if !is_told(event) => return,
        Event::Epoch { .. } => epoch_line(event),
        Event::RateLowered { epoch, from, to } => {
            format!("Epoch {epoch}: learning rate lowered from {from:e} to {to:e}")
        }
        Event::StoppedEarly { epoch } => format!("Epoch {epoch}: no more improvement, stopping early"),
        Event::BestRestored { epoch } => format!("Weights of the best epoch, {epoch}, restored"),
        Event::FoldTested { fold, n_folds, n_images, accuracy, loss, train_secs } => format!(
            "Fold {fold} of {n_folds}: {:.2} % of {} right, loss {loss:.4}; trained in {}",
            100.0 * accuracy,
            output::counted(*n_images as u64, "image"),
            duration(*train_secs)
        ),
        Event::Notice { text } => format!("Note: {text}"),
        _ => return,
    };
    app.progress.say(&text);
}

/// The columns of [`epoch_line`].
const EPOCH_COLUMNS: &str = "  epoch     time  images/s    loss  accuracy";
const VAL_COLUMNS: &str = "  val_loss  val_accuracy";
const RATE_COLUMN: &str = "       rate";

/// Epochs that take less than these seconds are told at about [`N_QUICK_TOLD`] even steps.
const QUICK_SECS: f64 = 0.5;
const N_QUICK_TOLD: u64 = 20;

/// Whether an epoch has a row: many quick ones, of a head on features, would push everything else off the screen.
fn is_told(event: &Event) -> bool {
    let Event::Epoch { record, n_epochs, secs, .. } = event else { return true };
    let step = n_epochs.div_ceil(N_QUICK_TOLD);
    *secs >= QUICK_SECS || record.epoch == *n_epochs || record.epoch.is_multiple_of(step)
}

/// Formats a loss in six characters.
fn loss(loss: f64) -> String {
    let plain: String = format!("{loss:.4}").chars().take(6).collect();
    if loss.is_finite() && loss >= 1e5 { format!("{loss:.0e}") } else { plain }
}

/// Formats an epoch as a row. The loss is the cross-entropy of the training images, like that of validation.
fn epoch_line(event: &Event) -> String {
    let Event::Epoch { record, n_epochs, secs, images_per_second, .. } = event else { return String::new() };
    let val = record.val_loss.zip(record.val_accuracy);
    let val = val.map(|(loss, accuracy)| format!("  {loss:>8.4}  {accuracy:>12.4}")).unwrap_or_default();
    format!(
        "{:>7} {:>8}  {:>8}  {:>6}  {:>8.4}{val}  {:>9}",
        format!("{}/{n_epochs}", record.epoch),
        duration(*secs),
        images_per_second.map_or("-".to_owned(), |rate| grouped(rate.floor(), 0)),
        loss(record.loss),
        record.accuracy,
        format!("{:.3e}", record.learning_rate)
    )
}

/// The document that `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    /// The steps of the end that failed, by name. If none failed, the document is `summary.json`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    missing: &'a [&'static str],
}

/// Prints the results: the report, the test accuracy with its interval and its caveats, and the next commands.
pub(crate) fn conclude(ended: &Ended, run_dir: &Path, app: &App) -> Result<()> {
    let Ended { summary, page, missing } = ended;
    let caveats = caveats(summary, run_dir)?;
    if app.global.json {
        caveats.iter().for_each(|caveat| app.progress.say(&caveat.sentence()));
        if let Some(page) = page {
            app.progress.say(&format!("Report {}", shown_path(page)));
        }
        return output::json(&Document { summary, missing });
    }
    let report = files::read_text(&run_dir.join(REPORT_TEXT), MAX_REPORT_BYTES)?;
    output::line(&format!("\n{}", shown_lines(&report)))?;
    if let Some(folds) = &summary.folds {
        let [low, high] = folds.accuracy_interval.map(|share| 100.0 * share);
        output::line(&format!(
            "Accuracy by {} folds {:.2} % (95 % interval over folds {low:.2} to {high:.2}), loss {:.4}, on \
             {} images of {}, each classified by a model that had not seen it",
            folds.accuracies.len(),
            100.0 * folds.accuracy,
            folds.loss,
            folds.n_images.iter().sum::<u64>(),
            summary.dataset.shown()
        ))?;
    }
    if let Some(test) = summary.test.as_ref().filter(|_| !summary.is_tested_by_folds()) {
        let [low, high] = test.accuracy_interval.map(|share| 100.0 * share);
        output::line(&format!(
            "Test accuracy {:.2} % (95 % interval {low:.2} to {high:.2}), loss {:.4}, on {} images of {}",
            100.0 * test.accuracy,
            test.loss,
            summary.n_test,
            summary.dataset.shown()
        ))?;
    }
    caveats.iter().try_for_each(|caveat| output::line(&caveat.sentence()))?;
    output::line(&format!(
        "{} in {}, {} with {} ({}, {}, {})",
        output::counted(summary.epochs_run, "epoch"),
        duration(summary.train_seconds),
        rate(summary),
        output::counted(summary.threads, "thread"),
        summary.device.shown(),
        summary.isa.shown(),
        summary.precision.shown()
    ))?;
    if let Some(text) = summary.features_text(duration) {
        output::line(&format!("The backbone's features {text}; they are kept"))?;
    }
    output::line(&format!("Run folder {}", shown_path(run_dir)))?;
    if let Some(page) = page {
        output::line(&format!("Report {}", shown_path(page)))?;
    }
    if RunFolder::recipe_of(run_dir)?.data.fold.is_none() {
        next_commands(run_dir, summary.folds.is_some(), app);
    }
    Ok(())
}

/// Prints useful next commands on standard error.
fn next_commands(run_dir: &Path, has_folds: bool, app: &App) {
    let run = shell_word(run_dir);
    let suspects = (format!("trainer data suspects {run}"), "labels that may be wrong");
    let mut commands = vec![
        (format!("trainer report {run} --open"), "what it can do, and where it fails"),
        (format!("trainer predict {run} PICTURE..."), "classify pictures with it"),
        ("trainer runs".to_owned(), "a table of all runs"),
    ];
    if has_folds {
        commands.insert(1, suspects);
    }
    let width = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    let lines = commands.iter().map(|(command, what)| format!("\n  {command:width$}  {what}"));
    app.progress.say(&format!("\nNext:{}", lines.collect::<String>()));
}

fn rate(summary: &Summary) -> String {
    let rate = grouped(summary.images_per_second, 0);
    match summary.features_seconds {
        Some(_) => format!("{rate} images/s through the head, on stored features,"),
        None => format!("{rate} images/s"),
    }
}

/// Returns the caveats of the summary, completed by those that follow from the recipe.
fn caveats(summary: &Summary, run_dir: &Path) -> Result<Vec<Caveat>> {
    let recipe = RunFolder::recipe_of(run_dir)?;
    let from = recipe.init_from.as_deref().map(Foreign::of_path);
    let on_test = recipe.data.validate_on == ValidateOn::Test;
    Ok(Caveat::complete(summary.caveats.clone(), on_test, from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tallow_metrics::EpochRecord;

    #[test]
    fn epochs_stand_in_columns_of_eighty() {
        let line = |epoch, n_epochs, secs, loss, learning_rate, rate| {
            let (accuracy, val_accuracy, val_loss) = (0.5, Some(1.0), Some(12.5));
            let optimized_loss = None;
            let record =
                EpochRecord { epoch, accuracy, loss, optimized_loss, val_accuracy, val_loss, learning_rate };
            let (n_steps, step_ms, images_per_second, points) = (10, 1.0, Some(rate), Vec::new());
            epoch_line(&Event::Epoch { record, n_epochs, n_steps, secs, step_ms, images_per_second, points })
        };
        let lines = [line(1, 5, 3.2, 2.3, 0.001, 900.0), line(120, 120, 36_000.0, 12.25, 1.25e-7, 123_456.7)];
        let columns = [EPOCH_COLUMNS, VAL_COLUMNS, RATE_COLUMN].concat();
        for text in &lines {
            assert!(text.len() <= 80, "{} columns: {text}", text.len());
            assert_eq!(text.len(), columns.len(), "{text}");
        }
        assert!(lines[1].starts_with("120/120  10h 00m   123,456"), "{}", lines[1]);
        let diverging = [99_999.96, 1_466_059.5, 112_188_922.7, f64::NAN].map(loss);
        assert_eq!(diverging, ["99999.", "1e6", "1e8", "NaN"]);
    }
}
