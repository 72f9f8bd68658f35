//! Text from outside: names of classes and files, and everything that the files of a run, of weights or of a hub hold.
//!
//! Such text can hold commands for a terminal, markup, or formulas. So [`Foreign`] cannot be printed as it is: it has no
//! `Display`. Whoever shows it names the medium, and gets the text escaped for that medium. All escaping is here and in
//! [`shown`](crate::shown()), except that of HTML and SVG, which the templates do, and that of JSON and TOML, which the
//! serialisers do.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::path_text::path_text;
use crate::shown::shown;

/// Text from outside. It must be escaped for its medium to be shown; the raw text is for comparing and for files that are
/// read back.
///
/// Without a medium it does not compile:
///
/// ```compile_fail,E0277
/// let class = tallow_core::Foreign::from("cat");
/// let line = format!("{} pictures of {class}", 3);
/// ```
///
/// ```
/// let class = tallow_core::Foreign::from("cat\u{1b}[2J");
/// let line = format!("{} pictures of {}", 3, class.shown());
/// assert_eq!(line, "3 pictures of cat<U+001B>[2J");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Foreign(String);

impl Foreign {
    /// Takes the text of a path ([`path_text`]), which gives the path back.
    pub fn of_path(path: &Path) -> Self {
        Self(path_text(path))
    }

    /// Returns the text for people: on a terminal, and in templates, which escape markup themselves. Characters that are
    /// invisible or act on others are replaced, see [`shown`](crate::shown()).
    pub fn shown(&self) -> Cow<'_, str> {
        shown(&self.0)
    }

    /// Returns the text as a part of Markdown: no part of it is markup, HTML or a link, ends a cell of a table, or begins
    /// a list or a heading.
    pub fn in_markdown(&self) -> String {
        let text = self.shown();
        let mut out = String::with_capacity(text.len() + 8);
        let n_digits = text.chars().take_while(char::is_ascii_digit).count();
        for (i, c) in text.chars().enumerate() {
            match c {
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '&' => out.push_str("&amp;"),
                // entities: not even a careless reader of Markdown makes a link of them
                '[' => out.push_str("&#91;"),
                ']' => out.push_str("&#93;"),
                // at the beginning of a line: indented code, a list, a heading with a line below it
                ' ' if i == 0 => out.push_str("&#32;"),
                '-' | '+' | '=' if i == 0 => out.extend(['\\', c]),
                '.' | ')' if i > 0 && i == n_digits => out.extend(['\\', c]),
                _ if "\\`*_{}#|~!@".contains(c) => out.extend(['\\', c]),
                _ => out.push(c),
            }
        }
        // a text that looks like an address must not become a link
        out.replace("://", r"\://").replace("www.", r"www\.")
    }

    /// Returns the text as code in Markdown, shown literally: between more backticks than any run of backticks in it.
    pub fn in_markdown_code(&self) -> String {
        let text = self.shown();
        let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest + 1);
        let space = if longest > 0 { " " } else { "" };
        format!("{fence}{space}{text}{space}{fence}")
    }

    /// Returns the text as a YAML string in double quotes. Everything but letters, digits and a few signs is written as its
    /// code: the front matter of a page is also read by programs that take it for Markdown.
    pub fn in_yaml(&self) -> String {
        let mut out = String::from("\"");
        for c in self.shown().chars() {
            match u32::from(c) {
                _ if c.is_alphanumeric() || " -_.,/()".contains(c) => out.push(c),
                code @ ..=0xffff => out.push_str(&format!("\\u{code:04X}")),
                code => out.push_str(&format!("\\U{code:08X}")),
            }
        }
        out.push('"');
        out
    }

    /// Returns the text as a field of CSV, which [`of_csv`](Self::of_csv) reads back: in quotation marks where RFC 4180
    /// requires them. A text that a spreadsheet would run, or that begins with an apostrophe, gets an apostrophe before it.
    pub fn in_csv(&self) -> String {
        match starts_as_formula(&self.0) {
            true => csv_field(&format!("{TEXT_MARK}{}", self.0)),
            false => csv_field(&self.0),
        }
    }

    /// Takes the text of a CSV field that [`in_csv`](Self::in_csv) wrote, without its quotation marks. An apostrophe that
    /// [`in_csv`](Self::in_csv) would not have written is part of the text.
    pub fn of_csv(field: &str) -> Self {
        match field.strip_prefix(TEXT_MARK) {
            Some(text) if starts_as_formula(text) => Self::from(text),
            _ => Self::from(field),
        }
    }

    /// Returns the text as the value of a label in Prometheus's text format, without its quotation marks.
    pub fn in_label(&self) -> String {
        self.0.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
    }

    /// Returns the text as it came, for comparing and for files that are read back. It is not safe to show.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// Returns the text as it came, see [`raw`](Self::raw).
    pub fn into_raw(self) -> String {
        self.0
    }

    /// Returns whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Characters at the start of a cell that spreadsheets treat as the start of a formula, or skip before one.
