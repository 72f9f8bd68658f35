//! `trainer find-lr`: runs a short sweep of learning rates on a recipe's training images, and gives a plot, a table and a
//! suggestion.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use tallow_core::shown::{shell_word, shown_path};
use tallow_core::{Foreign, Progress as _, files, path_of};
use tallow_metrics::{LrSweep, SuggestedRate, SweepPoint};
use tallow_report::chart::{Axis, Chart, Format, Line, LineChart, Mark};
use tallow_training::{Recipe, Watch};

use crate::App;
use crate::args::FindLrArgs;
use crate::preparation::{self, Place, overrides, session};
use crate::report::PNG_SCALE;
use crate::{output, train};

/// Allowed numbers of steps. Fewer steps show no fall of the loss; more would not be a short sweep.
const N_STEPS: std::ops::RangeInclusive<usize> = 30..=1_000;

#[derive(Serialize)]
struct Document<'a> {
    recipe: &'a Foreign,
    seed: u64,
    /// Whether the loss diverged and so ended the sweep.
    diverged: bool,
    suggestion: SuggestedRate,
    /// The learning rate of the recipe.
    recipe_rate: f64,
    rule: &'static str,
    points: &'a [SweepPoint],
    #[serde(serialize_with = "output::paths")]
    files: &'a [PathBuf],
}

