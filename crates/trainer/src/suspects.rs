//! `trainer data suspects`: lists labels of a run's pictures that may be wrong, as a page and as a table. `tallow-metrics`
//! decides which these are.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tallow_core::shown::{shell_word, shown, shown_path};
use tallow_core::{Foreign, files};
use tallow_dataset::{Dataset, to_png};
use tallow_metrics::{PredictionsTable, Suspect, parse_predictions_csv, suspects};
use tallow_report::{Picture, Role, RunRecord, suspects_report};
use tallow_run_files::{MANIFEST, Manifest, RECIPE, SUSPECTS, record};
use tallow_training::RunFolder;

use crate::App;
use crate::args::SuspectsArgs;
use crate::output;
use crate::report;
use crate::source::{self, Spec};

/// Size limit of a table of predictions. 2 GiB hold those for about a million images and a hundred classes.
pub(crate) const MAX_TABLE_BYTES: u64 = 2 << 30;
/// Largest side of a picture on the page; larger pictures are scaled down.
const MAX_SIDE_PX: usize = 160;
/// Largest number of lines printed on a terminal.
const MAX_LINES: usize = 20;

#[derive(Serialize)]
struct Found<'a> {
    n: usize,
    n_suspects: usize,
    suspects: Vec<Row<'a>>,
    #[serde(serialize_with = "output::path")]
    page: PathBuf,
    #[serde(serialize_with = "output::path")]
    csv: PathBuf,
}

/// A suspect, with names instead of indices.
#[derive(Serialize)]
struct Row<'a> {
    rank: usize,
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Foreign>,
    label: &'a Foreign,
    suggested: &'a Foreign,
    p_label: f64,
    p_suggested: f64,
}

