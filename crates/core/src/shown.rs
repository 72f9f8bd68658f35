//! Text from outside, made safe to print: no invisible characters, no changes of direction, no terminal commands.
//!
//! Escaping for HTML and SVG is left to the templates. This module handles the characters that such escaping does not
//! cover.

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

/// Returns whether `c` is replaced: controls, line ends, direction marks and overrides, code points that are not
/// characters.
fn acts(c: char) -> bool {
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
