//! What may be left to the machine: coverage against accuracy, and against cost, as the model may abstain.

use maud::{Markup, html};
use tallow_metrics::{
    CostTable, CoveragePoint, Predictions, coverage_at, coverage_curve, threshold_for_accuracy,
    wilson_interval,
};

use super::{Number, Text, figures, percent, percent_interval, plain, table};
use crate::analysis::{CONFIDENCE, Trust};
use crate::chart::{Axis, Chart, Format, Line, LineChart, grouped};
use crate::shown::shown;

/// Points of a curve that are drawn.
const N_POINTS: usize = 160;
/// Accuracies that the table shows where they are above the model's own.
const LADDER: [f64; 8] = [0.80, 0.90, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999];

pub(super) fn coverage(
    trust: &Trust,
    target: Option<f64>,
    costs: Option<&CostTable>,
) -> (Markup, Vec<Chart>) {
    let mut charts = vec![accuracy_chart(trust, target)];
    charts.extend(costs.and_then(|costs| Some(cost_chart(trust, costs, costs.ask_a_person()?))));
    let body = html! {
        p { "The model may answer only where it is sure enough, and send the rest to a person. The surer it has to be, the fewer images it answers, and the more of the answers are right." }
        @if let Some(target) = target { (wanted(trust, target)) }
        (figures(&charts))
        @if let Some(val) = &trust.val { (ladder(val, &trust.test)) }
    };
    (body, charts)
}

/// The sentence that a target accuracy asks for.
fn wanted(trust: &Trust, target: f64) -> Markup {
    let Some(val) = &trust.val else {
        return html! { p class="notice" role="note" { "The accuracy " (percent(target)) " was asked for, but there are no validation predictions to choose a threshold on." } };
    };
    let Some(chosen) = threshold_for_accuracy(val, target) else {
        return html! { p class="notice" role="note" { "An accuracy of " (percent(target)) " cannot be met: on the validation images no threshold gives it, however few images are answered." } };
    };
    let seen = coverage_at(&trust.test, chosen.threshold);
    let interval = wilson_interval(seen.n_correct, seen.n_answered, CONFIDENCE).unwrap_or([0.0, 1.0]);
    let verdict = match seen.accuracy() {
        Some(accuracy) if accuracy >= target => "the test confirms the wanted accuracy.",
        Some(_) if interval[1] >= target => "that is below the wanted accuracy, but its interval holds it.",
        Some(_) => "the test does not confirm the wanted accuracy.",
        None => "none of the test images is answered.",
    };
    html! {
        p class="result" {
            "For an accuracy of " strong { (percent(target)) } ", answer from a confidence of " (percent(chosen.threshold)) " on (chosen on the validation images). On the test images the model then "
            strong { "answers " (whole(seen.coverage())) " of the images, sends " (whole(1.0 - seen.coverage())) " to a person" }
            @if let Some(accuracy) = seen.accuracy() { ", and " (percent(accuracy)) " of its answers are right (95 % interval " (percent_interval(interval)) ")" }
            ": " (verdict)
        }
    }
}

fn whole(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn thinned(points: Vec<CoveragePoint>) -> Vec<CoveragePoint> {
    let from = points.len() / 100; // the first hundredth is a handful of images, and jumps
    let kept = points.len().saturating_sub(from + 1);
    let n = N_POINTS.min(kept);
    let mut out: Vec<CoveragePoint> = (0..n).map(|i| points[from + i * kept / n.max(1)]).collect();
    out.extend(points.last().copied());
    out
}

fn curve(
    label: &str,
    series: usize,
    predictions: &Predictions,
    y: impl Fn(&CoveragePoint) -> Option<f64>,
) -> Line {
    let points = thinned(coverage_curve(predictions));
    let points = points.iter().filter_map(|p| Some((p.coverage(), y(p)?))).collect();
    Line { label: label.to_owned(), points, series, dashed: series != 0 }
}

fn accuracy_chart(trust: &Trust, target: Option<f64>) -> Chart {
    let mut lines = vec![curve("test", 0, &trust.test, CoveragePoint::accuracy)];
    lines.extend(trust.val.as_ref().map(|val| curve("validation", 1, val, CoveragePoint::accuracy)));
    let chosen = target.zip(trust.val.as_ref()).and_then(|(target, val)| threshold_for_accuracy(val, target));
    let spot = chosen.and_then(|chosen| {
        let seen = coverage_at(&trust.test, chosen.threshold);
        Some((
            seen.coverage(),
            seen.accuracy()?,
            format!("{} answered, {} right", whole(seen.coverage()), percent(seen.accuracy()?)),
        ))
    });
    let spots: Vec<_> = spot.into_iter().collect();
    let values = lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)).chain([1.0]);
    LineChart {
        name: "coverage",
        title: "The fewer it answers, the more are right",
        x: Axis::between("images answered by the model", Format::Percent, 0.0, 1.0, 5),
        y: Axis::holding("accuracy of the answers", Format::Percent, values, 5),
        lines: &lines,
        marks: &[],
        spots: &spots,
    }
    .draw()
}

