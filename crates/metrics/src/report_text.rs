//! Formats a classification report like scikit-learn: as text, and as the mapping that `output_dict=True` gives.
//!
//! Both follow `classification_report` in scikit-learn's `sklearn/metrics/_classification.py`, version 1.9.1.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tallow_core::Foreign;

use crate::error::check_length;
use crate::{Averages, ClassificationReport, MetricsError};

/// A [`ClassificationReport`] with names for its classes.
///
/// [`Display`](fmt::Display) prints, to the byte, what scikit-learn prints for `classification_report(y_true, y_pred,
/// labels=range(c), target_names=names, digits=2, zero_division=0)`. Names are printed as they are shown
/// ([`Foreign::shown`]), because the text is for people; their width is counted in characters.
///
/// [`Serialize`] gives the mapping of `output_dict=True`: `{name: {"precision", "recall", "f1-score", "support"},
/// "accuracy", "macro avg", "weighted avg"}`, in this order, with one more entry per class, its
/// [`accuracy`](crate::ClassScores::accuracy). If a class has the name of another entry, its key is `"name (class i)"`,
/// where scikit-learn would overwrite one entry with the other.
#[derive(Clone, Debug)]
pub struct NamedReport<'a> {
    report: &'a ClassificationReport,
    names: &'a [Foreign],
}

impl<'a> NamedReport<'a> {
    pub(crate) fn new(report: &'a ClassificationReport, names: &'a [Foreign]) -> Result<Self, MetricsError> {
        check_length("class_names", names.len(), report.classes.len())?;
        Ok(Self { report, names })
    }
}

impl fmt::Display for ClassificationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = (0..self.classes.len()).map(|class| class.to_string()).collect();
        self.write(&numbers, f)
    }
}

impl fmt::Display for NamedReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // an empty name leaves its place empty, as in scikit-learn's report
        let shown = |name: &Foreign| if name.is_empty() { String::new() } else { name.shown().into_owned() };
        let names: Vec<String> = self.names.iter().map(shown).collect();
        self.report.write(&names, f)
    }
}

impl ClassificationReport {
    /// Writes the report with these names, which must be safe to show.
    fn write(&self, names: &[impl AsRef<str>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = names.iter().map(|name| name.as_ref().chars().count()).max().unwrap_or(0);
        let width = longest.max(WEIGHTED_AVG.len());
        // If no prediction is correct, scikit-learn counts in floats, so that it prints the support with ".0".
        let decimals = if self.accuracy == 0.0 && self.n() > 0 { ".0" } else { "" };
        let support = |support: u64| format!("{support}{decimals}");
        let row = |f: &mut fmt::Formatter<'_>, name: &str, [p, r, f1]: [f64; 3], n: u64| {
            writeln!(f, "{name:>width$}  {p:>9.2} {r:>9.2} {f1:>9.2} {:>9}", support(n))
        };

        writeln!(
            f,
            "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n",
            "", "precision", "recall", "f1-score", "support"
        )?;
        for (name, class) in names.iter().zip(&self.classes) {
            row(f, name.as_ref(), [class.precision, class.recall, class.f1_score], class.support)?;
        }
        let (accuracy, n) = (self.accuracy, self.n());
        writeln!(f, "\n{ACCURACY:>width$}  {:>9} {:>9} {accuracy:>9.2} {:>9}", "", "", support(n))?;
        for (name, average) in [(MACRO_AVG, &self.macro_avg), (WEIGHTED_AVG, &self.weighted_avg)] {
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
        let name = &self.names[class];
        let taken =
            [ACCURACY, MACRO_AVG, WEIGHTED_AVG].contains(&name.raw()) || self.names[..class].contains(name);
        let mut key = if taken { format!("{} (class {class})", name.raw()) } else { name.raw().to_owned() };
        while taken && self.names.iter().any(|other| *other == *key) {
            key.push('\''); // another class already has this name
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use tallow_core::Foreign;

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
        let error = report(2, &[1; 4]).to_text(&["a".into()]).unwrap_err();
        assert_eq!(error.to_string(), "class_names has 1 entries, expected 2");
    }

    #[test]
    fn no_entry_is_lost_to_another_of_the_same_name() {
        let report = report(3, &[1; 9]);
        let named = |names: [&str; 3]| {
            serde_json::to_value(report.named(&names.map(Foreign::from)).unwrap()).unwrap()
        };
        let json = named(["accuracy", "cat", "cat"]);
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expected =
            ["accuracy (class 0)", "cat", "cat (class 2)", "accuracy", "macro avg", "weighted avg"];
        assert_eq!(keys, expected);
        let json = named(["cat (class 1)", "accuracy", "accuracy (class 1)"]);
        assert!(json.get("accuracy (class 1)'").is_some());
    }

    #[test]
    fn the_text_shows_names_and_the_mapping_has_them_as_they_are() {
        let (report, names) = (report(2, &[1; 4]), ["a\x1b[2J", "b\n"].map(Foreign::from));
        let text = report.to_text(&names).unwrap();
        assert!(text.contains("\na<U+001B>[2J  ") && text.contains(" b<U+000A>  "), "{text}");
        assert_eq!(text.lines().count(), 8);
        let json = serde_json::to_value(report.named(&names).unwrap()).unwrap();
        assert!(json.get("a\x1b[2J").is_some() && json.get("b\n").is_some());
    }
}
