//! Part 3: learning, epoch by epoch.

use maud::html;
use tallow_metrics::EpochRecord;

use super::{Number, Part, Text, figures, percent, plain, table};
use crate::chart::{Axis, Chart, Format, Line, LineChart, Mark};
use crate::record::RunRecord;

pub(super) fn part(run: &RunRecord) -> Option<Part> {
    if run.history.is_empty() {
        return None;
    }
    let charts = charts(run);
    let columns = [
        ("epoch", Text),
        ("accuracy", Number),
        ("loss", Number),
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
                plain(four(r.loss)),
                optional(r.val_accuracy, percent),
                optional(r.val_loss, four),
                plain(rate(r.learning_rate)),
            ]
        })
        .collect();
    let body = html! {
        (figures(&charts))
        p { "Training figures are taken while the weights change, on augmented images; validation looks at plain images after the epoch. So validation may be the better of the two." }
        @if let Some(epoch) = run.events.stopped_early { p { "The run ended early, after epoch " (epoch) ": the monitored figure no longer improved." } }
        @if let Some(epoch) = run.events.best_restored { p { "The model has the weights of epoch " (epoch) ", the best one." } }
        details { summary { "All epochs as a table" } (table("Learning, epoch by epoch", &columns, &rows)) }
    };
    Some(Part { id: "learning", heading: "Learning", body, charts })
}

fn four(value: f64) -> String {
    format!("{value:.4}")
}

fn rate(value: f64) -> String {
    if value >= 1e-4 || value == 0.0 { format!("{value:.5}") } else { format!("{value:.1e}") }
}

fn charts(run: &RunRecord) -> Vec<Chart> {
    let marks = marks(run);
    let line = |label: &str, series, of: &dyn Fn(&EpochRecord) -> Option<f64>| Line {
        label: label.to_owned(),
        points: run.history.iter().filter_map(|r| Some((r.epoch as f64, of(r)?))).collect(),
        series,
        dashed: series == 0,
    };
    let draw = |name: &str, title: &str, label: &str, format, marks: &[Mark], lines: Vec<Line>| {
        let lines: Vec<Line> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
        let values = lines.iter().flat_map(|line| line.points.iter().map(|p| p.1));
        let zero = (name == "learning-rate").then_some(0.0);
        let y = Axis::holding(label, format, values.chain(zero), 5);
        LineChart {
            name,
            title,
            x: Axis::epochs(run.history.len() as u64),
            y,
            lines: &lines,
            marks,
            spots: &[],
        }
        .draw()
    };
    let cuts: Vec<Mark> = marks.iter().filter(|m| m.label != BEST).cloned().collect();
    vec![
        draw(
            "accuracy",
            "Accuracy",
            "accuracy",
            Format::Percent,
            &marks,
            vec![line("validation", 1, &|r| r.val_accuracy), line("training", 0, &|r| Some(r.accuracy))],
        ),
        draw(
            "loss",
            "Loss",
            "cross-entropy",
            Format::Number,
            &marks,
            vec![line("validation", 1, &|r| r.val_loss), line("training", 0, &|r| Some(r.loss))],
        ),
        draw(
            "learning-rate",
            "Learning rate",
            "rate of the epoch's last step",
            Format::Number,
            &cuts,
            vec![Line { dashed: false, ..line("rate", 2, &|r| Some(r.learning_rate)) }],
        ),
    ]
}

const BEST: &str = "best epoch";

/// The best epoch, if there is a choice, and the cuts of the learning rate.
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
