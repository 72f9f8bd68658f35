//! The part about the data. It is left out if the run folder has neither pictures nor counts of them.

use maud::{Markup, html};
use tallow_core::Foreign;

use super::{Section, figures};
use crate::chart::{Bar, Format, bar_chart, picture_grid};
use crate::error::Result;
use crate::record::{Picture, Role, RunRecord};
use crate::shown::{shortened, shown};

/// Largest number of classes that are drawn; if there are more, only the smallest ones are drawn.
const MAX_BARS: usize = 40;

const TRAINING_IMAGES: &str = "Training images";
const AUGMENTED_IMAGES: &str = "As the network sees them, after augmentation";

/// Returns the picture grids of the training images and of the same images after augmentation, each with its name and as PNG.
/// A grid is left out if the folder has no such images.
///
/// # Errors
/// If a picture cannot be decoded.
pub fn sample_grids(run: &RunRecord, scale: f32) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let roles =
        [("samples", TRAINING_IMAGES, Role::Sample), ("augmented", AUGMENTED_IMAGES, Role::Augmented)];
    let mut grids = Vec::new();
    for (name, title, role) in roles {
        let pictures: Vec<&Picture> = run.pictures.of(role).collect();
        if !pictures.is_empty() {
            grids.push((name, picture_grid(title, &pictures, scale)?));
        }
    }
    Ok(grids)
}

pub(super) fn section(run: &RunRecord) -> Option<Section> {
    let charts: Vec<_> = balance(run).into_iter().collect();
    let samples: Vec<&Picture> = run.pictures.of(Role::Sample).collect();
    let augmented: Vec<&Picture> = run.pictures.of(Role::Augmented).collect();
    if charts.is_empty() && samples.is_empty() && augmented.is_empty() {
        return None;
    }
    let body = html! {
        div class="columns" {
            @if !samples.is_empty() { div { h3 { (TRAINING_IMAGES) } (grid(&samples)) } }
            @if !augmented.is_empty() { div { h3 { (AUGMENTED_IMAGES) } (grid(&augmented)) } }
        }
        (figures(&charts))
    };
    Some(Section { id: "data", heading: "The data", body, charts })
}

fn grid(pictures: &[&Picture]) -> Markup {
    let kind = if pictures.iter().any(|picture| picture.name.is_some()) { "grid photos" } else { "grid" };
    html! {
        ul class=(kind) {
            @for picture in pictures {
                li {
                    (image(picture))
                    span { (shortened(&picture.class, 14)) }
                    @if let Some(name) = &picture.name { small { (file_name(name)) } }
                }
            }
        }
    }
}

/// Shows a picture with its class as the text; photographs are shown larger than small images.
pub(super) fn image(picture: &Picture) -> Markup {
    let class = shown(&picture.class);
    let name = match &picture.name {
        Some(name) => shown(name),
        None => format!("image {}", picture.index),
    };
    let (kind, side) = if picture.name.is_some() { ("photo", "112") } else { ("pixels", "64") };
    html! { img class=(kind) src=(picture.data_url()) alt={ (name) ", " (class) } title={ (class) ", " (name) } width=(side) height=(side); }
}

/// Returns the last part of a file's name, cut to 18 columns.
pub(super) fn file_name(name: &Foreign) -> String {
    shortened(&name.raw().rsplit('/').next().unwrap_or_default().into(), 18)
}

/// Draws the number of images per class: training images if the folder has their counts, otherwise test images.
fn balance(run: &RunRecord) -> Option<crate::chart::Chart> {
    let table = run.test.as_ref()?;
    let names = &table.class_names;
    let (what, counts) = match &run.pictures.train_counts {
        Some(counts) if counts.len() == names.len() => ("Training images per class", counts.clone()),
        _ => {
            let mut counts = vec![0; names.len()];
            table.predictions.targets().iter().for_each(|&target| counts[target as usize] += 1);
            ("Test images per class", counts)
        }
    };
    let mut bars: Vec<Bar> = names
        .iter()
        .zip(counts)
        .map(|(name, n)| Bar { label: shown(name), value: n as f64, interval: None })
        .collect();
    let n_bars = bars.len();
    if n_bars > MAX_BARS {
        bars.sort_by(|a, b| a.value.total_cmp(&b.value)); // stable
        bars.truncate(MAX_BARS);
    }
    let title = if n_bars > MAX_BARS {
        format!("{what}: the {MAX_BARS} smallest of {n_bars}")
    } else {
        what.to_owned()
    };
    Some(bar_chart("balance", &title, "images", Format::Number, 5, &bars))
}
