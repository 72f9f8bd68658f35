//! A description of the keys of a TOML document: the values that each key takes, its default, and its meaning.
//!
//! People and the program use the same description: lists and pages are made from it. [`KeyTable::check`] reports in
//! words what is wrong with a document, [`KeyTable::fill`] inserts the defaults of missing keys, [`KeyTable::choose`]
//! changes the kind of a table. The keys themselves are defined by the crates that have them.

mod check;
mod fill;
mod leaves;
mod takes;

pub use self::check::Extent;
pub use self::leaves::leaves;
pub use self::takes::{Takes, found};

/// A table of a document. The names of its keys begin with the name of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name with dots: `callbacks.early_stopping`; empty for the top level of the document.
    pub name: &'static str,
    /// Description in one line.
    pub about: &'static str,
    /// The key that gives the kind of the table, such as `kind`, if the table has kinds.
    pub tag: Option<&'static str>,
    /// Whether a document may omit the table. A missing optional table means something else than an empty table.
    pub is_optional: bool,
    /// Whether the document holds a list of such tables.
    pub is_list: bool,
}

impl Section {
    /// Returns a plain table.
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, tag: None, is_optional: false, is_list: false }
    }

    /// Returns the same table with kinds, which the key `tag` tells apart.
    pub const fn tagged(self, tag: &'static str) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// Returns the same table as an optional one.
    pub const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// Returns an optional list of such tables.
    pub const fn list(self) -> Self {
        Self { is_list: true, is_optional: true, ..self }
    }
}

/// Meaning of a missing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// The key is required.
    Refused,
    /// The default is this value, as TOML text.
    Is(&'static str),
    /// These words describe the default, which no value expresses.
    Means(&'static str),
}

/// A key. A name may have several entries: one for each group of table kinds in which it has its own meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Name with dots: `schedule.final_factor`.
    pub name: &'static str,
    /// The values that the key takes.
    pub takes: Takes,
    /// The allowed range of these values, in words that continue those of `takes`: `in [0, 1)`. Empty: all values.
    pub range: &'static str,
    /// The unit of the value; empty if the unit is obvious.
    pub unit: &'static str,
    /// Meaning of a missing key.
    pub unset: Unset,
    /// The kinds of table that have the key; empty: all kinds.
    pub kinds: &'static [&'static str],
    /// The value that the key gets, as TOML text, when the kind of its table changes and the old kind's value cannot
    /// be kept.
    pub on_choice: Option<&'static str>,
    /// Meaning of the key in one line.
    pub about: &'static str,
    /// Source of the key: a paper, or the program that gives the key its meaning.
    pub source: Option<&'static str>,
}

impl Key {
    /// Returns a required key.
    pub const fn new(name: &'static str, takes: Takes, about: &'static str) -> Self {
        let unset = Unset::Refused;
        Self { name, takes, range: "", unit: "", unset, kinds: &[], on_choice: None, about, source: None }
    }

    /// Returns the same key with the default `value`, as TOML text.
    pub const fn or(self, value: &'static str) -> Self {
        Self { unset: Unset::Is(value), ..self }
    }

    /// Returns the same key with a default that `words` describe.
    pub const fn or_else(self, words: &'static str) -> Self {
        Self { unset: Unset::Means(words), ..self }
    }

    /// Returns the same key with a range.
    pub const fn range(self, range: &'static str) -> Self {
        Self { range, ..self }
    }

    /// Returns the same key with a unit.
    pub const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// Returns the same key, restricted to some kinds of table.
    pub const fn of(self, kinds: &'static [&'static str]) -> Self {
        Self { kinds, ..self }
    }

    /// Returns the same key with the value that it gets when the kind of its table changes.
    pub const fn on_choice(self, value: &'static str) -> Self {
        Self { on_choice: Some(value), ..self }
    }

    /// Returns the same key with its source.
    pub const fn source(self, source: &'static str) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Returns the name of the key's table.
    pub fn section(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Returns the name of the key within its table.
    pub fn last(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, last)| last)
    }

    /// Returns whether tables of this kind have the key. `None` stands for an unknown kind, which has all keys.
    pub fn is_of(&self, kind: Option<&str>) -> bool {
        self.kinds.is_empty() || kind.is_none_or(|kind| self.kinds.contains(&kind))
    }

    /// Returns in words what the key takes, with its range: `a number in [0, 1)`.
    pub fn expectation(&self) -> String {
        let gap = if self.range.is_empty() || self.range.starts_with(',') { "" } else { " " };
        format!("{}{gap}{}", self.takes, self.range)
    }
}

/// All keys of a document and their tables.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    sections: Vec<Section>,
    keys: Vec<Key>,
}

impl KeyTable {
    /// Returns the same table with more sections and keys. A new section replaces the key of the same name.
    pub fn with(mut self, sections: &[Section], keys: &[Key]) -> Self {
        self.sections.extend_from_slice(sections);
        self.keys.extend_from_slice(keys);
        // such a key stood for the whole table; now the keys inside the table are known
        let is_section = |key: &Key| sections.iter().any(|section| section.name == key.name);
        self.keys.retain(|key| !is_section(key));
        self
    }

    /// Returns all tables, in the order in which they are listed.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Returns all keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Returns the table called `name`.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Returns the entries called `name`.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| key.name == name)
    }

    /// Returns the table whose kind the key `name` sets, if the key sets one.
    pub fn tagged_by(&self, name: &str) -> Option<&Section> {
        let (table, last) = name.rsplit_once('.')?;
        self.section(table).filter(|section| section.tag == Some(last))
    }

    /// Returns the tables directly inside `section`.
    fn within<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |inner| {
            !inner.name.is_empty() && inner.name.rsplit_once('.').map_or("", |(outer, _)| outer) == section
        })
    }
}

/// Joins `schedule` and `kind` to `schedule.kind`.
fn joined(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// Returns the last part of a name with dots.
fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// Parses a value that is given as TOML text. Returns `None` if the text is not a TOML value.
pub fn value_of(text: &str) -> Option<toml::Value> {
    toml::from_str::<toml::Table>(&format!("value = {text}")).ok()?.remove("value")
}

#[cfg(test)]
mod tests;