pub(crate) fn run(args: &SuspectsArgs, app: &App) -> Result<ExitCode> {
    args.out.as_deref().map_or(Ok(()), report::check_out)?;
    let run = RunRecord::read_brief(&args.run)?;
    let table = answers(&run)?;
    let found = suspects(&table.predictions);
    let dataset = match dataset(args, &run, app)? {
        Ok(dataset) => dataset,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let shown_ones = &found[..found.len().min(args.max_shown)];
    let pictures = pictures(&table, shown_ones, &dataset)?;
    let page = args.out.clone().unwrap_or_else(|| args.run.join(SUSPECTS));
    let csv = page.with_extension("csv");
    let rows: Vec<Row<'_>> = found.iter().enumerate().map(|(i, suspect)| row(i, suspect, &table)).collect();
    files::write(&csv, to_csv(&rows).as_bytes())?;
    files::write(&page, suspects_report(&run, &table, &found, &pictures).html.as_bytes())?;
    record(files::folder_of(&page), &[&page, &csv])?;
    if app.global.json {
        let (n, n_suspects) = (table.predictions.len(), rows.len());
        output::json(&Found { n, n_suspects, suspects: rows, page, csv })?;
        return Ok(ExitCode::SUCCESS);
    }
    for row in rows.iter().take(MAX_LINES) {
        let name = row.file.map_or_else(|| format!("image {}", row.index).into(), Foreign::shown);
        output::line(&format!(
            "{name}: label {} ({:.1} %), looks like {} ({:.1} %)",
            row.label.shown(),
            100.0 * row.p_label,
            row.suggested.shown(),
            100.0 * row.p_suggested
        ))?;
    }
    output::line(&format!(
        "{} of {} labels may be wrong, the most suspect first\nPage  {}\nTable {}",
        rows.len(),
        table.predictions.len(),
        shown_path(&page),
        shown_path(&csv)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns predictions by models that had not seen the pictures: those of the run's folds.
fn answers(run: &RunRecord) -> Result<PredictionsTable> {
    let folds = run.summary.as_ref().and_then(|summary| summary.folds.as_ref()).with_context(|| {
        let recipe = run.path.join(RECIPE);
        let of_recipe = |key: &str| run.recipe_value(&["data", key]);
        if of_recipe("fold").is_some() {
            return format!(
                "{} is the run of one fold: name the run that it is part of",
                shown_path(&run.path)
            );
        }
        if of_recipe("folds").is_some() {
            return format!(
                "{} is not finished: trainer --resume {}",
                shown_path(&run.path),
                shell_word(&run.path)
            );
        }
        format!(
            "{} was not trained with folds, so most pictures have no prediction by a model that had not \
             seen them: trainer --recipe {} --folds 5 makes such a run",
            shown_path(&run.path),
            shell_word(&recipe)
        )
    })?;
    let path = run.path.join(folds.predictions.raw());
    let bytes = files::read_at_most(&path, MAX_TABLE_BYTES)?;
    let manifest = Manifest::read(&run.path)?;
    if let Some(difference) =
        manifest.and_then(|manifest| manifest.difference(folds.predictions.raw(), &bytes))
    {
        bail!(
            "{} {difference} in {MANIFEST}, so it is not used: trainer verify {} says what to do",
            shown_path(&path),
            shell_word(&run.path)
        );
    }
    let text = String::from_utf8(bytes).with_context(|| format!("{} is not text", shown_path(&path)))?;
    parse_predictions_csv(&text).with_context(|| format!("cannot read {}", shown_path(&path)))
}

/// Loads the pictures that the run was trained on. Returns the stop signal if a stop was requested.
fn dataset(
    args: &SuspectsArgs,
    run: &RunRecord,
    app: &App,
) -> Result<std::result::Result<Dataset, tallow_core::StopSignal>> {
    let mut config = RunFolder::recipe_of(&args.run)?.data;
    if let Some(dataset) = &args.dataset {
        config.dataset.clone_from(dataset);
    }
    if let Some(data_dir) = &args.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    let spec = Spec::parse(&config.dataset).with_context(|| {
        format!(
            "the run was trained on \"{}\": give its present place with --dataset",
            shown(&config.dataset)
        )
    })?;
    let dataset = match source::load_local(&spec, &config, false, app)?.told(app) {
        Ok(dataset) => dataset,
        Err(signal) => return Ok(Err(signal)),
    };
    let then = run.summary.as_ref().map(|summary| &summary.data_digest);
    ensure!(
        then.is_some_and(|then| *then == dataset.digest),
        "the pictures of {} have changed since the run: train again with --folds, or name the original \
         pictures with --dataset",
        dataset.name.shown()
    );
    Ok(Ok(dataset))
}

fn pictures(table: &PredictionsTable, suspects: &[Suspect], dataset: &Dataset) -> Result<Vec<Picture>> {
    let set = &dataset.train;
    let picture = |suspect: &Suspect| -> Result<Picture> {
        let index = table.predictions.indices()[suspect.position];
        ensure!(
            (index as usize) < set.len(),
            "a prediction is for image {index}, but there are {} images",
            set.len()
        );
        let png = to_png(&set.read(index as usize)?, MAX_SIDE_PX)?;
        let class = set.class_names()[set.label(index as usize) as usize].clone();
        let name = set.file(index as usize).cloned();
        Ok(Picture { role: Role::Sample, class, index, name, near: None, png })
    };
    suspects.iter().map(picture).collect()
}

fn row<'a>(rank: usize, suspect: &Suspect, table: &'a PredictionsTable) -> Row<'a> {
    let (p, i) = (&table.predictions, suspect.position);
    Row {
        rank: rank + 1,
        index: p.indices()[i],
        file: table.files.get(i).filter(|file| !file.is_empty()),
        label: &table.class_names[p.targets()[i] as usize],
        suggested: &table.class_names[suspect.suggested as usize],
        p_label: suspect.p_label,
        p_suggested: suspect.p_suggested,
    }
}

fn to_csv(rows: &[Row<'_>]) -> String {
    let mut csv = "rank,index,file,label,suggested,p_label,p_suggested\n".to_owned();
    for Row { rank, index, file, label, suggested, p_label, p_suggested } in rows {
        // writing to a String cannot fail
        let _ = writeln!(
            csv,
            "{rank},{index},{},{},{},{p_label:.6},{p_suggested:.6}",
            file.map(Foreign::in_csv).unwrap_or_default(),
            label.in_csv(),
            suggested.in_csv()
        );
    }
    csv
}
