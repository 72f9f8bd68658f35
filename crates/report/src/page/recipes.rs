//! The part with the differences between the recipes of several runs.

use std::collections::BTreeMap;

use maud::{Markup, html};
use tallow_core::Foreign;
use tallow_core::keys::leaves;
use toml::{Table, Value};

use super::{Column, Section, Text, plain, table};
use crate::comparison::Comparison;
use crate::shown::{shortened, shown};

/// Largest number of differences that are shown; the others are only counted.
const MAX_ROWS: usize = 60;
/// Keys that name places, and do not affect the result.
const PLACES: [&str; 2] = ["data.data_dir", "name"];

/// Returns the part; `None` if the recipe of a run is unknown, or all recipes are the same.
pub(super) fn section(comparison: &Comparison<'_>) -> Option<Section> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string().into(), Foreign::from);
    let settings = |(_, recipe): &(String, Table)| -> BTreeMap<String, Foreign> {
        leaves(recipe).into_iter().map(|(key, value)| (key, text(value))).collect()
    };
    // a recipe that cannot be read cannot be compared
    let recipes: Option<Vec<_>> =
        comparison.runs.iter().map(|run| run.record.recipe.as_ref().map(settings)).collect();
    let recipes = recipes?;
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
        std::iter::once(html! { code { (tallow_core::shown(key)) } }).chain(values).collect()
    };
    let rows: Vec<Vec<Markup>> = differing.iter().take(MAX_ROWS).map(row).collect();
    let body = html! {
        (table("All settings that differ between the runs", &columns, &rows))
        @if differing.len() > MAX_ROWS { p { "And " (differing.len() - MAX_ROWS) " more." } }
    };
    Some(Section { id: "recipes", heading: "Different settings", body, charts: vec![] })
}
