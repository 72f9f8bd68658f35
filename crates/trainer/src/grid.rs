//! `trainer data grid`: draws training images as one picture.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tallow_core::shown::shown_path;
use tallow_core::{Foreign, files};
use tallow_dataset::{as_seen, images_to_show, to_png};
use tallow_report::chart::picture_grid;
use tallow_report::{Picture, Role};
use tallow_training::{TrainData, train_loader};

use crate::App;
use crate::args::GridArgs;
use crate::output;
use crate::recipe_input::recipe_or_run;
use crate::report::PNG_SCALE;
use crate::source::{self, Spec};

const N_IMAGES: usize = 25;
/// Largest side in the drawing; larger images are scaled down.
const MAX_SIDE_PX: usize = 160;

#[derive(Serialize)]
struct Drawn<'a> {
    picture: Foreign,
    dataset: &'a Foreign,
    images: Vec<Image<'a>>,
}

#[derive(Serialize)]
struct Image<'a> {
    index: u32,
    class: &'a Foreign,
}

pub(crate) fn run(args: &GridArgs, app: &App) -> Result<ExitCode> {
    let recipe = recipe_or_run(&args.recipe)?;
    let mut config = args.labels.over(recipe.data.clone());
    config.dataset = args.dataset.clone().unwrap_or(config.dataset);
    config.data_dir = args.data_dir.clone().unwrap_or(config.data_dir);
    let spec = Spec::parse(&config.dataset)?;
    let dataset = match source::load_local(&spec, &config, false, app)?.told(app) {
        Ok(dataset) => dataset,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let data = TrainData::new(dataset, &recipe)?;
    let set = &data.train.set;
    let cfg = train_loader(
        &recipe,
        &data,
        Some(tallow_models::architecture_of(&recipe.model)?.input_px(&recipe.model)?),
    );
    let indices = images_to_show(set, &data.train.indices, N_IMAGES, recipe.seed)?;
    let picture = |&index: &u32| -> Result<Picture> {
        let shown = match args.augmented {
            true => as_seen(set, index, &cfg, 0)?,
            false => set.read(index as usize)?,
        };
        let png = to_png(&shown, MAX_SIDE_PX)?;
        let class = set.class_names()[set.label(index as usize) as usize].clone();
        let name = set.file(index as usize).cloned();
        Ok(Picture { role: Role::Sample, class, index, name, near: None, png })
    };
    let pictures = indices.iter().map(picture).collect::<Result<Vec<_>>>()?;
    let of = data.dataset.name.shown();
    let what = match args.augmented {
        true => format!("Training images of {of}, augmented as by {}", recipe.name.shown()),
        false => format!("Training images of {of}"),
    };
    let png = picture_grid(&what, &pictures.iter().collect::<Vec<_>>(), PNG_SCALE)?;
    files::write(&args.out, &png)?;
    if !app.global.json {
        output::line(&shown_path(&args.out))?;
        return Ok(ExitCode::SUCCESS);
    }
    let images = pictures.iter().map(|p| Image { index: p.index, class: &p.class }).collect();
    let picture = Foreign::of_path(&args.out);
    output::json(&Drawn { picture, dataset: &data.dataset.name, images })?;
    Ok(ExitCode::SUCCESS)
}
