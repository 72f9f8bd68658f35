//! `predictions_{val,test}.csv`: one row per image, with everything that the figures of an evaluation are computed from.
//!
//! Columns: `index`; `file` (relative to the data set, parts joined by `/`; empty if an image has no file; the column
//! itself may be absent); `true` and `predicted` (class names); then one `log_prob:<class name>` per class. The header
//! thus lists the class names in order, so that the file can be read without any other. A class or file name that a
//! spreadsheet would run as a formula has an apostrophe before it. In the header, the prefix `log_prob:` already prevents
//! that.

use std::collections::HashMap;
use std::fmt::Write as _;

use tallow_core::Foreign;
use tallow_core::foreign::csv_field;

use crate::csv_text::{Row, Table, classes_by_name};
use crate::error::check_length;
use crate::{MetricsError, Predictions};

/// The columns before the log-probabilities.
const FIXED: [&str; 4] = ["index", FILE, "true", "predicted"];
/// The fixed column that may be absent.
const FILE: &str = "file";
const LOG_PROB: &str = "log_prob:";

/// The content of a predictions file.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionsTable {
    /// The names of the classes, (c).
    pub class_names: Vec<Foreign>,
    /// The file that each image came from, (n); empty if it has none.
    pub files: Vec<Foreign>,
    /// Targets, log-probabilities and indices.
    pub predictions: Predictions,
}

/// Returns `predictions` as CSV (RFC 4180, lines end in a line feed). Each log-probability has the fewest decimals that
/// read back to the same f32. `files` gives the file of each image; `None` if the images have no files.
///
/// # Errors
/// If the number of names is not the number of classes, the number of files (if given) is not the number of predictions,
/// or two classes have the same name.
pub fn predictions_to_csv(
    predictions: &Predictions,
    class_names: &[Foreign],
    files: Option<&[Foreign]>,
) -> Result<String, MetricsError> {
    check_length("class_names", class_names.len(), predictions.n_classes())?;
    check_length("files", files.map_or(predictions.len(), <[Foreign]>::len), predictions.len())?;
    classes_by_name(class_names)?;

    let mut csv = String::with_capacity(12 * predictions.log_probs().len());
    csv.push_str(&FIXED.join(","));
    for name in class_names {
        csv.push(',');
        csv.push_str(&csv_field(&format!("{LOG_PROB}{}", name.raw())));
    }
    csv.push('\n');
    for (i, (&index, &target)) in predictions.indices().iter().zip(predictions.targets()).enumerate() {
        let _ = write!(csv, "{index},"); // writing to a String cannot fail
        csv.extend(files.map(|files| files[i].in_csv()));
        for class in [target, predictions.predicted(i)] {
            csv.push(',');
            csv.push_str(&class_names[class as usize].in_csv());
        }
        for log_prob in predictions.row(i) {
            let _ = write!(csv, ",{log_prob}");
        }
        csv.push('\n');
    }
    Ok(csv)
}

