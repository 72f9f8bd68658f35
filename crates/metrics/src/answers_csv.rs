//! Writes a model's answers about pictures as CSV: one row per picture, its most probable classes first.

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;

use crate::FALSE_ALARM_RATE;

/// The answer about one picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its file name, as the user gave it.
    pub file: Foreign,
    /// Classes and their probabilities, the most probable first.
    pub top: Vec<(Foreign, f64)>,
    /// Its [`typicality`](crate::typicality); `None` if the model cannot tell.
    pub typicality: Option<f64>,
}

impl Answer {
    /// Returns whether the picture is unlike the training pictures, at [`FALSE_ALARM_RATE`]; `None` if the model cannot
    /// tell.
    pub fn is_none_of_these(&self) -> Option<bool> {
        self.typicality.map(|typicality| typicality <= FALSE_ALARM_RATE)
    }
}

/// Returns the answers as CSV. The columns are `file`, then `class_1`, `probability_1`, … for the `top_k` most probable
/// classes, then `typicality` and `none_of_these` (true or false), which are empty if the model cannot tell. Names that a
/// spreadsheet would run get an apostrophe before them.
pub fn answers_to_csv(answers: &[Answer], top_k: usize) -> String {
    let mut csv = "file".to_owned();
    for place in 1..=top_k {
        csv.push_str(&format!(",class_{place},probability_{place}"));
    }
    csv.push_str(",typicality,none_of_these\n");
    for answer in answers {
        csv.push_str(&answer.file.in_csv());
        for (class, probability) in &answer.top {
            csv.push_str(&format!(",{},{probability}", class.in_csv()));
        }
        let typicality = answer.typicality.map_or(String::new(), |typicality| typicality.to_string());
        let none_of_these = answer.is_none_of_these().map_or(String::new(), |is_so| is_so.to_string());
        csv.push_str(&format!(",{typicality},{none_of_these}\n"));
    }
    csv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_marked() {
        let top = vec![("=1+1".into(), 0.75), ("a,b".into(), 0.25)];
        let answer = |file: &str, typicality| Answer { file: file.into(), top: top.clone(), typicality };
        let answers = [answer("-x\n.png", None), answer("y", Some(0.5)), answer("z", Some(0.01))];
        let csv = answers_to_csv(&answers, 2);
        assert_eq!(
            csv,
            "file,class_1,probability_1,class_2,probability_2,typicality,none_of_these\n\
             \"'-x\n.png\",'=1+1,0.75,\"a,b\",0.25,,\ny,'=1+1,0.75,\"a,b\",0.25,0.5,false\n\
             z,'=1+1,0.75,\"a,b\",0.25,0.01,true\n"
        );
    }
}
