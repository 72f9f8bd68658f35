//! Loads recipes: built in or from a file. Either may build on another recipe (`base = "cnn"`); overrides are applied last.
//!
//! A recipe is checked against the table of keys (`keys`) before serde reads it. So messages name whole keys, and missing
//! values are filled in.

use std::path::{Path, PathBuf};

use tallow_core::keys::{Extent, KeyTable};
use tallow_core::{did_you_mean, files, path_of, path_text};
use toml::{Table, Value};

use crate::error::{Result, TrainingError};
use crate::keys::recipe_keys;
use crate::recipe::Recipe;

/// The built-in recipes: name and text, in the order in which they are listed.
const BUILT_IN: [(&str, &str); 17] = [
    ("cnn", include_str!("../../../assets/recipes/cnn.toml")),
    ("cnn-5", include_str!("../../../assets/recipes/cnn-5.toml")),
    ("cnn-muon", include_str!("../../../assets/recipes/cnn-muon.toml")),
    ("speedrun", include_str!("../../../assets/recipes/speedrun.toml")),
    ("quick", include_str!("../../../assets/recipes/quick.toml")),
    ("photos", include_str!("../../../assets/recipes/photos.toml")),
    ("photos-cnn", include_str!("../../../assets/recipes/photos-cnn.toml")),
    ("keras", include_str!("../../../assets/recipes/keras.toml")),
    ("keras-5", include_str!("../../../assets/recipes/keras-5.toml")),
    ("keras-resnet", include_str!("../../../assets/recipes/keras-resnet.toml")),
    ("resnet50-head", include_str!("../../../assets/recipes/resnet50-head.toml")),
    ("resnet50-head-64", include_str!("../../../assets/recipes/resnet50-head-64.toml")),
    ("resnet18-head", include_str!("../../../assets/recipes/resnet18-head.toml")),
    ("lite0-head", include_str!("../../../assets/recipes/lite0-head.toml")),
    ("lite0-finetune", include_str!("../../../assets/recipes/lite0-finetune.toml")),
    ("resnet50-finetune", include_str!("../../../assets/recipes/resnet50-finetune.toml")),
    ("dinov2-head", include_str!("../../../assets/recipes/dinov2-head.toml")),
];

/// Largest length of a chain of `base`.
const MAX_DEPTH: usize = 8;

/// Size limit of a recipe, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Returns the names of the built-in recipes.
pub fn recipe_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// Returns the text of a built-in recipe, with its comments.
pub fn recipe_text(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, text)| *text)
}

/// One setting that replaces a recipe's: `optimizer.lr` and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The key, with dots between tables.
    pub key: String,
    /// The value.
    pub value: Value,
    /// The text the user gave, for messages: `--epochs 3`.
    pub given: String,
}

impl Override {
    /// Creates an override of `key`.
    pub fn new(key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        Self { key: key.to_owned(), given: format!("{key} = {value}"), value }
    }

    /// Replaces the text that messages show as the user's input.
    pub fn given_as(self, given: impl Into<String>) -> Self {
        Self { given: given.into(), ..self }
    }

    /// Reads `key=value`. A value that is not valid TOML (a bare word) is taken as text.
    ///
    /// # Errors
    /// If there is no `=`, or the key is empty.
    pub fn parse(text: &str) -> Result<Self> {
        let problem = || TrainingError::Recipe {
            origin: "--set".into(),
            problem: format!("expected key=value, found {text:?}"),
        };
        let (key, value) = text.split_once('=').ok_or_else(problem)?;
        let key = key.trim();
        if key.split('.').any(str::is_empty) {
            return Err(problem());
        }
        let parsed =
            toml::from_str::<Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
        let value = parsed.unwrap_or_else(|| Value::String(value.trim().to_owned()));
        Ok(Self::new(key, value).given_as(format!("--set {}", tallow_core::shown(text))))
    }
}

/// Loads the recipe `source` (a built-in name, or a file ending in .toml), applies `overrides` and validates it.
///
/// # Errors
/// If the recipe does not exist, or one of its keys or values cannot be used.
pub fn load_recipe(source: impl AsRef<Path>, overrides: &[Override]) -> Result<Recipe> {
    load_recipe_with(source, overrides, &recipe_keys())
}

/// Does the same as [`load_recipe`], for a caller with more `keys` than [`recipe_keys`]: those of `[model]`.
///
/// # Errors
/// The same as [`load_recipe`].
pub fn load_recipe_with(source: impl AsRef<Path>, overrides: &[Override], keys: &KeyTable) -> Result<Recipe> {
    let source = source.as_ref();
    resolve(load_table(source, keys, 0)?, source, overrides, keys)
}

/// Reads a recipe from the text of a file, and validates it. Messages call the file `origin`, and a file that it names as its
/// `base` is relative to that path.
///
/// # Errors
/// The same as [`load_recipe`].
pub fn parse_recipe(text: &str, origin: &Path, keys: &KeyTable) -> Result<Recipe> {
    resolve(parse_table(text, &stem(origin), origin, keys, 0)?, origin, &[], keys)
}

