//! The top of a report: what the model can do, where it fails, which images may be left to it, and what to do next, in
//! words and one chart. The evidence is in the parts below.

use maud::{Markup, html};
use tallow_metrics::{Bands, ConfusionMatrix, CostTable, Predictions};

use super::advice::advice;
use super::business::money;
use super::coverage::promise;
use super::{Section, percent, percent_interval};
use crate::analysis::{Options, Test, Trust};
use crate::chart::{Chart, ClassBar, class_bars, grouped};
use crate::error::Result;
use crate::record::RunRecord;
use crate::shown::{shortened, shown};
use crate::targets::Target;

/// Largest number of classes in the chart; if there are more, the weakest ones are shown.
const MAX_CLASSES: usize = 12;
/// Largest number of notices that are shown unfolded.
const MAX_OPEN_NOTICES: usize = 4;
/// Number of pairs of classes that are named.
const N_PAIRS: usize = 3;
/// Of the accuracies that can be promised and are at least this high, the lowest and the highest are shown.
const FROM_TARGET: f64 = 0.95;

pub(super) fn section(
    run: &RunRecord,
    test: &Test<'_>,
    trust: &Trust,
    options: &Options,
    costs: Option<&CostTable>,
) -> Result<Section> {
    let chart = picture(test);
    let body = html! {
        div class="verdict" {
            figure { (chart.inline()) }
            div {
                p class="lead" {
                    strong { (percent(test.accuracy())) } " of " (grouped(test.matrix.n() as f64, 0)) (if trust.is_by_folds { " images are classified correctly by models that had not seen them " } else { " test images are classified correctly " })
                    span class="muted" { "(95 % interval " (percent_interval(test.accuracy_interval)) ")" } "."
                    @if let Some((class, share)) = test.matrix.largest_class() {
                        " Always answering “" (shortened(&test.class_names[class], 30)) "” would be right for " (percent(share)) "."
                    }
                }
                h3 { "Where it fails" }
                (failures(test))
                h3 { "What it may decide alone" }
                (left_to_it(trust, options, costs)?)
                h3 { "What to do next" }
                ol { @for step in advice(run, test, trust) { li { (step) } } }
            }
        }
    };
    Ok(Section { id: "verdict", heading: "In short", body, charts: vec![chart] })
}

/// Shows the caveats and the missing files, before everything else.
pub(super) fn warnings(run: &RunRecord) -> Markup {
    let caveats = run.caveats();
    let (grave, others): (Vec<_>, Vec<_>) = caveats.iter().partition(|c| c.spoils_test());
    html! {
        @if !grave.is_empty() {
            div class="notice grave" role="note" {
                p { strong { "The test accuracy of this run is not an honest estimate." } }
                ul { @for caveat in grave { li { (caveat.sentence()) } } }
            }
        }
        @if !others.is_empty() {
            div class="notice" role="note" { ul { @for caveat in others { li { (caveat.sentence()) } } } }
        }
        @if run.summary.is_none() && run.is_extended {
            div class="notice" role="note" { p { "The run is being extended: the figures below are those of the model that it had before." } }
        }
        @if !run.problems.is_empty() {
            div class="notice" role="note" {
                p { strong { "This run folder is incomplete." } " The page shows what is available." }
                ul { @for problem in &run.problems { li { (shown(problem)) } } }
            }
        }
        (notices(run))
    }
}

/// Shows the notices of the run about its data and itself, each once.
fn notices(run: &RunRecord) -> Markup {
    let mut said: Vec<String> = Vec::new();
    for notice in run.events.notices.iter().map(shown) {
        if !said.contains(&notice) {
            said.push(notice);
        }
    }
    let list = html! { ul { @for notice in &said { li { (notice) } } } };
    match said.len() {
        0 => html! {},
        1..=MAX_OPEN_NOTICES => html! { div class="notice" role="note" { (list) } },
        n => html! { details class="notice" { summary { (n) " notes on the data and the run" } (list) } },
    }
}

/// Describes the weakest classes, and the pairs of classes with the most errors between them.
fn failures(test: &Test<'_>) -> Markup {
    let n_wrong = test.matrix.n() - test.matrix.n_correct();
    if n_wrong == 0 {
        return html! { p { "On no test image." } };
    }
    let recall = |class: &usize| test.report.classes[*class].recall;
    let weakest: Vec<usize> = weakest(test).into_iter().filter(|class| recall(class) < 1.0).collect();
    let share = |class: usize| format!("{:.1} %", 100.0 * test.report.classes[class].recall);
    let named = |class: usize| shortened(&test.class_names[class], 30);
    let pairs = pairs(&test.matrix);
    html! {
        p {
            "The weakest classes, with the share of their images that is found: "
            @for (i, &class) in weakest.iter().take(3).enumerate() {
                @if i > 0 { ", " } strong { (named(class)) } " (" (share(class)) ")"
            }
            @let n_alike = weakest.iter().skip(3).take_while(|class| recall(class) == recall(&weakest[2])).count();
            @if n_alike > 0 { ", and " (n_alike) " more like these" }
            ". "
            @if let Some(((first, second), n)) = pairs.first() {
                "The pair with the most errors: " strong { (named(*first)) " and " (named(*second)) }
                " (" (n) " of " (grouped(n_wrong as f64, 0)) " errors, one taken for the other)"
                @for (i, ((first, second), n)) in pairs.iter().skip(1).enumerate() {
                    @if i == 0 { "; then " } @else { ", " }
                    (named(*first)) " and " (named(*second)) " (" (n) ")"
                }
                "."
            }
        }
    }
}

