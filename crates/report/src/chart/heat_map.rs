//! A confusion matrix as a heat map: hue and outline show the band of a cell, strength of colour shows its share of the
//! row.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use maud::{Markup, html};
use tallow_core::Foreign;
use tallow_metrics::{Band, Bands, ConfusionMatrix};

use super::axis::grouped;
use super::{Area, Chart, Format, TITLE_PX, hover, px, text, text_px};
use crate::shown::shown;

/// Largest number of classes for cells with counts and shares; up to [`MAX_WITH_COUNTS`] classes, cells show counts;
/// above that, colour alone.
const MAX_WITH_SHARES: usize = 12;
const MAX_WITH_COUNTS: usize = 30;
const MAX_NAME_COLUMNS: usize = 16;
/// Width and height of the whole matrix if cells show colour alone.
const COLOURS_PX: f64 = 620.0;
/// Least side of a cell that shows colour alone; smaller cells would be invisible, so they overlap their neighbours.
const MIN_COLOUR_PX: f64 = 2.0;
/// Distance from one name to the next if there is no room for the name of every class.
const NAME_PITCH_PX: f64 = 14.0;

/// Draws the confusion matrix: true classes from top to bottom, predicted classes from left to right.
pub fn heat_map(
    name: &str,
    title: &str,
    matrix: &ConfusionMatrix,
    bands: &Bands,
    class_names: &[Foreign],
) -> Chart {
    let c = matrix.n_classes();
    let (cell_width, cell_height) = match c {
        0..=5 => (64.0, 44.0),
        6..=MAX_WITH_SHARES => (50.0, 36.0),
        13..=MAX_WITH_COUNTS => (26.0, 22.0),
        _ => (COLOURS_PX / c as f64, COLOURS_PX / c as f64),
    };
    let with_counts = c <= MAX_WITH_COUNTS;
    let (every, look, font_px) = if with_counts {
        (1, "label", 12.0)
    } else {
        ((NAME_PITCH_PX / cell_height).ceil() as usize, "small", 9.5)
    };
    let names: Vec<String> =
        class_names.iter().map(|name| super::name(&name.shown(), MAX_NAME_COLUMNS)).collect();
    let widest = names.iter().map(|name| text_px(name, font_px)).fold(40.0, f64::max);
    let room = every as f64 * cell_width - 4.0;
    let upright = names.iter().any(|name| text_px(name, font_px) > room);
    let head = if upright { 0.75 * widest + 16.0 } else { 18.0 };
    let area = Area {
        left: widest + 30.0,
        top: TITLE_PX + 16.0 + head,
        width: cell_width * c as f64,
        height: cell_height * c as f64,
    };
    let width = (area.right() + if upright { 0.75 * widest } else { 12.0 }).max(480.0);
    let body = html! {
        text x=(px(area.left + area.width / 2.0)) y=(px(TITLE_PX + 8.0)) class="tick" text-anchor="middle" { "predicted class" }
        text x="13" y=(px(area.top + area.height / 2.0)) class="tick" text-anchor="middle"
            transform={ "rotate(-90 13 " (px(area.top + area.height / 2.0)) ")" } { "true class" }
        (labels(area, (cell_width, cell_height), &names, every, look, upright))
        @if with_counts {
            @for target in 0..c {
                @for predicted in 0..c {
                    @let corner = (area.left + predicted as f64 * cell_width, area.top + target as f64 * cell_height);
                    @let drawn = cell(matrix, bands, (target, predicted), corner, (cell_width, cell_height));
                    (hover(&says(matrix, (target, predicted), class_names), &drawn))
                }
            }
        } @else { (colours(matrix, bands, area)) }
        rect x=(px(area.left)) y=(px(area.top)) width=(px(area.width)) height=(px(area.height)) class="cell" {}
        (legend(area.bottom() + 22.0, bands))
    };
    let desc = description(matrix, class_names);
    let (name, title) = (name.to_owned(), title.to_owned());
    Chart { name, title, desc, width_px: width, height_px: area.bottom() + 88.0, origin: String::new(), body }
}

