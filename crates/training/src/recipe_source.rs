//! Where recipes come from: built in, or a file; either may build on another (`base = "cnn"`), and overrides come last.

use std::path::Path;

use tallow_core::files;
use toml::{Table, Value};

use crate::error::{Result, TrainingError};
use crate::recipe::Recipe;

/// The built-in recipes: name and text, in the order in which they are listed.
const BUILT_IN: [(&str, &str); 12] = [
    ("cnn", include_str!("../../../assets/recipes/cnn.toml")),
    ("cnn-5", include_str!("../../../assets/recipes/cnn-5.toml")),
    ("photos", include_str!("../../../assets/recipes/photos.toml")),
    ("photos-cnn", include_str!("../../../assets/recipes/photos-cnn.toml")),
    ("keras", include_str!("../../../assets/recipes/keras.toml")),
    ("keras-5", include_str!("../../../assets/recipes/keras-5.toml")),
    ("keras-resnet", include_str!("../../../assets/recipes/keras-resnet.toml")),
    ("resnet50-head", include_str!("../../../assets/recipes/resnet50-head.toml")),
    ("resnet50-head-64", include_str!("../../../assets/recipes/resnet50-head-64.toml")),
    ("resnet18-head", include_str!("../../../assets/recipes/resnet18-head.toml")),
    ("resnet50-finetune", include_str!("../../../assets/recipes/resnet50-finetune.toml")),
    ("dinov2-head", include_str!("../../../assets/recipes/dinov2-head.toml")),
];

/// How long a chain of `base` may be.
const MAX_DEPTH: usize = 8;

/// Longer files are no recipes.
const MAX_BYTES: u64 = 1 << 20;

/// The names of the built-in recipes.
pub fn recipe_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The text of a built-in recipe, comments included.
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
}

impl Override {
    /// An override of `key`.
    pub fn new(key: &str, value: impl Into<Value>) -> Self {
        Self { key: key.to_owned(), value: value.into() }
    }

    /// Reads `key=value`; a value that is no TOML (a bare word) counts as text.
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
        Ok(Self::new(key, parsed.unwrap_or_else(|| Value::String(value.trim().to_owned()))))
    }
}

/// The recipe called `source` (a built-in name, or a file ending in .toml) with `overrides`, validated.
///
/// # Errors
/// If there is no such recipe, or a key or value of it cannot be used.
pub fn load_recipe(source: &str, overrides: &[Override]) -> Result<Recipe> {
    let mut table = load_table(source, 0)?;
    for Override { key, value } in overrides {
        set(&mut table, key, value.clone())
            .map_err(|problem| TrainingError::Recipe { origin: source.to_owned(), problem })?;
    }
    let recipe: Recipe = table.try_into().map_err(|e: toml::de::Error| TrainingError::Recipe {
        origin: source.to_owned(),
        problem: e.to_string().trim().replace('\n', " "),
    })?;
    recipe.validate()?;
    Ok(recipe)
}