/// Source: OWASP, <https://owasp.org/www-community/attacks/CSV_Injection>.
const RUN_BY_SPREADSHEETS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];
/// Tells a spreadsheet that the rest of the cell is text.
const TEXT_MARK: char = '\'';

fn starts_as_formula(text: &str) -> bool {
    text.starts_with(RUN_BY_SPREADSHEETS) || text.starts_with(TEXT_MARK)
}

/// Returns `text` as a field of CSV, in quotation marks where RFC 4180 requires them. For text of our own, such as a number;
/// for text from outside: [`Foreign::in_csv`].
pub fn csv_field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// Writes the text in quotation marks, with every character escaped that cannot be seen.
impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&str> for Foreign {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Foreign {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Texts are keys: a map from them can be asked by a `str`.
impl Borrow<str> for Foreign {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Foreign {
    fn eq(&self, other: &str) -> bool {
        self.0 == *other
    }
}

impl PartialEq<String> for Foreign {
    fn eq(&self, other: &String) -> bool {
        self.0 == *other
    }
}

impl PartialEq<Foreign> for String {
    fn eq(&self, other: &Foreign) -> bool {
        *self == other.0
    }
}

impl PartialEq<&str> for Foreign {
    fn eq(&self, other: &&str) -> bool {
        self.0 == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn markdown(text: &str) -> String {
        Foreign::from(text).in_markdown()
    }

    #[test]
    fn names_are_no_markup() {
        assert_eq!(markdown("a|b *c* <script>\n"), r"a\|b \*c\* &lt;script&gt;&lt;U+000A&gt;");
        assert_eq!(markdown("&lt; https://x www.y a@b"), r"&amp;lt; https\://x www\.y a\@b");
        assert_eq!(markdown("[a](javascript:b)"), "&#91;a&#93;(javascript:b)");
        assert_eq!(markdown("![a]"), r"\!&#91;a&#93;");
    }

    #[test]
    fn no_name_begins_a_block() {
        for (name, written) in
            [("- a", r"\- a"), ("+a", r"\+a"), ("===", r"\==="), ("12. a", r"12\. a"), ("1)", r"1\)")]
        {
            assert_eq!(markdown(name), written);
        }
        assert_eq!(markdown("    a"), "&#32;   a");
        assert_eq!(markdown("cnn-5.1 (a)"), "cnn-5.1 (a)");
        assert_eq!(markdown(".5"), ".5");
    }

    #[test]
    fn code_is_shown_as_it_is() {
        assert_eq!(Foreign::from("vit_small").in_markdown_code(), "`vit_small`");
        assert_eq!(Foreign::from("a``b`").in_markdown_code(), "``` a``b` ```");
        assert_eq!(Foreign::from("a\n\u{1b}").in_markdown_code(), "`a<U+000A><U+001B>`");
    }

    #[test]
    fn a_yaml_string_holds_no_other_signs() {
        assert_eq!(Foreign::from("cifar10, a-b").in_yaml(), "\"cifar10, a-b\"");
        assert_eq!(Foreign::from("a: \"b\" # c").in_yaml(), "\"a\\u003A \\u0022b\\u0022 \\u0023 c\"");
        assert_eq!(Foreign::from("<b>\\").in_yaml(), "\"\\u003Cb\\u003E\\u005C\"");
        assert_eq!(Foreign::from("é 🐕").in_yaml(), "\"é \\U0001F415\"");
    }

    #[test]
    fn no_cell_is_run_and_each_comes_back() {
        for (name, cell) in [
            ("=1+1", "'=1+1"),
            ("-5", "'-5"),
            ("@a", "'@a"),
            ("\t=1", "'\t=1"),
            ("\r\"", "\"'\r\"\"\""),
            ("'tis", "''tis"),
            ("cat", "cat"),
            ("a, \"b\"", "\"a, \"\"b\"\"\""),
        ] {
            assert_eq!(Foreign::from(name).in_csv(), cell);
            let unquoted = match cell.strip_prefix('"') {
                Some(rest) => rest[..rest.len() - 1].replace("\"\"", "\""),
                None => cell.to_owned(),
            };
            assert_eq!(Foreign::of_csv(&unquoted), name);
        }
        assert_eq!(Foreign::of_csv("'tis"), "'tis", "as it was written once");
    }

    #[test]
    fn a_label_ends_where_it_should() {
        assert_eq!(Foreign::from("a\"\\\n").in_label(), "a\\\"\\\\\\n");
    }

    /// Errors write names by `Debug`, which must be as safe on a terminal.
    #[test]
    fn debug_shows_no_character_that_acts() {
        for c in ('\0'..=char::MAX).filter(|c| crate::shown::acts(*c)) {
            let text = format!("{:?}", Foreign::from(c.to_string()));
            assert!(!text.chars().any(crate::shown::acts), "U+{:04X}: {text}", u32::from(c));
        }
    }

    #[test]
    fn a_text_is_its_own_key() {
        let map = std::collections::HashMap::from([(Foreign::from("a"), 1)]);
        assert_eq!(map.get("a"), Some(&1));
        let text = Foreign::from("a");
        assert!(text == *"a" && vec![text] == ["a"]);
    }
}
