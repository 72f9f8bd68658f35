//! A file of a run that the system fails to read now is told from one that is missing or damaged: a report is not made without it.

use std::fs;

use tallow_report::RunRecord;
use tallow_run_files::{EVENTS, HISTORY, IMAGE_INDEX, MANIFEST};

/// A folder in the place of a file stands for every error of the system.
#[test]
fn what_cannot_be_read_is_not_damage() {
    for name in [EVENTS, IMAGE_INDEX, MANIFEST] {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join(HISTORY), "").unwrap();
        fs::create_dir_all(run.path().join(name)).unwrap();
        let record = RunRecord::read(run.path()).unwrap();
        assert!(record.is_unread, "{name}: {:?}", record.problems);

        fs::remove_dir(run.path().join(name)).unwrap();
        fs::write(run.path().join(name), "damaged").unwrap();
        let record = RunRecord::read(run.path()).unwrap();
        assert!(!record.is_unread, "{name}: {:?}", record.problems);
    }
}
