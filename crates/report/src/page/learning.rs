//! The part on learning, epoch by epoch.

use maud::html;
use tallow_metrics::EpochRecord;

use super::advice::is_on_features;
use super::{Number, Section, Text, figures, percent, plain, table};
use crate::chart::{Axis, Chart, Format, Line, LineChart, Mark};
use crate::record::{RunRecord, StepPoint};

pub(super) fn section(run: &RunRecord) -> Option<Section> {
    if run.history.is_empty() {
        return None;
    }
    let charts = charts(run);
    let (loss, optimized) = losses(run);
    let columns = [
        ("epoch", Text),
        ("accuracy", Number),
        ("loss", Number),
        ("optimised loss", Number),
        ("validation accuracy", Number),
        ("validation loss", Number),
        ("learning rate", Number),
    ];
    let optional = |value: Option<f64>, write: fn(f64) -> String| plain(value.map_or("–".to_owned(), write));
    let rows: Vec<_> = run
        .history
        .iter()
        .map(|r| {
            vec![
                plain(r.epoch.to_string()),
                plain(percent(r.accuracy)),
                optional(loss(r), four),
                optional(r.optimized_loss.or(optimized(r)), four),
                optional(r.val_accuracy, percent),
                optional(r.val_loss, four),
                plain(rate(r.learning_rate)),
            ]
        })
        .collect();
    let body = html! {
        (figures(&charts))
        p { "Training figures are measured while the weights change" @if !is_on_features(run) { ", on augmented images" } ". Validation follows after the epoch" @if !is_on_features(run) { ", on plain images" } ", so its figures may be better. Both losses are the plain cross-entropy. If the optimised loss is another one (with label smoothing, mixing or class weights), it has its own chart." }
        @if let Some(epoch) = run.events.stopped_early { p { "The run ended early, after epoch " (epoch) ": the monitored figure no longer improved." } }
        @if let Some(epoch) = run.events.best_restored { p { "The model has the weights of epoch " (epoch) ", the best one." } }
        details { summary { "All epochs as a table" } (table("Learning, epoch by epoch", &columns, &rows)) }
    };
    Some(Section { id: "learning", heading: "Learning", body, charts })
}

fn four(value: f64) -> String {
    format!("{value:.4}")
}

fn rate(value: f64) -> String {
    if value >= 1e-4 || value == 0.0 { format!("{value:.5}") } else { format!("{value:.1e}") }
}

