//! Checks a document and reports the first problem in words: unknown keys, values that a key does not take, missing
//! keys. Messages give the full key, what it takes, and what was found.

use toml::{Table, Value};

use super::{Key, KeyTable, Section, Takes, Unset, found, joined, last};
use crate::nearest::{did_you_mean, nearest};

/// The extent of the table under check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A part of a document, to be merged over other parts: keys may be missing, and the kinds of tables may be
    /// unknown.
    Part,
    /// A whole document.
    Whole,
}

impl KeyTable {
    /// Checks that `table` is a valid document, or a valid part of one.
    ///
    /// # Errors
    /// Returns the first problem, in words.
    pub fn check(&self, table: &Table, extent: Extent) -> Result<(), String> {
        Check { keys: self, extent }.table("", table, None)
    }

    /// Returns the existing name that an unknown `name` probably stands for. Looks for a near name in the same table
    /// first, then for a near name anywhere, then for a name elsewhere with the same last part, then for one with a
    /// near last part.
    pub fn nearest(&self, name: &str) -> Option<&'static str> {
        let sections = self.sections.iter().map(|section| section.name).filter(|name| !name.is_empty());
        let names: Vec<&'static str> = self.keys.iter().map(|key| key.name).chain(sections).collect();
        let with_last =
            |last_part: &str, of: &[&'static str]| of.iter().copied().find(|name| last(name) == last_part);
        let by_last = |of: &[&'static str]| {
            let near = nearest(last(name), of.iter().map(|name| last(name)))?;
            with_last(near, of)
        };
        let beside: Vec<&'static str> =
            names.iter().copied().filter(|other| outer(other) == outer(name)).collect();
        by_last(&beside)
            .or_else(|| nearest(name, names.iter().copied()))
            .or_else(|| with_last(last(name), &names))
            .or_else(|| by_last(&names))
    }
}

/// Returns the name of the table that holds `name`.
fn outer(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(outer, _)| outer)
}

struct Check<'a> {
    keys: &'a KeyTable,
    extent: Extent,
}

