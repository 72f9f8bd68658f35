//! Reads a table of text, `.csv` or `.tsv`, with any of the usual separators.

use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord};
use tallow_core::{files, shown};

use super::{FolderError, kind};

/// Largest table in bytes. A larger file is not a table of labels.
const MAX_BYTES: u64 = 256 << 20;

/// A table, with or without a header.
pub(super) struct Table {
    pub(super) path: PathBuf,
    /// Column names from the header, with surrounding spaces removed. Without a header, the columns' numbers from 1.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// A row and its line number.
pub(super) struct Row {
    /// Number of the line in which the row begins, as an editor and usually a spreadsheet shows it. The header is in
    /// line 1.
    pub(super) number: usize,
    cells: StringRecord,
}

impl Row {
    /// Returns the cell of a column, if the row has one.
    pub(super) fn get(&self, column: usize) -> Option<&str> {
        self.cells.get(column)
    }
}

impl Table {
    /// Reads a table in UTF-8, with or without a byte order mark. The separator is the one of comma, semicolon and tab
    /// that occurs most in the first row; a cell in quotes may contain separators and line ends. If none of comma,
    /// semicolon, tab and quote occurs in the file, blanks separate the cells. A first row that names a picture is not
    /// a header.
    ///
    /// # Errors
    /// If the file cannot be read, has another encoding, or has fewer than two columns or no rows.
    pub(super) fn read(path: &Path) -> Result<Self, FolderError> {
        let refuse = |reason: String| FolderError::Table { path: path.to_owned(), reason };
        let bytes = files::read_at_most(path, MAX_BYTES)?;
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
            return Err(refuse("it is not UTF-8 text (UTF-16?): save it as \"CSV UTF-8\"".into()));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let row = bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
            refuse(format!("row {row} is not UTF-8 text: save it as \"CSV UTF-8\""))
        })?;
        let separated = !text.contains([',', ';', '\t', '"']);
        let mut rows = if separated { by_blanks(text) } else { by_separator(text).map_err(refuse)? };
        let names_picture = |row: &Row| row.cells.iter().any(|cell| kind::has_picture_suffix(cell.trim()));
        let has_header = !rows.first().is_some_and(names_picture);
        let columns: Vec<String> = match rows.first() {
            Some(first) if !has_header => (1..=first.cells.len()).map(|i| i.to_string()).collect(),
            Some(_) => rows.remove(0).cells.iter().map(|name| name.trim().to_owned()).collect(),
            None => Vec::new(),
        };
        if columns.len() < 2 || rows.is_empty() {
            let found =
                if columns.is_empty() { "nothing".into() } else { shown(&columns.join(", ")).into_owned() };
            return Err(refuse(format!(
                "expected a column of file names, a column of labels and a row for each picture; the first \
                 row is: {found}"
            )));
        }
        rows.retain(|row| row.cells.iter().any(|cell| !cell.trim().is_empty()));
        Ok(Self { path: path.to_owned(), columns, rows })
    }
}

/// Returns the rows of a table with commas, semicolons or tabs, or the problem.
fn by_separator(text: &str) -> Result<Vec<Row>, String> {
    let mut reader = ReaderBuilder::new()
        .delimiter(separator(text))
        .flexible(true)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    let (mut number, mut counted) = (1, 0);
    for cells in reader.records() {
        let cells = cells.map_err(|e| format!("it cannot be read as a table ({e})"))?;
        let begin = begin(text, &cells);
        number += n_line_ends(&text.as_bytes()[counted..begin]);
        counted = begin;
        rows.push(Row { number, cells });
    }
    Ok(rows)
}

/// Returns the rows of a table with cells separated by blanks.
fn by_blanks(text: &str) -> Vec<Row> {
    let row = |(i, line): (usize, &str)| Row { number: i + 1, cells: line.split_whitespace().collect() };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(row).collect()
}

/// Returns the byte at which a record's first cell begins. The position that the reader reports may be that of the line
/// ends before it.
fn begin(text: &str, cells: &StringRecord) -> usize {
    let said = cells.position().map_or(0, |position| position.byte() as usize).min(text.len());
    said + text.as_bytes()[said..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// Returns the number of line ends of any kind: `\n`, `\r\n`, `\r`.
fn n_line_ends(text: &[u8]) -> usize {
    let ends = |i: usize| text[i] == b'\n' || (text[i] == b'\r' && text.get(i + 1) != Some(&b'\n'));
    (0..text.len()).filter(|&i| ends(i)).count()
}

/// Returns the separator of the first row's cells.
fn separator(text: &str) -> u8 {
    let mut in_quotes = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for byte in text.trim_start_matches(['\r', '\n']).bytes() {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\n' | b'\r' if !in_quotes => break,
            _ if in_quotes => {}
            _ => counts.iter_mut().filter(|(separator, _)| *separator == byte).for_each(|(_, n)| *n += 1),
        }
    }
    let most = counts.iter().map(|(_, n)| *n).max();
    counts.iter().find(|(_, n)| Some(*n) == most).map_or(b',', |(separator, _)| *separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Table, FolderError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        std::fs::write(&path, bytes).unwrap();
        Table::read(&path)
    }

    #[test]
    fn separators_quotes_and_byte_order_marks() {
        for separator in [",", ";", "\t"] {
            let text = format!(
                "\u{feff}file{separator} label \r\n\"a{separator}b.png\"{separator}cat\r\n\r\nc{separator}dog"
            );
            let table = read(text.as_bytes()).unwrap();
            assert_eq!(table.columns, ["file", "label"]);
            assert_eq!(
                table.rows[0].cells.iter().collect::<Vec<_>>(),
                [&format!("a{separator}b.png"), "cat"]
            );
            assert_eq!(table.rows[0].number, 2);
            assert_eq!(table.rows[1].number, 4);
        }
        let rows = read(b"a,b\r1,2\r\r\"3\n3\",4\r5,6\r").unwrap().rows;
        assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [2, 4, 6]);
        assert_eq!(read(b"\"a,b;c\";x\n1;2\n").unwrap().columns, ["a,b;c", "x"]);
    }

    #[test]
    fn without_header_or_separators() {
        let table =
            read(b"images/cell1.png  1.0           mono\nimages/cell2.png  0.333333    poly\n").unwrap();
        assert_eq!(table.columns, ["1", "2", "3"]);
        assert_eq!(table.rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(table.rows[1].get(2), Some("poly"));
        let table = read(b"a.png,cat\nb.png,dog\n").unwrap();
        assert_eq!((table.columns, table.rows.len()), (vec!["1".to_owned(), "2".to_owned()], 2));
        assert_eq!(read(b"file   label\na.png  cat\n").unwrap().columns, ["file", "label"]);
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_row() {
        let refused = |bytes: &[u8]| read(bytes).err().unwrap().to_string();
        assert!(refused(b"\xff\xfef\0i\0").contains("UTF-16"));
        assert!(refused(b"file,label\na.png,cat\nb.png,caf\xe9\n").contains("row 3"));
        assert!(refused(b"").contains("nothing"));
        assert!(refused(b"file\na.png\n").contains("file"));
        assert!(refused(b"file,label\n").contains("file, label"));
    }
}