/// Applies `overrides` to the table of the recipe `source`, fills in missing values, and validates the result.
fn resolve(mut table: Table, source: &Path, overrides: &[Override], keys: &KeyTable) -> Result<Recipe> {
    let origin = path_text(source);
    let fail = |problem: String| TrainingError::Recipe { origin: origin.clone(), problem };
    // the kind of a table decides what its other keys mean, so it is set first, whatever the order of the overrides
    let (kinds, others): (Vec<&Override>, Vec<_>) =
        overrides.iter().partition(|o| keys.tagged_by(&o.key).is_some());
    for given in kinds.into_iter().chain(others) {
        apply(given, &mut table, keys)
            .map_err(|problem| TrainingError::Override { given: given.given.clone(), problem })?;
    }
    keys.fill(&mut table);
    keys.check(&table, Extent::Whole).map_err(fail)?;
    let recipe: Recipe =
        table.try_into().map_err(|e: toml::de::Error| fail(e.to_string().trim().replace('\n', " ")))?;
    recipe.validate().map_err(|e| e.in_recipe(&origin))?;
    Ok(recipe)
}

/// Applies an override to a recipe. If it sets another kind of a table, keys that the new kind does not have are removed.
fn apply(given: &Override, table: &mut Table, keys: &KeyTable) -> std::result::Result<(), String> {
    let Override { key, value, .. } = given;
    let mut alone = Table::new();
    set(&mut alone, key, value.clone())?;
    keys.check(&alone, Extent::Part)?;
    match (keys.tagged_by(key), value.as_str()) {
        (Some(section), Some(kind)) => {
            let inner = inner_table(table, section.name)?;
            keys.choose(section, inner, kind);
            Ok(())
        }
        _ => set(table, key, value.clone()),
    }
}

fn load_table(source: &Path, keys: &KeyTable, depth: usize) -> Result<Table> {
    let origin = path_text(source);
    match recipe_text(&origin) {
        Some(text) => parse_table(text, &origin, source, keys, depth),
        None if source.as_os_str().as_encoded_bytes().ends_with(b".toml") => {
            let bytes = files::read_at_most(source, MAX_BYTES)?;
            let problem = "it is not UTF-8 text".to_owned();
            let text = String::from_utf8(bytes)
                .map_err(|_| TrainingError::Recipe { origin: origin.clone(), problem })?;
            parse_table(&text, &stem(source), source, keys, depth)
        }
        None => {
            let known = recipe_names().collect::<Vec<_>>().join(", ");
            let nearest = did_you_mean(&origin, recipe_names());
            Err(TrainingError::UnknownRecipe { name: origin, known, nearest })
        }
    }
}

/// Parses the text of the recipe `source`, which is called `name` unless it says otherwise, and merges it into its `base`.
fn parse_table(text: &str, name: &str, source: &Path, keys: &KeyTable, depth: usize) -> Result<Table> {
    let fail = |problem: String| TrainingError::Recipe { origin: path_text(source), problem };
    let mut table: Table = toml::from_str(text).map_err(|e| fail(e.to_string()))?;
    let base = table.remove("base");
    keys.check(&table, Extent::Part).map_err(fail)?;
    table.entry("name").or_insert(Value::String(name.to_owned()));
    match base {
        None => Ok(table),
        Some(_) if depth == MAX_DEPTH => {
            Err(fail(format!("base: more than {MAX_DEPTH} recipes build on each other")))
        }
        Some(Value::String(base)) => {
            let mut merged = load_table(&base_path(source, &base), keys, depth + 1)?;
            merge(&mut merged, table);
            Ok(merged)
        }
        Some(other) => Err(fail(format!("base: expected a recipe's name or file, found {other}"))),
    }
}

/// Returns the name of the recipe in the file `source`. It is for people and for new folders, and no way to the file.
fn stem(source: &Path) -> String {
    source.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the path of a `base`, or its name if it is built in; a file named in a file is relative to it.
fn base_path(source: &Path, base: &str) -> PathBuf {
    if recipe_text(base).is_some() {
        return base.into();
    }
    source.with_file_name(path_of(base)) // replaces all of `source` if `base` is absolute
}

/// Merges `over` into `base`: tables are merged key by key, everything else is replaced. A table with a different `kind` or
/// `name` is replaced as a whole.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if same_tag(old, &new) => merge(old, new),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn same_tag(old: &Table, new: &Table) -> bool {
    ["kind", "name"].iter().all(|tag| new.get(*tag).is_none_or(|t| old.get(*tag) == Some(t)))
}

/// Sets the value at a dotted key and creates missing tables on the way.
fn set(table: &mut Table, key: &str, value: Value) -> std::result::Result<(), String> {
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    inner_table(table, path)?.insert(last.to_owned(), value);
    Ok(())
}

/// Returns the table at a dotted path; creates it if it is missing.
fn inner_table<'t>(table: &'t mut Table, path: &str) -> std::result::Result<&'t mut Table, String> {
    let mut table = table;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let next = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        table = next
            .as_table_mut()
            .ok_or_else(|| format!("{part:?} is not a table here: set its whole value instead"))?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
