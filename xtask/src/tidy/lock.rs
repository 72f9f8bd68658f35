//! Checks Cargo.lock: every crate is from crates.io, and deny.toml names every crate that is there in several versions, with the
//! version that ought to go. cargo-deny checks the same, and licences and advisories, but is not on every machine.

use std::collections::BTreeMap;

use super::Finding;
use super::workspace::{TextFile, Workspace};

const LOCK: &str = "Cargo.lock";
const DENY: &str = "deny.toml";
/// The name of crates.io in lock files.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A crate in the lock file: its versions in ascending order, each with its line.
type Versions<'a> = BTreeMap<&'a str, Vec<(&'a str, usize)>>;

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (Some(lock), Some(deny)) = (workspace.file(LOCK), workspace.file(DENY)) else {
        return vec![Finding::new(DENY, 1, "Cargo.lock or deny.toml is missing: write it")];
    };
    for (line, text) in lock.lines() {
        if value(text, "source").is_some_and(|source| source != CRATES_IO) {
            findings.push(Finding::new(
                LOCK,
                line,
                "a crate that is not from crates.io: publish it, or do without",
            ));
        }
    }
    let versions = versions(lock);
    let named: Vec<(usize, &str)> = skipped(deny).collect();
    for (name, several) in &versions {
        let older = &several[..several.len() - 1];
        for (version, line) in older {
            let wanted = format!("{name}@{version}");
            if !named.iter().any(|(_, skipped)| *skipped == wanted) {
                let message = format!(
                    "{name} is there in {} versions: choose one, or name {wanted} in {DENY} with who holds it",
                    several.len()
                );
                findings.push(Finding::new(LOCK, *line, message));
            }
        }
    }
    for (line, skipped) in named {
        let is_older = skipped.split_once('@').is_some_and(|(name, version)| {
            let several = versions.get(name).map_or(&[][..], Vec::as_slice);
            several.iter().rev().skip(1).any(|(older, _)| *older == version)
        });
        if !is_older {
            findings.push(Finding::new(
                DENY,
                line,
                format!("{skipped} has gone from {LOCK}: remove the line"),
            ));
        }
    }
    findings
}

/// Returns the versions of every crate. A lock file lists those of one crate in ascending order.
fn versions(lock: &TextFile) -> Versions<'_> {
    let mut versions = Versions::new();
    let mut name = "";
    for (line, text) in lock.lines() {
        if let Some(found) = value(text, "name") {
            name = found;
        } else if let Some(version) = value(text, "version").filter(|_| !name.is_empty()) {
            versions.entry(name).or_default().push((version, line));
        }
    }
    versions
}

/// Returns the crates that deny.toml allows in several versions, as `name@version`, with their lines.
fn skipped(deny: &TextFile) -> impl Iterator<Item = (usize, &str)> {
    deny.lines().filter_map(|(line, text)| {
        let (_, rest) = text.trim_start().strip_prefix('{')?.split_once("crate = \"")?;
        let (name, _) = rest.split_once('"')?;
        name.contains('@').then_some((line, name))
    })
}

/// Returns the value of a line `key = "value"`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(crates: &[(&str, &str)], deny: &str) -> Vec<String> {
        let entry = |(name, version): &(&str, &str)| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{CRATES_IO}\"\n\n")
        };
        let file = |path: &str, text: String| TextFile { path: path.to_owned(), text };
        let lock = format!("version = 4\n\n{}", crates.iter().map(entry).collect::<String>());
        let files = vec![file(LOCK, lock), file(DENY, deny.to_owned())];
        let workspace = Workspace { files, ..Workspace::default() };
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn several_versions_are_named_and_nothing_else_is() {
        let both = [("a", "1.0.0"), ("b", "0.9.0"), ("b", "0.10.0")];
        let named = "skip = [\n    { crate = \"b@0.9.0\", reason = \"c\" },\n]\n";
        assert_eq!(messages(&both, named), [""; 0]);
        let found = messages(&both, "");
        assert!(
            found.len() == 1 && found[0].starts_with("Cargo.lock:10: b is there in 2 versions"),
            "{found:?}"
        );
        let found = messages(&both[..2], named);
        assert!(found.len() == 1 && found[0].starts_with("deny.toml:2: b@0.9.0 has gone"), "{found:?}");
        let newer = named.replace("0.9.0", "0.10.0");
        assert_eq!(messages(&both, &newer).len(), 2, "the newer version is the one to keep");
    }

    #[test]
    fn another_source_is_a_finding() {
        let mut files = vec![TextFile { path: DENY.to_owned(), text: String::new() }];
        let text = "name = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/a\"\n".to_owned();
        files.push(TextFile { path: LOCK.to_owned(), text });
        let found = check(&Workspace { files, ..Workspace::default() });
        assert!(
            found.len() == 1 && found[0].to_string().starts_with("Cargo.lock:3: a crate that is not from")
        );
    }
}
