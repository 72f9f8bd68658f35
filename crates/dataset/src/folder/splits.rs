//! Decides whether a level of folders consists of splits, or of classes of which one is named like a split.
//!
//! ```text
//! no folder named like a split                                    -> classes
//! only such folders:     at least one has class folders           -> splits
//!                        none has (they hold pictures directly)   -> refused: the classes are unknown
//! other folders beside:  two splits with two class folders each   -> splits; the others are left out, and named
//!                        one such split                           -> refused: it could be either
//!                        none                                     -> classes, with a notice
//! ```

use std::collections::BTreeMap;

use tallow_core::shown;

use super::tree::Folder;
use super::{FolderError, SplitName, words};

/// What a level of folders consists of.
pub(super) enum Level<'a> {
    /// Splits of class folders, and other folders with pictures.
    Splits { parts: Vec<(SplitName, &'a Folder)>, others: Vec<&'a Folder> },
    /// Class folders, with a notice if one is named like a split.
    Classes { notice: Option<String> },
}

/// Decides what `level` consists of. `candidates` are its folders that have pictures or should have some.
pub(super) fn of_level<'a>(level: &Folder, candidates: &[&'a Folder]) -> Result<Level<'a>, FolderError> {
    let parts = named(candidates);
    if parts.is_empty() {
        return Ok(Level::Classes { notice: None });
    }
    let is_part = |folder: &Folder| parts.iter().any(|(_, part)| std::ptr::eq(*part, folder));
    let others: Vec<&Folder> =
        candidates.iter().copied().filter(|folder| !is_part(folder) && folder.n_pictures() > 0).collect();
    let refuse = |what: String| Err(FolderError::Splits { path: level.path.clone(), what });
    let names = words::all(parts.iter().map(|(_, folder)| folder.own_name()));
    if others.is_empty() {
        if parts.iter().all(|(split, folder)| unwrapped(*split, folder).with_pictures().next().is_none()) {
            let n = words::pictures(parts.iter().map(|(_, folder)| folder.n_pictures()).sum());
            return refuse(format!(
                "{n} in {names}, but no class folders: put the pictures of each class into a folder named \
                 after the class within each split, or add a table with a column of file names and a column \
                 of labels"
            ));
        }
    } else {
        let is_split = |(split, folder): &&(SplitName, &Folder)| {
            let folder = unwrapped(*split, folder);
            folder.pictures.is_empty() && folder.with_pictures().count() > 1
        };
        let beside = words::some(others.iter().map(|folder| folder.own_name()));
        match parts.iter().filter(is_split).count() {
            0 => {
                let notice =
                    format!("{names} beside {beside}: these folders are taken as classes, not as splits");
                return Ok(Level::Classes { notice: Some(notice) });
            }
            1 => {
                return refuse(format!(
                    "{names} holds class folders like a split, but {beside} beside it also holds pictures: \
                     move away the folders that are not splits, or rename {names} if it is a class"
                ));
            }
            _ => {}
        }
    }
    if let Some((a, b)) = twice(&parts) {
        return refuse(format!(
            "{} and {} both name the same split: rename one",
            shown(a.own_name()),
            shown(b.own_name())
        ));
    }
    Ok(Level::Splits { parts, others })
}

/// Returns the folders with a split's name, in the order of the splits. Names with additional words (`seg_train`,
/// `seg_test`) count if a training folder and another split have the same additional words.
fn named<'a>(candidates: &[&'a Folder]) -> Vec<(SplitName, &'a Folder)> {
    let mut by_rest: BTreeMap<String, Vec<(SplitName, &Folder)>> = BTreeMap::new();
    for &folder in candidates {
        if let Some((split, rest)) = SplitName::of_name(folder.own_name()) {
            by_rest.entry(rest).or_default().push((split, folder));
        }
    }
    let has = |parts: &[(SplitName, &Folder)], split| parts.iter().any(|part| part.0 == split);
    let is_pair = |parts: &[(SplitName, &Folder)]| {
        has(parts, SplitName::Train) && (has(parts, SplitName::Val) || has(parts, SplitName::Test))
    };
    let mut parts = by_rest.remove("").unwrap_or_default();
    if parts.is_empty() {
        parts = by_rest.into_values().find(|parts| is_pair(parts)).unwrap_or_default();
    }
    parts.sort_by_key(|(split, _)| *split);
    parts
}

fn twice<'a>(parts: &[(SplitName, &'a Folder)]) -> Option<(&'a Folder, &'a Folder)> {
    let [a, b] = parts.windows(2).find(|pair| pair[0].0 == pair[1].0)? else { return None };
    Some((a.1, b.1))
}

/// Returns the folder that holds a split's class folders. Enters folders that wrap all of it and are named like the
/// split or "images": `seg_train/seg_train/cat`.
pub(super) fn unwrapped(split: SplitName, folder: &Folder) -> &Folder {
    let mut inner = folder;
    while let ([only], true) = (inner.folders.as_slice(), inner.pictures.is_empty()) {
        let name = only.own_name().to_lowercase();
        let repeats = SplitName::of_name(&name).is_some_and(|(named, _)| named == split)
            || matches!(name.as_str(), "images" | "imgs" | "photos" | "pictures");
        if !repeats || !only.pictures.is_empty() {
            break;
        }
        inner = only;
    }
    inner
}
