//! Lists pictures and classes by label tables. Decides which tables of a folder are used, and reports each problem with
//! its row number.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use tallow_core::{path_text, shown};

use super::classes::{Draft, Labelled};
use super::columns::{self, Columns};
use super::lookup::{Hit, Lookup};
use super::table::{Row, Table};
use super::tree::Folder;
use super::{FolderError, ListingOptions, Picture, SplitName, kind, words};

/// Largest number of problems that are named; further problems are only counted.
const MAX_TROUBLES: usize = 20;

/// A table with known columns. `split` is the split of all its rows, taken from the table's name, if there are several
/// tables.
struct Source {
    table: Table,
    columns: Columns,
    /// The table's file name without suffix.
    home: String,
    split: Option<SplitName>,
}

impl Source {
    fn open(path: &Path, options: &ListingOptions, lookup: &Lookup<'_>) -> Result<Self, FolderError> {
        let table = Table::read(path)?;
        let home = path_text(Path::new(path.file_stem().unwrap_or_default()));
        let columns = columns::choose(&table, options, lookup, &home)?;
        columns::require_files(&table, &columns, lookup, &home)?;
        columns::require_classes(&table, &columns)?;
        Ok(Self { table, columns, home, split: None })
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        self.table.rows.iter().filter_map(|row| row.get(self.columns.label)).map(str::trim)
    }

    fn has_two_labels(&self) -> bool {
        let mut labels = self.labels();
        let first = labels.next();
        labels.any(|label| Some(label) != first)
    }
}

/// Reads a table that the user named. Its pictures are searched below the table's folder.
pub(super) fn of_table(tree: &Folder, path: &Path, options: &ListingOptions) -> Result<Draft, FolderError> {
    let lookup = Lookup::new(tree);
    let source = Source::open(path, options, &lookup)?;
    Reading::new(tree, &lookup).all(&[source])
}

/// Reads the tables in `level`, if there is one that labels its pictures and the folders do not give the same labels.
/// The reasons why other tables cannot be used are added to `unused`.
pub(super) fn of_folder(
    level: &Folder,
    options: &ListingOptions,
    notices: &mut Vec<String>,
    unused: &mut Vec<FolderError>,
) -> Result<Option<Draft>, FolderError> {
    let tables: Vec<&Picture> = level.others.iter().filter(|file| kind::is_table(file.name.raw())).collect();
    if tables.is_empty() {
        return Ok(None);
    }
    let lookup = Lookup::new(level);
    let mut sources = Vec::new();
    for file in tables {
        match Source::open(&file.path, options, &lookup) {
            Ok(source) => sources.push(source),
            Err(e) => unused.push(e),
        }
    }
    if sources.iter().any(Source::has_two_labels) {
        sources.retain(Source::has_two_labels); // a table with a single label is a form for answers
    }
    let names: Vec<String> = sources.iter().map(|source| file_name(&source.table.path)).collect();
    let names = words::all(names.iter().map(String::as_str));
    if sources.is_empty() {
        return if options.any() && !unused.is_empty() { Err(unused.swap_remove(0)) } else { Ok(None) };
    }
    if !options.any() && folders_say_the_same(level, &lookup, &sources)? {
        notices.push(format!("{names}: not read, because folders with the same names hold the classes"));
        return Ok(None);
    }
    require_one_or_splits(level, &mut sources, &names)?;
    let label = &sources[0].table.columns[sources[0].columns.label];
    notices.push(format!("the classes come from {names}, column {}", shown(label)));
    Reading::new(level, &lookup).all(&sources).map(Some)
}

