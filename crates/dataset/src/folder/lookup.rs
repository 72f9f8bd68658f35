//! Finds the file that a cell of a table means: `train/0001.png`, `0001.png` and `0001` may all mean
//! `images/train/0001.png`.

use std::collections::HashMap;
use std::path::Path;

use tallow_core::path_of;
use unicode_normalization::UnicodeNormalization;

use super::Picture;
use super::kind::without_picture_suffix;
use super::tree::{Folder, last};

/// The pictures below a folder, indexed by the ends of their names. Names are compared in Unicode's normal form C.
pub(super) struct Lookup<'a> {
    folder: &'a Path,
    pictures: Vec<(&'a Picture, String)>,
    /// Indices of pictures by the last part of the name, with and without the suffix.
    by_last: HashMap<String, Vec<usize>>,
}

/// The pictures that a cell may mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Hit {
    /// No existing file.
    Nothing,
    /// One picture below the folder.
    One(usize),
    /// Several pictures, in different folders or with different suffixes.
    Several(Vec<usize>),
    /// A file elsewhere, given by a path relative to the folder or by an absolute path.
    Elsewhere(Picture),
}

impl<'a> Lookup<'a> {
    pub(super) fn new(tree: &'a Folder) -> Self {
        let mut lookup = Self { folder: &tree.path, pictures: Vec::new(), by_last: HashMap::new() };
        let skip = if tree.name.is_empty() { 0 } else { tree.name.len() + 1 };
        for picture in tree.within().into_iter().flat_map(|folder| &folder.pictures) {
            let name: String = picture.name.raw()[skip..].nfc().collect();
            let (i, own) = (lookup.pictures.len(), last(&name));
            let stem = without_picture_suffix(own);
            if stem != own {
                lookup.by_last.entry(stem.to_owned()).or_default().push(i);
            }
            lookup.by_last.entry(own.to_owned()).or_default().push(i);
            lookup.pictures.push((picture, name));
        }
        lookup
    }

    /// Returns picture `i`.
    pub(super) fn picture(&self, i: usize) -> &'a Picture {
        self.pictures[i].0
    }

    /// Returns the number of pictures.
    pub(super) fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Finds what `cell` means. If several pictures match, prefers the one directly in the folder, then the one in the
    /// folder `home` (the table's own name: `train.csv` prefers `train/`).
    pub(super) fn find(&self, cell: &str, home: &str) -> Hit {
        let cell = cell.trim();
        if cell.is_empty() {
            return Hit::Nothing;
        }
        let hit = self.find_below(cell, home);
        if hit != Hit::Nothing {
            return hit;
        }
        // as it is typed, or as this program writes names that are not UTF-8
        for path in [self.folder.join(cell), self.folder.join(path_of(cell))] {
            if path.is_file() {
                return Hit::Elsewhere(Picture { path, name: cell.into() });
            }
        }
        if cell.contains('\\') { self.find_below(&cell.replace('\\', "/"), home) } else { Hit::Nothing }
    }

    fn find_below(&self, cell: &str, home: &str) -> Hit {
        let cell: String = cell.trim_start_matches("./").nfc().collect();
        let ends_so = |i: &usize| self.base(*i, &cell).is_some();
        let hits: Vec<usize> =
            self.by_last.get(last(&cell)).into_iter().flatten().copied().filter(ends_so).collect();
        match hits.as_slice() {
            [] => Hit::Nothing,
            [one] => Hit::One(*one),
            several => {
                let based = |base: &str| {
                    let mut found = several.iter().filter(|i| self.base(**i, &cell) == Some(base));
                    (found.next().copied(), found.next())
                };
                match (based(""), based(home)) {
                    ((Some(one), None), _) | (_, (Some(one), None)) => Hit::One(one),
                    _ => Hit::Several(hits),
                }
            }
        }
    }

    /// Returns the folder relative to which picture `i` is called `cell`; `None` if the picture has another name.
    pub(super) fn base(&self, i: usize, cell: &str) -> Option<&str> {
        let name = &self.pictures[i].1;
        let base = |name: &str| name.strip_suffix(cell).map(str::len);
        let len = base(name).or_else(|| base(without_picture_suffix(name)))?;
        match &name[..len] {
            "" => Some(""),
            base => base.strip_suffix('/'),
        }
    }
}