/// Reads the text that [`predictions_to_csv`] wrote.
///
/// # Errors
/// If a column is missing or has another name, a class is unknown, a field is not a number or not a log-probability,
/// `predicted` is not the class with the highest log-probability, or the text was cut off.
pub fn parse_predictions_csv(text: &str) -> Result<PredictionsTable, MetricsError> {
    let table = Table::read(text)?;
    let columns = Columns::of(&table)?;
    let class_names = columns.class_names(&table)?;
    let classes = classes_by_name(&class_names)?;

    let (n, n_classes) = (table.rows.len(), class_names.len());
    let (mut indices, mut files, mut targets) =
        (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    let mut log_probs = Vec::with_capacity(n * n_classes);
    for row in &table.rows {
        indices.push(table.parse(row, 0, "a whole number")?);
        files.push(columns.file.map(|column| row.name(column)).unwrap_or_default());
        targets.push(class(&table, row, columns.target, &classes)?);
        for column in columns.log_probs..table.header.len() {
            log_probs.push(table.parse(row, column, "a number")?);
        }
    }
    let predictions =
        Predictions::new(n_classes, targets, log_probs, indices).map_err(|e| columns.placed(&table, e))?;
    for (i, row) in table.rows.iter().enumerate() {
        let best = predictions.predicted(i);
        if class(&table, row, columns.predicted, &classes)? != best {
            let (found, best) = (row.name(columns.predicted), &class_names[best as usize]);
            let problem = format!("found {found:?}, but {best:?} has the highest log-probability of the row");
            return Err(table.error(row.line, columns.predicted, problem));
        }
    }
    Ok(PredictionsTable { class_names, files, predictions })
}

/// Positions of the columns; `index` is always the first.
struct Columns {
    file: Option<usize>,
    target: usize,
    predicted: usize,
    /// Position of the first log-probability; the others follow.
    log_probs: usize,
}

impl Columns {
    /// Finds the columns, and checks the header.
    fn of(table: &Table) -> Result<Self, MetricsError> {
        let has_file = table.header.get(1).is_some_and(|column| column != FIXED[2]);
        let fixed = FIXED.iter().filter(|column| has_file || **column != FILE);
        for (column, expected) in fixed.enumerate() {
            let found = table.header.get(column).map_or("", String::as_str);
            if found != *expected {
                let problem = format!("found the column {found:?}, expected {expected:?}");
                return Err(table.error(1, column, problem));
            }
        }
        let first = 1 + usize::from(has_file);
        Ok(Self { file: has_file.then_some(1), target: first, predicted: first + 1, log_probs: first + 2 })
    }

    fn class_names(&self, table: &Table) -> Result<Vec<Foreign>, MetricsError> {
        let name = |(column, header): (usize, &String)| {
            let name = header.strip_prefix(LOG_PROB).map(Foreign::from);
            name.ok_or_else(|| table.error(1, column, format!("expected {LOG_PROB:?} and a class name")))
        };
        table.header.iter().enumerate().skip(self.log_probs).map(name).collect()
    }

    /// Turns the row and class of an error of [`Predictions::new`] into a line and a column.
    fn placed(&self, table: &Table, error: MetricsError) -> MetricsError {
        match error {
            MetricsError::NotALogProbability { position, class, value } => {
                let problem = format!("found {value}, expected the logarithm of a probability");
                table.error(table.rows[position].line, self.log_probs + class, problem)
            }
            MetricsError::NoClasses => {
                table.error(1, self.log_probs, format!("expected {LOG_PROB:?} and a class name"))
            }
            other => other,
        }
    }
}

fn class(
    table: &Table,
    row: &Row,
    column: usize,
    classes: &HashMap<&Foreign, u32>,
) -> Result<u32, MetricsError> {
    let name = row.name(column);
    let unknown =
        || table.error(row.line, column, format!("{name:?} is not one of the classes in the header"));
    classes.get(&name).copied().ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "index,file,true,predicted,log_prob:cat,log_prob:dog\n\
                        7,a.png,cat,cat,-0.25,-1.5\n\
                        2,,dog,cat,-0.1,-inf\n";

    fn table() -> PredictionsTable {
        let log_probs = vec![-0.25, -1.5, -0.1, f32::NEG_INFINITY];
        PredictionsTable {
            class_names: vec!["cat".into(), "dog".into()],
            files: vec!["a.png".into(), "".into()],
            predictions: Predictions::new(2, vec![0, 1], log_probs, vec![7, 2]).unwrap(),
        }
    }

    fn error_in(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from));
        parse_predictions_csv(&TEXT.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn the_text_is_this() {
        let t = table();
        assert_eq!(predictions_to_csv(&t.predictions, &t.class_names, Some(&t.files)).unwrap(), TEXT);
        assert_eq!(parse_predictions_csv(TEXT).unwrap(), t);
        let without_files = predictions_to_csv(&t.predictions, &t.class_names, None).unwrap();
        assert_eq!(without_files, TEXT.replace("a.png", ""));
        let no_column = TEXT.replace("file,", "").replace("a.png,", "").replace(",,", ",");
        assert_eq!(
            parse_predictions_csv(&no_column).unwrap(),
            parse_predictions_csv(&without_files).unwrap()
        );
    }

    #[test]
    fn errors_name_line_and_column() {
        let cases = [
            ("2,,dog", "x,,dog", "line 3, column index: found \"x\", expected a whole number"),
            ("-1.5", "?", "line 2, column log_prob:dog: found \"?\", expected a number"),
            (
                "-1.5",
                "NaN",
                "line 2, column log_prob:dog: found NaN, expected the logarithm of a probability",
            ),
            ("cat,cat", "cow,cat", "line 2, column true: \"cow\" is not one of the classes in the header"),
            (
                "cat,cat",
                "cat,dog",
                "line 2, column predicted: found \"dog\", but \"cat\" has the highest log-probability of the row",
            ),
            ("file,", "path,", "line 1, column path: found the column \"path\", expected \"file\""),
            ("log_prob:dog", "dog", "line 1, column dog: expected \"log_prob:\" and a class name"),
            (",-inf\n", "\n", "line 3, column log_prob:dog: the row has 5 fields, the header 6"),
            ("-inf\n", "-i", "line 3, column log_prob:dog: the file ends in the middle of this line"),
        ];
        for (from, to, expected) in cases {
            assert_eq!(error_in(from, to), expected);
        }
        assert!(error_in("log_prob:dog", "log_prob:cat").contains("used twice"));
        let no_classes = parse_predictions_csv("index,file,true,predicted\n").unwrap_err().to_string();
        assert_eq!(no_classes, "line 1, column 5: expected \"log_prob:\" and a class name");
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let p = table().predictions;
        let error = |names: &[&str], files: Option<&[Foreign]>| {
            let names: Vec<Foreign> = names.iter().map(|&name| name.into()).collect();
            predictions_to_csv(&p, &names, files).unwrap_err()
        };
        assert_eq!(error(&["a"], None).to_string(), "class_names has 1 entries, expected 2");
        assert_eq!(error(&["a", "b"], Some(&[])).to_string(), "files has 0 entries, expected 2");
        assert!(error(&["a", "a"], None).to_string().contains("used twice"));
    }

    proptest! {
        /// Any names and files, any log-probabilities: what is read is what was written, bit for bit.
        #[test]
        fn comes_back_as_it_was(
            (names, rows) in prop::collection::hash_set("[a\",\n\r\t é:;'=+@-]{0,4}", 1..5).prop_flat_map(|names| {
                let c = names.len();
                let log_prob = any::<f32>().prop_map(|x| if x.is_nan() { -0.0 } else { -x.abs() });
                let row = (0..c as u32, prop::collection::vec(log_prob, c), any::<u32>(), any::<String>());
                (Just(names), prop::collection::vec(row, 0..6))
            })
        ) {
            let class_names: Vec<Foreign> = names.into_iter().map(Foreign::from).collect();
            let targets = rows.iter().map(|row| row.0).collect();
            let log_probs: Vec<f32> = rows.iter().flat_map(|row| row.1.clone()).collect();
            let indices = rows.iter().map(|row| row.2).collect();
            let files: Vec<Foreign> = rows.iter().map(|row| row.3.clone().into()).collect();
            let bits: Vec<u32> = log_probs.iter().map(|x| x.to_bits()).collect();
            let predictions = Predictions::new(class_names.len(), targets, log_probs, indices).unwrap();
            let csv = predictions_to_csv(&predictions, &class_names, Some(&files)).unwrap();
            let back = parse_predictions_csv(&csv).unwrap();
            let back_bits: Vec<u32> = back.predictions.log_probs().iter().map(|x| x.to_bits()).collect();
            prop_assert_eq!(back_bits, bits);
            prop_assert_eq!(back, PredictionsTable { class_names, files, predictions });
        }
    }
}
