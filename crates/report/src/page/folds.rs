//! The part about the folds of a run that was tested by folds: how much its accuracy differs between parts of the data.

use maud::{Markup, html};
use tallow_core::shown::shell_word;
use tallow_metrics::FoldScores;

use super::{Number, Section, Text, facts, percent, percent_interval, plain, table};
use crate::chart::grouped;
use crate::record::RunRecord;

pub(super) fn section(run: &RunRecord) -> Option<Section> {
    let summary = run.summary.as_ref()?;
    let folds = summary.folds.as_ref()?;
    let n = folds.n_images.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
    let body = html! {
        (facts(&[
            (
                "Accuracy by folds".to_owned(),
                html! { strong { (percent(folds.accuracy)) } ", of " (grouped(n as f64, 0)) " images" },
            ),
            ("95 % interval over folds".to_owned(), plain(percent_interval(folds.accuracy_interval))),
            ("Loss (cross-entropy)".to_owned(), plain(format!("{:.4}", folds.loss))),
        ]))
        (scores(folds))
        p {
            "Each fold was held out in turn, and classified by a model that was trained on the others with the same recipe. So every image has an answer from a model that had seen neither the image nor a copy of it. These answers are in " code { (folds.predictions.shown()) } "; with them, " code { "trainer data suspects " (shell_word(&run.path)) } " finds labels that may be wrong. The run’s own model was trained afterwards, on "
            @if summary.n_train == n { "all images" } @else { (grouped(summary.n_train as f64, 0)) " images; the others decided when to stop or to lower the learning rate" }
            ". It saw more images than each of these models, so it is probably better than they are. "
            @if summary.is_tested_by_folds() { "On this page, “test images” are the images of these answers." }
        }
        p class="muted" {
            "Each end of the interval is the outer one of two: that of the folds’ accuracies by Student’s distribution with Nadeau and Bengio’s correction (2003), because the folds share training images, and that of Wilson’s interval of all answers."
        }
    };
    Some(Section { id: "folds", heading: "The folds", body, charts: vec![] })
}

fn scores(folds: &FoldScores) -> Markup {
    let columns = [("fold", Text), ("images held out", Number), ("accuracy", Number)];
    let rows: Vec<Vec<Markup>> = folds
        .n_images
        .iter()
        .zip(&folds.accuracies)
        .enumerate()
        .map(|(fold, (&n, &accuracy))| {
            vec![plain((fold + 1).to_string()), plain(grouped(n as f64, 0)), plain(percent(accuracy))]
        })
        .collect();
    table("Accuracy of each fold", &columns, &rows)
}
