//! What this crate's CSV tables share: a reader that names line and column in its errors. Names are written as
//! [`Foreign::in_csv`] writes them.

use std::collections::HashMap;
use std::str::FromStr;

use tallow_core::{Foreign, shown};

use crate::MetricsError;

/// A table in memory: every row has the same number of fields as the header.
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

/// One row and the line on which it begins, counted from 1.
pub(crate) struct Row {
    pub(crate) line: u64,
    fields: csv::StringRecord,
}

impl Row {
    /// Returns the text of column `column`, counted from 0.
    pub(crate) fn text(&self, column: usize) -> &str {
        self.fields.get(column).unwrap_or_default()
    }

    /// Returns the name in a column that [`Foreign::in_csv`] wrote.
    pub(crate) fn name(&self, column: usize) -> Foreign {
        Foreign::of_csv(self.text(column))
    }
}

impl Table {
    /// Reads `text`, which must end with a line end. If a file was cut off in the middle, its last number would be read
    /// as a different number.
    pub(crate) fn read(text: &str) -> Result<Self, MetricsError> {
        let mut rows = Vec::new();
        let mut table = Self { header: Vec::new(), rows: Vec::new() };
        // Flexible, because the reader's own error for a row with the wrong number of fields does not name a column.
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        for record in reader.records() {
            let fields = record.map_err(|e| table.error(1, 0, shown(&e.to_string()).into_owned()))?;
            let line = fields.position().map_or(1, |start| first_line(text, start));
            if table.header.is_empty() {
                table.header = fields.iter().map(str::to_owned).collect();
            } else if fields.len() == table.header.len() {
                rows.push(Row { line, fields });
            } else {
                let (found, expected) = (fields.len(), table.header.len());
                let problem = format!("the row has {found} fields, the header {expected}");
                return Err(table.error(line, found.min(expected), problem));
            }
        }
        if !text.ends_with('\n') {
            let (line, last) = (rows.last().map_or(1, |row| row.line), table.header.len().saturating_sub(1));
            return Err(table.error(line, last, "the file ends in the middle of this line".into()));
        }
        table.rows = rows;
        Ok(table)
    }

    /// Parses the value of a column; `expected` completes the error message "expected …".
    pub(crate) fn parse<T: FromStr>(
        &self,
        row: &Row,
        column: usize,
        expected: &str,
    ) -> Result<T, MetricsError> {
        let text = row.text(column);
        text.parse().map_err(|_| self.error(row.line, column, format!("found {text:?}, expected {expected}")))
    }

    /// Returns an error at `line`, counted from 1, and `column`, counted from 0. `problem` must be safe to show.
    pub(crate) fn error(&self, line: u64, column: usize, problem: String) -> MetricsError {
        let name = self.header.get(column).cloned().unwrap_or_else(|| (column + 1).to_string());
        MetricsError::Csv { line, column: name.into(), problem }
    }
}

/// Returns the line of the first character of the record at `start`. The reader's own count does not skip blank lines
/// before a record.
fn first_line(text: &str, start: &csv::Position) -> u64 {
    let rest = text.as_bytes().get(start.byte() as usize..).unwrap_or_default();
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r'));
    start.line() + blank.filter(|&&byte| byte == b'\n').count() as u64
}

/// Returns the class of each name.
///
/// # Errors
/// If two classes have the same name.
pub(crate) fn classes_by_name(names: &[Foreign]) -> Result<HashMap<&Foreign, u32>, MetricsError> {
    let mut classes = HashMap::with_capacity(names.len());
    for (second, name) in names.iter().enumerate() {
        if let Some(first) = classes.insert(name, second as u32) {
            return Err(MetricsError::DuplicateClassName {
                name: name.clone(),
                first: first as usize,
                second,
            });
        }
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Table::read(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn quoted_fields_may_hold_anything_and_lines_are_still_counted() {
        let table = Table::read("a,\"b\n,\"\"\"\n1,\"2\r\n3\"\n4,5\n").unwrap();
        assert_eq!(table.header, ["a", "b\n,\""]);
        let rows: Vec<(u64, &str)> = table.rows.iter().map(|row| (row.line, row.text(1))).collect();
        assert_eq!(rows, [(3, "2\r\n3"), (5, "5")]);
    }

    #[test]
    fn lines_are_those_of_an_editor() {
        for (text, lines) in
            [("a\n1\n2\n", [2, 3]), ("a\r\n1\r\n2\r\n", [2, 3]), ("a\n\n1\n\r\n\n2\n", [3, 6])]
        {
            let table = Table::read(text).unwrap();
            assert_eq!(table.rows.iter().map(|row| row.line).collect::<Vec<_>>(), lines, "{text:?}");
        }
    }

    #[test]
    fn a_row_of_another_width_is_refused() {
        assert_eq!(error("a,b\n1,2\n3\n"), "line 3, column b: the row has 1 fields, the header 2");
        assert_eq!(error("a,b\n1,2,3\n"), "line 2, column 3: the row has 3 fields, the header 2");
    }

    #[test]
    fn what_was_cut_off_is_refused() {
        assert_eq!(error("a,b\n1,2\n3,4"), "line 3, column b: the file ends in the middle of this line");
        assert_eq!(error(""), "line 1, column 1: the file ends in the middle of this line");
    }

    #[test]
    fn a_value_that_does_not_parse_names_its_place() {
        let table = Table::read("a,b\n1,x\n").unwrap();
        let error = table.parse::<u32>(&table.rows[0], 1, "a whole number").unwrap_err();
        assert_eq!(error.to_string(), "line 2, column b: found \"x\", expected a whole number");
    }

    #[test]
    fn each_name_comes_back() {
        for name in ["=1+1", "-5", "@a", "\t=1", "\r\"", "'tis", "cat", "a, \"b\"\n"] {
            let csv = format!("a,b\n{},1\n", Foreign::from(name).in_csv());
            assert_eq!(Table::read(&csv).unwrap().rows[0].name(0), name);
        }
    }

    #[test]
    fn a_column_is_named_safely() {
        assert_eq!(error("a\x1b,b\n1\n"), "line 2, column b: the row has 1 fields, the header 2");
        let table = Table::read("a\x1b,b\nx,1\n").unwrap();
        let error = table.parse::<u32>(&table.rows[0], 0, "a whole number").unwrap_err();
        assert_eq!(error.to_string(), "line 2, column a<U+001B>: found \"x\", expected a whole number");
    }

    #[test]
    fn names_tell_classes_apart() {
        assert_eq!(classes_by_name(&["b", "a"].map(Foreign::from)).unwrap()[&Foreign::from("a")], 1);
        let error = classes_by_name(&["a", "b", "a"].map(Foreign::from)).unwrap_err().to_string();
        assert_eq!(error, "the class name \"a\" is used twice: classes 0 and 2; rename one of them");
    }
}
