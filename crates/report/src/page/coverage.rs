//! Shows how many images can be left to the model if it may abstain: accuracy by coverage, and cost by coverage.

use maud::{Markup, html};
use tallow_metrics::{CostTable, CoveragePoint, Predictions, coverage_curve};

use super::{Number, Text, figures, percent, percent_interval, plain, table};
use crate::analysis::Trust;
use crate::chart::{Axis, Chart, Format, Line, LineChart, grouped};
use crate::error::Result;
use crate::shown::shown;
use crate::targets::{Outcome, Target};

/// Number of points of a curve that are drawn.
const N_POINTS: usize = 160;

pub(super) fn coverage(
    trust: &Trust,
    target: Option<f64>,
    costs: Option<&CostTable>,
) -> Result<(Markup, Vec<Chart>)> {
    let target =
        target.map(|wanted| Ok::<_, crate::ReportError>((wanted, Target::of(trust, wanted)?))).transpose()?;
    let mut charts = vec![accuracy_chart(trust, target.as_ref().and_then(|(_, found)| found.as_ref()))];
    charts.extend(costs.and_then(|costs| Some(cost_chart(trust, costs, costs.ask_a_person()?))));
    let ladder = Target::ladder(trust)?;
    let body = html! {
        p { "The model may answer only where it is sure enough, and send the rest to a person. The surer it has to be, the fewer images it answers, and the more of the answers are right." }
        @if let Some((wanted, found)) = &target { (asked_for(trust, *wanted, found.as_ref())) }
        div class="beside evidence" {
            (figures(&charts))
            div { @if let Some(val) = &trust.val { (table_of(&ladder, val.len(), trust)) } }
        }
    };
    Ok((body, charts))
}

/// Returns the sentence about the target accuracy that the user asked for.
fn asked_for(trust: &Trust, wanted: f64, found: Option<&Target>) -> Markup {
    let (Some(target), Some(val)) = (found, &trust.val) else {
        return html! { p class="notice" role="note" { "An accuracy of " (percent(wanted)) " was requested, but there are no validation predictions for choosing a threshold." } };
    };
    match promise(target) {
        Some(sentence) => html! { p class="result" { (sentence) } },
        None => {
            html! { p class="notice" role="note" { "An accuracy of " (percent(wanted)) " cannot be promised: " (target.why_not(val.len())) "." } }
        }
    }
}

/// Returns a sentence with the confidence from which the model can be left alone, what that promises, and what the test
/// says; `None` if nothing is promised.
pub(super) fn promise(target: &Target) -> Option<Markup> {
    let chosen = target.chosen.as_ref()?;
    let seen = &chosen.seen;
    let from = chosen.promise.point.threshold;
    Some(html! {
        "For an accuracy of " strong { (percent(target.wanted)) } ", "
        @if from > 0.0 { "let it answer if it is at least " strong { (confidence(from)) } " sure" } @else { "let it answer every image" }
        @let is_by_folds = chosen.outcome == Outcome::NoTest;
        ": according to the " (if is_by_folds { "answers of the folds" } else { "validation images" }) ", at least " (percent(chosen.promise.accuracy_at_least)) " of its answers are right then, with 95 % confidence. "
        (if is_by_folds { "Of their images it " } else { "On the test images it " })
        strong { "answers " (whole(seen.coverage())) ", sends " (whole(1.0 - seen.coverage())) " to a person" }
        @if let Some(accuracy) = seen.accuracy() { ", and " strong { (percent(accuracy)) } " of its answers are right (95 % interval " (percent_interval(chosen.interval)) ")" }
        "; " (chosen.outcome.sentence())
    })
}

