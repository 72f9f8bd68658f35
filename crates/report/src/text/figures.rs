//! The figures of a comparison for other programs: the same as in the text and on the page, but not rounded.

use serde::Serialize;
use tallow_core::Foreign;
use tallow_metrics::{Caveat, Verdict};

use crate::comparison::{ComparedRun, Comparison};
use crate::honesty::is_honest;

/// Runs that were tested on the same images, and the comparison of each two of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparisonFigures {
    /// The runs, in the order in which the user named them.
    pub runs: Vec<RunFigures>,
    /// One entry for each two runs.
    pub pairs: Vec<PairFigures>,
}

/// The figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunFigures {
    /// Name of the run; its path if two runs have the same name.
    pub run: Foreign,
    /// The run folder.
    pub path: Foreign,
    /// Number of test images.
    pub n_test: usize,
    /// Share of test images classified correctly.
    pub accuracy: f64,
    /// Interval of `accuracy`: low, high.
    pub accuracy_interval: [f64; 2],
    /// Mean F1 of the classes.
    pub macro_f1: f64,
    /// Mean cross-entropy.
    pub loss: Option<f64>,
    /// Number of parameters of the model; `None` if the summary cannot be read.
    pub n_parameters: Option<u64>,
    /// Number of parameters that were trained; `None` if the summary does not give it.
    pub n_trained_parameters: Option<u64>,
    /// Number of epochs that were run.
    pub epochs_run: Option<u64>,
    /// Time of training, in seconds, including the features of a frozen backbone.
    pub seconds: Option<f64>,
    /// Training images per second; `None` for a head on stored features, where the rate would say nothing about images.
    pub images_per_second: Option<f64>,
    /// Whether the test is honest: no decision used the test images.
    pub honest: bool,
    /// Facts that limit what these figures prove.
    pub caveats: Vec<Caveat>,
}

/// The comparison of the second run of a pair with the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairFigures {
    /// Name of the first run.
    pub first: Foreign,
    /// Name of the second run.
    pub second: Foreign,
    /// "better", "worse" or "not_told_apart".
    pub verdict: &'static str,
    /// Accuracy of the second run minus accuracy of the first, as a share.
    pub difference: f64,
    /// The interval of the difference: low, high.
    pub difference_interval: [f64; 2],
    /// P-value of McNemar's exact test.
    pub p_value: f64,
    /// The confidence of the interval and the verdict.
    pub confidence: f64,
    /// Number of images.
    pub n: u64,
    /// Number of images that only the first run got right.
    pub n_only_first: u64,
    /// Number of images that only the second run got right.
    pub n_only_second: u64,
}

/// Returns the figures of `comparison`.
pub fn comparison_figures(comparison: &Comparison<'_>) -> ComparisonFigures {
    let label = |place: usize| comparison.runs[place].label.clone();
    let pair = |&(first, second, c): &(usize, usize, tallow_metrics::PairedComparison)| PairFigures {
        first: label(first),
        second: label(second),
        verdict: match c.verdict() {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::NotToldApart => "not_told_apart",
        },
        difference: c.difference,
        difference_interval: c.difference_interval,
        p_value: c.p_value,
        confidence: c.confidence,
        n: c.n,
        n_only_first: c.n_only_first,
        n_only_second: c.n_only_second,
    };
    ComparisonFigures {
        runs: comparison.runs.iter().map(figures).collect(),
        pairs: comparison.pairs.iter().map(pair).collect(),
    }
}

fn figures(run: &ComparedRun<'_>) -> RunFigures {
    let summary = run.record.summary.as_ref();
    RunFigures {
        run: run.label.clone(),
        path: Foreign::of_path(&run.record.path),
        n_test: run.test.predictions.len(),
        accuracy: run.test.accuracy(),
        accuracy_interval: run.test.accuracy_interval,
        macro_f1: run.test.report.macro_avg.f1_score,
        loss: run.test.predictions.mean_nll(),
        n_parameters: summary.map(|s| s.n_parameters),
        n_trained_parameters: summary.and_then(|s| s.n_trained_parameters),
        epochs_run: summary.map(|s| s.epochs_run),
        seconds: summary.map(|s| s.model_seconds()),
        images_per_second: summary.filter(|s| s.features_seconds.is_none()).map(|s| s.images_per_second),
        honest: is_honest(run.record),
        caveats: run.record.caveats(),
    }
}
