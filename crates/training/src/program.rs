//! The program that trains: versions, and the commit of the current folder.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

/// Candle has no constant for its version; a test compares this one with the lock file.
const CANDLE_VERSION: &str = "0.11.1";

/// The program behind the figures of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// The version of this crate.
    pub tallow: &'static str,
    /// The version of Candle.
    pub candle: &'static str,
    /// The commit of the current folder, followed by `-dirty` if tracked files have been changed. `None` if the folder is not
    /// in a git repository, or git is not installed.
    pub git_commit: Option<String>,
}

impl Program {
    /// Returns this program, with the commit of the current folder.
    pub fn here() -> Self {
        let git_commit = git_commit(Path::new("."));
        Self { tallow: env!("CARGO_PKG_VERSION"), candle: CANDLE_VERSION, git_commit }
    }
}

/// Returns the commit of the folder `path`, as reported by `git`.
fn git_commit(path: &Path) -> Option<String> {
    // no tag matches "", so git prints the whole hash
    let arguments = ["describe", "--always", "--dirty", "--abbrev=40", "--match="];
    let output = Command::new("git").args(arguments).current_dir(path).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_candle_is_the_locked_one() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"candle-core\"\nversion = \"{CANDLE_VERSION}\"\n")));
    }

    #[test]
    fn the_commit_of_a_folder_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(git_commit(dir.path()), None, "no repository");
        let git = |arguments: &[&str]| {
            let identity =
                ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
            let output = Command::new("git").args(identity).args(arguments).current_dir(dir.path()).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        git(&["init", "-q"]);
        assert_eq!(git_commit(dir.path()), None, "no commit");
        std::fs::write(dir.path().join("a"), "1").unwrap();
        git(&["add", "a"]);
        git(&["commit", "-q", "-m", "a"]);
        git(&["tag", "-m", "v1", "v1"]);
        let hash = git(&["rev-parse", "HEAD"]);
        assert_eq!(git_commit(dir.path()), Some(hash.clone()));
        std::fs::write(dir.path().join("a"), "2").unwrap();
        assert_eq!(git_commit(dir.path()), Some(format!("{hash}-dirty")));
    }
}
