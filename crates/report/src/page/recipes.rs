//! What the recipes of several runs differ in.

use std::collections::BTreeMap;

use maud::{Markup, html};
use toml::Value;

use super::{Column, Part, Text, plain, table};
use crate::comparison::Comparison;
use crate::shown::{shortened, shown};

/// Differences beyond this many are counted, not shown.
const MAX_ROWS: usize = 60;
/// Keys that say where things lie, and nothing of the result.
const PLACES: [&str; 2] = ["data.data_dir", "name"];

/// None where no recipe is known, or all are the same.
pub(super) fn part(comparison: &Comparison<'_>) -> Option<Part> {
    let recipes: Vec<BTreeMap<String, String>> = comparison
        .runs
        .iter()
        .map(|run| {
            let mut settings = BTreeMap::new();
            if let Some((_, recipe)) = &run.record.recipe {
                flatten("", recipe, &mut settings);
            }
            settings
        })
        .collect();
    let mut keys: Vec<&String> = recipes.iter().flat_map(BTreeMap::keys).collect();
    keys.sort_unstable();
    keys.dedup();
    let is_same = |key: &&String| recipes.windows(2).all(|pair| pair[0].get(*key) == pair[1].get(*key));
    let differing: Vec<&String> =
        keys.into_iter().filter(|key| !is_same(key) && !PLACES.contains(&key.as_str())).collect();
    if differing.is_empty() {
        return None;
    }
    let labels: Vec<String> = comparison.runs.iter().map(|run| shown(&run.label)).collect();
    let columns: Vec<(&str, Column)> =
        std::iter::once(("key", Text)).chain(labels.iter().map(|label| (label.as_str(), Text))).collect();
    let row = |key: &&String| -> Vec<Markup> {
        let values = recipes.iter().map(|recipe| match recipe.get(*key) {
            Some(value) => plain(shortened(value, 60)),
            None => html! { span class="muted" { "not set" } },
        });
        std::iter::once(html! { code { (shown(key)) } }).chain(values).collect()
    };
    let rows: Vec<Vec<Markup>> = differing.iter().take(MAX_ROWS).map(row).collect();
    let body = html! {
        (table("Every setting that is not the same in all of them", &columns, &rows))
        @if differing.len() > MAX_ROWS { p { "And " (differing.len() - MAX_ROWS) " more." } }
    };
    Some(Part { id: "recipes", heading: "What they differ in", body, charts: vec![] })
}

/// Every value of `table`, under its keys joined by dots.
fn flatten(prefix: &str, table: &toml::Table, out: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&name, inner, out),
            Value::String(text) => drop(out.insert(name, text.clone())),
            other => drop(out.insert(name, other.to_string())),
        }
    }
}