/// Refuses several tables, unless there is one for each split (`train.csv`, `test.csv`). These are sorted in the order
/// of the splits.
fn require_one_or_splits(level: &Folder, sources: &mut [Source], names: &str) -> Result<(), FolderError> {
    if sources.len() == 1 {
        return Ok(());
    }
    for source in sources.iter_mut() {
        source.split = SplitName::of_name(&source.home).map(|(split, _)| split);
    }
    sources.sort_by_key(|source| source.split);
    let differ = sources.windows(2).all(|pair| pair[0].split < pair[1].split);
    match sources.first() {
        Some(first) if differ && first.split.is_some() => Ok(()),
        _ => Err(FolderError::ManyTables { path: level.path.clone(), tables: names.to_owned() }),
    }
}

/// Returns the text of a file's own name.
fn file_name(path: &Path) -> String {
    path_text(Path::new(path.file_name().unwrap_or_default()))
}

/// Returns whether all labels are names of folders, and each picture that a row names is in the folder of its label, and the
/// tables do not know more than the folders: the splits.
///
/// # Errors
/// If the labels are names of folders, but a picture is in another folder.
fn folders_say_the_same(
    level: &Folder,
    lookup: &Lookup<'_>,
    sources: &[Source],
) -> Result<bool, FolderError> {
    let within = level.within();
    let names: HashSet<&str> = within.iter().map(|folder| folder.own_name()).collect();
    let has_splits = |source: &Source| {
        source.columns.split.is_some() || sources.len() > 1 && SplitName::of_name(&source.home).is_some()
    };
    if sources.iter().all(has_splits) && !names.iter().any(|name| SplitName::of_name(name).is_some()) {
        return Ok(false); // only the tables know the splits
    }
    if !sources.iter().flat_map(Source::labels).all(|label| names.contains(label)) {
        return Ok(false);
    }
    for source in sources {
        for row in &source.table.rows {
            let cell = row.get(source.columns.file).unwrap_or_default();
            let label = row.get(source.columns.label).unwrap_or_default().trim();
            let Hit::One(i) = lookup.find(cell, &source.home) else { continue };
            let name = &lookup.picture(i).name;
            if !name.raw().split('/').any(|folder| folder == label) {
                let reason = format!(
                    "row {} says that {} is {}, but its folder is another class: if the table is right, \
                     give its path; if not, move it away",
                    row.number,
                    name.shown(),
                    shown(label)
                );
                return Err(FolderError::Table { path: source.table.path.clone(), reason });
            }
        }
    }
    Ok(true)
}

/// Matches rows with pictures and collects all problems.
struct Reading<'a> {
    level: &'a Folder,
    lookup: &'a Lookup<'a>,
    draft: Draft,
    /// By picture: the first row that lists it, and its index in the draft.
    listed: HashMap<PathBuf, (usize, usize)>,
    /// Problems that make the table unusable, and problems that are only reported.
    grave: Vec<String>,
    slight: Vec<String>,
}

impl<'a> Reading<'a> {
    fn new(level: &'a Folder, lookup: &'a Lookup<'a>) -> Self {
        let draft = Draft { ordered: true, ..Draft::about(level.path.clone()) };
        Self { level, lookup, draft, listed: HashMap::new(), grave: Vec::new(), slight: Vec::new() }
    }

    fn all(mut self, sources: &[Source]) -> Result<Draft, FolderError> {
        for source in sources {
            self.draft.about.clone_from(&source.table.path);
            self.draft.tables.push(source.table.path.clone());
            for row in &source.table.rows {
                if let Err(trouble) = self.take(source, row) {
                    self.grave.push(format!("{}row {}: {trouble}", self.prefix(sources, source), row.number));
                }
            }
        }
        let pictures = (0..self.lookup.len()).map(|i| self.lookup.picture(i));
        self.draft.unlabelled =
            pictures.filter(|picture| !self.listed.contains_key(&picture.path)).cloned().collect();
        if self.grave.is_empty() {
            self.draft.notices.extend(capped(self.slight));
            return Ok(self.draft);
        }
        self.grave.append(&mut self.slight);
        let unlisted =
            self.draft.unlabelled.iter().map(|picture| format!("{} is not in any row", picture.name.shown()));
        self.grave.extend(unlisted);
        let path = if sources.len() == 1 { self.draft.about } else { self.level.path.clone() };
        Err(FolderError::Troubles { path, troubles: capped(self.grave).join("\n  ") })
    }

