//! Shows the backbones that were tried before a run began, and why one of them was chosen.

use maud::{Markup, html};
use tallow_metrics::{RaceRecord, Tried};

use super::{Number, Text, percent, percent_interval, plain, table};
use crate::chart::grouped;
use crate::record::RunRecord;
use crate::shown::{shortened, shown};
use crate::times::duration;

/// Returns the section about the race for the part on the run; empty for a run without a race.
pub(super) fn told(run: &RunRecord) -> Markup {
    let Some(race) = &run.race else { return html! {} };
    let Some(winner) = race.tried.get(race.chosen) else { return html! {} };
    html! {
        h3 { "The backbones that were tried" }
        p {
            "Each was tried on the same " (grouped(race.n_images as f64, 0)) " training images, with " (race.n_folds) " folds. Chosen: " strong { (label(winner)) } ", the fastest backbone that is as accurate as the best one, within the standard error of the difference. "
            (plan(race))
        }
        (rows(race))
        @if !race.left_out.is_empty() {
            p { "Left out: " @for (i, (what, reason)) in race.left_out.iter().enumerate() { @if i > 0 { "; " } (shown(what)) " (" (shortened(reason, 160)) ")" } "." }
        }
    }
}

fn label(tried: &Tried) -> String {
    format!("{} at {} px", shown(&tried.model), tried.input_px)
}

fn plan(race: &RaceRecord) -> Markup {
    html! {
        @if let Some(time) = race.time_secs { "Time allowed: " (duration(time)) ". " }
        "Planned time: " (duration(race.planned_secs)) ", from reading the images to this page"
        @match race.took_secs { Some(took) => { "; actual time: " (duration(took)) "." }, None => { "." } }
    }
}

fn rows(race: &RaceRecord) -> Markup {
    let columns = [
        ("backbone", Text),
        ("accuracy", Number),
        ("95 % interval", Number),
        ("ms per image", Number),
        ("a whole run", Number),
    ];
    let row = |(i, tried): (usize, &Tried)| {
        let name = label(tried);
        vec![
            if i == race.chosen {
                html! { strong { (name) } }
            } else {
                plain(name)
            },
            plain(percent(tried.accuracy)),
            plain(percent_interval(tried.accuracy_interval)),
            plain(format!("{:.2}", tried.ms_per_image)),
            plain(duration(tried.run_secs)),
        ]
    };
    let rows: Vec<Vec<Markup>> = race.tried.iter().enumerate().map(row).collect();
    table("Backbones, tried on some of the images", &columns, &rows)
}
