//! The part with the errors to look at: the wrong answers of which the model was surest, and examples of the classes that
//! it confuses most.

use maud::{Markup, html};
use tallow_metrics::{Predictions, confused_pairs, surest_errors};

use super::data::{file_name, image};
use super::{Number, Section, Text, plain, table};
use crate::analysis::{N_PAIRS, N_SUREST, Test, examples};
use crate::record::{Picture, Role, RunRecord};
use crate::shown::{shortened, shown};

/// Number of pairs in a table without pictures.
const N_ROWS: usize = 10;

/// `told` are the predictions whose probabilities are shown: calibrated ones, if possible.
pub(super) fn section(run: &RunRecord, test: &Test<'_>, told: &Predictions) -> Section {
    let body = html! {
        h3 { "Wrong with the highest confidence" }
        (surest(run, test, told))
        h3 { "The most confused pairs" }
        (pairs(run, test))
    };
    Section { id: "errors", heading: "The errors", body, charts: vec![] }
}

/// Returns the name of a class, cut to 24 columns.
fn class(test: &Test<'_>, class: usize) -> String {
    shortened(&test.class_names[class], 24)
}

fn surest(run: &RunRecord, test: &Test<'_>, told: &Predictions) -> Markup {
    let p = test.predictions;
    let worst: Vec<usize> = surest_errors(p).into_iter().take(N_SUREST).collect();
    if worst.is_empty() {
        return html! { p { "No answer was wrong." } };
    }
    let file = |i: usize| test.files.get(i).filter(|file| !file.is_empty());
    let name = |i: usize| match file(i) {
        Some(file) => shown(file),
        None => format!("test image {}", p.indices()[i]),
    };
    let sure = |i: usize| format!("{:.1} %", 100.0 * told.confidence(i));
    let own = |i: usize| format!("{:.2} %", 100.0 * f64::from(told.row(i)[p.targets()[i] as usize]).exp());
    let [of, taken] = [0, 1].map(|side| {
        move |i: usize| class(test, if side == 0 { p.targets()[i] as usize } else { p.predicted(i) as usize })
    });
    let has_near = run.pictures.of(Role::Near).next().is_some();
    let has_maps = run.pictures.of(Role::Map).next().is_some();
    if worst.iter().all(|&i| run.pictures.test(p.indices()[i]).is_none()) {
        let columns = [
            ("image", Text),
            ("true class", Text),
            ("taken for", Text),
            ("confidence", Number),
            ("probability of the true class", Number),
        ];
        let row = |&i: &usize| {
            let [of, taken] =
                [p.targets()[i], p.predicted(i)].map(|c| super::name(&test.class_names[c as usize]));
            vec![plain(name(i)), of, taken, plain(sure(i)), plain(own(i))]
        };
        let rows: Vec<Vec<Markup>> = worst.iter().map(row).collect();
        return table("The wrong answers with the highest confidence", &columns, &rows);
    }
    html! {
        p {
            "The wrong answers with the highest confidence. Some may be errors of the labels."
            @if has_maps { " Under each picture are the places that spoke for the wrong class: red ones most, grey ones not." }
            @if has_near { " Below each picture are the training pictures that look most like it to the backbone. If they are in the wrong class, look at their labels, too." }
        }
        ul class="cards" {
            @for &i in &worst {
                li title={ (name(i)) ": the true class got " (own(i)) } {
                    span class="row" {
                        @if let Some(picture) = run.pictures.test(p.indices()[i]) { (image(picture)) }
                        @if let Some(map) = run.pictures.map(p.indices()[i]) { (image(map)) }
                    }
                    span { (of(i)) " → " strong { (taken(i)) } }
                    small { (sure(i)) " sure" }
                    small class="file" { @match file(i) { Some(file) => (file_name(file)), None => (name(i)) } }
                    @if has_near {
                        span class="near" { @for picture in run.pictures.near(p.indices()[i]) { (near(picture)) } }
                    }
                }
            }
        }
    }
}

/// Shows a training picture that is near, with its class.
fn near(picture: &Picture) -> Markup {
    let name = match &picture.name {
        Some(name) => shown(name),
        None => format!("training image {}", picture.index),
    };
    let similarity = picture.near.map_or(0.0, |(_, similarity)| similarity);
    html! {
        span title={ (shown(&picture.class)) ", " (name) ": similarity " (format!("{similarity:.3}")) } {
            img src=(picture.data_url()) alt={ (name) ", " (shown(&picture.class)) } width="40" height="40";
            small { (shortened(&picture.class, 9)) }
        }
    }
}

fn pairs(run: &RunRecord, test: &Test<'_>) -> Markup {
    let pairs = confused_pairs(&test.matrix);
    if pairs.is_empty() {
        return html! { p { "No image was taken for another class." } };
    }
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    if run.pictures.of(Role::Test).next().is_none() {
        let columns =
            [("true class", Text), ("taken for", Text), ("images", Number), ("of the class", Number)];
        let rows: Vec<Vec<Markup>> = pairs
            .iter()
            .take(N_ROWS)
            .map(|pair| {
                let names = [pair.target, pair.predicted].map(|c| super::name(&test.class_names[c]));
                let figures = [plain(pair.n.to_string()), plain(share(pair.share))];
                names.into_iter().chain(figures).collect()
            })
            .collect();
        return table("Images of one class that were taken for another", &columns, &rows);
    }
    html! {
        ul class="pairs" {
            @for pair in pairs.iter().take(N_PAIRS) {
                li {
                    span { (class(test, pair.target)) " → " strong { (class(test, pair.predicted)) } }
                    small { (pair.n) @if pair.n == 1 { " image, " } @else { " images, " } (share(pair.share)) " of the class" }
                    span class="row" {
                        @for i in examples(test.predictions, pair.target, pair.predicted) {
                            @if let Some(picture) = run.pictures.test(test.predictions.indices()[i]) { (image(picture)) }
                        }
                    }
                }
            }
        }
    }
}
