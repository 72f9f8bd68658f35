//! Whether a run's test score can be taken at its word.

use crate::record::RunRecord;

/// Whether nothing of the run was decided on the test images: its test score is then an honest estimate. A run whose recipe
/// cannot be read is given the benefit of the doubt.
pub fn is_honest(run: &RunRecord) -> bool {
    run.recipe_value(&["data", "validate_on"]).as_deref() != Some("test")
}