fn load_table(source: &str, depth: usize) -> Result<Table> {
    let fail = |problem: String| TrainingError::Recipe { origin: source.to_owned(), problem };
    let (text, name) = match recipe_text(source) {
        Some(text) => (text.to_owned(), source.to_owned()),
        None if source.ends_with(".toml") => {
            let path = Path::new(source);
            let bytes = files::read_at_most(path, MAX_BYTES)?;
            let text = String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8 text".into()))?;
            (text, path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        }
        None => {
            let known = recipe_names().collect::<Vec<_>>().join(", ");
            return Err(TrainingError::UnknownRecipe { name: source.to_owned(), known });
        }
    };
    let mut table: Table = toml::from_str(&text).map_err(|e| fail(e.to_string()))?;
    table.entry("name").or_insert(Value::String(name));
    match table.remove("base") {
        None => Ok(table),
        Some(_) if depth == MAX_DEPTH => {
            Err(fail(format!("base: more than {MAX_DEPTH} recipes build on each other")))
        }
        Some(Value::String(base)) => {
            let mut merged = load_table(&base_path(source, &base), depth + 1)?;
            merge(&mut merged, table);
            Ok(merged)
        }
        Some(other) => Err(fail(format!("base: expected a recipe's name or file, found {other}"))),
    }
}

/// A file named in a file is looked for beside it.
fn base_path(source: &str, base: &str) -> String {
    if recipe_text(base).is_some() || Path::new(base).is_absolute() {
        return base.to_owned();
    }
    Path::new(source).with_file_name(base).to_string_lossy().into_owned()
}

/// Lays `over` on `base`: tables are merged key by key, everything else is replaced. A table whose `kind` or `name`
/// changes is another thing, and replaced whole.
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

/// Sets the value at a key with dots, making tables on the way.
fn set(table: &mut Table, key: &str, value: Value) -> std::result::Result<(), String> {
    let (path, last) = key.rsplit_once('.').map_or((None, key), |(path, last)| (Some(path), last));
    let mut table = table;
    for part in path.into_iter().flat_map(|p| p.split('.')) {
        let next = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        table = next.as_table_mut().ok_or_else(|| format!("{key}: {part} is not a table"))?;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Precision;

    #[test]
    fn built_in_recipes_are_valid_and_survive_their_own_text() {
        for name in recipe_names() {
            let recipe = load_recipe(name, &[]).unwrap();
            assert_eq!(recipe.name, name);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("other.toml");
            std::fs::write(&path, recipe.to_toml().unwrap()).unwrap();
            assert_eq!(load_recipe(path.to_str().unwrap(), &[]).unwrap(), recipe);
        }
    }

    #[test]
    fn overrides_replace_and_unknown_ones_are_refused() {
        let set = |text: &str| load_recipe("cnn", &[Override::parse(text).unwrap()]);
        assert_eq!(set("epochs=3").unwrap().epochs, 3);
        assert_eq!(set("optimizer.lr=0.125").unwrap().optimizer.lr(), 0.125);
        assert_eq!(set("precision=f32").unwrap().precision, Precision::F32);
        let error = |text: &str| set(text).unwrap_err().to_string();
        assert!(error("optimizer.lrr=1").contains("lrr"), "{}", error("optimizer.lrr=1"));
        assert!(error("epoch=3").contains("epoch"));
        assert!(error("epochs=many").contains("epochs"), "{}", error("epochs=many"));
        assert!(error("epochs.x=1").contains("not a table"));
        assert!(error("batch_size=0").contains("batch_size"));
        assert!(Override::parse("epochs").unwrap_err().to_string().contains("key=value"));
    }

    #[test]
    fn another_kind_replaces_the_whole_table() {
        let mut base: Table =
            toml::from_str("[schedule]\nkind = 'cosine'\nfinal_factor = 0\n[a]\nx = 1\ny = 2").unwrap();
        merge(&mut base, toml::from_str("[schedule]\nkind = 'constant'\n[a]\ny = 3").unwrap());
        assert_eq!(base, toml::from_str("[schedule]\nkind = 'constant'\n[a]\nx = 1\ny = 3").unwrap());
    }

    #[test]
    fn a_file_may_build_on_another_but_not_on_itself() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_string_lossy().into_owned()
        };
        write("a.toml", "base = 'cnn'\nseed = 7");
        let b = write("b.toml", "base = 'a.toml'\nbatch_size = 64");
        let recipe = load_recipe(&b, &[]).unwrap();
        assert_eq!((recipe.name.as_str(), recipe.seed, recipe.batch_size), ("b", 7, 64));
        let loops = write("c.toml", "base = 'c.toml'");
        assert!(load_recipe(&loops, &[]).unwrap_err().to_string().contains("build on each other"));
        assert!(load_recipe("nope", &[]).unwrap_err().to_string().contains("cnn-5"));
    }

    #[test]
    fn a_callback_without_what_it_watches_is_refused() {
        let error = |text: &[&str]| {
            let overrides: Vec<_> = text.iter().map(|t| Override::parse(t).unwrap()).collect();
            load_recipe("keras", &overrides).unwrap_err().to_string()
        };
        let message = error(&["data.val_fraction=0", "data.validate_on=split"]);
        assert!(message.contains("val_fraction is 0"), "{message}");
        let message = error(&["schedule={kind='linear', final_factor=0.0}"]);
        assert!(message.contains("constant"), "{message}");
    }
}
