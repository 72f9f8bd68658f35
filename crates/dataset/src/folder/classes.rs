//! Turns pictures with class names into a listing with labels. Checks which class names are too similar and which
//! classes have no training pictures, and sorts the classes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tallow_core::{Foreign, shown};
use unicode_normalization::UnicodeNormalization;

use super::left_alone::{LeftAlone, all_bad, loops_notice};
use super::tree::Folder;
use super::{FolderError, ListedPicture, Listing, Picture, SplitName, kind, words};

/// A picture and the class that its folder or row gives.
#[derive(Debug)]
pub(super) struct Labelled {
    pub(super) split: Option<SplitName>,
    pub(super) class: Foreign,
    pub(super) picture: Picture,
}

/// The contents of a path, before they are known to be a data set.
#[derive(Debug)]
pub(super) struct Draft {
    /// Folder or table that errors refer to.
    pub(super) about: PathBuf,
    pub(super) labelled: Vec<Labelled>,
    /// Class folders that must have pictures and have none: the name, and what was found in place of pictures.
    pub(super) empty: Vec<(Foreign, String)>,
    pub(super) unlabelled: Vec<Picture>,
    pub(super) notices: Vec<String>,
    /// Label tables that were read.
    pub(super) tables: Vec<PathBuf>,
    /// Whether the order of `labelled` is kept within a split.
    pub(super) ordered: bool,
    /// Hint at what the user may have meant if this is not a data set.
    pub(super) hint: String,
}

impl Draft {
    pub(super) fn about(path: PathBuf) -> Self {
        Self {
            about: path,
            labelled: Vec::new(),
            empty: Vec::new(),
            unlabelled: Vec::new(),
            notices: Vec::new(),
            tables: Vec::new(),
            ordered: false,
            hint: String::new(),
        }
    }

    /// Returns the listing. Fails unless there are at least two classes, or one where that is allowed, and each has pictures to
    /// train on.
    pub(super) fn finish(mut self, tree: &Folder, allows_one_class: bool) -> Result<Listing, FolderError> {
        let left_alone = LeftAlone::of(tree, &self.tables);
        if self.labelled.is_empty() {
            let found = left_alone.line().unwrap_or_else(|| "nothing".into());
            return Err(FolderError::NoPictures { path: self.about, found, hint: self.hint });
        }
        let counts = self.counts();
        let class_names = self.class_names(&counts, allows_one_class)?;
        self.notices.extend(missing(&class_names, &counts));
        if !self.unlabelled.is_empty() {
            self.unlabelled.sort_by(Picture::by_name);
            let (n, names) = (words::pictures(self.unlabelled.len()), words::some_pictures(&self.unlabelled));
            self.notices.push(format!("pictures without a class are left out: {n} ({names})"));
        }
        self.notices.extend(loops_notice(tree));
        self.notices.extend(left_alone.notice());
        Ok(Listing {
            root: tree.path.clone(),
            entries: entries(self.labelled, &class_names, self.ordered),
            class_names,
            unlabelled: self.unlabelled,
            bad: all_bad(tree),
            n_left_alone: left_alone.n,
            left_alone_examples: left_alone.examples(),
            notices: self.notices,
        })
    }

    /// Returns the number of pictures by split and class.
    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for labelled in &self.labelled {
            *counts.entry(labelled.split).or_default().entry(labelled.class.clone()).or_default() += 1;
        }
        counts
    }

    fn class_names(&self, counts: &Counts, allows_one_class: bool) -> Result<Vec<Foreign>, FolderError> {
        let path = self.about.clone();
        let found: BTreeSet<&Foreign> = counts.values().flat_map(|classes| classes.keys()).collect();
        let all: BTreeSet<&Foreign> =
            found.iter().copied().chain(self.empty.iter().map(|(name, _)| name)).collect();
        if let Some(names) = twins(&all) {
            return Err(FolderError::TwinNames { path, names });
        }
        let trained = counts.get(&Some(SplitName::Train)).or_else(|| counts.get(&None));
        let mut empty: BTreeMap<&Foreign, &str> =
            self.empty.iter().map(|(name, holds)| (name, holds.as_str())).collect();
        if let Some(trained) = trained {
            for &name in found.iter().filter(|name| !trained.contains_key(**name)) {
                empty.entry(name).or_insert("there are some in other splits");
            }
        }
        if !empty.is_empty() {
            let part = if counts.contains_key(&None) { "" } else { "training " };
            let classes: Vec<String> =
                empty.iter().map(|(name, holds)| format!("{} ({holds})", name.shown())).collect();
            return Err(FolderError::EmptyClasses { path, part, classes: classes.join(", ") });
        }
        if let (1, Some(class), false) = (found.len(), found.first(), allows_one_class) {
            let class = class.shown().into_owned();
            return Err(FolderError::OneClass { path, class, hint: self.hint.clone() });
        }
        let mut names: Vec<Foreign> = found.into_iter().cloned().collect();
        put_in_order(&mut names);
        Ok(names)
    }
}

type Counts = BTreeMap<Option<SplitName>, BTreeMap<Foreign, usize>>;

