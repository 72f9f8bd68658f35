//! What this crate's CSV tables share: how a field is quoted, how a name is kept from being run as a formula, and a
//! reader that names line and column in its errors.

use std::collections::HashMap;
use std::str::FromStr;

use crate::MetricsError;

/// Characters at the start of a cell that spreadsheets treat as the start of a formula, or skip before one.
/// Source: OWASP, <https://owasp.org/www-community/attacks/CSV_Injection>.
const RUN_BY_SPREADSHEETS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];
/// Tells a spreadsheet that the rest of the cell is text.
const TEXT_MARK: char = '\'';

/// Appends a name from outside, such as the name of a class or a file. A name that a spreadsheet would run, or that
/// begins with an apostrophe, gets an apostrophe before it; [`Row::name`] removes it again. Numbers do not need this.
pub(crate) fn push_name(csv: &mut String, name: &str) {
    match name.starts_with(RUN_BY_SPREADSHEETS) || name.starts_with(TEXT_MARK) {
        true => push_field(csv, &format!("{TEXT_MARK}{name}")),
        false => push_field(csv, name),
    }
}

/// Returns a name from outside as a CSV field: quoted where necessary, and with an apostrophe before it if a spreadsheet
/// would run it or if it begins with an apostrophe.
pub fn csv_name(name: &str) -> String {
    let mut field = String::new();
    push_name(&mut field, name);
    field
}

/// Undoes [`push_name`]. An apostrophe that [`push_name`] would not have written is part of the name.
fn unmarked(field: &str) -> &str {
    match field.strip_prefix(TEXT_MARK) {
        Some(name) if name.starts_with(RUN_BY_SPREADSHEETS) || name.starts_with(TEXT_MARK) => name,
        _ => field,
    }
}

/// Appends `field`, in quotation marks where RFC 4180 requires them.
pub(crate) fn push_field(csv: &mut String, field: &str) {
    if field.contains([',', '"', '\n', '\r']) {
        csv.push('"');
        csv.push_str(&field.replace('"', "\"\""));
        csv.push('"');
    } else {
        csv.push_str(field);
    }
}

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

    /// Returns the name in a column that [`push_name`] wrote.
    pub(crate) fn name(&self, column: usize) -> &str {
        unmarked(self.text(column))
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
            let fields = record.map_err(|e| table.error(1, 0, e.to_string()))?;
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

    /// Returns an error at `line`, counted from 1, and `column`, counted from 0.
    pub(crate) fn error(&self, line: u64, column: usize, problem: String) -> MetricsError {
        let name = self.header.get(column).cloned().unwrap_or_else(|| (column + 1).to_string());
        MetricsError::Csv { line, column: name, problem }
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
pub(crate) fn classes_by_name<S: AsRef<str>>(names: &[S]) -> Result<HashMap<&str, u32>, MetricsError> {
    let mut classes = HashMap::with_capacity(names.len());
    for (second, name) in names.iter().enumerate() {
        let name = name.as_ref();
        if let Some(first) = classes.insert(name, second as u32) {
            return Err(MetricsError::DuplicateClassName {
                name: name.into(),
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
    fn no_name_is_run_and_each_comes_back() {
        for (name, cell) in [
            ("=1+1", "'=1+1"),
            ("-5", "'-5"),
            ("@a", "'@a"),
            ("\t=1", "'\t=1"),
            ("\r\"", "\"'\r\"\"\""),
            ("'tis", "''tis"),
            ("cat", "cat"),
        ] {
            let mut csv = String::from("a,b\n");
            push_name(&mut csv, name);
            assert_eq!(csv, format!("a,b\n{cell}"));
            csv.push_str(",1\n");
            assert_eq!(Table::read(&csv).unwrap().rows[0].name(0), name);
        }
        assert_eq!(Table::read("a,b\n'tis,1\n").unwrap().rows[0].name(0), "'tis", "as it was written once");
    }

    #[test]
    fn names_tell_classes_apart() {
        assert_eq!(classes_by_name(&["b", "a"]).unwrap()["a"], 1);
        let error = classes_by_name(&["a", "b", "a"]).unwrap_err().to_string();
        assert_eq!(error, "the class name \"a\" is used twice: classes 0 and 2; rename one of them");
    }
}
