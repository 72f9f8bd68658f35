//! The part that describes what was trained, and how to train it again.

use maud::{Markup, html};
use tallow_core::Foreign;
use tallow_core::shown::{shell_word, shown_lines};

use super::{Section, facts, percent, percent_interval, plain, race};
use crate::chart::grouped;
use crate::comparison::{parameters, training_rate};
use crate::record::RunRecord;
use crate::shown::{shortened, shown};
use crate::times::{duration, epochs, threads, utc};

pub(super) fn section(run: &RunRecord) -> Section {
    let body = html! {
        (figures_at_the_top(run))
        (facts(&entries(run)))
        (race::told(run))
        h3 { "To repeat the run" }
        pre { code { (commands(run)) } }
        @if let Some((text, _)) = &run.recipe {
            details { summary { "The whole recipe, with all values" } pre { code { (shown_lines(text)) } } }
        }
    };
    Section { id: "run", heading: "What was trained", body, charts: vec![] }
}

fn figures_at_the_top(run: &RunRecord) -> Markup {
    let Some(summary) = &run.summary else {
        return html! { p class="notice" role="note" { "The run has not ended: there is no summary yet." } };
    };
    html! {
        div class="tiles" {
            @if let Some(test) = &summary.test {
                div { span class="figure" { (percent(test.accuracy)) } span { "accuracy on " (grouped(summary.n_test as f64, 0)) @if summary.is_tested_by_folds() { " images, by folds" } @else { " test images" } } span class="muted" { "95 %: " (percent_interval(test.accuracy_interval)) } }
            }
            @if let Some(val) = &summary.val {
                div { span class="figure" { (percent(val.accuracy)) } span { "accuracy on " (grouped(summary.n_val as f64, 0)) @if summary.folds.is_some() { " images, by folds" } @else { " validation images" } } }
            }
            div {
                span class="figure" { (duration(summary.train_seconds)) }
                span { "training, " (epochs(summary.epochs_run)) }
                @if let Some(rate) = training_rate(summary) { span class="muted" { (rate) " images/s" } }
                @if summary.features_seconds.is_some() { span class="muted" { "of a head, on stored features" } }
            }
            div {
                @match summary.n_trained_parameters.filter(|&n| n != summary.n_parameters) {
                    Some(trained) => {
                        span class="figure" { (grouped(trained as f64, 0)) }
                        span { "parameters were trained" }
                        span class="muted" { (grouped(summary.n_parameters.saturating_sub(trained) as f64, 0)) " are frozen" }
                    }
                    None => {
                        span class="figure" { (grouped(summary.n_parameters as f64, 0)) }
                        span { "parameters" }
                    }
                }
            }
        }
    }
}

fn entries(run: &RunRecord) -> Vec<(String, Markup)> {
    let mut out: Vec<(String, Markup)> = Vec::new();
    let mut put = |term: &str, fact: String| out.push((term.to_owned(), plain(fact)));
    if let Some(s) = &run.summary {
        let count = |n: u64| grouped(n as f64, 0);
        let about = s.dataset_about.as_ref().map(|about| format!(": {}", about.shown())).unwrap_or_default();
        put("Data", format!("{}{about}", s.dataset.shown()));
        put(
            "Images",
            match &s.folds {
                Some(folds) => format!(
                    "{} to train on, held out in {} folds{}",
                    count(s.n_train),
                    folds.accuracies.len(),
                    match s.is_tested_by_folds() {
                        true => String::new(),
                        false => format!(", {} to test", count(s.n_test)),
                    }
                ),
                None => format!(
                    "{} to train on, {} to validate, {} to test",
                    count(s.n_train),
                    count(s.n_val),
                    count(s.n_test)
                ),
            },
        );
    }
    if let Some([height, width]) = run.pictures.image_px {
        put("Image size", format!("{width} × {height} pixels"));
    }
    if let Some(names) = run.test.as_ref().or(run.val.as_ref()).map(|table| &table.class_names) {
        let list: Vec<String> = names.iter().take(20).map(|name| shortened(name, 40)).collect();
        let more = if names.len() > 20 { ", …" } else { "" };
        put("Classes", format!("{}: {}{more}", names.len(), list.join(", ")));
    }
    let recipe_name = run.recipe_value(&["name"]).or(run.summary.as_ref().map(|s| s.recipe.clone()));
    if let Some(name) = recipe_name {
        put("Recipe", shown(&name));
    }
    let optimiser = ["kind", "lr", "weight_decay"].map(|key| run.recipe_value(&["optimizer", key]));
    if let [Some(kind), lr, decay] = optimiser {
        let batch = run
            .recipe_value(&["batch_size"])
            .map(|n| format!(", batches of {}", n.shown()))
            .unwrap_or_default();
        let lr = lr.map(|lr| format!(", learning rate {}", lr.shown())).unwrap_or_default();
        let decay = decay.map(|d| format!(", weight decay {}", d.shown())).unwrap_or_default();
        put("Optimiser", format!("{}{lr}{decay}{batch}", kind.shown()));
    }
    if let Some(s) = &run.summary {
        let trained =
            if s.n_trained_parameters.is_some_and(|n| n != s.n_parameters) { " trained" } else { "" };
        put("Model", format!("{}, {} parameters{trained}", s.model.shown(), parameters(s)));
        if let Some(weights) = &s.pretrained {
            let licence = weights.licence.as_ref().map_or("licence unknown".into(), Foreign::shown);
            put("Pretrained weights", format!("{}, {licence}", weights.origin.shown()));
        }
        put("Seed", s.seed.to_string());
        let [device, isa, precision] = [&s.device, &s.isa, &s.precision].map(Foreign::shown);
        put("Computed on", format!("{device}, {isa}, {precision}, {}", threads(s.threads)));
        let memory = s.peak_rss_bytes.map(|b| format!(", peak memory {} MB", grouped(b as f64 / 1e6, 0)));
        put("Training took", format!("{}{}", duration(s.train_seconds), memory.unwrap_or_default()));
        if let Some(text) = s.features_text(duration) {
            put("Features", format!("{text}; kept for every run on the same pictures and weights"));
        }
    }
    if let Some(started) = run.events.started_unix_secs {
        put("Started", utc(started));
    }
    if run.events.n_resumed > 0 {
        put(
            "Resumed",
            if run.events.n_resumed == 1 { "once".into() } else { format!("{} times", run.events.n_resumed) },
        );
    }
    if let Some(versions) = run.events.versions() {
        put("Versions", versions);
    }
    if let Some(commit) = &run.events.git_commit {
        put("Git commit", shown(commit));
    }
    if let Some(s) = &run.summary {
        put("Digest of the data", shown(&s.data_digest));
    }
    out
}

/// Returns the commands that train the model again, evaluate it and make its report.
fn commands(run: &RunRecord) -> String {
    let path = shell_word(&run.path);
    format!("trainer --recipe {path}/recipe.toml\ntrainer eval {path}\ntrainer report {path}")
}
