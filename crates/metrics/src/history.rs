//! `history.csv`: one row per epoch. It holds no clock times, so that two runs of the same recipe write the same bytes.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::MetricsError;
use crate::csv_text::{Row, Table};

/// The figures of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, counted from 1.
    pub epoch: u64,
    /// Share of training images classified correctly, each counted when its batch was trained on.
    pub accuracy: f64,
    /// Mean cross-entropy of the training images, each batch counted before its update. It leaves out label smoothing,
    /// class weights and the like, so that it can be compared with the validation loss. In a record of an older program,
    /// which has no [`optimized_loss`](Self::optimized_loss), it is the optimised loss instead.
    pub loss: f64,
    /// Mean of the loss that the optimiser minimised, with everything that the recipe adds to it.
    #[serde(default)]
    pub optimized_loss: Option<f64>,
    /// Accuracy on the validation data after the epoch; `None` for a run without validation.
    pub val_accuracy: Option<f64>,
    /// Loss on the validation data after the epoch; `None` for a run without validation.
    pub val_loss: Option<f64>,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
}

const WITH_VAL: &str = "epoch,accuracy,loss,optimized_loss,val_accuracy,val_loss,learning_rate";
const WITHOUT_VAL: &str = "epoch,accuracy,loss,optimized_loss,learning_rate";
/// Header of older programs, where `loss` is the optimised loss.
const OLDER_WITH_VAL: &str = "epoch,accuracy,loss,val_accuracy,val_loss,learning_rate";
const OLDER_WITHOUT_VAL: &str = "epoch,accuracy,loss,learning_rate";

impl EpochRecord {
    /// Returns the first line of `history.csv`, without the line end.
    pub fn csv_header(with_val: bool) -> &'static str {
        if with_val { WITH_VAL } else { WITHOUT_VAL }
    }

    /// Returns the record as a line of `history.csv`, without the line end, for a file that has the validation columns or not.
    /// Every number has the fewest decimals that read back to the same bits.
    pub fn to_csv_row(&self, with_val: bool) -> String {
        let mut row = format!("{},{},{},", self.epoch, self.accuracy, self.loss);
        row.extend(self.optimized_loss.map(|loss| loss.to_string()));
        if with_val {
            for value in [self.val_accuracy, self.val_loss] {
                row.push(',');
                row.extend(value.map(|v| v.to_string()));
            }
        }
        let _ = write!(row, ",{}", self.learning_rate); // writing to a String cannot fail
        row
    }
}

/// Returns the text of `history.csv`, with the validation columns or without: those of the header are those of the rows.
pub fn history_to_csv(records: &[EpochRecord], with_val: bool) -> String {
    let rows = records.iter().map(|record| record.to_csv_row(with_val));
    std::iter::once(EpochRecord::csv_header(with_val).to_owned())
        .chain(rows)
        .map(|line| line + "\n")
        .collect()
}

/// Reads the text of `history.csv`.
///
/// # Errors
/// If the header is not one that this or an older program writes, a field is missing or not a number, a row has neither of
/// its validation figures, the epochs are not 1, 2, 3, …, or the text does not end with a line end (it was cut off).
pub fn parse_history(text: &str) -> Result<Vec<EpochRecord>, MetricsError> {
    let table = Table::read(text)?;
    let header = table.header.join(",");
    if ![WITH_VAL, WITHOUT_VAL, OLDER_WITH_VAL, OLDER_WITHOUT_VAL].contains(&header.as_str()) {
        let problem = format!("the header is {header:?}, expected {WITH_VAL:?} or {WITHOUT_VAL:?}");
        return Err(table.error(1, 0, problem));
    }
    table.rows.iter().zip(1..).map(|(row, epoch)| record(&table, row, epoch)).collect()
}

