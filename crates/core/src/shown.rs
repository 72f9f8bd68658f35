//! Text made safe to show to people: no invisible characters, no changes of direction, no terminal commands.
//!
//! [`Foreign`](crate::Foreign) is the type of text from outside, and uses this module. [`printable`] is the last check of
//! whole texts on their way to a terminal. Escaping for HTML and SVG is left to the templates. This module handles the
//! characters that such escaping does not cover.

use std::borrow::Cow;
use std::path::Path;

/// Returns `text` with each invisible or active character replaced by its code, such as `<U+202E>`.
///
/// The replaced characters are controls (C0 with line ends and the escape character, DEL, C1), marks and overrides of
/// direction, zero-width characters except the joiners of scripts and emoji, and code points that are not characters.
/// A text that is empty or all blank is put in quotes.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.trim().is_empty() && !text.chars().any(acts) {
        return format!("\"{text}\"").into(); // blanks alone would be invisible
    }
    if !text.chars().any(acts) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) { out.push_str(&code(c)) } else { out.push(c) }
    }
    out.into()
}

/// Returns the path as safe text, like [`shown`]. Bytes that are not UTF-8 become U+FFFD.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy()).into_owned()
}

/// Returns the path as one shell word. The word is in single quotes if it begins with `-` or has characters other
/// than ASCII letters, digits and `-_./`.
pub fn shell_word(path: &Path) -> String {
    let text = shown_path(path);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match text.chars().all(is_plain) && !text.starts_with('-') {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Returns the code that replaces an unsafe character.
pub fn code(c: char) -> String {
    format!("<U+{:04X}>", u32::from(c))
}

/// Returns a text of several lines made safe, like [`shown`], but with its line ends and tabs: a message that quotes a
/// file, or a text of a file. A name must be shown by [`shown`]: here its line ends cannot be told from others.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    without_acting(text, |_| None)
}

/// Returns `text` as a terminal may get it, like [`shown_lines`], but with its colours (`ESC [ … m`).
///
/// This is the last check of whole texts on their way out, whose line ends and colours are the program's own. Texts from
/// outside must be escaped before, each alone.
pub fn printable(text: &str) -> Cow<'_, str> {
    without_acting(text, colour_bytes)
}

/// Replaces characters that act by their codes, except line ends, tabs, and codes whose length `kept_bytes` returns at an
/// escape character.
fn without_acting(text: &str, kept_bytes: impl Fn(&str) -> Option<usize>) -> Cow<'_, str> {
    if !text.chars().any(|c| acts(c) && !matches!(c, '\n' | '\t')) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let n_bytes = match c {
            '\x1b' => kept_bytes(rest).unwrap_or(0),
            '\r' if rest.starts_with("\r\n") => {
                rest = &rest[1..]; // a line of a file that is quoted
                continue;
            }
            '\n' | '\t' => 1,
            c if acts(c) => 0,
            c => c.len_utf8(),
        };
        match n_bytes {
            0 => out.push_str(&code(c)),
            n => out.push_str(&rest[..n]),
        }
        rest = &rest[n_bytes.max(c.len_utf8())..];
    }
    out.into()
}

/// Returns the length of the colour code that `text` begins with: `ESC [`, digits and semicolons, `m`.
fn colour_bytes(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\x1b[")?;
    let n = inner.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    inner[n..].starts_with('m').then_some(n + 3)
}

/// Returns whether `c` is replaced: controls, line ends, direction marks and overrides, code points that are not
/// characters.
pub fn acts(c: char) -> bool {
    let of_direction =
        matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    let no_character = u32::from(c) & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}');
    c.is_control()
        || of_direction
        || no_character
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown_as_its_code() {
        assert_eq!(shown("a\u{1b}[31m\u{202e}b\n"), "a<U+001B>[31m<U+202E>b<U+000A>");
        assert_eq!(shown("\u{7f}\u{9b}\u{2066}\u{feff}"), "<U+007F><U+009B><U+2066><U+FEFF>");
        assert_eq!(shown(" "), "\" \"");
        assert_eq!(shown(""), "\"\"");
    }

    #[test]
    fn a_text_for_a_terminal_keeps_its_lines_and_colours_alone() {
        let ours = "a\n\tb \x1b[1mbold\x1b[0m \x1b[38;5;1mred\x1b[m\n";
        assert!(matches!(printable("a\n\tb"), Cow::Borrowed("a\n\tb")));
        assert_eq!(printable(ours), ours);
        assert_eq!(printable("\x1b[2J\x1b]0;t\x07\x1b[1"), "<U+001B>[2J<U+001B>]0;t<U+0007><U+001B>[1");
        assert_eq!(printable("a\rb\r\nc\0\u{9b}1m\u{202e}"), "a<U+000D>b\nc<U+0000><U+009B>1m<U+202E>");
        assert_eq!(printable("é\x1b"), "é<U+001B>");
        assert_eq!(shown_lines("a\n\x1b[1mb\r\n\n"), "a\n<U+001B>[1mb\n\n");
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(shell_word(Path::new("runs/cnn-1")), "runs/cnn-1");
        assert_eq!(shell_word(Path::new("a b; rm 'x'")), r"'a b; rm '\''x'\'''");
        assert_eq!(shell_word(Path::new("-v")), "'-v'");
    }

    #[test]
    fn what_can_be_seen_is_left_as_it_is() {
        assert!(matches!(shown("Größe 猫 собака 🐕 <script>"), Cow::Borrowed("Größe 猫 собака 🐕 <script>")));
        assert_eq!(shown("👩\u{200d}🔬"), "👩\u{200d}🔬");
        assert_eq!(shown_path(Path::new("a\tb")), "a<U+0009>b");
    }
}
