//! `trainer recipes --keys`: prints the table of keys on a terminal, as a Markdown page or as JSON.

use anyhow::{Result, bail};
use serde::Serialize;
use tallow_core::keys::{Key, KeyTable, Section, Unset, value_of};
use toml::Value;

use crate::App;
use crate::output;
use crate::recipe_input::all_keys;

/// The beginning of the page.
const PAGE_HEAD: &str = "\
# The keys of a recipe

`cargo xtask recipe-keys` writes this page: do not edit it by hand. It shows the table that `trainer recipes --keys` prints and
that recipes are checked against.

A recipe is a TOML file. It may begin with `base = \"cnn\"`, the name of a built-in recipe or of a file beside it; then it holds
only the differences from that recipe. `--set KEY=VALUE` sets any key for one run, and some keys have their own flags
(`trainer train --help`). Two arguments that set one key to different values are refused.

A key that is left out has the value in the third column, in a file and with `--set`: `--set callbacks.early_stopping.patience=3`
is enough for early stopping. The `recipe.toml` of a run folder has all values that the run used.

Some tables have kinds: `optimizer.kind`, `schedule.kind`, `averaging.kind`, `model.name`.

- `--set schedule.kind=cosine` alone changes the kind. A key with the same meaning in both kinds has one row here for both, and
  keeps its value. All other keys of the old kind are dropped, and the other keys of the new kind get their values from the
  third column. So AdamW keeps Adam's rate, but SGD does not; and AdamW does not keep Adam's weight decay, because Adam adds it
  to the gradient.
- `--set model.name=resnet18` in a recipe whose model has weights also chooses the published weights of ResNet-18.
- If a table in a file has another kind than the same table of its base, it replaces that table completely.
- `--set averaging.epochs=3` in a recipe without averaging chooses the kind that has this key.
";

/// A key in JSON.
#[derive(Serialize)]
struct KeyEntry<'a> {
    key: &'a str,
    section: &'a str,
    about: &'a str,
    takes: String,
    choices: &'a [&'a str],
    unit: Option<&'a str>,
    required: bool,
    default: Option<Value>,
    left_out: Option<&'a str>,
    kinds: &'a [&'a str],
    source: Option<&'a str>,
}

/// Prints the keys of `section`, or all keys if `section` is empty.
pub(crate) fn run(section: &str, as_page: bool, app: &App) -> Result<()> {
    let table = all_keys();
    let keys = chosen(&table, section)?;
    match (app.global.json, as_page) {
        (true, _) => output::json(&keys.into_iter().map(entry).collect::<Vec<_>>()),
        (_, true) => output::line(page(&table, &keys).trim_end()),
        (_, false) => output::line(text(&table, &keys).trim_end()),
    }
}

/// Returns the keys of a table and of its inner tables, or the key with this name.
fn chosen<'a>(table: &'a KeyTable, section: &str) -> Result<Vec<&'a Key>> {
    let inside = format!("{section}.");
    let is_chosen = |key: &&Key| section.is_empty() || key.name == section || key.name.starts_with(&inside);
    let keys: Vec<&Key> = table.keys().iter().filter(is_chosen).collect();
    if keys.is_empty() {
        let sections: Vec<&str> =
            table.sections().iter().map(|s| s.name).filter(|name| !name.is_empty()).collect();
        let near = table.nearest(section).map(|name| format!(": did you mean \"{name}\"?"));
        bail!(
            "there are no keys \"{}\": expected one of {}, or the name of a key{}",
            tallow_core::shown(section),
            sections.join(", "),
            near.unwrap_or_default()
        );
    }
    Ok(keys)
}