/// Draws the name of every `every`-th class.
fn labels(
    area: Area,
    (cell_width, cell_height): (f64, f64),
    names: &[String],
    every: usize,
    look: &str,
    upright: bool,
) -> Markup {
    html! {
        @for (i, name) in names.iter().enumerate().step_by(every) {
            (text(area.left - 7.0, area.top + (i as f64 + 0.5) * cell_height + 4.0, look, "end", name))
            @let (x, y) = (area.left + (i as f64 + 0.5) * cell_width, area.top - 7.0);
            @if upright {
                text x=(px(x)) y=(px(y)) class=(look) transform={ "rotate(-45 " (px(x)) " " (px(y)) ")" } { (name) }
            } @else {
                (text(x, y, look, "middle", name))
            }
        }
    }
}

/// Returns the strength of a cell's colour, in [0, 1].
fn strength(share: f64, right: bool) -> f64 {
    // errors are small shares, so their strength grows with the square root
    if right { 0.12 + 0.5 * share } else { (0.05 + 0.9 * share.sqrt()).min(0.6) }
}

/// Draws one path for all cells of the same colour and strength (to a tenth). One element per cell would make a page with
/// many classes too large.
fn colours(matrix: &ConfusionMatrix, bands: &Bands, area: Area) -> Markup {
    let c = matrix.n_classes();
    let pitch = area.width / c as f64;
    let side = pitch.max(MIN_COLOUR_PX);
    let mut paths: BTreeMap<(Option<Band>, u8), String> = BTreeMap::new();
    for target in 0..c {
        let support = matrix.support(target) as f64;
        for (predicted, &count) in matrix.row(target).iter().enumerate().filter(|(_, count)| **count > 0) {
            let band = bands.of_cell(matrix, target, predicted);
            let tenths =
                (16.0 * strength(count as f64 / support, band.is_none())).round().clamp(1.0, 10.0) as u8;
            let corner = |class: usize, start: f64| px(start + class as f64 * pitch);
            let path = paths.entry((band, tenths)).or_default();
            // writing to a String cannot fail
            let _ = write!(
                path,
                "M{} {}h{s}v{s}h-{s}z",
                corner(predicted, area.left),
                corner(target, area.top),
                s = px(side)
            );
        }
    }
    html! {
        @for ((band, tenths), path) in &paths {
            path d=(path) class=(band.map_or("right", Band::name)) fill-opacity=(f64::from(*tenths) / 10.0) {}
        }
    }
}

fn cell(
    matrix: &ConfusionMatrix,
    bands: &Bands,
    (target, predicted): (usize, usize),
    (x, y): (f64, f64),
    (width, height): (f64, f64),
) -> Markup {
    let (count, support, c) = (matrix.count(target, predicted), matrix.support(target), matrix.n_classes());
    let share = count as f64 / support.max(1) as f64;
    let band = bands.of_cell(matrix, target, predicted);
    let class = band.map_or("right", Band::name);
    let strength = if count == 0 { 0.0 } else { strength(share, target == predicted) };
    let outline = match band {
        Some(Band::Failing) => Some("outline-failing"),
        Some(Band::Improvable) => Some("outline-improvable"),
        _ => None,
    };
    html! {
        rect x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) class=(class) fill-opacity=(format!("{strength:.2}")) {}
        rect x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) class="cell" {}
        @if let Some(outline) = outline.filter(|_| count > 0) {
            rect x=(px(x + 1.5)) y=(px(y + 1.5)) width=(px(width - 3.0)) height=(px(height - 3.0)) class=(outline) {}
        }
        (figures(count, share, c, band, (x + width / 2.0, y + height / 2.0)))
    }
}

/// Describes a cell in words.
fn says(matrix: &ConfusionMatrix, (target, predicted): (usize, usize), class_names: &[Foreign]) -> String {
    let (count, support) = (matrix.count(target, predicted), matrix.support(target));
    let share = Format::Percent.write(count as f64 / support.max(1) as f64, 0.001);
    let [true_class, taken_for] = [target, predicted].map(|class| shown(&class_names[class]));
    match target == predicted {
        true => format!("{true_class}: {count} of {support} right, {share}"),
        false => format!("{true_class} taken for {taken_for}: {count} of {support}, {share}"),
    }
}

