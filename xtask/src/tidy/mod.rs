//! `cargo xtask tidy`: checks rules of this repository that no compiler checks. It also runs as a test.
//!
//! Each rule is a function from the repository's content ([`workspace`]) to findings: [`layers`] checks imports, [`sources`]
//! checks files, [`docs`] checks the documents, [`lock`] checks the crates of others.

mod docs;
mod layers;
mod lock;
mod sources;
mod workspace;

use std::fmt;

use anyhow::ensure;

use workspace::Workspace;

/// A place that breaks a rule, and its remedy.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// The file, relative to the root of the repository.
    path: String,
    /// The line, from 1.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Prints all findings.
///
/// # Errors
/// If there are findings, or the repository cannot be read.
#[expect(clippy::print_stderr, reason = "its findings are what it is for")]
pub fn run() -> anyhow::Result<()> {
    let findings = check()?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    ensure!(findings.is_empty(), "tidy: {} to put right", findings.len());
    Ok(())
}

fn check() -> anyhow::Result<Vec<Finding>> {
    let workspace = Workspace::read(crate::root())?;
    let mut findings = layers::check(&workspace);
    findings.extend(sources::check(&workspace));
    findings.extend(lock::check(&workspace));
    findings.extend(docs::check(&workspace, |path| crate::root().join(path).exists()));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let findings: Vec<String> = super::check().unwrap().iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