/// Returns the classes that have test images, sorted by recall, the lowest first.
pub(super) fn weakest(test: &Test<'_>) -> Vec<usize> {
    let mut classes: Vec<usize> =
        (0..test.class_names.len()).filter(|&class| !test.is_untested(class)).collect();
    let recall = |class: &usize| test.report.classes[*class].recall;
    classes.sort_by(|a, b| recall(a).total_cmp(&recall(b))); // stable
    classes
}

/// Returns the pairs with the most errors in both directions together, and the number of these errors.
fn pairs(matrix: &ConfusionMatrix) -> Vec<((usize, usize), u64)> {
    let c = matrix.n_classes();
    let all = (0..c).flat_map(|a| (a + 1..c).map(move |b| (a, b)));
    let mut pairs: Vec<_> =
        all.map(|(a, b)| ((a, b), matrix.count(a, b) + matrix.count(b, a))).filter(|(_, n)| *n > 0).collect();
    pairs.sort_by_key(|(_, n)| std::cmp::Reverse(*n)); // stable
    pairs.truncate(N_PAIRS);
    pairs
}

/// Describes the answers that can be relied on without a person.
fn left_to_it(trust: &Trust, options: &Options, costs: Option<&CostTable>) -> Result<Markup> {
    let n_val = trust.val.as_ref().map_or(0, Predictions::len);
    let told: Vec<Target> = match options.target_accuracy {
        Some(wanted) => Target::of(trust, wanted)?.into_iter().collect(),
        None => {
            let ladder = Target::ladder(trust)?;
            let mut promised: Vec<Target> =
                ladder.into_iter().filter(|t| t.wanted >= FROM_TARGET && t.chosen.is_some()).collect();
            let last =
                promised.len().checked_sub(1).filter(|&last| last > 0).map(|last| promised.remove(last));
            promised.truncate(1);
            promised.extend(last);
            if promised.is_empty() {
                // a model more accurate than all of these may still promise exactly this
                promised.extend(Target::of(trust, FROM_TARGET)?.filter(|target| target.chosen.is_some()));
            }
            promised
        }
    };
    Ok(html! {
        @for target in &told {
            @match promise(target) {
                Some(sentence) => { p { (sentence) } },
                None => { p { "An accuracy of " (percent(target.wanted)) " cannot be promised: " (target.why_not(n_val)) "." } },
            }
        }
        @if told.is_empty() {
            @if trust.val.is_none() {
                p { "No accuracy can be promised: the run had no validation images for choosing a threshold. A person should look at its answers." }
            } @else {
                @let wanted = Target { wanted: FROM_TARGET, chosen: None };
                p { "No answers can be accepted with a promised accuracy of " (percent(FROM_TARGET)) " or more: " (wanted.why_not(n_val)) "." }
            }
        }
        @if let Some(costs) = costs {
            @let argmax = costs.evaluate_argmax(&trust.test);
            @let best = match costs.ask_a_person() {
                Some(_) => costs.evaluate(&trust.test, |row| costs.decide(row)),
                None => costs.evaluate(&trust.test, |row| costs.decide_alone(row)),
            };
            p {
                "If decisions are made by the costs of errors, 1,000 images cost " strong { (money(costs, best.cost_per_1000)) } " instead of " (money(costs, argmax.cost_per_1000))
                @if best.n_asked > 0 { ", with " (format!("{:.0} %", 100.0 * best.n_asked as f64 / best.n.max(1) as f64)) " of them sent to a person" }
                "."
            }
        }
    })
}

/// Draws how the images of each class are classified; if there are many classes, only of the weakest.
fn picture(test: &Test<'_>) -> Chart {
    let bands = Bands::default();
    let classes = weakest(test);
    let n = classes.len();
    let rows: Vec<ClassBar> = classes
        .into_iter()
        .take(MAX_CLASSES)
        .map(|class| {
            let worst = bands.of_class(&test.matrix, class).and_then(|found| {
                Some((shown(&test.class_names[found.confused_with?]), found.errors_per_1000 / 1000.0))
            });
            ClassBar {
                label: shown(&test.class_names[class]),
                found: test.report.classes[class].recall,
                worst,
            }
        })
        .collect();
    let title = match n > MAX_CLASSES {
        true => format!("How each class is classified: the {MAX_CLASSES} weakest of {n}"),
        false => "How the images of each class are classified".to_owned(),
    };
    class_bars("verdict", &title, &rows)
}
