//! The part with the test figures: the matrix, the report of each class, and how far both can be trusted.

use maud::{Markup, html};
use tallow_metrics::Bands;

use super::{Number, Section, Text, facts, figures, long_table, percent, percent_interval, plain, table};
use crate::analysis::Test;
use crate::chart::{Bar, Chart, Format, bar_chart, grouped, heat_map};
use crate::shown::{shortened, shown};

/// Largest number of classes that are drawn; if there are more, the lowest ones are drawn.
const MAX_BARS: usize = 30;

pub(super) fn section(test: &Test<'_>) -> Section {
    let matrix = heat_map(
        "confusion",
        "Which class was taken for which",
        &test.matrix,
        &Bands::default(),
        test.class_names,
    );
    let scores = score_charts(test);
    let body = html! {
        (facts(&headline(test)))
        div class="beside" {
            figure { (matrix.inline()) }
            (report_table(test))
        }
        (figures(&scores))
        p class="muted" { "Whiskers: 95 % Wilson intervals; for F1, derived from the interval of TP / (TP + FP + FN). Of 100 such intervals of an accuracy, about 95 contain the accuracy that the model would have on an unlimited number of such images." }
    };
    let charts = [vec![matrix], scores].concat();
    Section { id: "test", heading: "The test", body, charts }
}

fn headline(test: &Test<'_>) -> Vec<(String, Markup)> {
    let n = test.matrix.n();
    let right = format!("{} of {} images", grouped(test.matrix.n_correct() as f64, 0), grouped(n as f64, 0));
    let mut out = vec![
        ("Accuracy".to_owned(), html! { strong { (percent(test.accuracy())) } ", " (right) }),
        ("95 % interval".to_owned(), plain(percent_interval(test.accuracy_interval))),
    ];
    if let Some((class, share)) = test.matrix.largest_class() {
        let name = shortened(&test.class_names[class], 40);
        out.push((
            "For comparison".to_owned(),
            plain(format!("always answering “{name}” would be right for {}", percent(share))),
        ));
    }
    if let Some(loss) = test.predictions.mean_nll() {
        out.push(("Loss (cross-entropy)".to_owned(), plain(format!("{loss:.4}"))));
    }
    for (k, accuracy) in test.top_k() {
        out.push((format!("Top-{k} accuracy"), plain(percent(accuracy))));
    }
    out.push(("Macro F1".to_owned(), plain(percent(test.report.macro_avg.f1_score))));
    out
}

fn report_table(test: &Test<'_>) -> Markup {
    let columns = [
        ("class", Text),
        ("precision", Number),
        ("recall", Number),
        ("F1", Number),
        ("support", Number),
        ("recall, 95 % interval", Number),
    ];
    let score = |value: f64| plain(format!("{value:.3}"));
    let count = |n: u64| plain(grouped(n as f64, 0));
    let mut classes: Vec<usize> = (0..test.class_names.len()).collect();
    let is_long = classes.len() > MAX_BARS;
    if is_long {
        let by = |class: &usize| (test.is_untested(*class), test.report.classes[*class].f1_score);
        classes.sort_by(|a, b| by(a).0.cmp(&by(b).0).then(by(a).1.total_cmp(&by(b).1))); // stable
    }
    let rows: Vec<Vec<Markup>> = classes
        .into_iter()
        .map(|class| {
            let (s, [low, high]) = (test.report.classes[class], test.intervals[class].recall);
            let found = |text: String| plain(if test.is_untested(class) { "–".to_owned() } else { text });
            vec![
                super::name(&test.class_names[class]),
                if test.matrix.n_predicted(class) == 0 { plain("–") } else { score(s.precision) },
                found(format!("{:.3}", s.recall)),
                found(format!("{:.3}", s.f1_score)),
                count(s.support),
                found(format!("{low:.3} to {high:.3}")),
            ]
        })
        .collect();
    let averages = [("macro average", test.report.macro_avg), ("weighted average", test.report.weighted_avg)];
    let averages = averages.map(|(name, average)| {
        let scores = [average.precision, average.recall, average.f1_score].map(score);
        [vec![plain(name)], scores.to_vec(), vec![count(test.matrix.n()), plain("")]].concat()
    });
    let caption = "Precision, recall and F1 of each class";
    html! {
        @if is_long {
            (table("Averages over all classes", &columns, &averages))
            (long_table(&format!("{caption}, the lowest F1 first"), &columns, &rows))
        } @else {
            (table(caption, &columns, &[rows, averages.to_vec()].concat()))
        }
        (untested(test))
    }
}

/// Lists the classes without test images.
fn untested(test: &Test<'_>) -> Markup {
    let classes: Vec<usize> = test.report.without_support().collect();
    let names: Vec<String> =
        classes.iter().take(10).map(|&class| shortened(&test.class_names[class], 40)).collect();
    let more = if classes.len() > names.len() { ", …" } else { "" };
    html! {
        @if !classes.is_empty() {
            p class="notice" role="note" {
                (classes.len()) " of " (test.class_names.len()) " classes have no test image: " (names.join(", ")) (more)
                ". Their recall and F1 are not known. The macro average counts them as 0, as scikit-learn does."
            }
        }
    }
}

/// Draws three charts with a bar per class; if there are many classes, only of the lowest. A class whose score is unknown
/// has no bar.
fn score_charts(test: &Test<'_>) -> Vec<Chart> {
    type Pick = fn(&Test<'_>, usize) -> (f64, [f64; 2]);
    let kinds: [(&str, &str, usize, Pick); 3] = [
        ("precision", "Precision: correct among the images taken for the class", 0, |t, i| {
            (t.report.classes[i].precision, t.intervals[i].precision)
        }),
        ("recall", "Recall: found among the images of the class", 2, |t, i| {
            (t.report.classes[i].recall, t.intervals[i].recall)
        }),
        ("f1", "F1: the harmonic mean of both", 3, |t, i| {
            (t.report.classes[i].f1_score, t.intervals[i].f1_score)
        }),
    ];
    let draw = |(name, title, series, pick): (&str, &str, usize, Pick)| {
        let is_known = |test: &Test<'_>, class| match name {
            "precision" => test.matrix.n_predicted(class) > 0,
            _ => !test.is_untested(class),
        };
        let mut bars: Vec<Bar> = (0..test.class_names.len())
            .filter(|&i| is_known(test, i))
            .map(|i| {
                let (value, interval) = pick(test, i);
                Bar { label: shown(&test.class_names[i]), value, interval: Some(interval) }
            })
            .collect();
        let n = bars.len();
        let mut title = title.to_owned();
        if n > MAX_BARS {
            bars.sort_by(|a, b| a.value.total_cmp(&b.value)); // stable
            bars.truncate(MAX_BARS);
            title = format!("{}: the {MAX_BARS} lowest of {n}", title.split(':').next().unwrap_or_default());
        }
        bar_chart(name, &title, if name == "f1" { "F1" } else { name }, Format::Percent, series, &bars)
    };
    kinds.into_iter().map(draw).collect()
}
