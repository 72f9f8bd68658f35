//! `trainer recipes`: what there is, and the text of one.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use tallow_training::{load_recipe, recipe_names, recipe_text};

use crate::App;
use crate::args::RecipesArgs;
use crate::output;

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    about: String,
}

pub(crate) fn run(args: &RecipesArgs, app: &App) -> Result<ExitCode> {
    match &args.name {
        Some(name) => one(name, app)?,
        None => all(app)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn one(name: &str, app: &App) -> Result<()> {
    let Some(text) = recipe_text(name) else {
        bail!(
            "there is no recipe \"{name}\": expected one of {}",
            recipe_names().collect::<Vec<_>>().join(", ")
        );
    };
    match app.global.json {
        true => output::json(&load_recipe(name, &[])?),
        false => output::line(text.trim_end()),
    }
}

fn all(app: &App) -> Result<()> {
    let about = |name| recipe_text(name).map(first_comment).unwrap_or_default();
    let entries: Vec<Entry> = recipe_names().map(|name| Entry { name, about: about(name) }).collect();
    if app.global.json {
        return output::json(&entries);
    }
    let width = recipe_names().map(str::len).max().unwrap_or_default();
    for Entry { name, about } in entries {
        output::line(&format!("{name:width$}  {about}"))?;
    }
    output::line(
        "\nOne in full: trainer recipes NAME. Your own: a file ending in .toml that begins with base = \"cnn\".",
    )
}

/// The first sentence of the comment that a recipe begins with.
fn first_comment(text: &str) -> String {
    let comment: Vec<&str> = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    let comment = comment.join(" ");
    comment.split_once(". ").map_or(comment.clone(), |(first, _)| format!("{first}."))
}
