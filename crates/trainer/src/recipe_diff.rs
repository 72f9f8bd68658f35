//! `trainer recipes diff`: lists the keys in which two recipes differ, after all defaults are filled in.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tallow_core::{path_text, shown};
use tallow_report::{columns, padded};
use tallow_training::{Recipe, recipe_settings};
use toml::Value;

use crate::App;
use crate::args::DiffArgs;
use crate::output;
use crate::recipe_input::recipe_or_run;

#[derive(Serialize)]
pub(crate) struct Diff<'a> {
    pub(crate) a: &'a str,
    pub(crate) b: &'a str,
    pub(crate) differences: Vec<Difference>,
}

/// A key with different values in the two recipes; `None` if a recipe does not have the key.
#[derive(Serialize)]
pub(crate) struct Difference {
    pub(crate) key: String,
    a: Option<Value>,
    b: Option<Value>,
}

pub(crate) fn run(args: &DiffArgs, app: &App) -> Result<ExitCode> {
    let differences = differences(&recipe_or_run(&args.a)?, &recipe_or_run(&args.b)?)?;
    let [a, b] = [path_text(&args.a), path_text(&args.b)];
    let diff = Diff { a: &a, b: &b, differences };
    match app.global.json {
        true => output::json(&diff)?,
        false => output::line(&text(&diff))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares all keys except the name, which only affects the names of run folders.
pub(crate) fn differences(a: &Recipe, b: &Recipe) -> Result<Vec<Difference>> {
    let (a, b) = (recipe_settings(a)?, recipe_settings(b)?);
    let value = |side: &[(String, Value)], key: &str| {
        side.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone())
    };
    let only_b = b.iter().filter(|(key, _)| value(&a, key).is_none());
    let keys = a.iter().chain(only_b).map(|(key, _)| key).filter(|key| *key != "name");
    let both = keys.map(|key| Difference { key: key.clone(), a: value(&a, key), b: value(&b, key) });
    let mut differing: Vec<Difference> = both.filter(|difference| difference.a != difference.b).collect();
    differing.sort_by(|x, y| x.key.cmp(&y.key));
    Ok(differing)
}

/// Formats one line per key, with both values.
pub(crate) fn text(diff: &Diff<'_>) -> String {
    let Diff { a, b, differences } = diff;
    if differences.is_empty() {
        return format!("{} and {} are the same recipe", shown(a), shown(b));
    }
    let value = |value: &Option<Value>| match value {
        None => "not set".to_owned(),
        Some(Value::Float(x)) => format!("{x:?}"), // 1e-7, which TOML writes as 0.0000001
        Some(other) => shown(&other.to_string()).into_owned(),
    };
    let row = |d: &Difference| [shown(&d.key).into_owned(), value(&d.a), value(&d.b)];
    let head = ["key", a, b].map(|text| shown(text).into_owned());
    let rows: Vec<[String; 3]> = std::iter::once(head).chain(differences.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| columns(&row[column])).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let lines: Vec<String> = rows
        .iter()
        .map(|[key, a, b]| format!("{}  {}  {b}", padded(key, first), padded(a, second)))
        .collect();
    lines.join("\n")
}
