//! Checks that README.md, ARCHITECTURE.md and SECURITY.md exist and name only existing paths and packages, and that
//! ARCHITECTURE.md names every package.

use super::Finding;
use super::workspace::{SOURCE_FOLDERS, TextFile, Workspace};

const README: &str = "README.md";
const ARCHITECTURE: &str = "ARCHITECTURE.md";
const SECURITY: &str = "SECURITY.md";

/// Checks the documents. `exists` tells whether a path, relative to the root of the repository, exists.
pub(super) fn check(workspace: &Workspace, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in [README, ARCHITECTURE, SECURITY] {
        match workspace.file(document) {
            Some(file) => findings.extend(check_names(workspace, file, &exists)),
            None => findings.push(Finding::new(document, 1, "is missing: write it")),
        }
    }
    if let Some(file) = workspace.file(ARCHITECTURE) {
        let spans: Vec<&str> = code_spans(file).map(|(_, span)| span.trim_end_matches('/')).collect();
        let unnamed =
            workspace.packages.iter().filter(|p| !spans.contains(&&*p.name) && !spans.contains(&&*p.folder));
        findings.extend(unnamed.map(|package| {
            let message =
                format!("does not describe `{}`: add what it is and what it leaves to others", package.name);
            Finding::new(ARCHITECTURE, 1, message)
        }));
    }
    findings
}

fn check_names(workspace: &Workspace, file: &TextFile, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, span) in code_spans(file) {
        if let Some(path) = path_in(span).filter(|path| !exists(path)) {
            findings.push(Finding::new(
                &file.path,
                line,
                format!("`{path}` does not exist: correct the text"),
            ));
        }
        let is_package = |name: &str| workspace.packages.iter().any(|package| package.name == name);
        if looks_like_a_package(span) && !is_package(span) {
            findings.push(Finding::new(
                &file.path,
                line,
                format!("there is no package `{span}`: correct the text"),
            ));
        }
    }
    findings
}

/// Returns the text between two backticks of one line, outside fenced blocks, with its line number.
fn code_spans(file: &TextFile) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    let prose = file.lines().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    });
    prose.flat_map(|(number, line)| line.split('`').skip(1).step_by(2).map(move |span| (number, span)))
}

/// Returns the path of this repository that a span names, if it looks like one. The path ends at a blank, or at a colon
/// before a line number. If it has a wildcard or a placeholder (`assets/recipes/*.toml`), only its folder is returned.
fn path_in(span: &str) -> Option<&str> {
    let (folder, _) = span.split_once('/')?;
    if !SOURCE_FOLDERS.contains(&folder) {
        return None;
    }
    let path = span.split([' ', ':', '#']).next()?;
    match path.find(['*', '<', '{', '…']) {
        Some(placeholder) => path[..placeholder].rfind('/').map(|end| &path[..end]),
        None => Some(path),
    }
}

fn looks_like_a_package(span: &str) -> bool {
    span.starts_with("tallow-") && span.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::super::workspace::Package;
    use super::*;

    /// Checks the documents in a repository that has only `tallow-core`.
    fn messages(readme: &str, architecture: &str) -> Vec<String> {
        let file = |path: &str, text: &str| TextFile { path: path.to_owned(), text: text.to_owned() };
        let core = Package {
            name: "tallow-core".to_owned(),
            folder: "crates/core".to_owned(),
            imports: vec![],
            roots: vec![],
        };
        let workspace = Workspace {
            packages: vec![core],
            files: vec![file(README, readme), file(ARCHITECTURE, architecture), file(SECURITY, "")],
            ..Workspace::default()
        };
        let exists = |path: &str| ["crates/core/src/lib.rs", "assets/recipes"].contains(&path);
        check(&workspace, exists).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_missing_document_is_a_finding() {
        let found: Vec<String> =
            check(&Workspace::default(), |_| true).iter().map(ToString::to_string).collect();
        let missing = ["README.md", "ARCHITECTURE.md", "SECURITY.md"];
        assert_eq!(found, missing.map(|name| format!("{name}:1: is missing: write it")));
    }

    #[test]
    fn every_package_is_described() {
        for named in ["`tallow-core`", "`crates/core/` holds", "Look at `x` and `tallow-core`."] {
            assert!(messages("", named).iter().all(|m| !m.contains("does not describe")), "{named}");
        }
        let fenced = "```\n`tallow-core`\n```";
        assert_eq!(messages("", "tallow-core").len(), 1);
        assert!(messages("", fenced)[0].starts_with("ARCHITECTURE.md:1: does not describe `tallow-core`"));
    }

    #[test]
    fn what_is_named_exists() {
        let found = messages("one\n`crates/core/src/lib.rs` and `crates/core/src/lip.rs`", "`tallow-core`");
        assert_eq!(found, ["README.md:2: `crates/core/src/lip.rs` does not exist: correct the text"]);
        let found = messages("", "`tallow-core`\n`tallow-cores`");
        assert_eq!(found, ["ARCHITECTURE.md:2: there is no package `tallow-cores`: correct the text"]);
    }

    #[test]
    fn a_span_is_read_as_a_path_where_it_looks_like_one() {
        assert_eq!(path_in("assets/recipes/*.toml"), Some("assets/recipes"));
        assert_eq!(path_in("crates/core/src/lib.rs:12"), Some("crates/core/src/lib.rs"));
        assert_eq!(path_in(".ci/run --all"), Some(".ci/run"));
        assert_eq!(path_in("runs/cnn-1/recipe.toml"), None);
        assert_eq!(path_in("cargo test"), None);
    }
}