pub(super) fn whole(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn thinned(points: Vec<CoveragePoint>) -> Vec<CoveragePoint> {
    let from = points.len() / 100; // the first hundredth of the points rest on few images, and jump
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
    Line { label: label.to_owned(), points, series, dashed: series != 0, thin: false }
}

fn accuracy_chart(trust: &Trust, target: Option<&Target>) -> Chart {
    let mut lines = vec![curve("test", 0, &trust.test, CoveragePoint::accuracy)];
    let val = trust.val.as_ref().filter(|_| !trust.is_by_folds);
    lines.extend(val.map(|val| curve("validation", 1, val, CoveragePoint::accuracy)));
    let spot = target.and_then(|target| target.chosen.as_ref()).and_then(|chosen| {
        let (seen, accuracy) = (chosen.seen, chosen.seen.accuracy()?);
        let label = format!("{} answered, {} right", whole(seen.coverage()), percent(accuracy));
        Some((seen.coverage(), accuracy, label))
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

/// Draws the cost of 1,000 images by coverage: the errors of the answered images, and a person for the others. The
/// cheapest threshold is marked; it is chosen on validation if there is validation.
fn cost_chart(trust: &Trust, costs: &CostTable, ask: f64) -> Chart {
    let points = costs_by_coverage(&trust.test, costs, ask);
    let points: Vec<(f64, f64)> = points.iter().map(|point| (point.coverage, point.cost_per_1000)).collect();
    let chosen = costs_by_coverage(trust.val.as_ref().unwrap_or(&trust.test), costs, ask)
        .into_iter()
        .min_by(|a, b| a.cost_per_1000.total_cmp(&b.cost_per_1000));
    let spot = chosen.map(|chosen| {
        let (coverage, cost) = cost_at(&trust.test, costs, ask, chosen.threshold);
        let on = if trust.val.is_some() && !trust.is_by_folds { "chosen on validation" } else { "least" };
        (coverage, cost, format!("{on}: {} at {}", grouped(cost, 0), whole(coverage)))
    });
    let lines = [Line { series: 0, label: "test".into(), dashed: false, thin: false, points }];
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

/// Returns the coverage and the cost of 1,000 images if the model answers from `threshold` on.
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

/// Returns the currency of the prices; empty if the table does not give one.
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

/// Makes the table of wanted accuracies and their results.
fn table_of(targets: &[Target], n_val: usize, trust: &Trust) -> Markup {
    if targets.is_empty() {
        return html! {};
    }
    let percent1 = |share: f64| format!("{:.1} %", 100.0 * share);
    let row = |target: &Target| match &target.chosen {
        None => vec![
            plain(percent1(target.wanted)),
            plain("–"),
            plain("–"),
            plain("–"),
            plain("–"),
            plain("cannot be promised"),
        ],
        Some(chosen) => vec![
            plain(percent1(target.wanted)),
            plain(confidence(chosen.promise.point.threshold)),
            plain(whole(chosen.seen.coverage())),
            plain(chosen.seen.accuracy().map_or("–".to_owned(), percent)),
            plain(percent_interval(chosen.interval)),
            html! { span class={ "outcome " (class(chosen.outcome)) } { (chosen.outcome.word()) } },
        ],
    };
    let columns = [
        ("wanted accuracy", Text),
        ("minimum confidence", Number),
        ("answered on test", Number),
        ("right on test", Number),
        ("95 % interval", Number),
        ("result on test", Text),
    ];
    // if an accuracy cannot be promised, no higher one can be promised either
    let unkept = targets.iter().position(|target| target.chosen.is_none());
    let rows: Vec<Vec<Markup>> =
        targets.iter().take(unkept.map_or(targets.len(), |i| i + 1)).map(row).collect();
    let unkept = unkept.map(|i| &targets[i]);
    html! {
        (table(if trust.is_by_folds { "Thresholds, chosen by the answers of the folds" } else { "Thresholds, chosen on validation, checked on test" }, &columns, &rows))
        @if let Some(target) = unkept { p { (percent1(target.wanted)) " cannot be promised: " (target.why_not(n_val)) "." } }
        p class="muted" {
            "Each threshold is chosen so that the accuracy of the answers is at least the wanted accuracy with 95 % confidence, for images like those of validation. "
            "The method is Clopper and Pearson’s bound on the errors among the surest images, corrected for the 20 shares of images that are tried (Angelopoulos and others, “Learn then Test”, 2021). "
            "“Confirmed” means that the whole interval on the test lies at or above the wanted accuracy."
            @if trust.val_chose { " The validation images also decided when to stop or which weights to keep, so they may make the model look slightly too good. The result on the test is what counts." }
        }
    }
}

/// Formats the confidence from which answers are accepted. It is rounded up, so that the formatted number does not accept
/// more answers. Values above 0.999 get more decimals, so that they differ from 1.
fn confidence(threshold: f64) -> String {
    let decimals = if threshold > 0.999 { 4 } else { 2 };
    let scale = 10f64.powi(decimals + 2);
    format!("{:.*} %", decimals as usize, (threshold * scale).ceil() / scale * 100.0)
}

/// Returns the CSS class of an outcome.
fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Confirmed => "good",
        Outcome::Missed => "bad",
        Outcome::Kept | Outcome::Unanswered | Outcome::NotTested | Outcome::NoTest => "open",
    }
}
