//! Recipes from the command line: loaded with the keys of every architecture, and checked for flags and `--set` arguments
//! that contradict each other.

use std::path::Path;

use tallow_core::keys::{KeyTable, leaves};
use tallow_models::with_model_keys;
use tallow_run_files::RECIPE;
use tallow_training::{Override, Recipe, RunFolder, TrainingError, load_recipe_with, recipe_keys};
use toml::Value;

/// Returns every key of a recipe.
pub(crate) fn all_keys() -> KeyTable {
    with_model_keys(recipe_keys())
}

/// Loads the recipe `source` with `overrides`, and also checks and completes its `[model]` table.
pub(crate) fn load_recipe(source: impl AsRef<Path>, overrides: &[Override]) -> Result<Recipe, TrainingError> {
    load_recipe_with(source, overrides, &all_keys())
}

/// Loads the recipe `source`, which may be a run folder.
pub(crate) fn recipe_or_run(source: &Path) -> Result<Recipe, TrainingError> {
    if !source.is_dir() {
        return load_recipe(source, &[]);
    }
    match RunFolder::recipe_of(source) {
        Ok(_) => load_recipe(source.join(RECIPE), &[]),
        // a folder of pictures may have the name of a built-in recipe; the error tells why the folder is not a run folder
        Err(why) => load_recipe(source, &[]).map_err(|_| why),
    }
}

/// Returns the override of a flag. The flag's name is the last part of the key.
pub(crate) fn flag(key: &str, value: Value) -> Override {
    let name = key.rsplit('.').next().unwrap_or(key).replace('_', "-");
    let given = match &value {
        Value::Boolean(true) => format!("--{name}"),
        Value::String(text) => format!("--{name} {}", tallow_core::shown(text)),
        Value::Float(x) => format!("--{name} {x}"),
        other => format!("--{name} {other}"),
    };
    Override::new(key, value).given_as(given)
}

/// Two arguments that set one key to different values.
#[derive(Debug)]
pub(crate) struct Conflict {
    key: String,
    given: [String; 2],
}

impl std::error::Error for Conflict {}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, second] = &self.given;
        write!(f, "{first} and {second} set {} to different values: leave one of them out", self.key)
    }
}

/// Refuses arguments that set one key to different values, whatever their order.
pub(crate) fn refuse_conflicts(overrides: &[Override]) -> Result<(), Conflict> {
    let mut values: Vec<(String, &Value, &str)> = Vec::new();
    for Override { key, value, given } in overrides {
        let before = values.len();
        values.extend(set_by(key, value).into_iter().map(|(key, value)| (key, value, given.as_str())));
        for i in before..values.len() {
            let (key, value, second) = &values[i];
            let other = values[..before].iter().find(|(k, v, _)| k == key && !is_same(v, value));
            if let Some((_, _, first)) = other {
                return Err(Conflict { key: key.clone(), given: [first, second].map(|s| (*s).to_owned()) });
            }
        }
    }
    Ok(())
}

/// Returns the values that an override sets, each under its full key.
fn set_by<'a>(key: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    match value {
        Value::Table(table) => {
            leaves(table).into_iter().map(|(name, value)| (format!("{key}.{name}"), value)).collect()
        }
        _ => vec![(key.to_owned(), value)],
    }
}

/// Whether two values are equal; 1 equals 1.0.
fn is_same(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    a == b || number(a).zip(number(b)).is_some_and(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_has_one_value() {
        let refused = |overrides: &[Override]| refuse_conflicts(overrides).err().map(|e| e.to_string());
        let set = |text: &str| Override::parse(text).unwrap();
        let message = refused(&[flag("epochs", 3.into()), set("epochs=5")]).unwrap();
        assert_eq!(
            message,
            "--epochs 3 and --set epochs=5 set epochs to different values: leave one of them out"
        );
        assert!(refused(&[set("seed=1"), set("seed=2")]).unwrap().contains("--set seed=1 and --set seed=2"));
        assert!(
            refused(&[flag("optimizer.lr", 0.5.into()), set("optimizer={lr=1}")])
                .unwrap()
                .contains("--lr 0.5")
        );
        assert_eq!(refused(&[flag("optimizer.lr", 1.0.into()), set("optimizer.lr=1"), set("seed=2")]), None);
        assert_eq!(flag("data.skip_bad", true.into()).given, "--skip-bad");
    }
}
