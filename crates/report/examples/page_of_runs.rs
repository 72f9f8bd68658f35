//! Makes a page and pictures from run folders: `cargo run -p tallow-report --example page_of_runs -- OUT RUN...`.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use tallow_core::files;
use tallow_metrics::{Bands, ConfusionMatrix};
use tallow_report::{
    Comparison, Options, ReportError, RunRecord, comparison_report, comparison_text, confusion_text,
    model_card, run_report,
};

fn main() -> Result<(), ReportError> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(out) = paths.next() else {
        println!("usage: page_of_runs OUT RUN...");
        return Ok(());
    };
    let runs: Vec<RunRecord> = paths.map(|path| RunRecord::read(&path)).collect::<Result<_, _>>()?;
    let report = if let [run] = &runs[..] {
        if let Some(test) = &run.test {
            let matrix = ConfusionMatrix::from_predictions(&test.predictions);
            println!("{}", confusion_text(&matrix, &test.class_names, &Bands::default(), true, 100));
            println!("{}", model_card(run)?);
        }
        let costs = std::env::var_os("COSTS").map(PathBuf::from);
        let costs = costs.and_then(|path| std::fs::read_to_string(path).ok());
        run_report(run, &Options { costs, target_accuracy: Some(0.95) })?
    } else {
        let comparison = Comparison::new(&runs)?;
        println!("{}", comparison_text(&comparison));
        comparison_report(&comparison, &out)
    };
    files::create_folder(&out)?;
    files::write(&out.join("report.html"), report.html.as_bytes())?;
    for chart in &report.charts {
        files::write(&out.join(format!("{}.svg", chart.name)), chart.to_svg().as_bytes())?;
        files::write(&out.join(format!("{}.png", chart.name)), &chart.to_png(2.0)?)?;
    }
    Ok(())
}
