//! Recommends one of several runs, in words that follow from the tests.

use maud::{Markup, html};
use tallow_metrics::Verdict;

use super::head_to_head::minutes;
use super::{name, percent};
use crate::comparison::{ComparedRun, Comparison};
use crate::honesty::is_honest;

/// A run is much quicker than another if it takes less than this share of the other's time.
const MUCH_LESS: f64 = 0.8;

/// Recommends a run. The candidates are the most accurate run and those that the test does not tell apart from it. The
/// recommended run is the quickest of them if it is much quicker than the most accurate run; otherwise it is the most
/// accurate run.
pub(super) fn recommend(comparison: &Comparison<'_>) -> Markup {
    let runs = &comparison.runs;
    let honest = |run: &ComparedRun<'_>| is_honest(run.record);
    let all_honest = runs.iter().all(honest);
    // a figure that may be too good is compared, but not recommended if there is an honest one
    let candidates: Vec<usize> = match runs.iter().any(honest) {
        true => (0..runs.len()).filter(|&i| honest(&runs[i])).collect(),
        false => (0..runs.len()).collect(),
    };
    let accuracy = |i: &usize| runs[*i].test.accuracy();
    let Some(&best) = candidates.iter().max_by(|a, b| accuracy(a).total_cmp(&accuracy(b))) else {
        return html! {};
    };
    let like_best: Vec<usize> =
        candidates.iter().copied().filter(|&i| i == best || !is_told_apart(comparison, best, i)).collect();
    let time = |i: &usize| minutes(&runs[*i]).unwrap_or(f64::INFINITY);
    let quickest = like_best.iter().copied().min_by(|a, b| time(a).total_cmp(&time(b))).unwrap_or(best);
    let is_much_quicker = minutes(&runs[best]).is_some_and(|of_best| time(&quickest) < MUCH_LESS * of_best);
    let taken = if is_much_quicker { quickest } else { best };
    let of_honest = if candidates.len() < runs.len() { " of those whose test is honest" } else { "" };
    let worse: Vec<usize> = candidates.iter().copied().filter(|i| !like_best.contains(i)).collect();
    let label = |i: usize| name(&runs[i].label);
    html! {
        strong { "Take " (label(taken)) } ": " (percent(runs[taken].test.accuracy())) " of the test images are classified correctly. "
        @if taken != best {
            "The test does not tell it apart from " (label(best)) " (" (percent(runs[best].test.accuracy())) "), and it took less time"
            @if let Some((a, b)) = minutes(&runs[taken]).zip(minutes(&runs[best])) { " (" (format!("{a:.1}")) " minutes, not " (format!("{b:.1}")) ")" }
            ". "
        } @else if like_best.len() > 1 {
            "It is the most accurate" (of_honest) "; the test does not tell it apart from "
            @for (n, &i) in like_best.iter().filter(|&&i| i != best).enumerate() { @if n > 0 { ", " } (label(i)) }
            ", which did not take much less time. "
        } @else if candidates.len() > 1 {
            "It is the most accurate" (of_honest) ", and the test tells it apart from every other"
            @if !of_honest.is_empty() { " of them" }
            ". "
        }
        @if !worse.is_empty() && taken != best { (worse.len()) @if worse.len() == 1 { " other is" } @else { " others are" } " worse. " }
        @if !all_honest {
            @if runs.iter().any(honest) { "Runs whose test is not honest are not recommended, whatever their figure. " }
            @else { "No run here has an honest test: do not rely on these figures. " }
        }
    }
}

/// Returns whether the test tells two runs apart.
fn is_told_apart(comparison: &Comparison<'_>, a: usize, b: usize) -> bool {
    let of_both = |(i, j): (usize, usize)| (i, j) == (a, b) || (i, j) == (b, a);
    let pair = comparison.pairs.iter().find(|(i, j, _)| of_both((*i, *j)));
    pair.is_some_and(|(_, _, compared)| compared.verdict() != Verdict::NotToldApart)
}
