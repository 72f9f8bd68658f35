//! `--backbone auto` and `--time`: tries backbones on a tenth of the pictures, takes the fastest of those that are as good as
//! the best, and reports the estimated time before the run begins.
//!
//! `candidates.rs` finds the backbones, `trial.rs` tries one, `plan.rs` chooses. The features that a trial computes are
//! cached for the run.

mod candidates;
mod plan;
mod trial;

use std::path::Path;

use anyhow::{Result, ensure};
use tallow_core::shown::shown_path;
use tallow_core::{Progress as _, StopSignal, duration, files};
use tallow_dataset::{Dataset, stratified_subset};
use tallow_metrics::RaceRecord;
use tallow_report::chart::grouped;
use tallow_run_files::RACE;
use tallow_training::{Override, Recipe, ValidateOn};

use self::candidates::{Candidate, LeftOut};
use self::plan::{Plan, Ran};
use crate::App;
use crate::args::TrainArgs;
use crate::auto::head_epochs;
use crate::duplicates;
use crate::pretrained::stopped;
use crate::recipe_input::load_recipe;
use crate::source::{self, Loaded, Request, Spec};

/// Each backbone is tried on one in this many training pictures, within the limits below.
const SHARE: usize = 10;
const N_TRIED: std::ops::RangeInclusive<usize> = 1_000..=2_000;
/// Number of folds of a trial.
const N_FOLDS: usize = 3;
/// Largest number of epochs of a trial; the order of backbones shows early.
const MAX_TRIAL_EPOCHS: usize = 40;

/// A recipe and the race that chose its backbone.
pub(crate) struct Chosen {
    pub(crate) recipe: Recipe,
    pub(crate) race: Option<RaceRecord>,
}

/// Whether the user asks for a race.
pub(crate) fn is_wanted(args: &TrainArgs) -> bool {
    args.backbone.is_some() || args.time.is_some() || !args.candidates.is_empty()
}

/// Runs the race; returns the recipe with the winning backbone and the record. Returns the stop signal if a stop was
/// requested on the way.
pub(crate) fn recipe(
    args: &TrainArgs,
    overrides: &[Override],
    app: &App,
) -> Result<std::result::Result<Chosen, StopSignal>> {
    let base = args.settings.recipe.as_deref().unwrap_or(Path::new("photos"));
    let recipe = load_recipe(base, overrides)?;
    ensure!(
        recipe.model.get("unfreeze").and_then(toml::Value::as_str) == Some("none"),
        "--backbone, --candidates and --time choose among frozen backbones, but in the recipe {} the \
         whole network learns: leave --recipe out, or choose --recipe lite0-head",
        shown_path(base)
    );
    let (candidates, mut left_out) = candidates::find(
        args.backbone.as_deref(),
        &args.candidates,
        args.settings.weights.as_deref(),
        args.settings.offline,
        app,
    )?;
    let spec = Spec::parse(&recipe.data.dataset)?;
    let fetches = if args.settings.offline { Err(Some("--offline was given")) } else { Ok(()) };
    let request = Request {
        spec: &spec,
        config: &recipe.data,
        fetches,
        preprocess: None,
        is_all_test: false,
        is_read_once: true,
    };
    let dataset = match source::load(&request, app)? {
        Loaded::Dataset(dataset, _) => *dataset,
        Loaded::Stopped(signal) => return Ok(Err(signal)),
    };
    let plan = Plan::new(args, base, overrides, &recipe, &dataset, app);
    let some = match some_of(&dataset, &recipe, app)? {
        Some(some) => some,
        None => return Ok(Err(app.stop.raised().unwrap_or(StopSignal::Interrupt))),
    };
    app.progress.say(&format!(
        "Trying {} on {} of the {} training pictures, with {N_FOLDS} folds",
        crate::output::counted(candidates.len() as u64, "backbone"),
        grouped(some.train.len() as f64, 0),
        grouped(dataset.train.len() as f64, 0)
    ));
    let ran = match plan.race(candidates, &some, &dataset, &mut left_out)? {
        Ok(ran) => ran,
        Err(signal) => return Ok(Err(signal)),
    };
    plan.choose(ran, left_out, some.train.len()).map(Ok)
}

