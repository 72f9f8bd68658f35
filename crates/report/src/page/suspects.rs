//! The page of labels that may be wrong: pictures with their label and the class that the model suggests instead.

use maud::{Markup, html};
use tallow_metrics::{PredictionsTable, Suspect};

use super::data::{file_name, image};
use super::{Report, Section, document};
use crate::chart::grouped;
use crate::record::{Picture, RunRecord};
use crate::shown::{shortened, shown};

/// Returns the page of the `suspects` in `table`, the answers of the folds of `run`. `pictures` are the pictures of the
/// first suspects.
pub fn suspects_report(
    run: &RunRecord,
    table: &PredictionsTable,
    suspects: &[Suspect],
    pictures: &[Picture],
) -> Report {
    let n = table.predictions.len();
    let shown_ones = &suspects[..pictures.len().min(suspects.len())];
    let body = html! {
        p class="lead" {
            strong { (grouped(suspects.len() as f64, 0)) } " of " (grouped(n as f64, 0)) " labels may be wrong. "
            @if suspects.is_empty() { "No label looks wrong: no model that had not seen a picture predicts another class for it with its usual confidence for that class." }
        }
        @if !suspects.is_empty() {
            p {
                "Each picture was classified by a model that had not seen it. For these, the model predicts another class than the label, with at least its usual confidence for that class (confident learning, Northcutt and others, 2021). Not every one is an error: some are hard pictures, and some really show two classes. Start with the first ones, and stop when only a few of ten are wrong."
            }
            @if shown_ones.len() < suspects.len() { p class="muted" { "The first " (shown_ones.len()) " are shown; all are in the table beside this page." } }
            (cards(table, shown_ones, pictures))
        }
    };
    let title = format!("{}: labels that may be wrong", shown(&run.name));
    let part = Section { id: "suspects", heading: "The most suspect first", body, charts: vec![] };
    document(&title, &title, &html! {}, vec![part])
}

fn cards(table: &PredictionsTable, suspects: &[Suspect], pictures: &[Picture]) -> Markup {
    let class = |class: u32| shortened(&table.class_names[class as usize], 24);
    let sure = |p: f64| format!("{:.1} %", 100.0 * p);
    let (p, names) = (&table.predictions, &table.files);
    html! {
        ul class="cards" {
            @for (suspect, picture) in suspects.iter().zip(pictures) {
                @let (i, label) = (suspect.position, p.targets()[suspect.position]);
                @let file = names.get(i).filter(|file| !file.is_empty());
                @let name = file.map_or_else(|| format!("training image {}", p.indices()[i]), shown);
                li title=(name) {
                    (image(picture))
                    span { "label " (class(label)) ", " (sure(suspect.p_label)) }
                    span { "looks like " strong { (class(suspect.suggested)) } ", " (sure(suspect.p_suggested)) }
                    small class="file" { @match file { Some(file) => (file_name(file)), None => (name) } }
                }
            }
        }
    }
}
