//! The types of value that a key takes, their description in words, and the test of a value.

use std::fmt;

use toml::Value;

/// The type of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// 0, 1, 2, …
    Whole,
    /// Any number.
    Number,
    /// Text.
    Text,
    /// `true` or `false`.
    YesNo,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The path of a file or folder.
    Path,
    /// A list of this many whole numbers; 0: of any length.
    Wholes(usize),
    /// A list of this many numbers; 0: of any length.
    Numbers(usize),
    /// A list of some of these words.
    Choices(&'static [&'static str]),
    /// This word, a list of numbers, or a table from class names to numbers.
    WordOrWeights(&'static str),
    /// A table with any content.
    Table,
}

impl Takes {
    /// Returns whether `value` is of this type.
    pub fn fits(self, value: &Value) -> bool {
        let is_number = |value: &Value| matches!(value, Value::Integer(_) | Value::Float(_));
        let is_whole = |value: &Value| value.as_integer().is_some_and(|n| n >= 0);
        let is_one_of =
            |words: &[&str], value: &Value| value.as_str().is_some_and(|text| words.contains(&text));
        let list = |n: usize, fits: &dyn Fn(&Value) -> bool| {
            value.as_array().is_some_and(|list| (n == 0 || list.len() == n) && list.iter().all(fits))
        };
        match self {
            Self::Whole => is_whole(value),
            Self::Number => is_number(value),
            Self::Text | Self::Path => value.is_str(),
            Self::YesNo => value.is_bool(),
            Self::Choice(words) => is_one_of(words, value),
            Self::Wholes(n) => list(n, &is_whole),
            Self::Numbers(n) => list(n, &is_number),
            Self::Choices(words) => list(0, &|value| is_one_of(words, value)),
            Self::WordOrWeights(word) => {
                let is_by_name = value.as_table().is_some_and(|table| table.values().all(is_number));
                value.as_str() == Some(word) || list(0, &is_number) || is_by_name
            }
            Self::Table => value.is_table(),
        }
    }

    /// Returns the words that the key takes; empty for a type without fixed words.
    pub fn words(&self) -> &[&'static str] {
        match self {
            Self::Choice(words) | Self::Choices(words) => words,
            Self::WordOrWeights(word) => std::slice::from_ref(word),
            _ => &[],
        }
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("a whole number"),
            Self::Number => f.write_str("a number"),
            Self::Text => f.write_str("text"),
            Self::YesNo => f.write_str("true or false"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Path => f.write_str("a file or folder"),
            Self::Wholes(0) => f.write_str("a list of whole numbers"),
            Self::Wholes(n) => write!(f, "a list of {n} whole numbers"),
            Self::Numbers(0) => f.write_str("a list of numbers"),
            Self::Numbers(n) => write!(f, "a list of {n} numbers"),
            Self::Choices(words) => write!(f, "a list of some of {}", words.join(", ")),
            Self::WordOrWeights(word) => {
                write!(f, "the word {word}, a list of numbers, or a table of numbers by class name")
            }
            Self::Table => f.write_str("a table"),
        }
    }
}

/// Describes a value in words, for the end of "it takes a number, found".
pub fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text \"{}\"", crate::shown(text)),
        Value::Integer(n) => format!("{n}"),
        Value::Float(_) | Value::Boolean(_) => value.to_string(),
        Value::Datetime(_) => format!("the date {value}"),
        Value::Array(_) => format!("the list {}", crate::shown(&value.to_string())),
        Value::Table(_) => "a table".to_owned(),
    }
}
