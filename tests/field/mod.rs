//! Runs the built binary on a corpus of small data sets, made after public bug reports, and compares with the expected
//! outcomes.
//!
//! `TALLOW_FIELD` names a folder with `EXPECTED.json` and `corpus.tar.gz` or an unpacked `corpus/`; without it, each test
//! prints that it was skipped and passes. `outcomes` tests `data info` on all cases, `runs` trains on them, `damage` tests
//! damage and copies, `predicting` tests predictions of single pictures. `tallow-dataset` tests the decoded pixels.

mod damage;
mod outcomes;
mod predicting;
mod runs;

use std::fs::{self, File};
use std::path::PathBuf;

use crate::support::{Ran, Sandbox, trainer};
use serde_json::Value;
use tempfile::TempDir;

/// A network of some thousand parameters, for one epoch.
const TINY_RUN: &str = "--offline --recipe photos-cnn --epochs 1 --set model.widths=[4,4,8,8] \
     --set model.dropout=[0.1,0.1] --set model.dense=8";

/// Some cases of the corpus and what is expected of them.
struct Field {
    corpus: PathBuf,
    cases: serde_json::Map<String, Value>,
    /// The folder in which the corpus was unpacked, if it was.
    _unpacked: Option<TempDir>,
}

impl Field {
    /// Finds the corpus and unpacks it with its links if necessary. If there is none, prints that and returns `None`.
    #[expect(clippy::print_stderr, reason = "a test that did not take place must say so")]
    fn find(test: &str) -> Option<Self> {
        let Some(field) = std::env::var_os("TALLOW_FIELD").filter(|path| !path.is_empty()) else {
            eprintln!("SKIPPED: {test} (set TALLOW_FIELD to the corpus of small data sets)");
            return None;
        };
        let field = PathBuf::from(field);
        let text = fs::read(field.join("EXPECTED.json")).unwrap();
        let mut expected: Value = serde_json::from_slice(&text).unwrap();
        let Value::Object(cases) = expected["cases"].take() else { panic!("EXPECTED.json has no cases") };
        if field.join("corpus").is_dir() {
            return Some(Self { corpus: field.join("corpus"), cases, _unpacked: None });
        }
        let folder = tempfile::tempdir().unwrap();
        let packed = File::open(field.join("corpus.tar.gz")).unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(folder.path()).unwrap();
        Some(Self { corpus: folder.path().to_owned(), cases, _unpacked: Some(folder) })
    }

    fn case(&self, name: &str) -> &Value {
        &self.cases[name]
    }

    /// Returns the path to give for a case.
    fn path(&self, name: &str) -> PathBuf {
        match text(&self.case(name)["root"]) {
            "." => self.corpus.join(name),
            root => self.corpus.join(name).join(root),
        }
    }

    /// Runs `trainer` with the words of `args` on the data set of case `name`.
    #[track_caller]
    fn trainer(&self, sandbox: &Sandbox, args: &str, name: &str) -> Ran {
        let mut command = trainer(args);
        command.arg("--dataset").arg(self.path(name));
        sandbox.start_command(command, &format!("trainer {args} --dataset {name}")).wait()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// Checks that no control character is printed, as a terminal would obey it.
#[track_caller]
fn shows_no_control_character(ran: &Ran) {
    for printed in [&ran.stdout, &ran.stderr] {
        let is_order = |c: char| c.is_control() && c != '\n';
        assert!(!printed.contains(is_order), "{}: {printed:?}", ran.command);
    }
}