    /// Returns the table's name if there are several tables.
    fn prefix(&self, sources: &[Source], source: &Source) -> String {
        if sources.len() == 1 {
            String::new()
        } else {
            format!("{}, ", shown(&file_name(&source.table.path)))
        }
    }

    /// Adds a row to the draft, or returns the problem that prevents it.
    fn take(&mut self, source: &Source, row: &Row) -> Result<(), String> {
        let cell = row.get(source.columns.file).unwrap_or_default().trim();
        let file = shown(cell);
        let picture = match self.lookup.find(cell, &source.home) {
            _ if cell.is_empty() => return Err("it does not name a file".into()),
            Hit::Nothing => return Err(format!("{file} does not exist")),
            Hit::One(i) => self.lookup.picture(i).clone(),
            Hit::Elsewhere(picture) => picture,
            Hit::Several(hits) => {
                let names = words::some(hits.iter().map(|&i| self.lookup.picture(i).name.raw()));
                return Err(format!("{file} could be {names}"));
            }
        };
        let written = row.get(source.columns.label).unwrap_or_default();
        let class = written.trim();
        let split = match split_of(source, row) {
            Ok(split) => split,
            Err(trouble) => {
                self.listed.entry(picture.path).or_insert((row.number, usize::MAX));
                return Err(format!("{file} {trouble}"));
            }
        };
        if class.is_empty() {
            self.listed.entry(picture.path).or_insert((row.number, usize::MAX));
            return Err(format!("{file} has no label"));
        }
        if class != written {
            self.slight.push(format!(
                "row {}: {file}: label \"{}\" has spaces around it and is read as {}",
                row.number,
                shown(written),
                shown(class)
            ));
        }
        match self.listed.get(&picture.path) {
            Some((first, place)) => self.again((*first, *place), row.number, &file, (class, split)),
            None => {
                self.listed.insert(picture.path.clone(), (row.number, self.draft.labelled.len()));
                self.draft.labelled.push(Labelled { split, class: class.into(), picture });
                Ok(())
            }
        }
    }

    /// Handles a picture that an earlier row already lists. The same entry again is only reported.
    fn again(
        &mut self,
        (first, place): (usize, usize),
        row: usize,
        file: &str,
        (class, split): (&str, Option<SplitName>),
    ) -> Result<(), String> {
        let Some(before) = self.draft.labelled.get(place) else {
            return Err(format!(
                "{file} is {} here, and listed without a label or a split in row {first}",
                shown(class)
            ));
        };
        if before.class != *class {
            return Err(format!("{file} is {}, but {} in row {first}", shown(class), before.class.shown()));
        }
        if before.split != split {
            return Err(format!("{file} is in another split than in row {first}"));
        }
        self.slight.push(format!("row {row}: {file} is also in row {first}"));
        Ok(())
    }
}

fn split_of(source: &Source, row: &Row) -> Result<Option<SplitName>, String> {
    let Some(column) = source.columns.split else { return Ok(source.split) };
    let cell = row.get(column).unwrap_or_default().trim();
    match SplitName::of_word(cell) {
        Some(split) => Ok(Some(split)),
        None if cell.is_empty() => Err("is in no split: expected train, val or test".to_owned()),
        None => Err(format!("is in split {}: expected train, val or test", shown(cell))),
    }
}

fn capped(mut troubles: Vec<String>) -> Vec<String> {
    let n_more = troubles.len().saturating_sub(MAX_TROUBLES);
    troubles.truncate(MAX_TROUBLES);
    if n_more > 0 {
        troubles.push(format!("and {n_more} more"));
    }
    troubles
}
