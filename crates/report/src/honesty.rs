//! Decides whether a run's test score is an honest estimate.

use tallow_metrics::Caveat;

use crate::record::RunRecord;

/// Returns whether the test score of `run` is an honest estimate: no decision of the run used the test images. Returns
/// true for a run whose recipe and summary cannot be read.
pub fn is_honest(run: &RunRecord) -> bool {
    !run.caveats().iter().any(Caveat::spoils_test)
}
