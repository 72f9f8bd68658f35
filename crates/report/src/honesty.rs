//! Whether a run's test score can be taken at its word.

use tallow_metrics::Caveat;

use crate::record::RunRecord;

/// Whether nothing of the run may have been decided on the test images: its test score is then an honest estimate. A run whose
/// recipe and summary cannot be read is given the benefit of the doubt.
pub fn is_honest(run: &RunRecord) -> bool {
    !run.caveats().iter().any(Caveat::spoils_test)
}