/// Writes `race.json` into the run folder.
pub(crate) fn write(race: &RaceRecord, run_dir: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(race)?;
    Ok(files::write(&run_dir.join(RACE), format!("{text}\n").as_bytes())?)
}

/// Reports the duration of everything and the planned duration, and adds the duration to the record.
pub(crate) fn conclude(race: &RaceRecord, run_dir: &Path, app: &App) -> Result<()> {
    let took = app.started.elapsed().as_secs_f64();
    let of = race.time_secs.map_or(String::new(), |time| format!(" of {}", duration(time)));
    app.progress.say(&format!("Planned {}{of}, took {}", duration(race.planned_secs), duration(took)));
    write(&RaceRecord { took_secs: Some(took), ..race.clone() }, run_dir)
}

/// Returns a tenth of the training pictures, balanced over the classes, with the groups of copies and near-duplicates.
/// Returns `None` if a stop was requested.
fn some_of(dataset: &Dataset, recipe: &Recipe, app: &App) -> Result<Option<Dataset>> {
    let (set, all) = (&dataset.train, (0..dataset.train.len() as u32).collect::<Vec<_>>());
    let n = (all.len() / SHARE).clamp(*N_TRIED.start(), *N_TRIED.end()).min(all.len());
    let train = set.subset(&stratified_subset(set.labels(), &all, n, recipe.seed)?);
    let none = train.subset(&[]);
    let mut some = Dataset::new(dataset.name.raw(), train, none, dataset.normalization);
    let Some(found) = duplicates::groups(&some.train, &app.progress, &app.stop)? else { return Ok(None) };
    some.groups = Some(found.groups.into());
    Ok(Some(some))
}

impl Plan<'_> {
    /// Tries the candidates, the fastest first, while time allows. Adds those that are skipped to `left_out`.
    fn race(
        &self,
        candidates: Vec<Candidate>,
        some: &Dataset,
        whole: &Dataset,
        left_out: &mut LeftOut,
    ) -> Result<std::result::Result<Vec<Ran>, StopSignal>> {
        let folder = tempfile::tempdir()?;
        let mut ran: Vec<Ran> = Vec::new();
        for (i, candidate) in candidates.into_iter().enumerate() {
            if let Some(reason) = self.why_not(&candidate, &ran) {
                left_out.push((candidate.label().into(), reason.into()));
                continue;
            }
            let epochs = head_epochs(some.train.len(), 64).min(MAX_TRIAL_EPOCHS);
            let mut recipe = self.recipe(&candidate, epochs)?;
            recipe.data.folds = N_FOLDS;
            recipe.data.val_fraction = 0.0;
            recipe.data.validate_on = ValidateOn::Split;
            recipe.data.train_subset = None;
            recipe.callbacks = Default::default();
            match trial::run(
                recipe,
                some,
                whole,
                &folder.path().join(i.to_string()),
                self.args.settings.offline,
                self.app,
            ) {
                Ok(Ok(trial)) => {
                    self.app.progress.say(&self.told(&candidate, &trial));
                    ran.push(Ran { candidate, trial });
                }
                Ok(Err(signal)) => return Ok(Err(signal)),
                Err(e) if stopped(&e).is_some() => return Err(e),
                Err(e) => left_out.push((candidate.label().into(), format!("{e:#}").into())),
            }
        }
        if ran.is_empty() {
            let reasons: Vec<String> = left_out
                .iter()
                .map(|(what, reason)| format!("{}: {}", what.shown(), reason.shown()))
                .collect();
            anyhow::bail!("no backbone could be tried. {}", reasons.join("; "));
        }
        Ok(Ok(ran))
    }
}
