//! Printing: results on standard output, usage errors on standard error. A closed pipe is not an error.
//!
//! Everything is flushed at once, so that a failed write can still be reported. Whatever a caller forgot to escape, no
//! character that acts is printed, except line ends, tabs and, where there are colours, theirs.
#![expect(clippy::disallowed_methods, reason = "this is the way to standard output")]

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Serialize, Serializer};
use tallow_core::path_text;
use tallow_core::shown::{acts, printable, shown_lines};

/// Prints `text` and the end of a line on standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    print(&mut io::stdout().lock(), &shown_lines(text))
}

/// Prints `text`, without its colours if standard output does not show them: no terminal, NO_COLOR, TERM=dumb.
pub(crate) fn colored(text: &str) -> Result<()> {
    print(&mut anstream::stdout().lock(), &printable(text))
}

/// Prints the message about invalid arguments on standard error, without its colours if that does not show them.
pub(crate) fn usage(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", printable(text)); // if this cannot be printed, nothing can
}

/// Prints `value` as the single JSON document of the command.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    print(&mut io::stdout().lock(), &json_for_terminals(&text))
}

/// Writes characters that act as JSON's escapes: JSON itself asks for that only below U+0020. The value stays the same.
fn json_for_terminals(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| acts(c) && c != '\n') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match acts(c) && c != '\n' {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04x}")),
            false => out.push(c),
        }
    }
    out.into()
}

/// Serialises a path as its text; serde itself refuses paths that are not UTF-8.
pub(crate) fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path_text(path))
}

/// Serialises paths as their texts.
pub(crate) fn paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path_text(path)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_terminals_has_the_same_value_and_acts_on_none() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{1b}[2J\u{202e}\u{7f}\n", "\u{1fffe} \u{feff} 猫"] });
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let text = json_for_terminals(&pretty);
        assert!(!text.chars().any(|c| acts(c) && c != '\n'), "{text:?}");
        assert!(text.contains("\\u009b") && text.contains("\\ud83f\\udffe") && text.contains("猫"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(matches!(json_for_terminals("{\n  \"a\": 1\n}"), Cow::Borrowed(_)));
    }
}
