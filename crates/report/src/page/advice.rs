//! Suggests what to do next. Each rule looks at figures of the run and gives one suggestion, with the command or the
//! place for it.

use maud::{Markup, html};
use tallow_core::shown::shell_word;
use tallow_metrics::{Band, Bands, ConfusionMatrix, surest_errors};

use super::coverage::whole;
use super::verdict::weakest;
use crate::analysis::{Test, Trust};
use crate::chart::grouped;
use crate::honesty::is_honest;
use crate::record::RunRecord;
use crate::shown::shortened;

/// Largest number of suggestions: readers would not read more.
const MAX: usize = 5;
/// A test is too small if an end of the interval is farther than this from the accuracy.
const WIDE: f64 = 0.03;
/// Confidence from which a wrong answer is worth a look at its label.
const SUSPECT: f64 = 0.95;
/// Ratio of the largest to the smallest class, in training images, from which class weights are suggested.
const IMBALANCE: u64 = 10;
/// A model has hardly learnt if it gains less than this share of the way from always answering the largest class to
/// always being right.
const HARDLY: f64 = 0.25;
/// Training was still improving if the validation loss fell by more than this share per epoch at the end.
const STILL_FALLING: f64 = 0.025;
/// A model has learnt its training images by heart if at least the first share of them is right, and its training accuracy
/// exceeds its validation accuracy by more than the second share.
const BY_HEART: [f64; 2] = [0.9, 0.1];

/// Returns the suggestions, the most urgent first.
pub(super) fn advice(run: &RunRecord, test: &Test<'_>, trust: &Trust) -> Vec<Markup> {
    let rules = [
        honest_test(run),
        hardly_learnt(run, test),
        collect(run, test),
        suspects(trust),
        balance(run),
        by_heart(run),
        still_learning(run),
        small_test(run, test),
    ];
    let mut steps: Vec<Markup> = rules.into_iter().flatten().take(MAX).collect();
    steps.push(use_it(run, trust));
    steps
}

fn honest_test(run: &RunRecord) -> Option<Markup> {
    (!is_honest(run)).then(|| {
        html! { "Get an honest figure before you rely on it: train without " code { "--validate-on test" } " and without weights that may have seen the test images, or test on new pictures with " code { "trainer eval " (shell_word(&run.path)) " --dataset FOLDER" } "." }
    })
}

/// For a model that is wrong about most images: single classes are not the problem.
fn hardly_learnt(run: &RunRecord, test: &Test<'_>) -> Option<Markup> {
    let has_weights = has_weights(run);
    let by_chance = test.matrix.largest_class().map_or(0.0, |(_, share)| share);
    let gained = (test.accuracy() - by_chance) / (1.0 - by_chance).max(f64::MIN_POSITIVE);
    (gained < HARDLY).then(|| {
        html! {
            "The model has hardly learnt its classes: "
            @if !has_weights { "start from pretrained weights (" code { "--weights" } "), or " }
            "train longer (" code { "--epochs" } ") on more pictures, before you look at single classes."
        }
    })
}

/// Returns whether training started from pretrained weights.
fn has_weights(run: &RunRecord) -> bool {
    run.recipe_value(&["model", "weights"]).is_some()
}

/// Returns whether a head was trained on the features of a frozen backbone. They are computed once, without augmentation.
pub(super) fn is_on_features(run: &RunRecord) -> bool {
    has_weights(run) && run.recipe_value(&["model", "unfreeze"]).is_some_and(|value| value.raw() == "none")
}

/// Suggests more pictures of the classes that are confused with one another.
fn collect(run: &RunRecord, test: &Test<'_>) -> Option<Markup> {
    let bands = Bands::default();
    // a single wrong answer is no pattern, however few pictures the class has
    let is_repeated =
        |class: usize, other: Option<usize>| other.is_some_and(|other| test.matrix.count(class, other) > 1);
    let failing = |&class: &usize| {
        let found = bands.of_class(&test.matrix, class);
        found.is_some_and(|b| b.band == Band::Failing && is_repeated(class, b.confused_with))
    };
    let classes: Vec<usize> = weakest(test).into_iter().filter(failing).collect();
    let worst: Vec<usize> = classes.iter().copied().take(3).collect();
    let named = |class: usize| shortened(&test.class_names[class], 30);
    let counts = run.pictures.train_counts.as_ref();
    let n_trained = |class: usize| counts.and_then(|counts| counts.get(class)).copied();
    let (first, rest) = worst.split_first()?;
    Some(html! {
        "Collect more pictures of " strong { (named(*first)) } @for class in rest { ", " strong { (named(*class)) } }
        ": " (of_class(&test.matrix, *first, test)) "."
        @if let Some(n) = n_trained(*first) { " The model was trained on " (grouped(n as f64, 0)) " pictures of " (named(*first)) "." }
        @if classes.len() > worst.len() {
            @let more = classes.len() - worst.len();
            " For " (more) @if more == 1 { " more class" } @else { " more classes" } ", too, more than 50 of 1,000 pictures are taken for one other class (" a href="#business" { "the list" } ")."
        }
    })
}

