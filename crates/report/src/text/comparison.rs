//! A comparison of several runs, as text for a terminal.

use std::fmt::Write as _;

use crate::chart::grouped;
use crate::comparison::{
    Comparison, FEATURES_COUNT, caution, mark, marked, p_value, parameters, points, training_rate, verdict,
};
use crate::shown::{columns, padded, shortened};

const MAX_NAME_COLUMNS: usize = 28;

/// Returns a table of the runs and a sentence for each two of them: better, worse, or not told apart by this test set.
pub fn comparison_text(comparison: &Comparison<'_>) -> String {
    let mut out = table(comparison);
    out.push('\n');
    for (i, j, c) in &comparison.pairs {
        let [first, second] = [i, j].map(|k| shortened(&comparison.runs[*k].label, 2 * MAX_NAME_COLUMNS));
        let [low, high] = c.difference_interval.map(points);
        // writing to a String cannot fail
        let _ = writeln!(
            out,
            "{second} against {first}: {}\n    {} points ({low} to {high}); {} images only {second} got right, {} only \
             {first}; p {}",
            verdict(c),
            points(c.difference),
            grouped(c.n_only_second as f64, 0),
            grouped(c.n_only_first as f64, 0),
            p_value(c.p_value),
        );
    }
    if let Some(caution) = caution(comparison.pairs.len()) {
        let _ = writeln!(out, "\n{caution}");
    }
    for sentence in marked(comparison) {
        let _ = writeln!(out, "\n{sentence}");
    }
    if comparison.has_features() {
        let _ = writeln!(out, "\n{FEATURES_COUNT}");
    }
    out
}

fn table(comparison: &Comparison<'_>) -> String {
    let header =
        ["run", "accuracy", "95 % interval", "macro F1", "loss", "trained", "epochs", "minutes", "images/s"];
    let mut rows: Vec<Vec<String>> = vec![header.map(str::to_owned).to_vec()];
    for run in &comparison.runs {
        let summary = run.record.summary.as_ref();
        let minutes = summary.map(|s| s.model_seconds() / 60.0);
        let [low, high] = run.test.accuracy_interval.map(|share| format!("{:.2}", 100.0 * share));
        let of = |value: Option<String>| value.unwrap_or("-".to_owned());
        rows.push(vec![
            format!("{}{}", shortened(&run.label, MAX_NAME_COLUMNS), mark(run.record)),
            format!("{:.2} %", 100.0 * run.test.accuracy()),
            format!("{low} to {high}"),
            format!("{:.2} %", 100.0 * run.test.report.macro_avg.f1_score),
            of(run.test.predictions.mean_nll().map(|loss| format!("{loss:.4}"))),
            of(summary.map(parameters)),
            of(summary.map(|s| s.epochs_run.to_string())),
            of(minutes.map(|m| format!("{m:.1}"))),
            of(summary.and_then(training_rate)),
        ]);
    }
    let widths: Vec<usize> =
        (0..header.len()).map(|i| rows.iter().map(|row| columns(&row[i])).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &rows {
        for (i, (field, &width)) in row.iter().zip(&widths).enumerate() {
            if i == 0 {
                out.push_str(&padded(field, width));
            } else {
                out.push_str("  ");
                out.push_str(&" ".repeat(width - columns(field)));
                out.push_str(field);
            }
        }
        out.push('\n');
    }
    out
}
