//! Names from outside in tables and charts: made fit to be shown by `tallow_core::shown`, no wider than there is room.

use unicode_width::UnicodeWidthChar;

/// `text` with every character that is invisible, or acts on others, as its code: `<U+202E>`.
pub fn shown(text: &str) -> String {
    tallow_core::shown(text).into_owned()
}

/// [`shown`], cut to `max_columns` columns of a terminal, with an ellipsis where something is left out.
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

/// How many columns of a terminal `text` takes: two for a character that is as wide as high.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `text` and blanks up to `width` columns.
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
