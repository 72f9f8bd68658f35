//! Part 7: several runs on the same test images.

use maud::{Markup, html};
use tallow_metrics::EpochRecord;

use super::{Number, Part, Text, figures, name, percent, percent_interval, plain, table};
use crate::chart::{Axis, Bar, Chart, DotRow, Format, Line, LineChart, dot_chart, grouped, interval_chart};
use crate::comparison::{Comparison, FEATURES_COUNT, caution, p_value, points, verdict};
use crate::shown::shown;

/// Beyond this many classes only those that differ most are drawn.
const MAX_ROWS: usize = 30;

pub(super) fn parts(comparison: &Comparison<'_>) -> Vec<Part> {
    let mut parts = vec![overview(comparison), tests(comparison)];
    parts.extend(curves(comparison));
    parts.push(classes(comparison));
    parts
}

fn overview(comparison: &Comparison<'_>) -> Part {
    let columns = [
        ("run", Text),
        ("test accuracy", Number),
        ("95 % interval", Number),
        ("macro F1", Number),
        ("loss", Number),
        ("parameters", Number),
        ("epochs", Number),
        ("minutes", Number),
        ("images/s", Number),
        ("accuracy points per minute", Number),
    ];
    let rows: Vec<Vec<Markup>> = comparison
        .runs
        .iter()
        .map(|run| {
            let summary = run.record.summary.as_ref();
            let of = |value: Option<String>| plain(value.unwrap_or("–".to_owned()));
            let minutes = summary.map(|s| s.model_seconds() / 60.0);
            vec![
                name(&run.label),
                html! { strong { (percent(run.test.accuracy())) } },
                plain(percent_interval(run.test.accuracy_interval)),
                plain(percent(run.test.report.macro_avg.f1_score)),
                of(run.test.predictions.mean_nll().map(|loss| format!("{loss:.4}"))),
                of(summary.map(|s| grouped(s.n_parameters as f64, 0))),
                of(summary.map(|s| s.epochs_run.to_string())),
                of(minutes.map(|m| format!("{m:.1}"))),
                of(summary.map(|s| grouped(s.images_per_second, 0))),
                of(minutes.filter(|&m| m > 0.0).map(|m| format!("{:.2}", 100.0 * run.test.accuracy() / m))),
            ]
        })
        .collect();
    let bars: Vec<Bar> = comparison
        .runs
        .iter()
        .map(|run| Bar {
            label: shown(&run.label),
            value: run.test.accuracy(),
            interval: Some(run.test.accuracy_interval),
        })
        .collect();
    let charts = vec![interval_chart("runs-accuracy", "Test accuracy, 95 % intervals", "accuracy", &bars)];
    let has_features = comparison.has_features();
    let n = comparison.runs.first().map_or(0, |run| run.test.matrix.n());
    let body = html! {
        p { "All runs were tested on the same " (grouped(n as f64, 0)) " images." @if has_features { " " (FEATURES_COUNT) } }
        (table("The runs beside one another", &columns, &rows))
        (figures(&charts))
    };
    Part { id: "runs", heading: "The runs", body, charts }
}

fn tests(comparison: &Comparison<'_>) -> Part {
    let columns = [
        ("the second against the first", Text),
        ("verdict", Text),
        ("difference in points", Number),
        ("95 % interval", Number),
        ("only the second right", Number),
        ("only the first right", Number),
        ("p-value", Number),
    ];
    let label = |i: &usize| name(&comparison.runs[*i].label);
    let rows: Vec<Vec<Markup>> = comparison
        .pairs
        .iter()
        .map(|(i, j, c)| {
            let [low, high] = c.difference_interval.map(points);
            vec![
                html! { strong { (label(j)) } " against " (label(i)) },
                html! { strong { (verdict_markup(verdict(c))) } },
                plain(points(c.difference)),
                plain(format!("{low} to {high}")),
                plain(grouped(c.n_only_second as f64, 0)),
                plain(grouped(c.n_only_first as f64, 0)),
                plain(p_value(c.p_value)),
            ]
        })
        .collect();
    let body = html! {
        (table("Each two runs, image by image", &columns, &rows))
        p {
            "Only the images that one of the two got right and the other wrong tell them apart. The p-value is that of McNemar's exact test; the interval is from 4,000 draws of the test images. "
            @if let Some(caution) = caution(comparison.pairs.len()) { (caution) " " }
            "The test says nothing of other seeds: a second run of the same recipe gives another model."
        }
    };
    Part { id: "pairs", heading: "Which is better", body, charts: vec![] }
}

