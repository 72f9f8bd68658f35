//! What is printed: results on standard output, errors on standard error. A closed pipe is no error.
//!
//! Everything is flushed as soon as it is printed, so that whatever cannot be written is told while somebody listens.

use std::io::{self, IsTerminal as _, Write};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Prints `text` and the end of a line on standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    print(&mut io::stdout().lock(), text)
}

/// Prints `text`, without its colours where standard output shows none: no terminal, NO_COLOR, TERM=dumb.
pub(crate) fn colored(text: &str) -> Result<()> {
    print(&mut anstream::stdout().lock(), text)
}

/// Prints `value` as the one JSON document.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// "1 epoch", "20 epochs".
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// How many columns standard output has: those of the terminal; elsewhere what COLUMNS says, if it says anything.
pub(crate) fn columns() -> Option<usize> {
    let stdout = io::stdout();
    if stdout.is_terminal()
        && let Some((width, _)) = terminal_size::terminal_size_of(stdout)
    {
        return Some(width.0.into()).filter(|&width| width > 0);
    }
    std::env::var("COLUMNS").ok()?.trim().parse().ok().filter(|&width| width > 0)
}

/// Whether standard error shows colours: a terminal, and nobody who set NO_COLOR.
pub(crate) fn stderr_has_colors() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !no_color
}

fn print(out: &mut impl Write, text: &str) -> Result<()> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e).context("cannot write to standard output"),
        _ => Ok(()),
    }
}
