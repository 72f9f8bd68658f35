//! The page of several runs on the same test images.

use std::path::Path;

use maud::{Markup, html};
use tallow_metrics::EpochRecord;
use tallow_run_files::PAGE;

use super::learning::losses;
use super::{
    Number, Section, Text, disagreements, figures, name, percent, percent_interval, plain, recipes,
    recommendation, table, unbroken,
};
use crate::chart::{Axis, Bar, Chart, DotRow, Format, Line, LineChart, dot_chart, grouped, interval_chart};
use crate::comparison::{
    ComparedRun, Comparison, FEATURES_COUNT, caution, mark, marked, p_value, parameters, points,
    training_rate, verdict,
};
use crate::record::RunRecord;
use crate::shown::shown;

/// Largest number of classes that are drawn; if there are more, those that differ most are drawn.
const MAX_ROWS: usize = 30;

pub(super) fn parts(comparison: &Comparison<'_>, folder: &Path) -> Vec<Section> {
    let mut parts = vec![overview(comparison, folder), tests(comparison)];
    parts.extend(recipes::section(comparison));
    parts.extend(disagreements::section(comparison));
    parts.extend(curves(comparison));
    parts.push(classes(comparison));
    parts
}

fn overview(comparison: &Comparison<'_>, folder: &Path) -> Section {
    let columns = [
        ("run", Text),
        ("test accuracy", Number),
        ("95 % interval", Number),
        ("macro F1", Number),
        ("loss", Number),
        ("parameters trained", Number),
        ("epochs", Number),
        ("minutes", Number),
        ("images/s", Number),
    ];
    let rows: Vec<Vec<Markup>> = comparison
        .runs
        .iter()
        .map(|run| {
            let summary = run.record.summary.as_ref();
            let of = |value: Option<String>| plain(value.unwrap_or("–".to_owned()));
            vec![
                linked(run, folder),
                html! { strong { (percent(run.test.accuracy())) } },
                plain(percent_interval(run.test.accuracy_interval)),
                plain(percent(run.test.report.macro_avg.f1_score)),
                of(run.test.predictions.mean_nll().map(|loss| format!("{loss:.4}"))),
                of(summary.map(parameters)),
                of(summary.map(|s| s.epochs_run.to_string())),
                of(minutes(run).map(|m| format!("{m:.1}"))),
                of(summary.and_then(training_rate)),
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
    let mut charts =
        vec![interval_chart("runs-accuracy", "Test accuracy, 95 % intervals", "accuracy", &bars)];
    charts.extend(against_time(comparison));
    let has_features = comparison.has_features();
    let n = comparison.runs.first().map_or(0, |run| run.test.matrix.n());
    let body = html! {
        p class="lead" { (recommendation::recommend(comparison)) }
        @for sentence in marked(comparison) { p class="notice" role="note" { (sentence) } }
        (figures(&charts))
        p { "All runs were tested on the same " (grouped(n as f64, 0)) " images." @if has_features { " " (FEATURES_COUNT) } }
        (table("The runs side by side", &columns, &rows))
    };
    Section { id: "runs", heading: "In short", body, charts }
}

/// Returns the time to make the model from scratch, in minutes.
pub(super) fn minutes(run: &ComparedRun<'_>) -> Option<f64> {
    Some(run.record.summary.as_ref()?.model_seconds() / 60.0)
}

/// Returns the name of a run, as a link to its own report if there is one.
fn linked(run: &ComparedRun<'_>, folder: &Path) -> Markup {
    let label = html! { (name(&run.label)) (mark(run.record)) };
    match relative(&run.record.path.join(PAGE), folder) {
        Some(href) => html! { a href=(href) { (label) } },
        None => label,
    }
}

/// Returns the relative URL from `folder` to the file `to`, such as `./runs/a/report.html`; `None` if `to` does not
/// exist.
fn relative(to: &Path, folder: &Path) -> Option<String> {
    let (to, from) = (to.canonicalize().ok()?, folder.canonicalize().ok()?);
    let shared = to.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let mut href = "./".to_owned();
    from.components().skip(shared).for_each(|_| href.push_str("../"));
    let rest: Vec<String> =
        to.components().skip(shared).map(|part| encoded(part.as_os_str().as_encoded_bytes())).collect();
    href.push_str(&rest.join("/"));
    Some(href)
}

/// Percent-encodes a part of a URL: every byte except unreserved characters (RFC 3986, section 2).
fn encoded(part: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let code = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    part.iter().copied().map(code).collect()
}

/// Draws accuracy against the minutes of each run; `None` if the time of a run is unknown.
fn against_time(comparison: &Comparison<'_>) -> Option<Chart> {
    let points = comparison.runs.iter().map(|run| Some((minutes(run)?, run.test.accuracy())));
    let points: Vec<(f64, f64)> = points.collect::<Option<_>>()?;
    let lines: Vec<Line> = comparison
        .runs
        .iter()
        .zip(&points)
        .enumerate()
        .map(|(series, (run, point))| Line {
            label: shown(&run.label),
            points: vec![*point],
            series,
            dashed: false,
            thin: false,
        })
        .collect();
    let x = Axis::holding("minutes", Format::Number, points.iter().map(|p| p.0).chain([0.0]), 5);
    let y = Axis::holding("accuracy", Format::Percent, points.iter().map(|p| p.1), 5);
    let (name, title) = ("runs-time", "Test accuracy and minutes of training");
    Some(LineChart { name, title, x, y, lines: &lines, marks: &[], spots: &[] }.draw())
}

fn tests(comparison: &Comparison<'_>) -> Section {
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
        (table("Each pair of runs, image by image", &columns, &rows))
        p {
            "Only images that one of the two got right and the other got wrong tell them apart. The p-value is from McNemar's exact test; the interval is from 4,000 bootstrap samples of the test images. "
            @if let Some(caution) = caution(comparison.pairs.len()) { (caution) " " }
            "The test says nothing about other seeds: a second run of the same recipe gives another model."
        }
    };
    Section { id: "pairs", heading: "Which is better", body, charts: vec![] }
}

/// Allows a line break only before the second half of a verdict.
fn verdict_markup(verdict: &str) -> Markup {
    match verdict.split_once(" by ") {
        Some((first, second)) => html! { (unbroken(first)) " " (unbroken(&format!("by {second}"))) },
        None => plain(verdict),
    }
}

fn curves(comparison: &Comparison<'_>) -> Option<Section> {
    let n_epochs = comparison.runs.iter().map(|run| run.record.history.len()).max().unwrap_or(0);
    if n_epochs == 0 {
        return None;
    }
    let draw = |name: &str,
                title: &str,
                label: &str,
                format,
                of: fn(&RunRecord, &EpochRecord) -> Option<f64>|
     -> Option<Chart> {
        let lines: Vec<Line> = comparison
            .runs
            .iter()
            .enumerate()
            .map(|(series, run)| Line {
                label: shown(&run.label),
                points: run
                    .record
                    .history
                    .iter()
                    .filter_map(|r| Some((r.epoch as f64, of(run.record, r)?)))
                    .collect(),
                series,
                dashed: series % 2 == 1,
                thin: false,
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
        draw("runs-val-accuracy", "Validation accuracy", "accuracy", Format::Percent, |_, r| r.val_accuracy),
        draw("runs-val-loss", "Validation loss", "cross-entropy", Format::Number, |_, r| r.val_loss),
        draw("runs-train-loss", "Training loss", "cross-entropy", Format::Number, |run, r| losses(run).0(r)),
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(Section { id: "curves", heading: "Learning", body: figures(&charts), charts })
}

fn classes(comparison: &Comparison<'_>) -> Section {
    let Some(first) = comparison.runs.first() else {
        return Section { id: "classes", heading: "Class by class", body: html! {}, charts: vec![] };
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
    Section { id: "classes", heading: "Class by class", body, charts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_run_is_relative_and_encoded() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("runs/javascript:a b");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("report.html"), "").unwrap();
        let to = run.join("report.html");
        assert_eq!(relative(&to, folder.path()).unwrap(), "./runs/javascript%3Aa%20b/report.html");
        let pages = folder.path().join("pages");
        std::fs::create_dir(&pages).unwrap();
        assert_eq!(relative(&to, &pages).unwrap(), "./../runs/javascript%3Aa%20b/report.html");
        assert_eq!(relative(&run.join("absent.html"), &pages), None);
        assert_eq!(encoded(b"caf\xe9/\xc3\xa9"), "caf%E9%2F%C3%A9");
    }
}
