//! Several runs beside one another: what they have in common, and a paired test for each two.

use tallow_metrics::{Caveat, PairedComparison, Summary, Verdict, compare_paired};

use crate::analysis::{CONFIDENCE, Test};
use crate::chart::grouped;
use crate::error::{ReportError, Result};
use crate::record::RunRecord;
use crate::shown::shown;

/// Decides the draws of the bootstrap intervals.
const SEED: u64 = 0;

/// What the minutes of a run with a frozen backbone are.
pub(crate) const FEATURES_COUNT: &str =
    "The minutes count the features of a frozen backbone, whichever run computed them.";

/// Runs that were tested on the same images.
pub struct Comparison<'a> {
    pub(crate) runs: Vec<ComparedRun<'a>>,
    /// Each two runs once: the places of the first and the second, and what the images say of the second.
    pub(crate) pairs: Vec<(usize, usize, PairedComparison)>,
}

/// One of the runs.
pub(crate) struct ComparedRun<'a> {
    /// Its name; its path, where two have one name.
    pub(crate) label: String,
    pub(crate) record: &'a RunRecord,
    pub(crate) test: Test<'a>,
}

impl<'a> Comparison<'a> {
    /// Brings `runs` together.
    ///
    /// # Errors
    /// If there are fewer than two, one has no test predictions, or they were not tested on the same images.
    pub fn new(runs: &'a [RunRecord]) -> Result<Self> {
        if let [only] = runs {
            let problem = "is a single run: name another to compare it with".to_owned();
            return Err(ReportError::Missing { run: only.name.clone(), problem });
        }
        let mut compared: Vec<ComparedRun<'a>> = Vec::new();
        for record in runs {
            let twin = runs.iter().filter(|other| other.name == record.name).count() > 1;
            let label = if twin { record.path.display().to_string() } else { record.name.clone() };
            let Some(test) = Test::of(record)? else {
                let mut problem = "has no test predictions to compare".to_owned();
                if let Some(why) = record.problems.iter().find(|p| p.contains("predictions_test.csv")) {
                    problem = format!("{problem}: {why}");
                }
                return Err(ReportError::Missing { run: label, problem });
            };
            compared.push(ComparedRun { label, record, test });
        }
        if let Some((first, rest)) = compared.split_first() {
            rest.iter().try_for_each(|other| check_same_data(first, other))?;
        }
        let pairs = pairs(&compared)?;
        Ok(Self { runs: compared, pairs })
    }

    /// Whether some run's minutes are partly those of a frozen backbone.
    pub(crate) fn has_features(&self) -> bool {
        let mut summaries = self.runs.iter().filter_map(|run| run.record.summary.as_ref());
        summaries.any(|summary| summary.features_seconds.is_some())
    }
}

fn check_same_data(a: &ComparedRun<'_>, b: &ComparedRun<'_>) -> Result<()> {
    let refuse = |problem: String| {
        Err(ReportError::NotComparable { first: a.label.clone(), second: b.label.clone(), problem })
    };
    if let (Some(one), Some(other)) = (&a.record.summary, &b.record.summary)
        && one.data_digest != other.data_digest
    {
        return refuse(format!(
            "they were tested on different data ({}, digest {}, and {}, digest {})",
            one.dataset, one.data_digest, other.dataset, other.data_digest
        ));
    }
    if a.test.class_names != b.test.class_names {
        return refuse(format!(
            "their classes differ ({} and {})",
            a.test.class_names.join(", "),
            b.test.class_names.join(", ")
        ));
    }
    Ok(())
}

fn pairs(runs: &[ComparedRun<'_>]) -> Result<Vec<(usize, usize, PairedComparison)>> {
    let mut out = Vec::new();
    for (i, first) in runs.iter().enumerate() {
        for (j, second) in runs.iter().enumerate().skip(i + 1) {
            let compared = compare_paired(first.test.predictions, second.test.predictions, CONFIDENCE, SEED);
            let compared = compared.map_err(|e| ReportError::NotComparable {
                first: first.label.clone(),
                second: second.label.clone(),
                problem: e.to_string(),
            })?;
            out.push((i, j, compared));
        }
    }
    Ok(out)
}

/// What the images say of the second run of a pair, in words.
pub(crate) fn verdict(comparison: &PairedComparison) -> &'static str {
    match comparison.verdict() {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NotToldApart => "not told apart by this test set",
    }
}

/// What stands behind a run's name where something takes from its figures.
pub(crate) fn mark(run: &RunRecord) -> &'static str {
    if run.caveats().is_empty() { "" } else { "*" }
}

/// What the marks stand for, a sentence or more for each run that has one.
pub(crate) fn marked(comparison: &Comparison<'_>) -> Vec<String> {
    let sentences = |run: &ComparedRun<'_>| {
        let caveats = run.record.caveats();
        let all: Vec<String> = caveats.iter().map(Caveat::sentence).collect();
        (!all.is_empty()).then(|| format!("* {}: {}", shown(&run.label), all.join(" ")))
    };
    comparison.runs.iter().filter_map(sentences).collect()
}

/// Parameters that were trained; where others were frozen, of how many.
pub(crate) fn parameters(summary: &Summary) -> String {
    let all = grouped(summary.n_parameters as f64, 0);
    match summary.n_trained_parameters.filter(|&n| n != summary.n_parameters) {
        Some(trained) => format!("{} of {all}", grouped(trained as f64, 0)),
        None => all,
    }
}

/// Images per second of training; none for a head on features that are kept, of which it says nothing.
pub(crate) fn training_rate(summary: &Summary) -> Option<String> {
    summary.features_seconds.is_none().then(|| grouped(summary.images_per_second, 0))
}

/// A difference of shares in points of percent, with its sign: "+0.52".
pub(crate) fn points(difference: f64) -> String {
    let text = format!("{:+.2}", 100.0 * difference);
    if text.trim_start_matches(['+', '-']).chars().all(|c| matches!(c, '0' | '.')) {
        return text.trim_start_matches(['+', '-']).to_owned();
    }
    text.replace('-', "\u{2212}")
}

/// A p-value with the digits that matter.
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.0001 { "below 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// With many pairs some differences are chance; none if there are few.
pub(crate) fn caution(n_pairs: usize) -> Option<String> {
    let expected = n_pairs as f64 * (1.0 - CONFIDENCE);
    (n_pairs > 2).then(|| {
        format!(
            "Of {n_pairs} pairs of equally good models, {expected:.1} would be called better or worse by chance."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_a_sign_unless_they_are_none() {
        assert_eq!(points(0.0052), "+0.52");
        assert_eq!(points(-0.0052), "\u{2212}0.52");
        assert_eq!((points(0.0), points(-0.000001)), ("0.00".to_owned(), "0.00".to_owned()));
        assert_eq!((p_value(0.00001), p_value(0.03125)), ("below 0.0001".to_owned(), "0.0312".to_owned()));
    }
}
