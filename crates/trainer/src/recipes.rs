//! `trainer recipes`: lists the recipes, prints one, and leads to the keys and to comparisons.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tallow_training::{recipe_names, recipe_text};

use crate::App;
use crate::args::{RecipesArgs, RecipesCommand};
use crate::recipe_input::recipe_or_run;
use crate::{output, recipe_diff, recipe_keys};

#[derive(Serialize)]
struct RecipeEntry {
    name: &'static str,
    about: String,
}

pub(crate) fn run(args: &RecipesArgs, app: &App) -> Result<ExitCode> {
    match args {
        RecipesArgs { command: Some(RecipesCommand::Diff(args)), .. } => return recipe_diff::run(args, app),
        RecipesArgs { keys: Some(section), markdown, .. } => recipe_keys::run(section, *markdown, app)?,
        RecipesArgs { name: Some(name), .. } => one(name, app)?,
        _ => all(app)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a built-in recipe's text with its comments; for other recipes, all settings.
fn one(name: &Path, app: &App) -> Result<()> {
    match name.to_str().and_then(recipe_text) {
        Some(text) if !app.global.json => output::line(text.trim_end()),
        _ => {
            let recipe = recipe_or_run(name)?;
            match app.global.json {
                true => output::json(&recipe),
                false => output::line(recipe.to_toml()?.trim_end()),
            }
        }
    }
}

fn all(app: &App) -> Result<()> {
    let about = |name| recipe_text(name).map(first_comment).unwrap_or_default();
    let entries: Vec<RecipeEntry> =
        recipe_names().map(|name| RecipeEntry { name, about: about(name) }).collect();
    if app.global.json {
        return output::json(&entries);
    }
    let width = recipe_names().map(str::len).max().unwrap_or_default();
    for RecipeEntry { name, about } in entries {
        output::line(&format!("{name:width$}  {about}"))?;
    }
    output::line(
        "\n\
         To print a recipe: trainer recipes NAME. Your own recipe is a file ending in .toml that begins \
         with base = \"cnn\".\n\
         All keys with their meaning: trainer recipes --keys. The differences between two recipes: trainer \
         recipes diff A B.",
    )
}

/// Returns the first sentence of the comment at the beginning of a recipe.
fn first_comment(text: &str) -> String {
    let comment: Vec<&str> = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    let comment = comment.join(" ");
    comment.split_once(". ").map_or(comment.clone(), |(first, _)| format!("{first}."))
}
