//! Identifies the columns of a label table.

use std::collections::HashSet;

use tallow_core::shown;

use super::lookup::{Hit, Lookup};
use super::table::{Row, Table};
use super::{FolderError, ListingOptions, SplitName, words};

const FILE_FLAG: &str = "--file-column";
const LABEL_FLAG: &str = "--label-column";
const SPLIT_FLAG: &str = "--split-column";

/// Known column names, compared without case, blanks, `_` and `-`. Names of the second list count only if no column has
/// a name of the first list.
const FILE_NAMES: [&[&str]; 2] = [
    &[
        "file",
        "filename",
        "filepath",
        "files",
        "image",
        "imagefile",
        "imagefilename",
        "imageid",
        "imagename",
        "imagepath",
        "images",
        "img",
        "imgid",
        "imgname",
        "imgpath",
        "path",
        "photo",
        "picture",
    ],
    &["id", "name"],
];
const LABEL_NAMES: [&[&str]; 2] = [
    &["category", "class", "classes", "classlabel", "classname", "label", "labels", "target"],
    &["breed", "diagnosis", "dx", "species", "type", "y"],
];
const SPLIT_NAMES: [&[&str]; 2] = [&["partition", "set", "split", "subset"], &[]];

/// Number of rows that are tested to identify the column of files.
const N_TRIED: usize = 200;

/// The columns of a label table, by index.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) file: usize,
    pub(super) label: usize,
    pub(super) split: Option<usize>,
}

/// Chooses the column of files by content, then by name, and the other columns by name. The user's settings take
/// precedence.
///
/// # Errors
/// If a column does not exist, or several columns are possible.
pub(super) fn choose(
    table: &Table,
    options: &ListingOptions,
    lookup: &Lookup<'_>,
    home: &str,
) -> Result<Columns, FolderError> {
    let file = match &options.file_column {
        Some(name) => said(table, name, FILE_FLAG)?,
        None => file_column(table, lookup, home)?,
    };
    let split = match &options.split_column {
        Some(name) => Some(said(table, name, SPLIT_FLAG)?),
        None => by_name(table, &SPLIT_NAMES, &[file]).first().copied().filter(|&i| names_splits(table, i)),
    };
    let label = match &options.label_column {
        Some(name) => said(table, name, LABEL_FLAG)?,
        None => label_column(table, file, split)?,
    };
    Ok(Columns { file, label, split })
}

/// Returns how many of the first rows name a picture in this column.
fn n_found(table: &Table, column: usize, lookup: &Lookup<'_>, home: &str) -> usize {
    let cells = table.rows.iter().take(N_TRIED).filter_map(|row| row.get(column));
    cells.filter(|cell| lookup.find(cell, home) != Hit::Nothing).count()
}

fn file_column(table: &Table, lookup: &Lookup<'_>, home: &str) -> Result<usize, FolderError> {
    let n_found: Vec<usize> = (0..table.columns.len()).map(|i| n_found(table, i, lookup, home)).collect();
    let most = n_found.iter().copied().max().unwrap_or(0);
    let by_name = by_name(table, &FILE_NAMES, &[]);
    let best: Vec<usize> = (0..n_found.len()).filter(|&i| most > 0 && n_found[i] == most).collect();
    let named: Vec<usize> = best.iter().copied().filter(|i| by_name.contains(i)).collect();
    match (best.as_slice(), named.as_slice(), by_name.as_slice()) {
        ([one], ..) | (_, [one], _) | ([], _, [one]) => Ok(*one),
        (_, [first, ..], _) if named.iter().all(|&i| mean_the_same(table, *first, i, lookup, home)) => {
            Ok(*first)
        }
        ([], ..) => Err(unclear(table, "no column names existing pictures".into(), FILE_FLAG)),
        (several, ..) => {
            let what = format!("the columns {} all name pictures", names(table, several));
            Err(unclear(table, what, FILE_FLAG))
        }
    }
}

fn mean_the_same(table: &Table, a: usize, b: usize, lookup: &Lookup<'_>, home: &str) -> bool {
    let find = |row: &Row, i: usize| row.get(i).map(|cell| lookup.find(cell, home));
    table.rows.iter().take(N_TRIED).all(|row| find(row, a) == find(row, b))
}

