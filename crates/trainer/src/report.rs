//! `trainer report`, `compare` and `card`: run folders in, pages and texts out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use tallow_core::{Progress as _, files};
use tallow_report::{
    Comparison, Options, Report, RunRecord, comparison_report, comparison_text, model_card, run_report,
};

use crate::App;
use crate::args::{CardArgs, CompareArgs, ReportArgs};
use crate::output;

/// Pixels of a PNG per unit of its chart.
const PNG_SCALE: f32 = 2.0;

pub(crate) fn report(args: &ReportArgs, app: &App) -> Result<ExitCode> {
    let runs = read(&args.runs, app)?;
    let costs = args
        .costs
        .as_ref()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display())))
        .transpose()?;
    let options = Options { costs, target_accuracy: args.target_accuracy };
    let (report, out) = match &runs[..] {
        [run] => {
            let out = args.out.clone().unwrap_or_else(|| run.path.join("report.html"));
            (run_report(run, &options)?, out)
        }
        several => {
            ensure!(
                options.costs.is_none() && options.target_accuracy.is_none(),
                "--costs and --target-accuracy are for the report of one run"
            );
            let out = args.out.clone().unwrap_or_else(|| "comparison.html".into());
            (comparison_report(&Comparison::new(several)?), out)
        }
    };
    let plots = write(&report, &out)?;
    if app.global.json {
        output::json(&serde_json::json!({ "report": out, "plots": plots }))?;
    } else {
        output::line(&out.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn compare(args: &CompareArgs, app: &App) -> Result<ExitCode> {
    let runs = read(&args.runs, app)?;
    output::line(comparison_text(&Comparison::new(&runs)?).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn card(args: &CardArgs, app: &App) -> Result<ExitCode> {
    let runs = read(std::slice::from_ref(&args.run), app)?;
    let out = args.run.join("README.md");
    files::write(&out, model_card(&runs[0])?.as_bytes())?;
    output::line(&out.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn read(paths: &[PathBuf], app: &App) -> Result<Vec<RunRecord>> {
    let runs = paths.iter().map(|path| RunRecord::read(path)).collect::<Result<Vec<_>, _>>()?;
    for problem in runs.iter().flat_map(|run| &run.problems) {
        app.progress.say(&format!("Note: {problem}"));
    }
    Ok(runs)
}

/// Writes the page, and beside it its charts as SVG and PNG in `plots`, or `<page>-plots` where the page has a name of
/// its own; returns where the charts are.
fn write(report: &Report, out: &Path) -> Result<Vec<PathBuf>> {
    let folder = files::folder_of(out);
    let plots = match out.file_name().and_then(|name| name.to_str()) {
        Some("report.html") => folder.join("plots"),
        _ => folder.join(format!("{}-plots", out.file_stem().unwrap_or_default().to_string_lossy())),
    };
    files::create_folder(&plots)?;
    let mut written = Vec::new();
    for chart in &report.charts {
        for (extension, bytes) in [("svg", chart.to_svg().into_bytes()), ("png", chart.to_png(PNG_SCALE)?)] {
            let path = plots.join(format!("{}.{extension}", chart.name));
            files::write(&path, &bytes)?;
            written.push(path);
        }
    }
    files::write(out, report.html.as_bytes())?;
    Ok(written)
}
