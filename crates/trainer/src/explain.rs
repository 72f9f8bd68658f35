//! `trainer explain`: draws the places of pictures that speak for a class.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tallow_core::shown::{shown, shown_path};
use tallow_core::{Foreign, Progress as _, did_you_mean, files};
use tallow_dataset::{Files, ImageSet, Picture, to_png};
use tallow_run_files::{EXPLANATIONS, record};
use tallow_training::{Explanation, Predictor};

use crate::App;
use crate::args::ExplainArgs;
use crate::predict::{Asked, Failed, asked};
use crate::{model, output, predict, train};

/// Small images are enlarged by the largest whole factor with which neither side exceeds this size, in px.
const LEAST_SIDE_PX: usize = 224;

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    model: Foreign,
    pictures: Vec<Drawn>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Drawn {
    file: Foreign,
    class: Foreign,
    #[serde(serialize_with = "output::path")]
    map: PathBuf,
}

pub(crate) fn run(args: &ExplainArgs, app: &App) -> Result<ExitCode> {
    train::set_threads(args.threads)?;
    let predictor = model::open(&args.model, "cpu")?;
    let class = args.class.as_deref().map(|name| class_called(name, &predictor)).transpose()?;
    let out = args.out.clone().unwrap_or_else(|| match args.model.is_dir() {
        true => args.model.join(EXPLANATIONS),
        false => args.model.with_file_name(EXPLANATIONS),
    });
    let staging = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut failed = Vec::new();
    let asked = asked(&args.images, staging.path(), &mut failed, app)?;
    let mut drawn = Vec::new();
    if !asked.is_empty() {
        files::create_folder(&out)?;
        draw(&predictor, &asked, class, &out, &mut drawn, &mut failed, app)?;
        let maps: Vec<&Path> = drawn.iter().map(|drawn| drawn.map.as_path()).collect();
        record(files::folder_of(&out), &maps)?;
    }
    if let Some(signal) = app.stop.raised() {
        return Ok(ExitCode::from(signal.exit_status()));
    }
    for Failed { file, reason } in &failed {
        app.progress.say(&format!("{}: {}", file.shown(), shown(reason)));
    }
    let status = if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if app.global.json {
        output::json(&Document { model: Foreign::of_path(&args.model), pictures: drawn, failed })?;
        return Ok(status);
    }
    for Drawn { file, class, map } in &drawn {
        output::line(&format!("{}  {}  {}", file.shown(), class.shown(), shown_path(map)))?;
    }
    Ok(status)
}

/// Returns the index of the class called `name`.
fn class_called(name: &str, predictor: &Predictor) -> Result<usize> {
    let names = &predictor.info().class_names;
    if let Some(class) = names.iter().position(|class| class == name) {
        return Ok(class);
    }
    bail!(
        "--class {}: the model has no such class{}",
        shown(name),
        did_you_mean(name, names.iter().map(Foreign::raw))
    )
}

/// Draws the map of every picture. Ends early if a stop was requested.
fn draw(
    predictor: &Predictor,
    asked: &[Asked],
    class: Option<usize>,
    out: &Path,
    drawn: &mut Vec<Drawn>,
    failed: &mut Vec<Failed>,
    app: &App,
) -> Result<()> {
    let class_names: Arc<[Foreign]> = predictor.info().class_names.clone().into();
    let paths: Vec<PathBuf> = asked.iter().map(|asked| asked.path.clone()).collect();
    let labels = vec![0; paths.len()]; // labels are not used
    let set = Arc::new(ImageSet::of(Arc::new(Files::unseen(paths)), labels, class_names.clone(), None)?);
    let mut taken = HashSet::new();
    for (index, asked) in asked.iter().enumerate() {
        if app.stop.raised().is_some() {
            return Ok(());
        }
        let explanation = match predictor.explain(&set, index as u32, class) {
            Ok(explanation) => explanation,
            Err(tallow_training::TrainingError::Data(error)) => {
                failed.push(Failed { file: asked.name.clone(), reason: predict::reason(&error) });
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let class = &class_names[explanation.map.class];
        let map = out.join(free_name(&asked.name, class, &mut taken));
        files::write(&map, &side_by_side(&explanation)?)?;
        drawn.push(Drawn { file: asked.name.clone(), class: class.clone(), map });
    }
    Ok(())
}

/// Returns the name of a map's file, such as `cat-tabby.png` for the picture `holiday/cat.jpg` and the class `tabby`. If the name
/// is taken, a number is appended.
fn free_name(picture: &Foreign, class: &Foreign, taken: &mut HashSet<String>) -> String {
    let stem = Path::new(picture.raw()).file_stem().map_or("picture".into(), |stem| stem.to_string_lossy());
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' }).take(60).collect()
    };
    let base = format!("{}-{}", plain(&stem), plain(class.raw()));
    let mut name = format!("{base}.png");
    let mut number = 1;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{base}-{number}.png");
    }
    name
}

/// Returns a PNG of the picture as the model sees it, with the same picture under the map's colours on its right.
fn side_by_side(explanation: &Explanation) -> Result<Vec<u8>> {
    let (seen, overlay) = (&explanation.seen, explanation.overlay());
    let Picture { height, width, .. } = *seen;
    let factor = (LEAST_SIDE_PX / height.max(width)).max(1);
    let mut pixels = Vec::with_capacity(2 * height * width * 3 * factor * factor);
    for y in 0..height * factor {
        for picture in [seen, &overlay] {
            for x in 0..width * factor {
                let at = ((y / factor) * width + x / factor) * picture.channels;
                let pixel = &picture.pixels[at..at + picture.channels];
                pixels.extend((0..3).map(|channel| pixel[channel.min(picture.channels - 1)]));
            }
        }
    }
    let [height, width] = [height * factor, 2 * width * factor];
    let whole = Picture { height, width, channels: 3, pixels: Cow::Owned(pixels) };
    Ok(to_png(&whole, height.max(width))?)
}
