//! A short round of `cargo xtask torture` on the built binary: runs of every kind of training that are killed, stopped or made
//! to fail end with the same bits as undisturbed ones. The campaign itself is in `xtask/src/torture`.
#![cfg(unix)]

#[allow(dead_code, reason = "the command of xtask is not used here")]
#[path = "../xtask/src/torture/mod.rs"]
pub mod torture;

use std::fs;
use std::path::{Path, PathBuf};

use tallow_core::Silent;
use torture::Campaign;
use torture::bench::{Bench, KINDS};
use torture::compare::differences;

/// The seed of the round.
const SEED: u64 = 1;

const TRAINER: &str = env!("CARGO_BIN_EXE_trainer");

#[test]
fn disturbed_runs_end_with_the_bits_of_undisturbed_ones() {
    let folder = tempfile::tempdir().unwrap();
    let campaign = Campaign::new(Path::new(TRAINER), folder.path(), &KINDS, SEED).unwrap();
    let found = campaign.round(0..14, &|_| false, &Silent).unwrap();
    if let Some((number, text)) = found.first_difference {
        panic!(
            "{}\nrun {number}: {text}\nto repeat it: cargo xtask torture --seed {SEED} --only {number}",
            found.table
        );
    }
}

/// The comparison sees a changed byte in every file, a missing file, and one too many.
#[test]
fn no_byte_of_a_run_may_differ() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(Path::new(TRAINER), folder.path()).unwrap();
    let reference = bench.reference(&KINDS[0]).unwrap();
    let same = || differences(&reference.folder, &bench.work).unwrap();
    let mut n_files = 0;
    for path in files(&bench.work).into_iter().filter(|path| !path.ends_with("checkpoints/previous")) {
        let whole = fs::read(&path).unwrap();
        // the last byte but one: an end of a line is the last one of many files
        let mut changed = whole.clone();
        let at = changed.len().saturating_sub(2);
        changed[at] ^= 1;
        // a checksum, which covers times, ends a record of TensorBoard
        if !path.to_str().unwrap().contains("tfevents") {
            fs::write(&path, changed).unwrap();
            assert_eq!(same().len(), 1, "{}", path.display());
        }
        fs::write(&path, [&whole[..], b"."].concat()).unwrap();
        assert_eq!(same().len(), 1, "{}", path.display());
        fs::remove_file(&path).unwrap();
        assert_eq!(same().len(), 1, "{}", path.display());
        fs::write(&path, whole).unwrap();
        n_files += 1;
    }
    assert!(n_files > 50, "{n_files}");
    assert_eq!(same(), Vec::<String>::new());
    fs::write(bench.work.join("run/notes"), "").unwrap();
    assert_eq!(same(), ["run/notes is too many"]);
}

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
