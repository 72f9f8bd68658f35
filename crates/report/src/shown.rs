//! Names from outside, made fit to be shown: nothing invisible, nothing that reorders, nothing too long.
//!
//! Escaping for HTML and SVG is the templates' business; this is for the characters that no escaping helps against.

use unicode_width::UnicodeWidthChar;

/// `text` with every character that is invisible, or acts on others, as its code: `<U+202E>`.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) { out.push_str(&code(c)) } else { out.push(c) }
    }
    if out.trim().is_empty() { format!("\"{out}\"") } else { out } // blanks alone would not be seen
}

/// The code of a character that cannot be shown itself.
pub(crate) fn code(c: char) -> String {
    format!("<U+{:04X}>", u32::from(c))
}

/// Controls, line ends, direction marks and overrides, and what is no character.
fn acts(c: char) -> bool {
    let of_direction =
        matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    let no_character = u32::from(c) & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}');
    c.is_control()
        || of_direction
        || no_character
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{61c}')
}

/// [`shown`], cut to `max_columns` columns of a terminal, with an ellipsis where something is left out.
pub(crate) fn shortened(text: &str, max_columns: usize) -> String {
    let text = shown(text);
    if columns(&text) <= max_columns {
        return text;
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < max_columns
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// How many columns of a terminal `text` takes: two for a character that is as wide as high.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `text` and blanks up to `width` columns.
pub(crate) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown_as_its_code() {
        assert_eq!(shown("a\u{1b}[31m\u{202e}b\n"), "a<U+001B>[31m<U+202E>b<U+000A>");
        assert_eq!(shown("Größe 猫 собака 🐕 <script>"), "Größe 猫 собака 🐕 <script>");
        assert_eq!(shown(" "), "\" \"");
    }

    #[test]
    fn long_names_are_cut_by_columns() {
        assert_eq!(shortened("automobile", 10), "automobile");
        assert_eq!(shortened("automobiles", 10), "automobil…");
        assert_eq!(shortened("猫猫猫猫", 5), "猫猫…");
        assert_eq!(columns(&shortened(&"x".repeat(500), 12)), 12);
        assert_eq!(padded("猫", 4), "猫  ");
    }
}
