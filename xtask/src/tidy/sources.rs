//! Rules for files: headers, sizes, unsafe code, ignored tests, paths of one machine.

use super::Finding;
use super::workspace::{TextFile, Workspace};

const MAX_LINES: usize = 500;
/// The only package that may hold unsafe code.
const UNSAFE_FOLDER: &str = "crates/kernels/";
const FORBID_UNSAFE: &str = "#![forbid(unsafe_code)]";
/// Concatenated, so that this file does not break its own rule.
const MACHINE_FOLDERS: [&str; 3] = [concat!("/", "work/"), concat!("/", "root/"), concat!("/", "home/")];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings: Vec<Finding> = workspace.files.iter().flat_map(check_file).collect();
    let roots = workspace.packages.iter().flat_map(|package| &package.roots);
    for root in roots.filter(|root| !root.starts_with(UNSAFE_FOLDER)) {
        let text = workspace.file(root).map_or("", |file| &file.text);
        if !text.lines().any(|line| line == FORBID_UNSAFE) {
            findings.push(Finding::new(root, 1, format!("add {FORBID_UNSAFE} below the header")));
        }
    }
    findings
}

fn check_file(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |line, message: &str| findings.push(Finding::new(&file.path, line, message));
    for (number, line) in file.lines() {
        if names_a_machine_path(line) {
            say(number, "a path that exists on one machine only: make it relative, or an argument");
        }
        if file.is_rust() && ignores_a_test(line) {
            say(number, "a test that never runs: make it quick, or let it skip itself and say so");
        }
        if file.is_rust() && !file.path.starts_with(UNSAFE_FOLDER) && is_unsafe(line) {
            say(number, "unsafe code belongs into crates/kernels, behind a safe function");
        }
    }
    if file.is_rust() && !file.text.starts_with("//!") {
        say(1, "open the file with `//!`: what it is, why it exists, what it leaves to others");
    }
    if file.is_rust() && file.text.lines().count() > MAX_LINES {
        say(MAX_LINES + 1, "more than 500 lines: split the file");
    }
    findings
}

/// Whether the line has one of the folders at the beginning of a path (in `https://example.com/home/` it is not at the
/// beginning).
fn names_a_machine_path(line: &str) -> bool {
    MACHINE_FOLDERS.iter().flat_map(|folder| line.match_indices(folder)).any(|(at, _)| {
        !line[..at]
            .ends_with(|before: char| before.is_alphanumeric() || matches!(before, '.' | '}' | '_' | '-'))
    })
}

fn ignores_a_test(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[ignore") || line.starts_with("#[cfg_attr(") && line.contains("ignore")
}

/// Whether the line has the keyword before something that takes it. Comments and prose do not count.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices("unsafe").any(|(at, word)| {
        let is_word = !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let after = code[at + word.len()..].trim_start();
        is_word && ["{", "fn", "impl", "trait", "extern"].iter().any(|taker| after.starts_with(taker))
    })
}

#[cfg(test)]
mod tests {
    use super::super::workspace::Package;
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let file = TextFile { path: path.to_owned(), text: text.to_owned() };
        check_file(&file).iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn assert_only(found: &[String], start: &str) {
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
    }

    #[test]
    fn a_file_opens_with_its_header() {
        assert_eq!(messages("a.rs", "//! What it is.\nfn f() {}\n"), [""; 0]);
        assert_only(&messages("a.rs", "use std::io;\n//! late\n"), "a.rs:1: open the file with");
        assert_eq!(messages("a.py", "import os\n"), [""; 0]);
    }

    #[test]
    fn a_long_file_is_split() {
        assert_eq!(messages("a.rs", &"//!\n".repeat(500)), [""; 0]);
        assert_only(&messages("a.rs", &"//!\n".repeat(501)), "a.rs:501: more than 500 lines");
    }

    #[test]
    fn a_test_is_not_ignored() {
        for attribute in ["#[ignore]", "    #[ignore = \"slow\"]", "#[cfg_attr(windows, ignore)]"] {
            assert_only(&messages("a.rs", &format!("//!\n{attribute}\n")), "a.rs:2: a test that never runs");
        }
        assert_eq!(messages("a.rs", "//! Why `#[ignore]` is refused.\n"), [""; 0]);
    }

    #[test]
    fn unsafe_code_stays_in_kernels() {
        for taker in ["{ f() }", "fn f() {}", "impl Send for A {}", "extern \"C\" {}", "trait A {}"] {
            let text = format!("//!\nlet x = {} {taker}\n", "unsafe");
            assert_only(&messages("crates/nn/src/a.rs", &text), "crates/nn/src/a.rs:2: unsafe code belongs");
            assert_eq!(messages("crates/kernels/src/a.rs", &text), [""; 0]);
        }
        let harmless =
            format!("//! An {0} block\n{FORBID_UNSAFE}\n// {0} {{\nlet {0}ly = \"{0}\";\n", "unsafe");
        assert_eq!(messages("crates/nn/src/a.rs", &harmless), [""; 0]);
    }

    #[test]
    fn no_path_of_one_machine() {
        for folder in MACHINE_FOLDERS {
            assert_only(
                &messages("a.json", &format!("{{\n \"{folder}data\"\n}}")),
                "a.json:2: a path that exists on one",
            );
            assert_eq!(messages("a.md", &format!("https://example.com{folder}page")), [""; 0]);
        }
    }

    #[test]
    fn every_root_but_that_of_kernels_forbids_unsafe_code() {
        let package = |folder: &str| Package {
            name: String::new(),
            folder: folder.to_owned(),
            imports: vec![],
            roots: vec![format!("{folder}/src/lib.rs")],
        };
        let file = |folder: &str, text: &str| TextFile {
            path: format!("{folder}/src/lib.rs"),
            text: format!("//!\n{text}"),
        };
        let workspace = Workspace {
            packages: ["crates/kernels", "crates/nn", "crates/core"].map(package).into(),
            files: vec![
                file("crates/kernels", ""),
                file("crates/nn", ""),
                file("crates/core", FORBID_UNSAFE),
            ],
            ..Workspace::default()
        };
        let found: Vec<String> = check(&workspace).iter().map(ToString::to_string).collect();
        assert_only(&found, "crates/nn/src/lib.rs:1: add #![forbid");
    }
}