fn label_column(table: &Table, file: usize, split: Option<usize>) -> Result<usize, FolderError> {
    let taken: Vec<usize> = split.into_iter().chain([file]).collect();
    let rest: Vec<usize> = (0..table.columns.len()).filter(|i| !taken.contains(i)).collect();
    match (by_name(table, &LABEL_NAMES, &taken).as_slice(), rest.as_slice()) {
        ([one], _) | ([], [one]) => Ok(*one),
        ([], _) => Err(unclear(
            table,
            "no column has a usual name for labels, such as label or class".into(),
            LABEL_FLAG,
        )),
        (several, _) => {
            let what = format!("the columns {} could all be labels", names(table, several));
            Err(unclear(table, what, LABEL_FLAG))
        }
    }
}

/// Returns the columns with a name of the first list of `names`, or of the second list if there are none. Columns in
/// `taken` are left out.
fn by_name(table: &Table, names: &[&[&str]; 2], taken: &[usize]) -> Vec<usize> {
    let find = |names: &[&str]| -> Vec<usize> {
        let is_so = |&i: &usize| !taken.contains(&i) && names.contains(&plain(&table.columns[i]).as_str());
        (0..table.columns.len()).filter(is_so).collect()
    };
    let first = find(names[0]);
    if first.is_empty() { find(names[1]) } else { first }
}

/// Returns whether most cells of a column name splits. A column called "set" may hold something else. A wrong word among
/// splits must not undo the owner's division: its row is refused later.
fn names_splits(table: &Table, column: usize) -> bool {
    let cells = table.rows.iter().filter_map(|row| row.get(column)).map(str::trim);
    let (words, others): (Vec<&str>, Vec<&str>) = cells.partition(|cell| SplitName::of_word(cell).is_some());
    words.len() > others.len()
}

fn said(table: &Table, name: &str, flag: &'static str) -> Result<usize, FolderError> {
    let exact = table.columns.iter().position(|column| column == name);
    let found = exact.or_else(|| table.columns.iter().position(|column| plain(column) == plain(name)));
    found.ok_or_else(|| unclear(table, format!("there is no column {}", shown(name)), flag))
}

fn plain(name: &str) -> String {
    name.to_lowercase().chars().filter(|c| !matches!(c, ' ' | '_' | '-')).collect()
}

fn names(table: &Table, columns: &[usize]) -> String {
    words::all(columns.iter().map(|&i| table.columns[i].as_str()))
}

fn unclear(table: &Table, what: String, flag: &'static str) -> FolderError {
    let example = |(i, name): (usize, &String)| match table.rows.first().and_then(|row| row.get(i)) {
        Some(cell) if *name == (i + 1).to_string() => format!("{name} ({})", cell.trim()),
        _ => name.clone(),
    };
    let columns: Vec<String> = table.columns.iter().enumerate().map(example).collect();
    let columns = words::all(columns.iter().map(String::as_str));
    FolderError::Columns { path: table.path.clone(), what, columns, flag }
}

/// Refuses a column of labels in which nearly every row has a different value, such as a price or a caption.
///
/// # Errors
/// If there are at least ten rows and the number of different values is more than half the number of rows.
pub(super) fn require_classes(table: &Table, columns: &Columns) -> Result<(), FolderError> {
    let labels: HashSet<&str> =
        table.rows.iter().filter_map(|row| row.get(columns.label)).map(str::trim).collect();
    let (n_labels, n_rows) = (labels.len(), table.rows.len());
    if n_rows >= 10 && n_labels * 2 > n_rows {
        let column = shown(&table.columns[columns.label]);
        let what = format!(
            "the column {column} has {n_labels} different values in {n_rows} rows: these are not classes"
        );
        return Err(unclear(table, what, LABEL_FLAG));
    }
    Ok(())
}

/// Refuses a table in which not a single row names an existing picture.
///
/// # Errors
/// If no row names an existing picture.
pub(super) fn require_files(
    table: &Table,
    columns: &Columns,
    lookup: &Lookup<'_>,
    home: &str,
) -> Result<(), FolderError> {
    let mut cells = table.rows.iter().filter_map(|row| row.get(columns.file));
    if cells.any(|cell| lookup.find(cell, home) != Hit::Nothing) {
        return Ok(());
    }
    let example = table.rows.iter().find_map(|row| row.get(columns.file)).unwrap_or_default();
    let what = format!(
        "the pictures that the column {} names do not exist (such as {}; there are {} below the table's \
         folder)",
        shown(&table.columns[columns.file]),
        shown(example),
        words::pictures(lookup.len())
    );
    Err(unclear(table, what, FILE_FLAG))
}