/// Returns the names that differ only in case, surrounding spaces, or Unicode normal form, grouped in words; `None` if
/// there are none.
fn twins(names: &BTreeSet<&Foreign>) -> Option<String> {
    let mut groups: BTreeMap<String, Vec<&Foreign>> = BTreeMap::new();
    for &name in names {
        let plain: String = name.raw().trim().nfc().collect::<String>().to_lowercase().nfc().collect();
        groups.entry(plain).or_default().push(name);
    }
    let groups: Vec<String> = groups
        .into_values()
        .filter(|group| group.len() > 1)
        .map(|group| {
            let quoted: Vec<String> = group.iter().map(|name| told_apart(name)).collect();
            quoted.join(" and ")
        })
        .collect();
    (!groups.is_empty()).then(|| groups.join("; "))
}

/// Returns the name in quotes. Combining characters, which may make no visible difference, are written as their codes.
fn told_apart(name: &Foreign) -> String {
    let is_combining = unicode_normalization::char::is_combining_mark;
    let spelt: String =
        name.raw().chars().map(|c| if is_combining(c) { shown::code(c) } else { c.to_string() }).collect();
    format!("\"{}\"", shown(&spelt))
}

/// Sorts the names by value if all are numbers, otherwise by code point.
fn put_in_order(names: &mut [Foreign]) {
    let value = |name: &Foreign| -> Option<f64> {
        let name = name.raw();
        let is_number = name.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        if is_number { name.parse().ok() } else { None }
    };
    if names.iter().all(|name| value(name).is_some()) {
        names.sort_by(|a, b| {
            let by_value = value(a).partial_cmp(&value(b)).unwrap_or(Ordering::Equal);
            by_value.then_with(|| a.raw().len().cmp(&b.raw().len())).then_with(|| a.cmp(b))
        });
    } else {
        names.sort();
    }
}

/// Returns a notice for each class that a split lacks.
fn missing(class_names: &[Foreign], counts: &Counts) -> Vec<String> {
    let mut notices = Vec::new();
    for (split, classes) in counts {
        let Some(split) = split else { continue };
        for name in class_names.iter().filter(|name| !classes.contains_key(*name)) {
            notices.push(format!("{} has no {} pictures", name.shown(), split.adjective()));
        }
    }
    notices
}

fn entries(mut labelled: Vec<Labelled>, class_names: &[Foreign], ordered: bool) -> Vec<ListedPicture> {
    let labels: BTreeMap<&Foreign, u32> = class_names.iter().zip(0..).collect();
    let label = |labelled: &Labelled| labels.get(&labelled.class).copied().unwrap_or_default();
    if ordered {
        labelled.sort_by_key(|labelled| labelled.split);
    } else {
        labelled.sort_by(|a, b| {
            (a.split, label(a))
                .cmp(&(b.split, label(b)))
                .then_with(|| Picture::by_name(&a.picture, &b.picture))
        });
    }
    let entry = |labelled: Labelled| {
        let label = label(&labelled);
        let Picture { path, name } = labelled.picture;
        ListedPicture { path, name, label, split: labelled.split }
    };
    labelled.into_iter().map(entry).collect()
}

/// Returns a hint about an archive in a folder without pictures.
pub(super) fn archive_hint(folder: &Folder) -> String {
    let is_archive = |name: &str| matches!(kind::suffix(name).as_str(), "zip" | "tar" | "gz" | "tgz");
    match folder.others.iter().find(|file| is_archive(file.name.raw())) {
        Some(file) => format!("; {} is an archive: give its path", file.name.shown()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order(names: &[&str]) -> Vec<Foreign> {
        let mut names: Vec<Foreign> = names.iter().map(|&name| name.into()).collect();
        put_in_order(&mut names);
        names
    }

    #[test]
    fn numbers_stand_by_value_and_names_by_code_point() {
        assert_eq!(in_order(&["10", "2", "1", "20", "3"]), ["1", "2", "3", "10", "20"]);
        assert_eq!(in_order(&["0.667", "-1", "1", "0.333"]), ["-1", "0.333", "0.667", "1"]);
        assert_eq!(in_order(&["01", "1", "001"]), ["1", "01", "001"]);
        assert_eq!(in_order(&["class10", "class2", "é", "Z"]), ["Z", "class10", "class2", "é"]);
        assert_eq!(in_order(&["10", "9", "nine"]), ["10", "9", "nine"]);
        let long = "100000000000000000000000000000000000000000";
        assert_eq!(in_order(&[long, "99999999999999999999999999"]), ["99999999999999999999999999", long]);
    }

    #[test]
    fn twins_are_named_together_and_can_be_told_apart() {
        let names = |names: &[&str]| {
            let names: Vec<Foreign> = names.iter().map(|&name| name.into()).collect();
            twins(&names.iter().collect())
        };
        assert_eq!(names(&["Cat", "cat", "dog"]).unwrap(), "\"Cat\" and \"cat\"");
        assert_eq!(names(&["caf\u{e9}", "cafe\u{301}"]).unwrap(), "\"cafe<U+0301>\" and \"caf\u{e9}\"");
        assert_eq!(names(&["cat", "cat "]).unwrap(), "\"cat\" and \"cat \"");
        assert_eq!(names(&["cat", "cats"]), None);
    }
}
