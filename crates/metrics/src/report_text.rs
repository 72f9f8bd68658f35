//! Formats a classification report like scikit-learn: as text, and as the mapping that `output_dict=True` gives.
//!
//! Both follow `classification_report` in scikit-learn's `sklearn/metrics/_classification.py`, version 1.9.1.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::error::check_length;
use crate::{Averages, ClassificationReport, MetricsError};

/// A [`ClassificationReport`] with names for its classes.
///
/// [`Display`](fmt::Display) prints, to the byte, what scikit-learn prints for `classification_report(y_true, y_pred,
/// labels=range(c), target_names=names, digits=2, zero_division=0)`. Names are printed as they are, and their width is
/// counted in characters. The caller must escape names from outside before it shows them on a terminal or a page.
///
/// [`Serialize`] gives the mapping of `output_dict=True`: `{name: {"precision", "recall", "f1-score", "support"},
/// "accuracy", "macro avg", "weighted avg"}`, in this order, with one more entry per class, its
/// [`accuracy`](crate::ClassScores::accuracy). If a class has the name of another entry, its key is `"name (class i)"`,
/// where scikit-learn would overwrite one entry with the other.
#[derive(Clone, Debug)]
pub struct NamedReport<'a> {
    report: &'a ClassificationReport,
    names: Vec<&'a str>,
}

impl<'a> NamedReport<'a> {
    pub(crate) fn new(
        report: &'a ClassificationReport,
        class_names: &'a [impl AsRef<str>],
    ) -> Result<Self, MetricsError> {
        check_length("class_names", class_names.len(), report.classes.len())?;
        Ok(Self { report, names: class_names.iter().map(AsRef::as_ref).collect() })
    }
}

impl fmt::Display for ClassificationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = (0..self.classes.len()).map(|class| class.to_string()).collect();
        NamedReport { report: self, names: numbers.iter().map(String::as_str).collect() }.fmt(f)
    }
}

impl fmt::Display for NamedReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        let longest = self.names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let width = longest.max(WEIGHTED_AVG.len());
        // If no prediction is correct, scikit-learn counts in floats, so that it prints the support with ".0".
        let decimals = if report.accuracy == 0.0 && report.n() > 0 { ".0" } else { "" };
        let support = |support: u64| format!("{support}{decimals}");
        let row = |f: &mut fmt::Formatter<'_>, name: &str, [p, r, f1]: [f64; 3], n: u64| {
            writeln!(f, "{name:>width$}  {p:>9.2} {r:>9.2} {f1:>9.2} {:>9}", support(n))
        };

        writeln!(
            f,
            "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n",
            "", "precision", "recall", "f1-score", "support"
        )?;
        for (name, class) in self.names.iter().zip(&report.classes) {
            row(f, name, [class.precision, class.recall, class.f1_score], class.support)?;
        }
        let (accuracy, n) = (report.accuracy, report.n());
        writeln!(f, "\n{ACCURACY:>width$}  {:>9} {:>9} {accuracy:>9.2} {:>9}", "", "", support(n))?;
        for (name, average) in [(MACRO_AVG, &report.macro_avg), (WEIGHTED_AVG, &report.weighted_avg)] {
            row(f, name, [average.precision, average.recall, average.f1_score], n)?;
        }
        Ok(())
    }
}

const ACCURACY: &str = "accuracy";
const MACRO_AVG: &str = "macro avg";
const WEIGHTED_AVG: &str = "weighted avg";

/// One entry of the mapping.
#[derive(Serialize)]
struct ReportLine {
    precision: f64,
    recall: f64,
    #[serde(rename = "f1-score")]
    f1_score: f64,
    support: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
}

impl Serialize for NamedReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.report;
        let mut map = serializer.serialize_map(Some(self.names.len() + 3))?;
        for (i, class) in report.classes.iter().enumerate() {
            let (precision, recall, f1_score) = (class.precision, class.recall, class.f1_score);
            let (support, accuracy) = (class.support, Some(class.accuracy));
            map.serialize_entry(
                &self.key(i),
                &ReportLine { precision, recall, f1_score, support, accuracy },
            )?;
        }
        let average = |&Averages { precision, recall, f1_score }: &Averages| {
            let (support, accuracy) = (report.n(), None);
            ReportLine { precision, recall, f1_score, support, accuracy }
        };
        map.serialize_entry(ACCURACY, &report.accuracy)?;
        map.serialize_entry(MACRO_AVG, &average(&report.macro_avg))?;
        map.serialize_entry(WEIGHTED_AVG, &average(&report.weighted_avg))?;
        map.end()
    }
}

impl NamedReport<'_> {
    fn key(&self, class: usize) -> String {
        let name = self.names[class];
        let taken =
            [ACCURACY, MACRO_AVG, WEIGHTED_AVG].contains(&name) || self.names[..class].contains(&name);
        let mut key = if taken { format!("{name} (class {class})") } else { name.to_owned() };
        while taken && self.names.contains(&key.as_str()) {
            key.push('\''); // another class already has this name
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use crate::{ClassificationReport, ConfusionMatrix};

    fn report(n_classes: usize, counts: &[u64]) -> ClassificationReport {
        ClassificationReport::new(&ConfusionMatrix::from_counts(n_classes, counts.to_vec()).unwrap())
    }

    #[test]
    fn of_no_images_everything_is_0() {
        let text = report(2, &[0; 4]).to_string();
        assert_eq!(text.lines().nth(2).unwrap(), "           0       0.00      0.00      0.00         0");
        assert_eq!(text.lines().nth(5).unwrap(), "    accuracy                           0.00         0");
        assert!(!text.contains("NaN"));
    }

    #[test]
    fn every_class_needs_a_name() {
        let error = report(2, &[1; 4]).to_text(&["a"]).unwrap_err();
        assert_eq!(error.to_string(), "class_names has 1 entries, expected 2");
    }

    #[test]
    fn no_entry_is_lost_to_another_of_the_same_name() {
        let report = report(3, &[1; 9]);
        let json = serde_json::to_value(report.named(&["accuracy", "cat", "cat"]).unwrap()).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expected =
            ["accuracy (class 0)", "cat", "cat (class 2)", "accuracy", "macro avg", "weighted avg"];
        assert_eq!(keys, expected);
        let json =
            serde_json::to_value(report.named(&["cat (class 1)", "accuracy", "accuracy (class 1)"]).unwrap());
        assert!(json.unwrap().get("accuracy (class 1)'").is_some());
    }
}
