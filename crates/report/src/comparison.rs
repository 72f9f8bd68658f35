//! Compares several runs on the same test images, with a paired test for each two of them.

use tallow_core::Foreign;
use tallow_metrics::{Caveat, PairedComparison, Summary, Verdict, compare_paired};
use tallow_run_files::TEST_PREDICTIONS;

use crate::analysis::{CONFIDENCE, Test};
use crate::chart::grouped;
use crate::error::{ReportError, Result};
use crate::record::RunRecord;
use crate::shown::shown;

/// Seed of the draws of the bootstrap intervals.
const SEED: u64 = 0;

/// Explains the minutes of a run with a frozen backbone.
pub(crate) const FEATURES_COUNT: &str =
    "The minutes include the features of a frozen backbone, even if another run computed them.";

/// Runs that were tested on the same images.
pub struct Comparison<'a> {
    pub(crate) runs: Vec<ComparedRun<'a>>,
    /// One entry for each two runs: the positions of the first and the second run, and the comparison of the second with
    /// the first.
    pub(crate) pairs: Vec<(usize, usize, PairedComparison)>,
}

/// One of the compared runs.
pub(crate) struct ComparedRun<'a> {
    /// Name of the run; its path if two runs have the same name.
    pub(crate) label: Foreign,
    pub(crate) record: &'a RunRecord,
    pub(crate) test: Test<'a>,
}

impl<'a> Comparison<'a> {
    /// Compares `runs`.
    ///
    /// # Errors
    /// If there is only one run, a run has no test predictions, or the runs were not tested on the same images.
    pub fn new(runs: &'a [RunRecord]) -> Result<Self> {
        if let [only] = runs {
            let problem = "is a single run: name another to compare it with".to_owned();
            return Err(ReportError::Missing { run: only.name.clone(), problem });
        }
        let mut compared: Vec<ComparedRun<'a>> = Vec::new();
        for record in runs {
            let twin = runs.iter().filter(|other| other.name == record.name).count() > 1;
            let label = if twin { Foreign::of_path(&record.path) } else { record.name.clone() };
            let Some(test) = Test::of(record)? else {
                let mut problem = "has no test predictions to compare".to_owned();
                if let Some(why) = record.problems.iter().find(|p| p.raw().starts_with(TEST_PREDICTIONS)) {
                    problem = format!("{problem}: {}", why.shown());
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

    /// Returns whether the minutes of any run include those of a frozen backbone.
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
        if one.dataset == other.dataset && one.is_tested_by_folds() != other.is_tested_by_folds() {
            let (by_folds, apart) = if one.is_tested_by_folds() { (one, other) } else { (other, one) };
            return refuse(format!(
                "one was tested by its folds on all {} pictures, the other on {} that were kept apart: train both with \
                 --folds, or both without",
                by_folds.n_test, apart.n_test
            ));
        }
        return refuse(format!(
            "they were tested on different data ({}, digest {}, and {}, digest {})",
            one.dataset.shown(),
            one.data_digest.shown(),
            other.dataset.shown(),
            other.data_digest.shown()
        ));
    }
    if a.test.class_names != b.test.class_names {
        return refuse(format!(
            "their classes differ ({} and {})",
            listed(a.test.class_names),
            listed(b.test.class_names)
        ));
    }
    Ok(())
}

fn listed(names: &[Foreign]) -> String {
    names.iter().map(shown).collect::<Vec<_>>().join(", ")
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

/// Returns the verdict on the second run of a pair, in words.
pub(crate) fn verdict(comparison: &PairedComparison) -> &'static str {
    match comparison.verdict() {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NotToldApart => "not told apart by this test set",
    }
}

/// Returns the mark that follows the name of a run with caveats.
pub(crate) fn mark(run: &RunRecord) -> &'static str {
    if run.caveats().is_empty() { "" } else { "*" }
}

/// Returns the explanations of the marks: the caveats of each run that has a mark.
pub(crate) fn marked(comparison: &Comparison<'_>) -> Vec<String> {
    let sentences = |run: &ComparedRun<'_>| {
        let caveats = run.record.caveats();
        let all: Vec<String> = caveats.iter().map(Caveat::sentence).collect();
        (!all.is_empty()).then(|| format!("* {}: {}", shown(&run.label), all.join(" ")))
    };
    comparison.runs.iter().filter_map(sentences).collect()
}

/// Formats the number of trained parameters; if others were frozen, also the total.
pub(crate) fn parameters(summary: &Summary) -> String {
    let all = grouped(summary.n_parameters as f64, 0);
    match summary.n_trained_parameters.filter(|&n| n != summary.n_parameters) {
        Some(trained) => format!("{} of {all}", grouped(trained as f64, 0)),
        None => all,
    }
}

/// Formats the training images per second; `None` for a head on stored features, where the rate would say nothing about
/// images.
pub(crate) fn training_rate(summary: &Summary) -> Option<String> {
    summary.features_seconds.is_none().then(|| grouped(summary.images_per_second, 0))
}

/// Formats a difference of shares in percentage points, with its sign: "+0.52".
pub(crate) fn points(difference: f64) -> String {
    let text = format!("{:+.2}", 100.0 * difference);
    if text.trim_start_matches(['+', '-']).chars().all(|c| matches!(c, '0' | '.')) {
        return text.trim_start_matches(['+', '-']).to_owned();
    }
    text.replace('-', "\u{2212}")
}

/// Formats a p-value with four decimals, or as "below 0.0001".
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.0001 { "below 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// Returns a warning that with many pairs some differences are due to chance; `None` for one or two pairs.
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