/// The cost of 1,000 images by coverage: errors of what is answered, and a person for the rest. The threshold with the
/// least cost is chosen on validation, where there is one.
fn cost_chart(trust: &Trust, costs: &CostTable, ask: f64) -> Chart {
    let points = costs_by_coverage(&trust.test, costs, ask);
    let points: Vec<(f64, f64)> = points.iter().map(|point| (point.coverage, point.cost_per_1000)).collect();
    let chosen = costs_by_coverage(trust.val.as_ref().unwrap_or(&trust.test), costs, ask)
        .into_iter()
        .min_by(|a, b| a.cost_per_1000.total_cmp(&b.cost_per_1000));
    let spot = chosen.map(|chosen| {
        let (coverage, cost) = cost_at(&trust.test, costs, ask, chosen.threshold);
        let on = if trust.val.is_some() { "chosen on validation" } else { "least" };
        (coverage, cost, format!("{on}: {} at {}", grouped(cost, 0), whole(coverage)))
    });
    let lines = [Line { series: 0, label: "test".into(), dashed: false, points }];
    let spots: Vec<_> = spot.into_iter().collect();
    let unit = currency(costs);
    let label =
        if unit.is_empty() { "cost of 1,000 images".to_owned() } else { format!("{unit} for 1,000 images") };
    LineChart {
        name: "coverage-cost",
        title: "What it costs to let the model answer",
        x: Axis::between("images answered by the model", Format::Percent, 0.0, 1.0, 5),
        y: Axis::holding(&label, Format::Number, lines[0].points.iter().map(|p| p.1).chain([0.0]), 5),
        lines: &lines,
        marks: &[],
        spots: &spots,
    }
    .draw()
}

/// Coverage, and the cost of 1,000 images, where the model answers from `threshold` on.
fn cost_at(p: &Predictions, costs: &CostTable, ask: f64, threshold: f64) -> (f64, f64) {
    let (mut n_answered, mut cost) = (0, 0.0);
    for (i, &target) in p.targets().iter().enumerate() {
        if p.confidence(i) >= threshold {
            n_answered += 1;
            cost += costs.price(target as usize, p.predicted(i) as usize);
        } else {
            cost += ask;
        }
    }
    let n = p.len().max(1) as f64;
    (f64::from(n_answered) / n, 1000.0 * cost / n)
}

/// What prices are counted in; nothing if the table does not say.
pub(super) fn currency(costs: &CostTable) -> String {
    if costs.currency().is_empty() { String::new() } else { shown(costs.currency()) }
}

/// One point of a cost curve.
struct CostPoint {
    threshold: f64,
    coverage: f64,
    cost_per_1000: f64,
}

fn costs_by_coverage(p: &Predictions, costs: &CostTable, ask: f64) -> Vec<CostPoint> {
    let mut surest_first: Vec<(f64, f64)> = (0..p.len())
        .map(|i| (p.confidence(i), costs.price(p.targets()[i] as usize, p.predicted(i) as usize)))
        .collect();
    surest_first.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable
    let n = p.len();
    let step = n.div_ceil(N_POINTS).max(1);
    let mut errors = 0.0;
    let mut points = vec![CostPoint { threshold: f64::INFINITY, coverage: 0.0, cost_per_1000: 1000.0 * ask }];
    for (i, &(threshold, price)) in surest_first.iter().enumerate() {
        errors += price;
        let answered = i + 1;
        if answered % step == 0 || answered == n {
            let total = errors + (n - answered) as f64 * ask;
            let coverage = answered as f64 / n as f64;
            points.push(CostPoint { threshold, coverage, cost_per_1000: 1000.0 * total / n as f64 });
        }
    }
    points
}

/// What thresholds that are chosen on validation come to on the test.
fn ladder(val: &Predictions, test: &Predictions) -> Markup {
    let own = val.accuracy().unwrap_or(0.0);
    let rows: Vec<Vec<Markup>> = LADDER
        .into_iter()
        .filter(|&wanted| wanted > own)
        .map(|wanted| match threshold_for_accuracy(val, wanted) {
            None => vec![
                plain(format!("{:.1} %", 100.0 * wanted)),
                plain("cannot be met"),
                plain("–"),
                plain("–"),
            ],
            Some(chosen) => {
                let seen = coverage_at(test, chosen.threshold);
                vec![
                    plain(format!("{:.1} %", 100.0 * wanted)),
                    plain(percent(chosen.threshold)),
                    plain(whole(seen.coverage())),
                    plain(seen.accuracy().map_or("–".to_owned(), percent)),
                ]
            }
        })
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    let columns = [
        ("wanted accuracy", Text),
        ("answer from confidence", Number),
        ("answered on test", Number),
        ("right on test", Number),
    ];
    table("Thresholds, chosen on validation, seen on test", &columns, &rows)
}