fn of_class(matrix: &ConfusionMatrix, class: usize, test: &Test<'_>) -> String {
    let named = |class: usize| shortened(&test.class_names[class], 30);
    match Bands::default().of_class(matrix, class).and_then(|found| found.confused_with) {
        Some(other) => format!(
            "of {} test pictures of {}, {} are taken for {}",
            grouped(matrix.support(class) as f64, 0),
            named(class),
            grouped(matrix.count(class, other) as f64, 0),
            named(other)
        ),
        None => "they are missed most often".to_owned(),
    }
}

/// Suggests a look at labels that may be wrong.
fn suspects(trust: &Trust) -> Option<Markup> {
    let p = &trust.test;
    let n = surest_errors(p).into_iter().take_while(|&i| p.confidence(i) >= SUSPECT).count();
    (n > 0).then(|| {
        let (are, they) = match n {
            1 => ("picture is", "its label turns"),
            _ => ("pictures are", "their labels turn"),
        };
        html! { "Look at the " a href="#errors" { "surest errors" } ": " (n) " test " (are) " classified wrongly with more than " (whole(SUSPECT)) " confidence. If " (they) " out to be wrong, correct them and train again." }
    })
}

fn balance(run: &RunRecord) -> Option<Markup> {
    let counts = run.pictures.train_counts.as_ref()?;
    let (least, most) = (*counts.iter().min()?, *counts.iter().max()?);
    let has_weights = run.recipe_value(&["loss", "class_weights"]).is_some();
    (most >= IMBALANCE * least.max(1) && !has_weights).then(|| {
        html! { "The largest class has " (grouped(most as f64, 0)) " training pictures, the smallest " (grouped(least as f64, 0)) ": if small classes matter as much, try " code { "--set loss.class_weights=balanced" } "." }
    })
}

/// For a model that is right on training images and wrong on others.
fn by_heart(run: &RunRecord) -> Option<Markup> {
    let last = run.history.last()?;
    let val = last.val_accuracy?;
    let remedies = match (is_on_features(run), has_weights(run)) {
        (true, _) => html! { "More pictures help" },
        (false, true) => html! { "More pictures or stronger augmentation help" },
        (false, false) => {
            html! { "More pictures or stronger augmentation or pretrained weights (" code { "--weights" } ") help" }
        }
    };
    let [known, gap] = BY_HEART;
    (last.accuracy >= known && last.accuracy - val > gap).then(|| {
        html! { "The model is right on " (whole(last.accuracy)) " of its training pictures, but only on " (whole(val)) " of the validation pictures: it has learnt the training pictures by heart. " (remedies) " more than more epochs." }
    })
}

/// For a run that ended while its validation loss was still falling.
fn still_learning(run: &RunRecord) -> Option<Markup> {
    if by_heart(run).is_some() {
        return None;
    }
    let losses: Vec<f64> = run.history.iter().filter_map(|record| record.val_loss).collect();
    let (&last, before) = losses.split_last()?;
    let &quarter = before.get(before.len().checked_sub(1 + before.len() / 4)?)?;
    let planned = run.recipe_value(&["epochs"]).and_then(|epochs| epochs.raw().parse().ok()).unwrap_or(0);
    let n_epochs = planned.max(run.history.len() as u64);
    let per_epoch = (1.0 - last / quarter) / (1 + before.len() / 4) as f64;
    (per_epoch > STILL_FALLING).then(|| {
        html! { "The model was still getting better when the run ended: " code { "trainer --resume " (shell_word(&run.path)) " --epochs " (n_epochs + n_epochs.div_ceil(2)) } " continues the run, and keeps the model that validates better. Its test is then a second look at the test images." }
    })
}

/// Suggests more test images if the interval of the accuracy is wide, and folds. With folds every picture is a test picture
/// already.
fn small_test(run: &RunRecord, test: &Test<'_>) -> Option<Markup> {
    if run.summary.as_ref().is_some_and(|summary| summary.folds.is_some()) {
        return None;
    }
    let [low, high] = test.accuracy_interval;
    let off = (test.accuracy() - low).max(high - test.accuracy());
    (off > WIDE).then(|| {
        let p = test.accuracy().clamp(0.05, 0.95);
        let needed = (1.96f64 / 0.02).powi(2) * p * (1.0 - p);
        html! {
            "Test on more pictures: with " (grouped(test.matrix.n() as f64, 0)) " the accuracy is known only to within " (format!("{:.0}", 100.0 * off)) " points. About " (grouped((needed / 100.0).ceil() * 100.0, 0)) " would bring this to 2 points. Or train with " code { "--folds 5" } ": then each training picture, too, is tested, by a model that has not seen it"
            @if !is_on_features(run) { "; this takes about six times as long" }
            "."
        }
    })
}

fn use_it(run: &RunRecord, trust: &Trust) -> Markup {
    html! {
        "Classify pictures with it: " code { "trainer predict " (shell_word(&run.path)) " PICTURE..." }
        @if trust.temperature.is_some() { ", which prints calibrated probabilities" }
        "."
    }
}
