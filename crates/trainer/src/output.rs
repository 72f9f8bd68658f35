//! What is printed: results on standard output, errors on standard error. A closed pipe is no error.

use std::io::{self, Write};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Prints `text` and the end of a line on standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    ignore_closed_pipe(writeln!(io::stdout().lock(), "{text}"))
}

/// Prints `text`, without its colours where standard output shows none: no terminal, NO_COLOR, TERM=dumb.
pub(crate) fn colored(text: &str) -> Result<()> {
    ignore_closed_pipe(writeln!(anstream::stdout().lock(), "{text}"))
}

/// Prints `value` as the one JSON document.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// "1 epoch", "20 epochs".
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A number with commas between groups of three digits.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn ignore_closed_pipe(result: io::Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e).context("cannot write to standard output"),
        _ => Ok(()),
    }
}
