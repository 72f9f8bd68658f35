//! Completes a document with the default values, and changes the kind of a table.

use toml::{Table, Value};

use super::{Key, KeyTable, Section, Takes, Unset, joined, last, value_of};

impl KeyTable {
    /// Inserts the default value of each key that is missing from `table`, in the tables that exist. A table with
    /// kinds that does not give its kind gets the default kind if that has all of the table's keys. If not, it gets
    /// the first kind that has all of them.
    pub fn fill(&self, table: &mut Table) {
        self.fill_section("", table, None);
    }

    fn fill_section(&self, section: &str, table: &mut Table, kind: Option<&str>) {
        if let Some((tag, kind)) = self.untold_kind(section, table) {
            table.insert(tag.to_owned(), Value::String(kind.to_owned()));
        }
        let own = self.kind_of(section, table).map(str::to_owned);
        let kind = own.as_deref().or(kind);
        for key in self.keys.iter().filter(|key| key.section() == section && key.is_of(kind)) {
            let Unset::Is(text) = key.unset else { continue };
            if let Some(value) = value_of(text).filter(|_| !table.contains_key(key.last())) {
                table.insert(key.last().to_owned(), value);
            }
        }
        for inner in self.within(section) {
            match table.get_mut(last(inner.name)) {
                Some(Value::Table(table)) => self.fill_section(inner.name, table, kind),
                Some(Value::Array(list)) => {
                    for table in list.iter_mut().filter_map(Value::as_table_mut) {
                        self.fill_section(inner.name, table, kind);
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the tag and the kind for a table that does not give its kind: the default kind if it has all of the
    /// table's keys, otherwise the first kind that has them, otherwise the default kind. Returns `None` if the table
    /// gives its kind or if the tag has no default.
    fn untold_kind(&self, section: &str, table: &Table) -> Option<(&'static str, &'static str)> {
        let tag = self.section(section)?.tag.filter(|tag| !table.contains_key(*tag))?;
        let key = self.keys.iter().find(|key| key.section() == section && key.last() == tag)?;
        let (Unset::Is(stated), Takes::Choice(kinds)) = (key.unset, key.takes) else { return None };
        let stated = kinds.iter().copied().find(|kind| stated.trim_matches('"') == *kind)?;
        let has =
            |kind: &str, name: &str| self.named(&joined(section, name)).any(|key| key.is_of(Some(kind)));
        let has_all = |kind: &&str| table.keys().all(|name| has(kind, name));
        Some((tag, std::iter::once(stated).chain(kinds.iter().copied()).find(has_all).unwrap_or(stated)))
    }

    /// Changes `table`, which belongs to `section`, to the kind `new`. Keeps the values whose key entry covers both
    /// kinds, so that they mean the same in both. Drops all other values, and inserts the values that the new kind
    /// states for this case (`on_choice`): those of its required keys and those of its keys that were dropped.
    pub fn choose(&self, section: &Section, table: &mut Table, new: &str) {
        let Some(tag) = section.tag else { return };
        let old = self.kind_of(section.name, table).map(str::to_owned);
        if let Some(old) = old.filter(|old| old != new) {
            let is_in_both = |key: &Key| key.is_of(Some(&old)) && key.is_of(Some(new));
            let is_kept = |name: &str| -> bool {
                let whole = joined(section.name, name);
                let inside = format!("{whole}.");
                self.keys
                    .iter()
                    .any(|key| (key.name == whole || key.name.starts_with(&inside)) && is_in_both(key))
            };
            let dropped: Vec<String> = table.keys().filter(|name| !is_kept(name)).cloned().collect();
            table.retain(|name, _| is_kept(name));
            let comes_in = |key: &&Key| {
                key.section() == section.name
                    && key.kinds.contains(&new)
                    && (key.unset == Unset::Refused || dropped.iter().any(|name| name == key.last()))
            };
            for key in self.keys.iter().filter(comes_in) {
                if let Some(value) = key.on_choice.and_then(value_of) {
                    table.insert(key.last().to_owned(), value);
                }
            }
        }
        table.insert(tag.to_owned(), Value::String(new.to_owned()));
    }

    /// Returns the kind that the table gives.
    fn kind_of<'t>(&self, section: &str, table: &'t Table) -> Option<&'t str> {
        table.get(self.section(section)?.tag?)?.as_str()
    }
}
