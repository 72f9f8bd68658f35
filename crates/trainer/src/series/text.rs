//! Formats the results of a series: its runs in a table, the mean with its interval, and the same as JSON.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use tallow_core::Foreign;
use tallow_core::shown::shown_path;
use tallow_metrics::{Caveat, SeedMean, Summary, seed_mean};
use tallow_report::{columns, padded};
use tallow_training::CONFIDENCE;

use super::folder::{Series, SeriesRun};

/// The figures of a series.
#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) series: Foreign,
    pub(super) path: Foreign,
    recipe: Foreign,
    dataset: Foreign,
    pub(super) runs: Vec<RunFigures>,
    /// `None` if no run was tested.
    pub(super) test_accuracy: Option<SeedMean>,
    /// Seconds of training with validation and of a frozen backbone's features, even if another run computed them.
    pub(super) seconds: SeedMean,
    confidence: f64,
    /// Reasons to distrust the accuracies.
    pub(super) caveats: Vec<Caveat>,
    table: Option<Foreign>,
}

/// The figures of one run.
#[derive(Serialize)]
pub(super) struct RunFigures {
    pub(super) seed: u64,
    run: String,
    pub(super) test_accuracy: Option<f64>,
    test_loss: Option<f64>,
    val_accuracy: Option<f64>,
    epochs_run: u64,
    pub(super) seconds: f64,
}

/// Returns the figures of a series with at least one finished run.
pub(super) fn figures(series: &Series, runs: &[SeriesRun], table: Option<&Path>) -> Result<Figures> {
    let figures = |SeriesRun { seed, name, summary }: &SeriesRun| RunFigures {
        seed: *seed,
        run: name.clone(),
        test_accuracy: summary.test.map(|test| test.accuracy),
        test_loss: summary.test.map(|test| test.loss),
        val_accuracy: summary.val.map(|val| val.accuracy),
        epochs_run: summary.epochs_run,
        seconds: summary.model_seconds(),
    };
    let figures: Vec<RunFigures> = runs.iter().map(figures).collect();
    let accuracies: Vec<f64> = figures.iter().filter_map(|run| run.test_accuracy).collect();
    let seconds: Vec<f64> = figures.iter().map(|run| run.seconds).collect();
    let mut caveats: Vec<Caveat> = Vec::new();
    for caveat in runs.iter().flat_map(|run| &run.summary.caveats) {
        if !caveats.contains(caveat) {
            caveats.push(caveat.clone());
        }
    }
    Ok(Figures {
        series: series.name(),
        path: Foreign::of_path(&series.path),
        recipe: series.recipe.name.clone(),
        dataset: runs.first().map(|run| run.summary.dataset.clone()).unwrap_or_default(),
        runs: figures,
        test_accuracy: (!accuracies.is_empty()).then(|| mean_share(&accuracies)).transpose()?,
        seconds: seed_mean(&seconds, CONFIDENCE)?,
        confidence: CONFIDENCE,
        caveats,
        table: table.map(Foreign::of_path),
    })
}

/// Formats a row for each run, the means as sentences, and the path of the table.
pub(super) fn text(series: &Series, runs: &[SeriesRun], table: &Path) -> Result<String> {
    let figures = figures(series, runs, Some(table))?;
    let percent =
        |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.2} %", 100.0 * share));
    let row = |run: &RunFigures| {
        vec![
            run.seed.to_string(),
            percent(run.test_accuracy),
            run.test_loss.map_or("-".to_owned(), |loss| format!("{loss:.4}")),
            percent(run.val_accuracy),
            run.epochs_run.to_string(),
            format!("{:.1}", run.seconds),
        ]
    };
    let header = ["seed", "test accuracy", "loss", "validation", "epochs", "seconds"].map(str::to_owned);
    let rows: Vec<Vec<String>> = [header.to_vec()].into_iter().chain(figures.runs.iter().map(row)).collect();
    let mut lines = vec![in_columns(&rows)];
    lines.extend(figures.test_accuracy.map(|mean| format!("Test accuracy {}", told(&mean, 100.0, 2, " %"))));
    lines.push(format!(
        "Seconds of a run {}{}",
        told(&figures.seconds, 1.0, 1, ""),
        match runs.iter().any(|run| run.summary.features_seconds.is_some()) {
            true => "; they include the features of a frozen backbone, even if another run computed them",
            false => "",
        }
    ));
    lines.extend(unlike(runs));
    lines.extend(figures.caveats.iter().map(Caveat::sentence));
    lines.push(format!("Table {}", shown_path(table)));
    Ok(lines.join("\n"))
}

/// Returns the mean of shares. Two runs give so wide an interval that it may go past what a share can be.
fn mean_share(shares: &[f64]) -> Result<SeedMean> {
    let mean = seed_mean(shares, CONFIDENCE)?;
    Ok(SeedMean { interval: mean.interval.map(|ends| ends.map(|end| end.clamp(0.0, 1.0))), ..mean })
}

/// Formats a mean, such as "85.28 % ± 0.29 (mean and deviation of 5 seeds; 95 % interval of the mean 84.92 to 85.64)".
fn told(mean: &SeedMean, scale: f64, decimals: usize, unit: &str) -> String {
    let number = |x: f64| format!("{:.decimals$}", scale * x);
    match (mean.deviation, mean.interval) {
        (Some(deviation), Some([low, high])) => format!(
            "{}{unit} ± {} (mean and deviation of {} seeds; 95 % interval of the mean {} to {})",
            number(mean.mean),
            number(deviation),
            mean.n,
            number(low),
            number(high)
        ),
        _ => format!("{}{unit} (one seed: the spread is unknown)", number(mean.mean)),
    }
}

/// Returns a notice if the runs used different kinds of machines, precisions or numbers of threads.
pub(super) fn unlike(runs: &[SeriesRun]) -> Option<String> {
    let kind = |Summary { device, isa, precision, threads, .. }: &Summary| {
        let [device, isa, precision] = [device, isa, precision].map(Foreign::shown);
        format!("{device}, {isa}, {precision}, {}", crate::output::counted(*threads, "thread"))
    };
    let kinds: BTreeSet<String> = runs.iter().map(|run| kind(&run.summary)).collect();
    let all = kinds.iter().cloned().collect::<Vec<_>>().join("; ");
    (kinds.len() > 1).then(|| {
        format!(
            "Note: these runs did not use the same computation, so their seconds cannot be compared: {all}"
        )
    })
}

/// Aligns rows in columns, the first to the left and the others to the right.
pub(super) fn in_columns(rows: &[Vec<String>]) -> String {
    let n = rows.first().map_or(0, Vec::len);
    let width = |i: usize| rows.iter().map(|row| columns(&row[i])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n).map(width).collect();
    let line = |row: &Vec<String>| {
        let field = |(i, field): (usize, &String)| match i {
            0 => padded(field, widths[0]),
            _ => format!("  {}{field}", " ".repeat(widths[i] - columns(field))),
        };
        row.iter().enumerate().map(field).collect::<String>()
    };
    rows.iter().map(|row| format!("{}\n", line(row))).collect()
}