fn record(table: &Table, row: &Row, epoch: u64) -> Result<EpochRecord, MetricsError> {
    let number = |column| table.parse::<f64>(row, column, "a number");
    let optional = |name| match table.header.iter().position(|column| *column == name) {
        Some(column) if !row.text(column).is_empty() => number(column).map(Some),
        _ => Ok(None),
    };
    if table.parse::<u64>(row, 0, "a whole number")? != epoch {
        return Err(table.error(
            row.line,
            0,
            format!("found {}, expected {epoch}, the next epoch", row.text(0)),
        ));
    }
    let (val_accuracy, val_loss) = (optional("val_accuracy")?, optional("val_loss")?);
    // a run without validation has no such columns
    if let Some(column) = table.header.iter().position(|column| column == "val_accuracy")
        && val_accuracy.or(val_loss).is_none()
    {
        return Err(table.error(row.line, column, "it is empty, and so is val_loss".into()));
    }
    Ok(EpochRecord {
        epoch,
        accuracy: number(1)?,
        loss: number(2)?,
        optimized_loss: optional("optimized_loss")?,
        val_accuracy,
        val_loss,
        learning_rate: number(table.header.len() - 1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: EpochRecord = EpochRecord {
        epoch: 1,
        accuracy: 0.1 + 0.2,
        loss: 2.0,
        optimized_loss: Some(2.5),
        val_accuracy: Some(1.0 / 3.0),
        val_loss: Some(1e-7),
        learning_rate: 1e-5,
    };

    fn text(records: &[EpochRecord]) -> String {
        history_to_csv(records, records[0].val_loss.is_some())
    }

    fn error(text: &str) -> String {
        parse_history(text).unwrap_err().to_string()
    }

    #[test]
    fn a_row_is_exact_and_plain() {
        assert_eq!(
            RECORD.to_csv_row(true),
            "1,0.30000000000000004,2,2.5,0.3333333333333333,0.0000001,0.00001"
        );
        let without = EpochRecord { val_accuracy: None, val_loss: None, ..RECORD };
        assert_eq!(without.to_csv_row(false), "1,0.30000000000000004,2,2.5,0.00001");
        assert_eq!(parse_history(&text(&[without])).unwrap(), [without]);
    }

    #[test]
    fn a_value_that_is_not_there_is_an_empty_field() {
        let half = EpochRecord { val_accuracy: None, ..RECORD };
        assert_eq!(half.to_csv_row(true), "1,0.30000000000000004,2,2.5,,0.0000001,0.00001");
        assert_eq!(parse_history(&text(&[half])).unwrap(), [half]);
    }

    /// Runs of older programs, which recorded the optimised loss alone, can be read and resumed.
    #[test]
    fn older_records_have_one_loss() {
        let older = EpochRecord { optimized_loss: None, ..RECORD };
        let text =
            format!("{OLDER_WITH_VAL}\n1,0.30000000000000004,2,0.3333333333333333,0.0000001,0.00001\n");
        assert_eq!(parse_history(&text).unwrap(), [older]);
        let without = EpochRecord { val_accuracy: None, val_loss: None, ..older };
        assert_eq!(
            parse_history(&format!("{OLDER_WITHOUT_VAL}\n1,0.30000000000000004,2,0.00001\n")).unwrap(),
            [without]
        );
        assert_eq!(older.to_csv_row(true), "1,0.30000000000000004,2,,0.3333333333333333,0.0000001,0.00001");
        assert_eq!(parse_history(&history_to_csv(&[older], true)).unwrap(), [older]);
    }

    /// Whatever the records hold, the file decides on its columns once.
    #[test]
    fn all_rows_have_the_columns_of_the_header() {
        let without = EpochRecord { val_accuracy: None, val_loss: None, ..RECORD };
        for with_val in [true, false] {
            let text = history_to_csv(&[RECORD, without], with_val);
            let n_fields: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
            assert_eq!(n_fields, [if with_val { 7 } else { 5 }; 3], "{text}");
        }
    }

    #[test]
    fn a_header_alone_is_a_run_that_has_not_ended_an_epoch() {
        assert_eq!(parse_history(&format!("{WITH_VAL}\n")).unwrap(), []);
    }

    #[test]
    fn errors_name_line_and_column() {
        assert_eq!(
            error(&format!("{WITHOUT_VAL}\n1,0.5,x,1,0.1\n")),
            "line 2, column loss: found \"x\", expected a number"
        );
        assert_eq!(
            error(&format!("{WITHOUT_VAL}\n1,0.5,1,1,0.1\n3,0.5,1,1,0.1\n")),
            "line 3, column epoch: found 3, expected 2, the next epoch"
        );
        assert_eq!(
            error(&format!("{WITHOUT_VAL}\n1,0.5,1\n")),
            "line 2, column optimized_loss: the row has 3 fields, the header 5"
        );
        assert_eq!(
            error(&format!("{WITH_VAL}\n1,0.5,1,1,0.5,,0.1\n2,0.5,1,1,,,0.1\n")),
            "line 3, column val_accuracy: it is empty, and so is val_loss"
        );
        assert!(error("epoch,loss\n1,2\n").starts_with("line 1, column epoch: the header is \"epoch,loss\""));
        assert!(error(&format!("{WITHOUT_VAL}\n1,0.5,1,1,0.")).contains("ends in the middle"));
        assert!(error("").contains("line 1"));
    }

    proptest! {
        #[test]
        fn every_number_comes_back_to_the_same_bits(bits in prop::array::uniform6(any::<u64>())) {
            let [accuracy, loss, optimized, val_accuracy, val_loss, learning_rate] = bits.map(f64::from_bits);
            prop_assume!(bits.iter().all(|&b| !f64::from_bits(b).is_nan()));
            let (val_accuracy, val_loss) = (Some(val_accuracy), Some(val_loss));
            let optimized_loss = Some(optimized);
            let record = EpochRecord { epoch: 1, accuracy, loss, optimized_loss, val_accuracy, val_loss, learning_rate };
            let back = parse_history(&text(&[record])).unwrap()[0];
            let (val_accuracy, val_loss) = (back.val_accuracy.unwrap(), back.val_loss.unwrap());
            let optimized = back.optimized_loss.unwrap();
            let numbers = [back.accuracy, back.loss, optimized, val_accuracy, val_loss, back.learning_rate];
            prop_assert_eq!(numbers.map(f64::to_bits), bits);
        }
    }
}
