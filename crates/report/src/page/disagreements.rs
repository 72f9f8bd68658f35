//! The part with images on which several models disagree.

use maud::{Markup, html};

use super::data::image;
use super::{Section, Text, plain, table};
use crate::comparison::Comparison;
use crate::record::Picture;
use crate::shown::{shortened, shown};

/// Number of images that are shown.
const N_SHOWN: usize = 12;
const NAME_COLUMNS: usize = 24;

/// Shows some images that one model gets right and another wrong, where both are sure; images with a picture in a run
/// folder come first. Returns `None` if there are no such images.
pub(super) fn section(comparison: &Comparison<'_>) -> Option<Section> {
    let first = &comparison.runs.first()?.test;
    let p = first.predictions;
    let mut found: Vec<(usize, f64, Option<&Picture>)> = (0..p.len())
        .filter_map(|i| {
            let sure = surer_of_both(comparison, i)?;
            let index = p.indices()[i];
            let picture = comparison.runs.iter().find_map(|run| run.record.pictures.test(index));
            Some((i, sure, picture))
        })
        .collect();
    let n = found.len();
    if n == 0 {
        return None;
    }
    found.sort_by(|a, b| b.2.is_some().cmp(&a.2.is_some()).then(b.1.total_cmp(&a.1))); // stable
    found.truncate(N_SHOWN);
    let class = |class: u32| shortened(&first.class_names[class as usize], NAME_COLUMNS);
    let file = |i: usize| match first.files.get(i).filter(|file| !file.is_empty()) {
        Some(file) => shown(file),
        None => format!("test image {}", p.indices()[i]),
    };
    let answer = |run: usize, i: usize| {
        let p = comparison.runs[run].test.predictions;
        let answer = format!("{}, {:.0} %", class(p.predicted(i)), 100.0 * p.confidence(i));
        html! { @if p.predicted(i) == p.targets()[i] { strong { (answer) } } @else { (answer) } }
    };
    let labels: Vec<String> = comparison.runs.iter().map(|run| shown(&run.label)).collect();
    let mut columns = vec![("image", Text), ("true class", Text)];
    columns.extend(labels.iter().map(|label| (label.as_str(), Text)));
    let row = |&(i, _, picture): &(usize, f64, Option<&Picture>)| -> Vec<Markup> {
        let shown = html! { @if let Some(picture) = picture { (image(picture)) " " } (file(i)) };
        let answers = (0..comparison.runs.len()).map(|run| answer(run, i));
        [shown, plain(class(p.targets()[i]))].into_iter().chain(answers).collect()
    };
    let rows: Vec<Vec<Markup>> = found.iter().map(row).collect();
    let body = html! {
        p { "On " (n) " test images, some of the models are right and others are wrong. The table shows images on which both sides are surest, those with a picture first. Right answers are bold." }
        (table("Answers that differ", &columns, &rows))
    };
    Some(Section { id: "disagreements", heading: "Where they disagree", body, charts: vec![] })
}

/// Returns how sure both sides are about image `i`: the highest confidence among the models that are right, or among
/// those that are wrong, whichever is lower. Returns `None` unless some models are right and some wrong.
fn surer_of_both(comparison: &Comparison<'_>, i: usize) -> Option<f64> {
    let surest = |right: bool| {
        let runs = comparison.runs.iter().map(|run| run.test.predictions);
        let of_side = runs.filter(|p| (p.predicted(i) == p.targets()[i]) == right);
        of_side.map(|p| p.confidence(i)).max_by(f64::total_cmp)
    };
    Some(surest(true)?.min(surest(false)?))
}
