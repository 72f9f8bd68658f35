//! Printing: results on standard output, errors on standard error. A closed pipe is not an error.
//!
//! Everything is flushed at once, so that a failed write can still be reported.

use std::io::{self, IsTerminal as _, Write};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Prints `text` and the end of a line on standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    print(&mut io::stdout().lock(), text)
}

/// Prints `text`, without its colours if standard output does not show them: no terminal, NO_COLOR, TERM=dumb.
pub(crate) fn colored(text: &str) -> Result<()> {
    print(&mut anstream::stdout().lock(), text)
}

/// Prints `value` as the single JSON document of the command.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Returns a count with its noun: "1 epoch", "20 epochs".
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Returns the number of columns of standard output: that of the terminal; elsewhere that of COLUMNS, if it is set.
pub(crate) fn columns() -> Option<usize> {
    let stdout = io::stdout();
    if stdout.is_terminal()
        && let Some((width, _)) = terminal_size::terminal_size_of(stdout)
    {
        return Some(width.0.into()).filter(|&width| width > 0);
    }
    std::env::var("COLUMNS").ok()?.trim().parse().ok().filter(|&width| width > 0)
}

/// Whether standard error shows colours: it is a terminal and NO_COLOR is not set.
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
