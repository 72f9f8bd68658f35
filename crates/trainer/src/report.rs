//! `trainer report`, `compare` and `card`: read run folders and write pages and texts; also writes the report at the end of a
//! run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use tallow_core::shown::shell_word;
use tallow_core::shown::shown_path;
use tallow_core::{Progress as _, files};
use tallow_metrics::{MetricsError, Predictions};
use tallow_report::{
    Comparison, Options, Report, ReportError, RunRecord, comparison_figures, comparison_report,
    comparison_text, model_card, run_report, sample_grids, surest_wrong_images, wanted_test_images,
};
use tallow_training::Session;

use crate::App;
use crate::args::{CardArgs, CompareArgs, ReportArgs};
use crate::output;
use crate::series;

/// Pixels of a PNG per unit of its chart.
pub(crate) const PNG_SCALE: f32 = 2.0;

pub(crate) fn report(args: &ReportArgs, app: &App) -> Result<ExitCode> {
    args.out.as_deref().map_or(Ok(()), check_out)?;
    let runs = read(&args.runs, app)?;
    let costs = args
        .costs
        .as_ref()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display())))
        .transpose()?;
    let options = Options { costs, target_accuracy: args.target_accuracy };
    let (report, grids, out) = match &runs[..] {
        [run] => {
            let out = args.out.clone().unwrap_or_else(|| run.path.join("report.html"));
            let report = run_report(run, &options).map_err(|e| in_cost_file(e, args.costs.as_deref()))?;
            (report, sample_grids(run, PNG_SCALE)?, out)
        }
        several => {
            ensure!(
                options.costs.is_none() && options.target_accuracy.is_none(),
                "--costs and --target-accuracy are for the report of one run"
            );
            let out = args.out.clone().unwrap_or_else(|| "comparison.html".into());
            let folder = files::folder_of(&out).to_owned();
            (comparison_report(&Comparison::new(several)?, &folder), Vec::new(), out)
        }
    };
    let plots = write(&report, &grids, &out)?;
    if args.open {
        open(&out, app);
    }
    if app.global.json {
        output::json(&serde_json::json!({ "report": out, "plots": plots }))?;
    } else {
        output::line(&out.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a path that cannot become a page, before any work is done: another format, or a folder that does not exist.
pub(crate) fn check_out(out: &Path) -> Result<()> {
    let extension = out.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let remedy = match extension.as_deref() {
        Some("html" | "htm") => None,
        Some("pdf") => Some("for a PDF, make a page, open it (--open) and print it"),
        Some("png" | "svg") => Some("make a page: its charts are written beside it as SVG and PNG"),
        _ => Some("give it a name that ends in .html"),
    };
    if let Some(remedy) = remedy {
        bail!("--out {}: a report is a page, .html or .htm: {remedy}", shown_path(out));
    }
    let folder = files::folder_of(out);
    ensure!(
        folder.is_dir(),
        "--out {}: there is no folder {}: make it, or choose another folder",
        shown_path(out),
        shown_path(folder)
    );
    ensure!(!out.is_dir(), "--out {}: a folder has this name: choose another name", shown_path(out));
    Ok(())
}

/// Adds the name of the cost file to an error in its table.
fn in_cost_file(error: ReportError, costs: Option<&Path>) -> anyhow::Error {
    match (&error, costs) {
        (ReportError::Metrics(MetricsError::Costs { .. }), Some(path)) => {
            anyhow::Error::new(error).context(format!("{} is not a cost table for this run", path.display()))
        }
        _ => error.into(),
    }
}

/// Opens `page` in the system's viewer. If that fails, reports it; the page exists all the same.
fn open(page: &Path, app: &App) {
    if let Err(e) = open::that(page) {
        app.progress.say(&format!("Note: {} could not be opened: {e}", page.display()));
    }
}

/// Writes pictures, page and charts at the end of a run and returns the page. The run is complete without them, so an error
/// is only reported.
pub(crate) fn after_training(session: &Session, app: &App) -> Option<PathBuf> {
    let (run_dir, started) = (session.run_dir(), std::time::Instant::now());
    let told = |error: anyhow::Error| {
        let again = format!("trainer report {}", shell_word(run_dir));
        app.progress
            .say(&format!("Note: the run is over, but has no report: {error:#}. To try again: {again}"));
    };
    let page = of_session(session).map_err(told).ok();
    tracing::debug!(secs = started.elapsed().as_secs_f64(), "pictures and report written");
    page
}

fn of_session(session: &Session) -> Result<PathBuf> {
    let run = RunRecord::read(session.run_dir())?;
    let of = |choose: fn(&Predictions) -> Vec<u32>| {
        run.test.as_ref().map(|table| choose(&table.predictions)).unwrap_or_default()
    };
    let mut wanted = of(wanted_test_images);
    let unlike = run.novelty.iter().flat_map(|record| record.most_unlike.iter().map(|(index, _)| *index));
    wanted.extend(unlike.filter(|index| !wanted.contains(index)).collect::<Vec<_>>());
    session.write_pictures(&wanted, &of(surest_wrong_images))?;
    let run = RunRecord::read(session.run_dir())?;
    let out = run.path.join("report.html");
    write(&run_report(&run, &Options::default())?, &sample_grids(&run, PNG_SCALE)?, &out)?;
    Ok(out)
}

pub(crate) fn compare(args: &CompareArgs, app: &App) -> Result<ExitCode> {
    if args.runs.iter().any(|path| series::is_series(path)) {
        return series::compare(&args.runs, app);
    }
    let runs = read(&args.runs, app)?;
    let comparison = Comparison::new(&runs)?;
    match app.global.json {
        true => output::json(&comparison_figures(&comparison))?,
        false => output::line(comparison_text(&comparison).trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn card(args: &CardArgs, app: &App) -> Result<ExitCode> {
    let runs = read(std::slice::from_ref(&args.run), app)?;
    let out = args.run.join("README.md");
    files::write(&out, model_card(&runs[0])?.as_bytes())?;
    match app.global.json {
        true => output::json(&serde_json::json!({ "card": out }))?,
        false => output::line(&out.display().to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(paths: &[PathBuf], app: &App) -> Result<Vec<RunRecord>> {
    let runs = paths.iter().map(|path| RunRecord::read(path)).collect::<Result<Vec<_>, _>>()?;
    for problem in runs.iter().flat_map(|run| &run.problems) {
        app.progress.say(&format!("Note: {problem}"));
    }
    Ok(runs)
}

/// Writes the page and, beside it, its charts as SVG and PNG and `grids` as PNG. They go into `plots`, or `<page>-plots` if
/// the page has another name than report.html. Returns the paths of charts and grids.
fn write(report: &Report, grids: &[(&str, Vec<u8>)], out: &Path) -> Result<Vec<PathBuf>> {
    let folder = files::folder_of(out);
    let plots = match out.file_name().and_then(|name| name.to_str()) {
        Some("report.html") => folder.join("plots"),
        _ => folder.join(format!("{}-plots", out.file_stem().unwrap_or_default().to_string_lossy())),
    };
    files::create_folder(&plots)?;
    let mut written = Vec::new();
    let drawn = report.charts.par_iter().map(|chart| Ok((chart, chart.to_png(PNG_SCALE)?)));
    for (chart, png) in drawn.collect::<Result<Vec<_>>>()? {
        for (extension, bytes) in [("svg", chart.to_svg().into_bytes()), ("png", png)] {
            let path = plots.join(format!("{}.{extension}", chart.name));
            files::write(&path, &bytes)?;
            written.push(path);
        }
    }
    for (name, png) in grids {
        let path = plots.join(format!("{name}.png"));
        files::write(&path, png)?;
        written.push(path);
    }
    files::write(out, report.html.as_bytes())?;
    Ok(written)
}
