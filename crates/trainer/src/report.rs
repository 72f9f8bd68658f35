//! `trainer report`, `compare` and `card`: read run folders and write pages and texts; also writes the report and its pictures
//! at the end of a run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;
use tallow_core::shown::shown_path;
use tallow_core::{Progress as _, files, path_text};
use tallow_metrics::{MetricsError, Predictions};
use tallow_report::{
    Comparison, Options, Report, ReportError, RunRecord, comparison_figures, comparison_report,
    comparison_text, model_card, run_report, sample_grids, surest_wrong_images, wanted_test_images,
};
use tallow_run_files::{CARD, PAGE, PLOTS, record};
use tallow_training::Session;

use crate::App;
use crate::args::{CardArgs, CompareArgs, ReportArgs};
use crate::output;
use crate::series;

/// Size limit of a file with costs, in bytes.
const MAX_COSTS_BYTES: u64 = 1 << 20;

/// Pixels of a PNG per unit of its chart.
pub(crate) const PNG_SCALE: f32 = 2.0;

pub(crate) fn report(args: &ReportArgs, app: &App) -> Result<ExitCode> {
    args.out.as_deref().map_or(Ok(()), check_out)?;
    let runs = read(&args.runs, app)?;
    let costs = args.costs.as_ref().map(|path| files::read_text(path, MAX_COSTS_BYTES)).transpose()?;
    let options = Options { costs, target_accuracy: args.target_accuracy };
    let (report, grids, out) = match &runs[..] {
        [run] => {
            let out = args.out.clone().unwrap_or_else(|| run.path.join(PAGE));
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
    record(files::folder_of(&out), &[&plots[..], std::slice::from_ref(&out)].concat())?;
    if args.open {
        open(&out, app);
    }
    if app.global.json {
        let plots: Vec<String> = plots.iter().map(|path| path_text(path)).collect();
        output::json(&serde_json::json!({ "report": path_text(&out), "plots": plots }))?;
    } else {
        output::line(&shown_path(&out))?;
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
        (ReportError::Metrics(MetricsError::Costs { .. }), Some(path)) => anyhow::Error::new(error)
            .context(format!("{} is not a cost table for this run", shown_path(path))),
        _ => error.into(),
    }
}

/// Opens `page` in the system's viewer. If that fails, reports it; the page exists all the same.
fn open(page: &Path, app: &App) {
    if let Err(e) = open::that(page) {
        app.progress.say(&format!("Note: {} could not be opened: {e}", shown_path(page)));
    }
}

/// Reads the record of a run that has its results. Fails if the system cannot read a file of it now, because that would be missing
/// from the report without a word.
pub(crate) fn whole(session: &Session) -> Result<RunRecord> {
    let run = RunRecord::read(session.run_dir())?;
    let problem = run.problems.first().filter(|_| run.is_unread);
    match problem {
        Some(problem) => bail!("{}", problem.shown()),
        None => Ok(run),
    }
}

/// Writes the pictures that the report of a run shows.
pub(crate) fn write_pictures(session: &Session) -> Result<()> {
    let run = whole(session)?;
    let of = |choose: fn(&Predictions) -> Vec<u32>| {
        run.test.as_ref().map(|table| choose(&table.predictions)).unwrap_or_default()
    };
    let mut wanted = of(wanted_test_images);
    let unlike = run.novelty.iter().flat_map(|record| record.most_unlike.iter().map(|(index, _)| *index));
    wanted.extend(unlike.filter(|index| !wanted.contains(index)).collect::<Vec<_>>());
    Ok(session.write_pictures(&wanted, &of(surest_wrong_images))?)
}

/// Writes the report of a run: the page and its charts.
pub(crate) fn write_page(session: &Session) -> Result<()> {
    let run = whole(session)?;
    let out = run.path.join(PAGE);
    write(&run_report(&run, &Options::default())?, &sample_grids(&run, PNG_SCALE)?, &out)?;
    Ok(())
}

pub(crate) fn compare(args: &CompareArgs, app: &App) -> Result<ExitCode> {
    for path in &args.runs {
        if series::is_series(path)? {
            return series::compare(&args.runs, app);
        }
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
    let out = args.run.join(CARD);
    files::write(&out, model_card(&runs[0])?.as_bytes())?;
    record(&args.run, &[&out])?;
    match app.global.json {
        true => output::json(&serde_json::json!({ "card": path_text(&out) }))?,
        false => output::line(&shown_path(&out))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(paths: &[PathBuf], app: &App) -> Result<Vec<RunRecord>> {
    let runs = paths.iter().map(|path| RunRecord::read(path)).collect::<Result<Vec<_>, _>>()?;
    for problem in runs.iter().flat_map(|run| &run.problems) {
        app.progress.say(&format!("Note: {}", problem.shown()));
    }
    Ok(runs)
}

/// Writes the page and, beside it, its charts as SVG and PNG and `grids` as PNG. They go into `plots`, or `<page>-plots` if
/// the page has another name than report.html. Returns the paths of charts and grids.
fn write(report: &Report, grids: &[(&str, Vec<u8>)], out: &Path) -> Result<Vec<PathBuf>> {
    let folder = files::folder_of(out);
    let plots = match out.file_name() {
        Some(name) if name == PAGE => folder.join(PLOTS),
        _ => {
            let mut name = out.file_stem().unwrap_or_default().to_owned();
            name.push("-plots");
            folder.join(name)
        }
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
