//! Counts the ignored files and folders of a data set's folder, and keeps a few of their names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tallow_core::{Foreign, shown};

use super::tree::{Folder, last};
use super::{BadFile, kind, words};

const MAX_EXAMPLES: usize = 5;
/// Largest number of names per kind in a line.
const MAX_IN_LINE: usize = 2;
/// Largest number of kinds in a line.
const MAX_KINDS: usize = 8;
/// Largest number of kinds in the notice, which every command prints.
const MAX_KINDS_IN_NOTICE: usize = 3;

/// Ignored files and folders, counted by kind.
pub(super) struct LeftAlone {
    pub(super) n: usize,
    /// By kind (".txt", "hidden or of the system"): the number of files, and the first names.
    kinds: BTreeMap<String, (usize, Vec<Foreign>)>,
}

impl LeftAlone {
    /// Counts the files and folders in `tree` that are not pictures of the data set, and the pictures of runs. `used`
    /// are tables that were read, which do not count.
    pub(super) fn of(tree: &Folder, used: &[PathBuf]) -> Self {
        let mut counted = Self { n: 0, kinds: BTreeMap::new() };
        counted.add(tree, used, false);
        counted
    }

    fn add(&mut self, folder: &Folder, used: &[PathBuf], in_run: bool) {
        for name in &folder.system {
            self.count("hidden or of the system".into(), &name.as_str().into());
        }
        for file in folder.others.iter().filter(|file| !used.contains(&file.path)) {
            let suffix = kind::suffix(file.name.raw());
            let kind = if suffix.is_empty() { "without a suffix".into() } else { format!(".{suffix}") };
            self.count(if in_run { "of a training run".into() } else { kind }, &file.name);
        }
        if in_run {
            folder.pictures.iter().for_each(|file| self.count("of a training run".into(), &file.name));
        }
        for inner in &folder.folders {
            self.add(inner, used, in_run || inner.is_run());
        }
    }

    fn count(&mut self, kind: String, name: &Foreign) {
        self.n += 1;
        let (n, examples) = self.kinds.entry(kind).or_default();
        *n += 1;
        if examples.len() < MAX_EXAMPLES {
            examples.push(name.clone());
        }
    }

    /// Returns a few names: one of every kind before a second of any kind.
    pub(super) fn examples(&self) -> Vec<Foreign> {
        let nth = |i: usize| self.kinds.values().filter_map(move |(_, examples)| examples.get(i));
        (0..MAX_EXAMPLES).flat_map(nth).take(MAX_EXAMPLES).cloned().collect()
    }

    /// Returns a line such as `2 .txt (a.txt), 1 .pdf (b.pdf)`; `None` if nothing was ignored.
    pub(super) fn line(&self) -> Option<String> {
        self.listed(MAX_KINDS)
    }

    fn listed(&self, max_kinds: usize) -> Option<String> {
        let mut kinds: Vec<(&String, &(usize, Vec<Foreign>))> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, (n, _))| std::cmp::Reverse(*n));
        let max_kinds = if kinds.len() == max_kinds + 1 { kinds.len() } else { max_kinds }; // the last one takes no more room
        let n_rest: usize = kinds.iter().skip(max_kinds).map(|(_, (n, _))| n).sum();
        let mut parts: Vec<String> = kinds
            .iter()
            .take(max_kinds)
            .map(|(kind, (n, examples))| {
                let more = if *n > MAX_IN_LINE { ", …" } else { "" };
                let names = words::all(examples.iter().take(MAX_IN_LINE).map(Foreign::raw));
                format!("{n} {} ({names}{more})", shown(kind))
            })
            .collect();
        if n_rest > 0 {
            parts.push(format!("{n_rest} others"));
        }
        (self.n > 0).then(|| parts.join(", "))
    }

    /// Returns the notice about the ignored files.
    pub(super) fn notice(&self) -> Option<String> {
        Some(format!("files that are not pictures are ignored: {}", self.listed(MAX_KINDS_IN_NOTICE)?))
    }
}

/// Returns all unreadable entries in a folder and below it. Run folders are left out.
pub(super) fn all_bad(tree: &Folder) -> Vec<BadFile> {
    tree.within().iter().flat_map(|folder| &folder.bad).cloned().collect()
}

/// Returns the notice about links that lead back to a folder above them.
pub(super) fn loops_notice(tree: &Folder) -> Option<String> {
    let within = tree.within();
    let loops: Vec<&str> = within.iter().flat_map(|folder| &folder.loops).map(String::as_str).collect();
    (!loops.is_empty())
        .then(|| format!("links to a folder above them are not followed: {}", words::some(loops)))
}

/// Describes the contents of a folder without pictures.
pub(super) fn contents(folder: &Folder) -> String {
    let bad = all_bad(folder);
    match (LeftAlone::of(folder, &[]).line(), bad.as_slice()) {
        (None, []) => "empty".into(),
        (None, [first, ..]) => {
            format!("{} of {}: {}", bad.len(), shown(last(first.name.raw())), first.reason)
        }
        (Some(line), []) => line,
        (Some(line), [first, ..]) => format!("{line}, {} that cannot be read ({})", bad.len(), first.reason),
    }
}