fn entry(key: &Key) -> KeyEntry<'_> {
    let (default, left_out) = match key.unset {
        Unset::Refused => (None, None),
        Unset::Is(text) => (value_of(text), None),
        Unset::Means(words) => (None, Some(words)),
    };
    KeyEntry {
        key: key.name,
        section: key.section(),
        about: key.about,
        takes: key.expectation(),
        choices: key.takes.words(),
        unit: Some(key.unit).filter(|unit| !unit.is_empty()),
        required: key.unset == Unset::Refused,
        default,
        left_out,
        kinds: key.kinds,
        source: key.source,
    }
}

/// Groups `keys` by their tables.
fn by_section<'a>(table: &'a KeyTable, keys: &[&'a Key]) -> Vec<(&'a Section, Vec<&'a Key>)> {
    let of = |section: &Section| keys.iter().copied().filter(|key| key.section() == section.name).collect();
    let mut sections: Vec<(&Section, Vec<&Key>)> = table.sections().iter().map(|s| (s, of(s))).collect();
    sections.retain(|(_, keys)| !keys.is_empty());
    sections
}

fn title(section: &Section) -> String {
    match (section.name, section.is_list) {
        ("", _) => "At the top".to_owned(),
        (name, true) => format!("[[{name}]]"),
        (name, false) => format!("[{name}]"),
    }
}

/// Describes the value that a key takes, with its unit in brackets, such as `(epochs)` or `(px)`.
fn takes(key: &Key) -> String {
    let unit = if key.unit.is_empty() { String::new() } else { format!(" ({})", key.unit) };
    format!("{}{unit}", key.expectation())
}

fn left_out(key: &Key) -> String {
    match key.unset {
        Unset::Refused => "must be given".to_owned(),
        Unset::Is(text) | Unset::Means(text) => format!("left out: {text}"),
    }
}

/// Returns the kinds of its table that have the key, if not all have it.
fn kinds(table: &KeyTable, key: &Key) -> Option<String> {
    let of =
        |name: &str| table.section(name).and_then(|section| section.tag).map(|tag| format!("{name}.{tag}"));
    let outer = key.section().split('.').next().unwrap_or_default();
    let tag = of(key.section()).or_else(|| of(outer))?;
    (!key.kinds.is_empty()).then(|| format!("{tag} = {}", key.kinds.join(", ")))
}

fn text(table: &KeyTable, keys: &[&Key]) -> String {
    let mut out = String::new();
    for (section, keys) in by_section(table, keys) {
        out += &format!("{}  {}\n\n", title(section), section.about);
        for key in keys {
            out += &format!("  {}\n      {}\n", key.name, key.about);
            let of = kinds(table, key).map(|kinds| format!("; with {kinds}")).unwrap_or_default();
            out += &format!("      Takes {}; {}{of}\n", takes(key), left_out(key));
            if let Some(published) = key.on_choice {
                out += &format!("      When model.name replaces another model: {published}\n");
            }
            if let Some(source) = key.source {
                out += &format!("      Source: {source}\n");
            }
        }
        out.push('\n');
    }
    out
}

fn page(table: &KeyTable, keys: &[&Key]) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('*', "\\*");
    let mut out = PAGE_HEAD.trim_end().to_owned() + "\n";
    for (section, keys) in by_section(table, keys) {
        out += &format!("\n## {}\n\n{}.\n\n", title(section), cell(section.about));
        out += "| key | takes | left out | meaning |\n| --- | --- | --- | --- |\n";
        for key in keys {
            let of = kinds(table, key).map(|kinds| format!(" With {kinds}.")).unwrap_or_default();
            let published = key
                .on_choice
                .map(|text| format!(" When model.name replaces another model: `{text}`."))
                .unwrap_or_default();
            let source = key.source.map(|source| format!(" <{source}>")).unwrap_or_default();
            let left_out = match key.unset {
                Unset::Is(text) => format!("`{text}`"),
                Unset::Means(words) => cell(words),
                Unset::Refused => "must be given".to_owned(),
            };
            out += &format!(
                "| `{}` | {} | {left_out} | {}{of}{published}{source} |\n",
                key.name,
                cell(&takes(key)),
                cell(key.about)
            );
        }
    }
    out
}