pub(crate) fn run(args: &FindLrArgs, app: &App) -> Result<ExitCode> {
    check(args)?;
    train::set_threads(args.settings.threads)?;
    let recipe = preparation::recipe(&args.settings, &overrides(&args.settings, args.seed)?, app)?;
    let folder = tempfile::tempdir()?;
    let place = Place::Trial(folder.path().join("run"));
    let session = match session(&args.settings, &place, recipe.clone(), app)? {
        Ok(session) => session,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    app.progress.say(&format!(
        "Up to {} steps of {} images at rates from {:e} to {:e}; recipe {}, seed {}, {}",
        args.steps,
        recipe.batch_size,
        args.from,
        args.to,
        recipe.name.shown(),
        recipe.seed,
        session.recipe().precision.as_str()
    ));
    let watch = &mut Watch { on_event: &mut |_| (), progress: &app.progress, stop: &app.stop };
    let sweep = match session.find_lr(LrSweep::new([args.from, args.to], args.steps), watch)? {
        Ok(sweep) => sweep,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let suggestion = sweep.suggestion();
    let files = write(&args.out, &recipe, &sweep, suggestion.as_ref())?;
    let recipe_rate = recipe.optimizer.lr();
    let Some(suggestion) = suggestion else {
        bail!(
            "between {:e} and {:e} the loss never fell by more than noise, so no rate can be suggested: \
             look at {}, and try other limits (--from, --to) or more --steps",
            args.from,
            args.to,
            shown_path(&files[0])
        );
    };
    if app.global.json {
        output::json(&Document {
            recipe: &recipe.name,
            seed: recipe.seed,
            diverged: sweep.has_diverged(),
            suggestion,
            recipe_rate,
            rule: "nine tenths of the fall",
            points: sweep.points(),
            files: &files,
        })?;
    } else {
        output::line(&told(&suggestion, &sweep, recipe_rate))?;
        files.iter().try_for_each(|path| output::line(&format!("Wrote {}", shown_path(path))))?;
    }
    app.progress.say(&format!("\nTo use it, with the other flags as here: {}", command(args, &suggestion)));
    Ok(ExitCode::SUCCESS)
}

/// Refuses arguments that cannot give a sweep or files, before any work is done.
fn check(args: &FindLrArgs) -> Result<()> {
    let FindLrArgs { from, to, steps, out, .. } = args;
    ensure!(
        *from > 0.0 && from < to && to.is_finite(),
        "--from {from:e} and --to {to:e} must be numbers above 0, the first below the second"
    );
    ensure!(
        N_STEPS.contains(steps),
        "--steps must be {} to {}, it is {steps}",
        N_STEPS.start(),
        N_STEPS.end()
    );
    ensure!(!out.is_file(), "--out {}: a file has this name: name a folder", shown_path(out));
    Ok(())
}

/// Returns the command that trains with the rate.
fn command(args: &FindLrArgs, suggestion: &SuggestedRate) -> String {
    let recipe = args.settings.recipe.as_deref().map(|recipe| format!(" --recipe {}", shell_word(recipe)));
    let dataset =
        args.settings.dataset.as_deref().map(|data| format!(" --dataset {}", shell_word(&path_of(data))));
    format!(
        "trainer train{}{} --set optimizer.lr={}",
        recipe.unwrap_or_default(),
        dataset.unwrap_or_default(),
        two_digits(suggestion.rate)
    )
}

/// Formats a rate with two digits; it is not known more precisely.
fn two_digits(rate: f64) -> String {
    format!("{rate:.1e}").replace(".0e", "e")
}

/// Describes the rate and the reason for it.
fn told(suggestion: &SuggestedRate, sweep: &LrSweep, recipe_rate: f64) -> String {
    let SuggestedRate { rate, first_loss, least_loss, rate_of_least } = *suggestion;
    let is_last = sweep.points().last().is_some_and(|last| last.rate <= rate_of_least);
    let end = match (is_last, sweep.has_diverged()) {
        (true, _) => "; at the end of the sweep it still falls, so look further with a larger --to",
        (false, true) => "; then it rises, and diverges",
        (false, false) => "; then it rises",
    };
    let [rate, least] = [rate, rate_of_least].map(two_digits);
    format!(
        "Learning rate {rate}; the recipe has {recipe_rate}\n\
         Why: while the rate grows, the smoothed loss falls from {first_loss:.4} to {least_loss:.4}, which \
         it reaches at {least}{end}. At {rate} the loss has made nine tenths of that fall: steps of this \
         size still help, and there is a margin before the loss rises."
    )
}

/// Writes plot and table; returns their paths.
fn write(
    out: &Path,
    recipe: &Recipe,
    sweep: &LrSweep,
    suggestion: Option<&SuggestedRate>,
) -> Result<Vec<PathBuf>> {
    files::create_folder(out)?;
    let chart = chart(recipe, sweep, suggestion);
    let mut csv = String::from("step,learning_rate,loss,smoothed_loss\n");
    for (i, (SweepPoint { rate, loss }, smoothed)) in sweep.points().iter().zip(sweep.smoothed()).enumerate()
    {
        csv.push_str(&format!("{},{rate},{loss},{smoothed}\n", i + 1));
    }
    let contents = [
        ("lr.svg", chart.to_svg().into_bytes()),
        ("lr.png", chart.to_png(PNG_SCALE)?),
        ("lr.csv", csv.into_bytes()),
    ];
    let mut written = Vec::new();
    for (name, bytes) in contents {
        let path = out.join(name);
        files::write(&path, &bytes)?;
        written.push(path);
    }
    Ok(written)
}

/// Draws the losses over the rates. Large losses, which would flatten the rest, are cut off.
fn chart(recipe: &Recipe, sweep: &LrSweep, suggestion: Option<&SuggestedRate>) -> Chart {
    let (points, smoothed) = (sweep.points(), sweep.smoothed());
    let top = 1.5 * points.first().map_or(1.0, |point| point.loss);
    let line = |label: &str, series, losses: &mut dyn Iterator<Item = f64>| Line {
        label: label.to_owned(),
        points: points.iter().map(|point| point.rate.log10()).zip(losses).filter(|p| p.1 <= top).collect(),
        series,
        dashed: false,
        thin: series > 0,
    };
    let lines = [
        line("smoothed", 0, &mut smoothed.iter().copied()),
        line("each step", 1, &mut points.iter().map(|point| point.loss)),
    ];
    let losses = lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let y = Axis::holding("training loss", Format::Number, losses, 5);
    let rates = points.iter().map(|point| point.rate.log10());
    let mark =
        |what: &str, rate: f64| Mark { x: rate.log10(), label: format!("{what} {}", two_digits(rate)) };
    let marks = suggestion
        .map(|found| [mark("suggested", found.rate), mark("least loss", found.rate_of_least)])
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let mut chart = LineChart {
        name: "lr",
        title: "Search for a learning rate",
        x: Axis::holding("learning rate", Format::PowerOf10, rates, 8),
        y,
        lines: &lines,
        marks: &marks,
        spots: &[],
    }
    .draw();
    chart.origin = format!("recipe {}, seed {}", recipe.name.shown(), recipe.seed);
    chart
}
