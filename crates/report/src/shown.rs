//! Prepares names from outside for tables and charts: `tallow_core::shown` makes them safe to show, and they are cut to
//! the available width.

use unicode_width::UnicodeWidthChar;

/// Returns `text` with a code such as `<U+202E>` in place of every character that is invisible or acts on others.
pub fn shown(text: &str) -> String {
    tallow_core::shown(text).into_owned()
}

/// Returns [`shown`] of `text`, cut to `max_columns` columns of a terminal; an ellipsis marks the cut.
pub fn shortened(text: &str, max_columns: usize) -> String {
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
        assert_eq!(shortened("automobile", 10), "automobile");
        assert_eq!(shortened("automobiles", 10), "automobil…");
        assert_eq!(shortened("猫猫猫猫", 5), "猫猫…");
        assert_eq!(columns(&shortened(&"x".repeat(500), 12)), 12);
        assert_eq!(padded("猫", 4), "猫  ");
    }
}
