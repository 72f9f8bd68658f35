//! What a model answered about pictures, as CSV: a row a picture, its most probable classes first.

use crate::csv_text::{push_field, push_name};

/// The answer about one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its file, as it was named.
    pub file: String,
    /// Classes and their probabilities, the most probable first.
    pub top: Vec<(String, f64)>,
}

/// Columns `file`, `class_1`, `probability_1`, … for the `top_k` most probable classes; names that a spreadsheet would run
/// are marked with an apostrophe.
pub fn answers_to_csv(answers: &[Answer], top_k: usize) -> String {
    let mut csv = "file".to_owned();
    for place in 1..=top_k {
        csv.push_str(&format!(",class_{place},probability_{place}"));
    }
    csv.push('\n');
    for answer in answers {
        push_name(&mut csv, &answer.file);
        for (class, probability) in &answer.top {
            csv.push(',');
            push_name(&mut csv, class);
            csv.push(',');
            push_field(&mut csv, &probability.to_string());
        }
        csv.push('\n');
    }
    csv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_marked() {
        let top = vec![("=1+1".to_owned(), 0.75), ("a,b".to_owned(), 0.25)];
        let csv = answers_to_csv(&[Answer { file: "-x\n.png".into(), top }], 2);
        assert_eq!(
            csv,
            "file,class_1,probability_1,class_2,probability_2\n\"'-x\n.png\",'=1+1,0.75,\"a,b\",0.25\n"
        );
    }
}