impl Check<'_> {
    /// Checks the table called `section`. `kind` is the kind of the table around it.
    fn table(&self, section: &str, table: &Table, kind: Option<&str>) -> Result<(), String> {
        let tag = self.keys.section(section).and_then(|section| section.tag);
        // check the kind first: everything else depends on it
        if let Some((tag, value)) = tag.and_then(|tag| Some((tag, table.get(tag)?))) {
            self.value(&joined(section, tag), value, None)?;
        }
        let kind = tag.and_then(|tag| table.get(tag)).and_then(Value::as_str).or(kind);
        for (name, value) in table {
            let key = joined(section, name);
            match self.keys.section(&key) {
                Some(inner) => self.section(inner, value, kind)?,
                None => self.value(&key, value, kind)?,
            }
        }
        if self.extent == Extent::Whole {
            self.missing(section, table, kind)?;
        }
        Ok(())
    }

    fn section(&self, section: &Section, value: &Value, kind: Option<&str>) -> Result<(), String> {
        let name = section.name;
        match value {
            Value::Table(table) if !section.is_list => self.table(name, table, kind),
            Value::Array(list) if section.is_list => {
                for (i, entry) in (1..).zip(list) {
                    let Some(table) = entry.as_table() else {
                        return Err(format!(
                            "{name} must be a list of tables, but it contains {}",
                            found(entry)
                        ));
                    };
                    self.table(name, table, kind).map_err(|e| format!("{e} (table {i} of {name})"))?;
                }
                Ok(())
            }
            _ => {
                let what = if section.is_list { "a list of tables" } else { "a table" };
                let mut keys: Vec<&str> =
                    self.keys.keys.iter().filter(|key| key.section() == name).map(|key| key.name).collect();
                keys.dedup();
                let has = if keys.is_empty() { String::new() } else { format!(" with {}", keys.join(", ")) };
                Err(format!("{name} must be {what}{has}; found {}", found(value)))
            }
        }
    }

    fn value(&self, key: &str, value: &Value, kind: Option<&str>) -> Result<(), String> {
        let entries: Vec<&Key> = self.keys.named(key).collect();
        let Some(first) = entries.first() else { return Err(self.unknown(key, kind)) };
        let kind = kind.filter(|_| self.extent == Extent::Whole);
        let Some(entry) = entries.iter().find(|entry| entry.is_of(kind)) else {
            let kinds: Vec<&str> = entries.iter().flat_map(|entry| entry.kinds).copied().collect();
            let (tag, kind) = (self.tag_of(first), kind.unwrap_or_default());
            return Err(format!(
                "{key} is a key of {tag} = {}, here {tag} is {kind}: leave {key} out, or change {tag}",
                kinds.join(" or ")
            ));
        };
        // a part need not give its kind
        if entries.iter().any(|entry| entry.is_of(kind) && entry.takes.fits(value)) {
            return Ok(());
        }
        let problem = format!("{key} takes {}; found {}", entry.expectation(), found(value));
        Err(match value {
            Value::String(text) => problem + &did_you_mean(text, entry.takes.words().iter().copied()),
            Value::Table(table) if entry.takes != Takes::Table && !table.is_empty() => {
                let inner: Vec<String> =
                    table.keys().map(|name| format!("\"{}\"", crate::shown(&joined(key, name)))).collect();
                format!("{problem}: it is not a table, and no key is called {}", inner.join(", "))
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_)
                if matches!(entry.takes, Takes::Text | Takes::Path) =>
            {
                format!("{problem}: put it in quotes")
            }
            _ => problem,
        })
    }

    fn unknown(&self, key: &str, kind: Option<&str>) -> String {
        let kind = self.keys.named_tag(outer(key)).zip(kind);
        let of = kind.map(|(tag, kind)| format!(" (with {tag} = {kind})")).unwrap_or_default();
        let near = self.keys.nearest(key);
        let suggestion = near.map(|name| format!(": did you mean \"{name}\"?")).unwrap_or_default();
        let section = self.keys.section(outer(key)).map_or("", |section| section.name);
        let list = if section.is_empty() { String::new() } else { format!(" {section}") };
        let gap = if suggestion.is_empty() { ":" } else { "" };
        format!(
            "there is no key \"{}\"{of}{suggestion}{gap} All keys: trainer recipes --keys{list}",
            crate::shown(key)
        )
    }

    /// Returns the name of the key that gives the kind of the table that holds `key`.
    fn tag_of(&self, key: &Key) -> String {
        let mut section = key.section();
        while !section.is_empty() {
            if let Some(tag) = self.keys.named_tag(section) {
                return tag;
            }
            section = outer(section);
        }
        "kind".to_owned()
    }

    /// Returns an error for the first missing required key.
    fn missing(&self, section: &str, table: &Table, kind: Option<&str>) -> Result<(), String> {
        let here = self.keys.keys.iter().filter(|key| key.section() == section && key.is_of(kind));
        // asks for the kind first: until it is known, the other keys are not clear
        let tag = self.keys.named_tag(section);
        let is_tag = |key: &&Key| tag.as_deref() == Some(key.name);
        let is_missing = |key: &&Key| key.unset == Unset::Refused && !table.contains_key(key.last());
        if let Some(key) = here.clone().filter(is_tag).chain(here).find(is_missing) {
            return Err(format!("{} is missing: it takes {}", key.name, key.expectation()));
        }
        for inner in self.keys.within(section).filter(|inner| !inner.is_optional) {
            if !table.contains_key(last(inner.name)) {
                self.missing(inner.name, &Table::new(), kind)?;
            }
        }
        Ok(())
    }
}

impl KeyTable {
    /// Returns the full name of the key that gives the kind of `section`.
    pub(super) fn named_tag(&self, section: &str) -> Option<String> {
        Some(joined(section, self.section(section)?.tag?))
    }
}