fn charts(run: &RunRecord) -> Vec<Chart> {
    let marks = marks(run);
    let cuts: Vec<Mark> = marks.iter().filter(|m| m.label != BEST).cloned().collect();
    let line = |label: &str, series, of: &dyn Fn(&EpochRecord) -> Option<f64>| Line {
        label: label.to_owned(),
        points: run.history.iter().filter_map(|r| Some((r.epoch as f64, of(r)?))).collect(),
        series,
        dashed: series == 0,
        thin: false,
    };
    let solid = |line: Line| Line { dashed: false, ..line };
    let draw = |name: &str, title: &str, label: &str, format, marks: &[Mark], lines: Vec<Line>| {
        let lines: Vec<Line> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
        let values = lines.iter().flat_map(|line| line.points.iter().map(|p| p.1));
        let y = Axis::holding(label, format, values.chain((name == "learning-rate").then_some(0.0)), 5);
        let x = match name == "learning-rate" || name == "loss-steps" {
            true => Axis::between("epochs of training", Format::Number, 0.0, run.history.len() as f64, 6),
            false => Axis::epochs(run.history.len() as u64),
        };
        (!lines.is_empty()).then(|| LineChart { name, title, x, y, lines: &lines, marks, spots: &[] }.draw())
    };
    let (loss, optimized) = losses(run);
    let entropy = "cross-entropy";
    let accuracy =
        vec![line("validation", 1, &|r| r.val_accuracy), line("training", 0, &|r| Some(r.accuracy))];
    let both = vec![line("validation", 1, &|r| r.val_loss), line("training", 0, &loss)];
    let apart = vec![solid(line("training", 4, &optimized))];
    let steps = &run.events.steps;
    let of_steps = |label: &str, series, of: &dyn Fn(&StepPoint) -> f64| Line {
        label: label.to_owned(),
        points: steps.iter().map(|point| (point.epochs, of(point))).collect(),
        series,
        dashed: false,
        thin: false,
    };
    let smooth = Line { points: smoothed(steps), ..of_steps("smoothed", 1, &|point| point.loss) };
    let rate = match steps.is_empty() {
        true => solid(line("rate", 2, &|r| Some(r.learning_rate))),
        false => of_steps("rate", 2, &|point| point.learning_rate),
    };
    let rate_label = if steps.is_empty() { "rate of the epoch's last step" } else { "rate of the steps" };
    [
        draw("accuracy", "Accuracy", "accuracy", Format::Percent, &marks, accuracy),
        draw("loss", "Loss", entropy, Format::Number, &marks, both),
        draw("learning-rate", "Learning rate", rate_label, Format::Number, &cuts, vec![rate]),
        draw(
            "loss-steps",
            "Loss, step by step",
            entropy,
            Format::Number,
            &[],
            vec![smooth, Line { thin: true, ..of_steps("steps", 0, &|point| point.loss) }],
        ),
        draw(
            "optimized-loss",
            "The optimised loss",
            "loss, with all settings of the recipe",
            Format::Number,
            &[],
            apart,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) type Reading = fn(&EpochRecord) -> Option<f64>;

/// Returns two readings of a record: the training loss that can be compared with the validation loss, and, if it differs,
/// the optimised loss. A record of an older program has only the optimised loss, which equals the first only if the
/// recipe adds nothing to it.
pub(super) fn losses(run: &RunRecord) -> (Reading, Reading) {
    let is_new = run.history.iter().any(|record| record.optimized_loss.is_some());
    let sets = |keys: &[&str]| run.recipe_value(keys);
    let smoothing = sets(&["loss", "label_smoothing"]).and_then(|text| text.raw().parse::<f64>().ok());
    let is_plain = smoothing.unwrap_or(0.0) == 0.0
        && sets(&["loss", "class_weights"]).is_none()
        && sets(&["mix"]).is_none();
    match (is_new, is_plain) {
        (true, true) => (|r| Some(r.loss), |_| None),
        (true, false) => (|r| r.optimized_loss.map(|_| r.loss), |r| r.optimized_loss),
        (false, true) => (|r| Some(r.loss), |_| None),
        (false, false) => (|_| None, |r| Some(r.loss)),
    }
}

/// Returns the smoothed loss of the steps: a running mean with exponential weights, so that each point reflects mainly
/// the last tenth of the run.
fn smoothed(steps: &[StepPoint]) -> Vec<(f64, f64)> {
    let keep = 1.0 - 1.0 / (steps.len() as f64 / 20.0).max(2.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    steps
        .iter()
        .map(|point| {
            (sum, weight) = (keep * sum + point.loss, keep * weight + 1.0);
            (point.epochs, sum / weight)
        })
        .collect()
}

const BEST: &str = "best epoch";

/// Returns the marks of the best epoch, if there is more than one epoch, and of the cuts of the learning rate.
fn marks(run: &RunRecord) -> Vec<Mark> {
    let best = run
        .best_epoch()
        .filter(|_| run.history.len() > 1)
        .map(|epoch| Mark { x: epoch as f64, label: BEST.into() });
    let cuts =
        run.events.rate_lowered.iter().map(|&(epoch, _)| Mark { x: epoch as f64, label: "rate cut".into() });
    let mut marks: Vec<Mark> = cuts.chain(best).collect();
    marks.sort_by(|a, b| a.x.total_cmp(&b.x));
    marks
}
