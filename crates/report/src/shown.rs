//! Prepares names from outside for tables and charts: they are made safe to show, and cut to the available width.

use tallow_core::Foreign;
use unicode_width::UnicodeWidthChar;

/// Returns `text` with a code such as `<U+202E>` in place of every character that is invisible or acts on others.
pub fn shown(text: &Foreign) -> String {
    text.shown().into_owned()
}

/// Returns [`shown`] of `text`, cut to `max_columns` columns of a terminal; an ellipsis marks the cut.
pub fn shortened(text: &Foreign, max_columns: usize) -> String {
    fitted(&text.shown(), max_columns)
}

/// Returns a text that is safe to show, cut like [`shortened`].
pub(crate) fn fitted(text: &str, max_columns: usize) -> String {
    if columns(text) <= max_columns {
        return text.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < max_columns
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Returns the number of terminal columns that `text` takes; wide characters, such as Chinese ones, take two.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Returns `text`, padded with blanks up to `width` columns.
pub fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_by_columns() {
        assert_eq!(fitted("automobile", 10), "automobile");
        assert_eq!(fitted("automobiles", 10), "automobil…");
        assert_eq!(fitted("猫猫猫猫", 5), "猫猫…");
        assert_eq!(columns(&fitted(&"x".repeat(500), 12)), 12);
        assert_eq!(shortened(&"a\u{1b}[2J".into(), 8), "a<U+001…");
        assert_eq!(padded("猫", 4), "猫  ");
    }
}
