//! Builds folders from names and contents, for tests of `tallow_dataset::folder`.

#![allow(dead_code, reason = "each test uses some of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tallow_core::{Silent, StopFlag};
use tallow_dataset::folder::{FolderError, Listing, ListingOptions, list};
use tempfile::TempDir;

/// The first bytes of a PNG. They are enough, because nothing is decoded.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A temporary folder of files. A name that ends in `/` makes a folder; a name with `*n` in it makes n files.
pub(crate) struct Tree(TempDir);

impl Tree {
    /// Creates pictures and empty folders.
    pub(crate) fn new(names: &[&str]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for name in names {
            match name.split_once('*') {
                Some((stem, n)) => {
                    (0..n.parse().unwrap()).for_each(|i: u32| tree.put(&format!("{stem}{i}.png"), PNG));
                }
                None if name.ends_with('/') => fs::create_dir_all(tree.path().join(name)).unwrap(),
                None => tree.put(name, PNG),
            }
        }
        tree
    }

    /// Adds a file with this content.
    pub(crate) fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.put(name, content.as_ref());
        self
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lists the folder itself.
    pub(crate) fn list(&self) -> Result<Listing, FolderError> {
        self.list_at("", &ListingOptions::default())
    }

    /// Lists the path `name` in the folder.
    pub(crate) fn list_at(&self, name: &str, options: &ListingOptions) -> Result<Listing, FolderError> {
        let path = if name.is_empty() { self.path().to_owned() } else { self.path().join(name) };
        list_path(&path, options, &self.path().join(".data"))
    }

    /// Returns the message with which the folder is refused.
    pub(crate) fn refused(&self) -> String {
        self.list().expect_err("it is accepted").to_string()
    }
}

/// Lists `path` without progress.
pub(crate) fn list_path(
    path: &Path,
    options: &ListingOptions,
    data_dir: &Path,
) -> Result<Listing, FolderError> {
    list(path, options, data_dir, &Silent, &StopFlag::default())
}

/// Returns the number of pictures by `train/cat` or `cat`.
pub(crate) fn counts(listing: &Listing) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in &listing.entries {
        let class = &listing.class_names[entry.label as usize];
        let split = entry.split.map(|split| format!("{split:?}/").to_lowercase()).unwrap_or_default();
        *counts.entry(format!("{split}{}", class.raw())).or_default() += 1;
    }
    counts
}

/// Returns [`counts`] as one text: `cat 2, dog 3`.
pub(crate) fn counted(listing: &Listing) -> String {
    let counts: Vec<String> = counts(listing).into_iter().map(|(name, n)| format!("{name} {n}")).collect();
    counts.join(", ")
}

/// Returns the names of the entries, in their order.
pub(crate) fn names(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| entry.name.raw()).collect()
}

/// Returns whether one notice contains all of `words`.
pub(crate) fn says(listing: &Listing, words: &[&str]) -> bool {
    listing.notices.iter().any(|notice| words.iter().all(|word| notice.contains(word)))
}

/// Returns the path of `name` in the folder.
pub(crate) fn inside(tree: &Tree, name: &str) -> PathBuf {
    tree.path().join(name)
}
