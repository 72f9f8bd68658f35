//! The part on novelty: whether the model notices a picture that is unlike all training pictures.

use maud::{Markup, html};
use tallow_metrics::{FALSE_ALARM_RATE, NoveltyRecord, NoveltyTest};

use super::coverage::whole;
use super::data::{file_name, image};
use super::{Number, Section, Text, figures, percent, plain};
use crate::analysis::Test;
use crate::chart::{Axis, Chart, Format, Line, LineChart, grouped};
use crate::record::RunRecord;
use crate::shown::shortened;

pub(super) fn section(run: &RunRecord, test: &Test<'_>) -> Option<Section> {
    let record = run.novelty.as_ref()?;
    let charts: Vec<Chart> = chart(record).into_iter().collect();
    let body = html! {
        p {
            "A model that knows " (test.class_names.len()) " classes always answers with one of them, even if a picture shows something else. So " code { "trainer predict" } " also reports how usual a picture is: the share of pictures of these classes that are at least as unlike the training pictures, by the features of the backbone. If the share is " (whole(record.false_alarm_rate)) " or less, it asks “none of these?”. By chance, it asks this about the same share of the pictures of these classes. "
            (grouped(record.n_known as f64, 0)) " pictures define what is usual, each by its distance from the others. "
            @if let Some(seen) = &record.test { (on_test(seen)) }
        }
        @if !record.left_out.is_empty() {
            p { "To test whether it notices an unknown class, its own classes were used: each" @if record.left_out.len() < test.class_names.len() { " of " (record.left_out.len()) } " was left out in turn, and its pictures were treated as new ones. " strong { (whole(mean(record))) " of them were noticed" } ". Similar classes are the hardest case: of completely different pictures, more are noticed." }
        }
        div class="beside evidence" { (figures(&charts)) div { (classes(record)) } }
        (most_unlike(run, test, record))
        p class="muted" { "The distance is the relative Mahalanobis distance (Ren and others, 2021); the share is a conformal p-value (Bates and others, 2023)." }
    };
    Some(Section { id: "novelty", heading: "None of these", body, charts })
}

fn on_test(seen: &NoveltyTest) -> Markup {
    let NoveltyTest { n, n_alarms, n_right, n_right_of_alarms } = *seen;
    let share = |part: u64, whole: u64| percent(part as f64 / whole.max(1) as f64);
    html! {
        "On the test images, it asked this about " strong { (share(n_alarms, n)) } ". "
        @if n_alarms > 0 && n > n_alarms {
            "Of its answers about those images, " (share(n_right_of_alarms, n_alarms)) " were right; of the others, " (share(n_right.saturating_sub(n_right_of_alarms), n - n_alarms)) "."
        }
    }
}

fn mean(record: &NoveltyRecord) -> f64 {
    record.left_out.iter().map(|class| class.noticed).sum::<f64>() / record.left_out.len() as f64
}

/// Draws the share of pictures of left-out classes that is noticed, by the share of false alarms.
fn chart(record: &NoveltyRecord) -> Option<Chart> {
    if record.curve.is_empty() {
        return None;
    }
    let points = record.curve.iter().map(|[rate, noticed]| (*rate, *noticed)).collect();
    let guess = vec![(0.0, 0.0), (1.0, 1.0)];
    let lines = [
        Line { label: "left-out class".into(), points, series: 0, dashed: false, thin: false },
        Line { label: "by chance".into(), points: guess, series: 1, dashed: true, thin: false },
    ];
    let noticed = mean(record);
    let label = format!("{} noticed at {}", whole(noticed), whole(FALSE_ALARM_RATE));
    let chart = LineChart {
        name: "novelty",
        title: "New classes noticed, by false alarms",
        x: Axis::between("known pictures called “none of these”", Format::Percent, 0.0, 1.0, 5),
        y: Axis::between("new pictures called “none of these”", Format::Percent, 0.0, 1.0, 5),
        lines: &lines,
        marks: &[],
        spots: &[(FALSE_ALARM_RATE, noticed, label)],
    };
    Some(chart.draw())
}

fn classes(record: &NoveltyRecord) -> Markup {
    if record.left_out.is_empty() {
        return html! {};
    }
    let columns =
        [("class left out", Text), ("pictures", Number), ("noticed", Number), ("area under curve", Number)];
    let rows: Vec<Vec<Markup>> = record
        .left_out
        .iter()
        .map(|class| {
            vec![
                super::name(&class.class),
                plain(grouped(class.n as f64, 0)),
                plain(whole(class.noticed)),
                plain(format!("{:.3}", class.auroc)),
            ]
        })
        .collect();
    super::long_table("Each class treated as new", &columns, &rows)
}

/// Shows the test images that are most unlike the training images.
fn most_unlike(run: &RunRecord, test: &Test<'_>, record: &NoveltyRecord) -> Markup {
    let p = test.predictions;
    let shown_ones: Vec<_> = record
        .most_unlike
        .iter()
        .filter_map(|(index, typicality)| {
            let place = p.indices().iter().position(|i| i == index)?;
            Some((run.pictures.test(*index)?, place, *typicality))
        })
        .collect();
    if shown_ones.is_empty() {
        return html! {};
    }
    let class = |class: u32| shortened(&test.class_names[class as usize], 24);
    html! {
        h3 { "The least usual test images" }
        p { "Some may not belong to the data at all." }
        ul class="cards" {
            @for (picture, place, typicality) in shown_ones {
                li {
                    (image(picture))
                    span { (class(p.targets()[place])) @if p.targets()[place] != p.predicted(place) { " → " strong { (class(p.predicted(place))) } } }
                    small { (format!("{:.1} %", 100.0 * typicality)) " are as unusual" }
                    small class="file" {
                        @match test.files.get(place).filter(|file| !file.is_empty()) {
                            Some(file) => (file_name(file)),
                            None => { "test image " (picture.index) }
                        }
                    }
                }
            }
        }
    }
}