fn figures(count: u64, share: f64, c: usize, band: Option<Band>, (x, y): (f64, f64)) -> Markup {
    let bold = if band.is_none() || band == Some(Band::Failing) { " bold" } else { "" };
    if count == 0 {
        return html! {};
    }
    if c > MAX_WITH_SHARES {
        let size = if count < 1000 { "small" } else { "tiny" };
        return text(x, y + 3.5, &format!("{size}{bold}"), "middle", &count.to_string());
    }
    html! {
        (text(x, y - 1.0, &format!("count{bold}"), "middle", &grouped(count as f64, 0)))
        (text(x, y + 11.5, "small", "middle", &Format::Percent.write(share, 0.001)))
    }
}

fn legend(top: f64, bands: &Bands) -> Markup {
    let (low, high) = (bands.acceptable_up_to, bands.improvable_up_to);
    let entries = [
        ("right", None, "right answers".to_owned()),
        ("acceptable", None, format!("acceptable: up to {low} of 1,000")),
        ("improvable", Some("outline-improvable"), format!("can be improved: up to {high} of 1,000")),
        ("failing", Some("outline-failing"), format!("failing: above {high} of 1,000")),
    ];
    html! {
        @for (i, (class, outline, label)) in entries.iter().enumerate() {
            @let (x, y) = (14.0 + 240.0 * (i % 2) as f64, top + 22.0 * (i / 2) as f64);
            rect x=(px(x)) y=(px(y)) width="18" height="14" class=(class) fill-opacity="0.45" {}
            @if let Some(outline) = outline {
                rect x=(px(x + 1.0)) y=(px(y + 1.0)) width="16" height="12" class=(outline) {}
            }
            (text(x + 25.0, y + 11.0, "note", "start", label))
        }
    }
}

fn description(matrix: &ConfusionMatrix, class_names: &[Foreign]) -> String {
    let pairs = tallow_metrics::confused_pairs(matrix);
    let worst = pairs.iter().take(5).map(|pair| {
        let share = Format::Percent.write(pair.share, 0.001);
        format!(
            "{} taken for {} {} times ({share})",
            shown(&class_names[pair.target]),
            shown(&class_names[pair.predicted]),
            pair.n
        )
    });
    let n = matrix.n();
    format!(
        "Confusion matrix of {n} images of {} classes, {} of them right. Most confused: {}.",
        matrix.n_classes(),
        matrix.n_correct(),
        worst.collect::<Vec<_>>().join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(c: usize) -> (Chart, String) {
        let counts = (0..c * c).map(|i| if i / c == i % c { 900 } else { (i % 7) as u64 * 10 }).collect();
        let matrix = ConfusionMatrix::from_counts(c, counts).unwrap();
        let names: Vec<Foreign> = (0..c).map(|i| format!("<class & {i}>").into()).collect();
        let chart = heat_map("h", "Confusion", &matrix, &Bands::default(), &names);
        let svg = chart.to_svg();
        (chart, svg)
    }

    #[test]
    fn few_classes_show_counts_and_many_show_colour() {
        let (_, two) = drawn(2);
        assert!(two.contains(">900<") && two.contains("97.8 %"));
        let (_, twenty) = drawn(20);
        assert!(twenty.contains(">900<") && !twenty.contains(" %</text>"));
        let (chart, many) = drawn(200);
        assert!(!many.contains(">900<") && chart.width_px < 900.0, "{}", chart.width_px);
        assert!(many.len() < 1_000_000, "40,000 cells are {} bytes", many.len());
        // names only where there is room for them
        let n_names = many.matches("class &amp; ").count();
        assert!((60..=100).contains(&n_names), "{n_names}");
    }

    #[test]
    fn names_are_escaped_and_bands_told_without_colour() {
        let (_, svg) = drawn(10);
        assert!(svg.contains("&lt;class &amp; 3&gt;") && !svg.contains("<class &"));
        assert!(svg.contains("outline-failing") && svg.contains("outline-improvable"));
    }
}
