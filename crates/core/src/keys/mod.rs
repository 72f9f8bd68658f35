//! A description of the keys of a TOML document: what each takes, what holds where it is left out, what it means.
//!
//! One table of them is read by people (lists and pages are made of it) and by the program: [`KeyTable::check`] says what
//! is wrong with a document in words, [`KeyTable::fill`] puts in what it leaves out, [`KeyTable::choose`] changes the kind of
//! a table. Which keys there are is the business of the crates that have them.

mod check;
mod fill;
mod leaves;
mod takes;

pub use self::check::Extent;
pub use self::leaves::leaves;
pub use self::takes::{Takes, found};

/// A table of a document. Its keys are those whose names begin with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name with dots: `callbacks.early_stopping`; empty for the top of the document.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// The key that says which kind of table it is, such as `kind`, where there are kinds.
    pub tag: Option<&'static str>,
    /// Whether a document can do without it, which means something else than the table with nothing in it.
    pub is_optional: bool,
    /// Whether it is a list of such tables.
    pub is_list: bool,
}

impl Section {
    /// A plain table.
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about, tag: None, is_optional: false, is_list: false }
    }

    /// The same, with kinds that the key `tag` tells apart.
    pub const fn tagged(self, tag: &'static str) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// The same, which a document can do without.
    pub const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// A list of such tables.
    pub const fn list(self) -> Self {
        Self { is_list: true, is_optional: true, ..self }
    }
}

/// What holds where a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It cannot be left out.
    Refused,
    /// This value, as TOML text.
    Is(&'static str),
    /// What these words say: no value stands for it.
    Means(&'static str),
}

/// A key. One name may have several entries, for different kinds of its table, where it means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// With dots: `schedule.final_factor`.
    pub name: &'static str,
    /// What values it takes.
    pub takes: Takes,
    /// Which of them, in words that go on after those of `takes`: `in [0, 1)`. Empty: all.
    pub range: &'static str,
    /// What it is counted in; empty where that goes without saying.
    pub unit: &'static str,
    /// What holds where it is left out.
    pub unset: Unset,
    /// The kinds of its table that have it; empty: all.
    pub kinds: &'static [&'static str],
    /// What takes its place, as TOML text, where another kind of table is chosen that cannot keep the old kind's value.
    pub on_choice: Option<&'static str>,
    /// What it means, in a line.
    pub about: &'static str,
    /// Where it comes from: a paper, or the program whose meaning it has.
    pub source: Option<&'static str>,
}

impl Key {
    /// A key that must be given.
    pub const fn new(name: &'static str, takes: Takes, about: &'static str) -> Self {
        let unset = Unset::Refused;
        Self { name, takes, range: "", unit: "", unset, kinds: &[], on_choice: None, about, source: None }
    }

    /// The same with the value, as TOML text, that holds where it is left out.
    pub const fn or(self, value: &'static str) -> Self {
        Self { unset: Unset::Is(value), ..self }
    }

    /// The same with words for what holds where it is left out.
    pub const fn or_else(self, words: &'static str) -> Self {
        Self { unset: Unset::Means(words), ..self }
    }

    /// The same with a range.
    pub const fn range(self, range: &'static str) -> Self {
        Self { range, ..self }
    }

    /// The same with a unit.
    pub const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// The same, of some kinds of table only.
    pub const fn of(self, kinds: &'static [&'static str]) -> Self {
        Self { kinds, ..self }
    }

    /// The same with the value that it has where its kind of table is newly chosen.
    pub const fn on_choice(self, value: &'static str) -> Self {
        Self { on_choice: Some(value), ..self }
    }

    /// The same with its source.
    pub const fn source(self, source: &'static str) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The name of the table that it stands in.
    pub fn section(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within that table.
    pub fn last(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, last)| last)
    }

    /// Whether tables of this kind have it.
    pub fn is_of(&self, kind: Option<&str>) -> bool {
        self.kinds.is_empty() || kind.is_none_or(|kind| self.kinds.contains(&kind))
    }

    /// What it takes, with its range: `a number in [0, 1)`.
    pub fn expectation(&self) -> String {
        let gap = if self.range.is_empty() || self.range.starts_with(',') { "" } else { " " };
        format!("{}{gap}{}", self.takes, self.range)
    }
}

/// All keys of a document, and the tables that they stand in.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    sections: Vec<Section>,
    keys: Vec<Key>,
}

impl KeyTable {
    /// The same with more tables and keys.
    pub fn with(mut self, sections: &[Section], keys: &[Key]) -> Self {
        self.sections.extend_from_slice(sections);
        self.keys.extend_from_slice(keys);
        // a table whose keys are known now is no longer one that is taken as it is
        let is_section = |key: &Key| sections.iter().any(|section| section.name == key.name);
        self.keys.retain(|key| !is_section(key));
        self
    }

    /// All tables, in the order in which they are listed.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// All keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The table with this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The entries with this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| key.name == name)
    }

    /// The table whose kind this key sets, if it sets one.
    pub fn tagged_by(&self, name: &str) -> Option<&Section> {
        let (table, last) = name.rsplit_once('.')?;
        self.section(table).filter(|section| section.tag == Some(last))
    }

    /// The tables that stand directly in `section`.
    fn within<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |inner| {
            !inner.name.is_empty() && inner.name.rsplit_once('.').map_or("", |(outer, _)| outer) == section
        })
    }
}

/// `schedule` and `kind` as `schedule.kind`.
fn joined(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// The last part of a name with dots.
fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// A value that stands as text in the table of keys.
pub fn value_of(text: &str) -> Option<toml::Value> {
    toml::from_str::<toml::Table>(&format!("value = {text}")).ok()?.remove("value")
}

#[cfg(test)]
mod tests;