/// Broken only before its second half.
fn verdict_markup(verdict: &str) -> Markup {
    match verdict.split_once(" by ") {
        Some((first, second)) => html! { (name(first)) " " (name(&format!("by {second}"))) },
        None => plain(verdict),
    }
}

fn curves(comparison: &Comparison<'_>) -> Option<Part> {
    let n_epochs = comparison.runs.iter().map(|run| run.record.history.len()).max().unwrap_or(0);
    if n_epochs == 0 {
        return None;
    }
    let draw = |name: &str,
                title: &str,
                label: &str,
                format,
                of: fn(&EpochRecord) -> Option<f64>|
     -> Option<Chart> {
        let lines: Vec<Line> = comparison
            .runs
            .iter()
            .enumerate()
            .map(|(series, run)| Line {
                label: shown(&run.label),
                points: run.record.history.iter().filter_map(|r| Some((r.epoch as f64, of(r)?))).collect(),
                series,
                dashed: series % 2 == 1,
            })
            .filter(|line| !line.points.is_empty())
            .collect();
        let y =
            Axis::holding(label, format, lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)), 5);
        let chart = LineChart {
            name,
            title,
            x: Axis::epochs(n_epochs as u64),
            y,
            lines: &lines,
            marks: &[],
            spots: &[],
        };
        (!lines.is_empty()).then(|| chart.draw())
    };
    let charts: Vec<Chart> = [
        draw("runs-val-accuracy", "Validation accuracy", "accuracy", Format::Percent, |r| r.val_accuracy),
        draw("runs-val-loss", "Validation loss", "cross-entropy", Format::Number, |r| r.val_loss),
        draw("runs-train-loss", "Training loss", "cross-entropy", Format::Number, |r| Some(r.loss)),
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(Part { id: "curves", heading: "Learning", body: figures(&charts), charts })
}

fn classes(comparison: &Comparison<'_>) -> Part {
    let Some(first) = comparison.runs.first() else {
        return Part { id: "classes", heading: "Class by class", body: html! {}, charts: vec![] };
    };
    let names = first.test.class_names;
    let recalls = |class: usize| comparison.runs.iter().map(move |run| run.test.report.classes[class].recall);
    let spread = |class: usize| recalls(class).fold(0.0, f64::max) - recalls(class).fold(1.0, f64::min);
    let mut classes: Vec<usize> = (0..names.len()).filter(|&class| !first.test.is_untested(class)).collect();
    let n_tested = classes.len();
    let table_order = classes.clone();
    if n_tested > MAX_ROWS {
        classes.sort_by(|&a, &b| spread(b).total_cmp(&spread(a))); // stable
        classes.truncate(MAX_ROWS);
    }
    let row =
        |&class: &usize| DotRow { label: shown(&names[class]), values: recalls(class).map(Some).collect() };
    let rows: Vec<DotRow> = classes.iter().map(row).collect();
    let labels: Vec<String> = comparison.runs.iter().map(|run| shown(&run.label)).collect();
    let title = if n_tested > MAX_ROWS {
        format!("Recall: the {MAX_ROWS} classes of {n_tested} that differ most")
    } else {
        "Recall of each class".to_owned()
    };
    let charts = vec![dot_chart("runs-recall", &title, "recall", &labels, &rows)];
    let columns: Vec<(&str, super::Column)> =
        std::iter::once(("class", Text)).chain(labels.iter().map(|label| (label.as_str(), Number))).collect();
    let table_rows: Vec<Vec<Markup>> = table_order
        .into_iter()
        .map(|class| {
            let shares = recalls(class).map(|recall| plain(format!("{:.1} %", 100.0 * recall)));
            std::iter::once(name(&names[class])).chain(shares).collect()
        })
        .collect();
    let body = html! {
        (figures(&charts))
        details { summary { "Recall of every class as a table" } (table("Recall by class and run", &columns, &table_rows)) }
    };
    Part { id: "classes", heading: "Class by class", body, charts }
}
