//! `trainer compare` of two series: tells whether one recipe's mean is better than the other's, as far as the seeds show it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use serde::Serialize;
use tallow_core::shown::shown_path;
use tallow_metrics::{Caveat, SeedDifference, SeedMean, paired_difference, welch_difference};
use tallow_training::CONFIDENCE;

use super::folder::{Series, SeriesRun};
use super::text::{self, Figures, in_columns};
use crate::{App, output};

/// Two series and the difference of their accuracies.
#[derive(Serialize)]
struct Compared {
    series: [Figures; 2],
    /// The second series is "better", "worse" or "not_told_apart".
    verdict: &'static str,
    /// "paired" if both have the same seeds, otherwise "welch".
    test: &'static str,
    test_accuracy: SeedDifference,
}

pub(crate) fn compare(paths: &[PathBuf], app: &App) -> Result<ExitCode> {
    for path in paths {
        ensure!(
            super::is_series(path)?,
            "{} is not a series of seeds; a series can only be compared with another series: trainer seeds \
             makes one",
            shown_path(path)
        );
    }
    let [first, second] = paths else {
        anyhow::bail!("only two series can be compared at a time: name two");
    };
    let (first, second) = (Series::read(first)?, Series::read(second)?);
    let compared = compared(&first, &second)?;
    match app.global.json {
        true => output::json(&compared)?,
        false => output::line(&told(&compared, [&first.1, &second.1]))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn compared(first: &(Series, Vec<SeriesRun>), second: &(Series, Vec<SeriesRun>)) -> Result<Compared> {
    let digest = |runs: &[SeriesRun]| runs.first().map(|run| run.summary.data_digest.clone());
    let [a, b] = [first, second].map(|(series, _)| shown_path(&series.path));
    ensure!(digest(&first.1) == digest(&second.1), "{a} and {b} were tested on different data");
    let figures = |(series, runs): &(Series, Vec<SeriesRun>)| text::figures(series, runs, None);
    let series = [figures(first)?, figures(second)?];
    let scores = |figures: &Figures| -> (Vec<u64>, Vec<f64>) {
        figures.runs.iter().filter_map(|run| Some((run.seed, run.test_accuracy?))).unzip()
    };
    let [(seeds_a, a), (seeds_b, b)] = [scores(&series[0]), scores(&series[1])];
    for (figures, n) in series.iter().zip([a.len(), b.len()]) {
        ensure!(
            n >= 2,
            "{} has {}, but at least two are needed to know how much runs differ: continue with more --seeds",
            figures.path.shown(),
            output::counted(n as u64, "run")
        );
    }
    let (test, difference) = match seeds_a == seeds_b {
        true => ("paired", paired_difference(&a, &b, CONFIDENCE)?),
        false => ("welch", welch_difference(&a, &b, CONFIDENCE)?),
    };
    let verdict = match (difference.is_told_apart(), difference.difference > 0.0) {
        (false, _) => "not_told_apart",
        (true, true) => "better",
        (true, false) => "worse",
    };
    Ok(Compared { series, verdict, test, test_accuracy: difference })
}

fn told(compared: &Compared, runs: [&[SeriesRun]; 2]) -> String {
    let [first, second] = &compared.series;
    let is_twin = first.series == second.series;
    let label = |figures: &Figures| match is_twin {
        true => figures.path.shown().into_owned(),
        false => figures.series.shown().into_owned(),
    };
    let header = ["series", "seeds", "test accuracy", "deviation", "95 % interval", "seconds"];
    let row = |figures: &Figures| {
        let accuracy = figures.test_accuracy.as_ref();
        vec![
            label(figures),
            figures.runs.len().to_string(),
            accuracy.map_or("-".into(), |mean| format!("{:.2} %", 100.0 * mean.mean)),
            accuracy.and_then(|mean| mean.deviation).map_or("-".into(), |s| format!("{:.2}", 100.0 * s)),
            accuracy.and_then(interval).unwrap_or("-".into()),
            seconds(&figures.seconds),
        ]
    };
    let rows = [header.map(str::to_owned).to_vec(), row(first), row(second)];
    let mut lines = vec![in_columns(&rows), sentence(compared, &label(first), &label(second))];
    lines.extend(runs.iter().flat_map(|runs| text::unlike(runs)));
    for figures in &compared.series {
        let marked = |caveat: &Caveat| format!("{}: {}", label(figures), caveat.sentence());
        lines.extend(figures.caveats.iter().map(marked));
    }
    lines.join("\n")
}

fn interval(mean: &SeedMean) -> Option<String> {
    mean.interval.map(|ends| ends.map(|end| format!("{:.2}", 100.0 * end)).join(" to "))
}

fn seconds(mean: &SeedMean) -> String {
    let deviation = mean.deviation.map_or(String::new(), |s| format!(" ± {s:.1}"));
    format!("{:.1}{deviation}", mean.mean)
}

/// Explains the difference to readers who do not know statistics.
fn sentence(compared: &Compared, first: &str, second: &str) -> String {
    let SeedDifference { difference, interval: [low, high], .. } = compared.test_accuracy;
    let points = |share: f64| format!("{:.2}", 100.0 * share);
    let direction = if difference < 0.0 { "lower" } else { "higher" };
    let by = points(difference.abs());
    let [n_first, n_second] = compared.series.each_ref().map(|figures| figures.runs.len());
    let how = match compared.test {
        "paired" => format!("{n_first} pairs of runs with the same seed"),
        _ => format!("{n_first} and {n_second} runs with different seeds, by Welch's test"),
    };
    match compared.verdict {
        "not_told_apart" => format!(
            "{second} is not told apart from {first}: its mean test accuracy is {by} points {direction}, \
             but the 95 % interval of the difference is {:+.2} to {:+.2} points, so it may be chance \
             ({how}).",
            100.0 * low,
            100.0 * high
        ),
        verdict => {
            let (least, most) = if difference < 0.0 { (-high, -low) } else { (low, high) };
            format!(
                "{second} is {verdict} than {first}: its mean test accuracy is {by} points {direction}, with 95 % confidence by {} \
                 to {} points ({how}).",
                points(least),
                points(most)
            )
        }
    }
}
