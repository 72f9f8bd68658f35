//! What a document leaves out is put in, and tables change their kind.

use toml::{Table, Value};

use super::{Key, KeyTable, Section, Takes, Unset, joined, last, value_of};

impl KeyTable {
    /// Puts the stated values where `table` has none, in the tables that are there. A table that does not say its kind,
    /// though it may, gets the stated one, or the first that has all of its keys.
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

    /// The kind of a table that does not say it: the stated one if it has all of the table's keys, else the first that has.
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

    /// Makes `table`, which is that of `section`, one of the kind `new`. What means the same in both kinds, by one entry of
    /// this table, is kept; all else falls away, and what the new kind asks for comes in its place.
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

    /// What a table says its kind is.
    fn kind_of<'t>(&self, section: &str, table: &'t Table) -> Option<&'t str> {
        table.get(self.section(section)?.tag?)?.as_str()
    }
}
