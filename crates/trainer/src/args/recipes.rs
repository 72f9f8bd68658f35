//! The command line of `trainer recipes`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  trainer recipes                                    list the recipes
  trainer recipes cnn > my.toml                      start a recipe of your own
  trainer recipes runs/cnn-1                         print the recipe of a run
  trainer recipes --keys                             list every key, with its values and its meaning
  trainer recipes --keys schedule                    list the keys of one table
  trainer recipes diff cnn cnn-5                     show the differences between two recipes"
)]
pub(crate) struct RecipesArgs {
    /// Print this recipe: the text of a built-in one, or all settings of a file ending in .toml or of a run folder
    #[arg(value_name = "NAME|FILE|RUN")]
    pub(crate) name: Option<PathBuf>,
    /// List every key that recipes and --set accept, or those of one table or key
    #[arg(long, value_name = "SECTION", num_args = 0..=1, default_missing_value = "", conflicts_with = "name")]
    pub(crate) keys: Option<String>,
    /// With --keys: print a Markdown page
    #[arg(long, requires = "keys")]
    pub(crate) markdown: bool,
    #[command(subcommand)]
    pub(crate) command: Option<RecipesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecipesCommand {
    /// Show the keys in which two recipes differ
    Diff(DiffArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A built-in recipe, a file ending in .toml, or a run folder
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// Another recipe, file or run folder
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
}
