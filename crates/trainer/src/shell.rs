//! `trainer completions` and `trainer man`: make shell completions and man pages from the definitions of the commands.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;
use tallow_core::{files, path_text};

use crate::App;
use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::output;

/// Prints the completion script for a shell.
pub(crate) fn completions(args: &CompletionsArgs, app: &App) -> Result<ExitCode> {
    let shell = match args.shell {
        crate::args::ShellName::Bash => Shell::Bash,
        crate::args::ShellName::Zsh => Shell::Zsh,
        crate::args::ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "trainer", &mut script);
    let script = String::from_utf8(script).context("the script is not text")?;
    if app.global.json {
        output::json(&serde_json::json!({ "shell": shell.to_string(), "script": script }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(script.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a man page for each command.
pub(crate) fn man(args: &ManArgs, app: &App) -> Result<ExitCode> {
    files::create_folder(&args.out)?;
    let mut command = Cli::command();
    command.build();
    pages(&command, "trainer", args)?;
    if app.global.json {
        output::json(&serde_json::json!({ "folder": path_text(&args.out) }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the man page of `command` and those of its subcommands.
fn pages(command: &clap::Command, name: &str, args: &ManArgs) -> Result<()> {
    let page = clap_mangen::Man::new(command.clone()).title(name.to_uppercase());
    let mut roff = Vec::new();
    page.render(&mut roff).context("cannot make the man page")?;
    files::write(&args.out.join(format!("{name}.1")), &roff)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        pages(sub, &format!("{name}-{}", sub.get_name()), args)?;
    }
    Ok(())
}
