//! A comparison of runs as figures, for other programs: what the text and the page say, without rounding.

use serde::Serialize;
use tallow_metrics::{Caveat, Verdict};

use crate::comparison::{ComparedRun, Comparison};
use crate::honesty::is_honest;

/// Runs that were tested on the same images, and what the images say of each two.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparisonFigures {
    /// The runs, in the order in which they were named.
    pub runs: Vec<RunFigures>,
    /// Each two runs once.
    pub pairs: Vec<PairFigures>,
}

/// The figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunFigures {
    /// Its name; its path, where two have one name.
    pub run: String,
    /// The run folder.
    pub path: String,
    /// How many images it was tested on.
    pub n_test: usize,
    /// Share of test images classified rightly, and its interval: low, high.
    pub accuracy: f64,
    /// See `accuracy`.
    pub accuracy_interval: [f64; 2],
    /// The mean of the classes' F1.
    pub macro_f1: f64,
    /// Mean cross-entropy.
    pub loss: Option<f64>,
    /// Parameters of the model, where the summary can be read.
    pub n_parameters: Option<u64>,
    /// Those of them that were trained, where the summary tells them apart.
    pub n_trained_parameters: Option<u64>,
    /// Epochs that were run.
    pub epochs_run: Option<u64>,
    /// Seconds of training, those of a frozen backbone's features included.
    pub seconds: Option<f64>,
    /// Training images per second; none for a head on features that are kept, of which it says nothing.
    pub images_per_second: Option<f64>,
    /// Whether nothing was decided on the test images.
    pub honest: bool,
    /// What takes something from these figures.
    pub caveats: Vec<Caveat>,
}

/// What the images say of the second run of a pair, against the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairFigures {
    /// The name of the first.
    pub first: String,
    /// The name of the second.
    pub second: String,
    /// "better", "worse" or "not_told_apart".
    pub verdict: &'static str,
    /// Accuracy of the second less that of the first, a share.
    pub difference: f64,
    /// The interval of the difference: low, high.
    pub difference_interval: [f64; 2],
    /// McNemar's exact test.
    pub p_value: f64,
    /// The confidence of interval and verdict.
    pub confidence: f64,
    /// How many images.
    pub n: u64,
    /// How many only the first got right.
    pub n_only_first: u64,
    /// How many only the second got right.
    pub n_only_second: u64,
}

/// The figures of `comparison`.
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
        path: run.record.path.display().to_string(),
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
