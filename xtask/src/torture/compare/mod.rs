//! Compares what a disturbed run left with what an undisturbed one left: every file, byte for byte, except for times.
//!
//! The only things that may differ, each masked where it stands and nowhere else:
//!
//! * `summary.json`: durations, rates, memory and the number of threads ([`masks::summary`]);
//! * `events.jsonl`: times of lines and durations; the lines that tell of starts, stops and estimates ([`masks::events`]);
//! * `manifest.json`: sizes and digests of the files of this list ([`masks::manifest`]);
//! * `events.out.tfevents.*`: the time in its name, times of records, the rate ([`tensorboard`]);
//! * `report.html`: the facts that show the above ([`masks::report`]);
//! * `checkpoints/last` and `best`: durations, the length of `events.jsonl`, and the digest over them ([`masks::checkpoint`]);
//! * `checkpoints/previous`: everything; which checkpoint came before the last one depends on the stops;
//! * kept features: the seconds that they took, and the digest over them ([`masks::features`]).
//!
//! Files that a killed process had not finished (`.tmp-…` and the like) are counted, not compared.

mod masks;
mod tensorboard;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Number of differing files that are described.
const MAX_SHOWN: usize = 5;
/// Bytes shown before and after the first byte that differs.
const CONTEXT_BYTES: usize = 60;

/// Returns what differs between the folders `reference` and `other`, a text per file.
///
/// # Errors
/// If a folder or a file cannot be read.
pub fn differences(reference: &Path, other: &Path) -> Result<Vec<String>> {
    let [reference, other] = [Content::of(reference)?, Content::of(other)?];
    let mut found = Vec::new();
    for name in reference.files.keys().filter(|name| !other.files.contains_key(*name)) {
        found.push(format!("{name} is missing"));
    }
    for (name, path) in &other.files {
        match reference.files.get(name) {
            None => found.push(format!("{name} is too many")),
            Some(whole) => found.extend(difference(name, whole, path)?),
        }
    }
    let n_more = found.len().saturating_sub(MAX_SHOWN);
    found.truncate(MAX_SHOWN);
    if n_more > 0 {
        found.push(format!("and {n_more} more"));
    }
    Ok(found)
}

/// Returns the number of unfinished files and folders that killed processes left in `folder`.
///
/// # Errors
/// If a folder cannot be read.
pub fn n_left_over(folder: &Path) -> Result<usize> {
    Ok(Content::of(folder)?.n_left_over)
}

/// The files of a folder.
#[derive(Default)]
struct Content {
    /// Their paths by their names: relative, without times.
    files: BTreeMap<String, PathBuf>,
    n_left_over: usize,
}

impl Content {
    fn of(folder: &Path) -> Result<Self> {
        let mut content = Self::default();
        content.add(folder, "")?;
        Ok(content)
    }

    fn add(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let (entry, mut name) = (entry?.path(), String::new());
            let last = entry.file_name().unwrap_or_default().to_string_lossy();
            name.push_str(prefix);
            name.push_str(match last.starts_with(tensorboard::PREFIX) {
                true => tensorboard::PREFIX,
                false => &last,
            });
            if is_left_over(&name) {
                self.n_left_over += 1;
            } else if entry.is_dir() {
                self.add(&entry, &format!("{name}/"))?;
            } else {
                while self.files.contains_key(&name) {
                    name.push_str(" (one more)");
                }
                self.files.insert(name, entry);
            }
        }
        Ok(())
    }
}

/// Whether a killed process left the file or folder of this name unfinished.
fn is_left_over(name: &str) -> bool {
    let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
    last.starts_with(".tmp-")
        || last.starts_with(".new-run-")
        || folder.ends_with("checkpoints") && last == "new"
}

/// Compares two files of the same name.
fn difference(name: &str, reference: &Path, other: &Path) -> Result<Option<String>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (reference, other) = (read(reference)?, read(other)?);
    let mask = mask_of(name).unwrap_or(|bytes| Ok(bytes.to_vec()));
    let reference = mask(&reference).with_context(|| format!("{name} of an undisturbed run"))?;
    let other = match mask(&other) {
        Ok(other) => other,
        Err(error) => return Ok(Some(format!("{name} cannot be read: {error:#}"))),
    };
    if reference == other {
        return Ok(None);
    }
    let at = reference.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let [n, n_other] = [reference.len(), other.len()];
    let around = |bytes: &[u8]| {
        let shown = &bytes[at.saturating_sub(CONTEXT_BYTES)..bytes.len().min(at + CONTEXT_BYTES)];
        std::str::from_utf8(shown).map(|text| text.escape_debug().to_string())
    };
    let shown = match (around(&reference), around(&other)) {
        (Ok(a), Ok(b)) => format!(":\n  undisturbed: {a}\n  disturbed:   {b}"),
        _ => String::new(),
    };
    Ok(Some(format!("{name} differs at byte {at} of {n} (disturbed: {n_other}){shown}")))
}

/// Takes out of the content of a file what may differ.
type Mask = fn(&[u8]) -> Result<Vec<u8>>;

/// Returns the mask of a file; `None` if nothing in it may differ.
fn mask_of(name: &str) -> Option<Mask> {
    let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
    Some(match last {
        "manifest.json" => masks::manifest,
        "summary.json" => masks::summary,
        "events.jsonl" => masks::events,
        "report.html" => masks::report,
        tensorboard::PREFIX => tensorboard::untimed,
        "previous" if folder.ends_with("checkpoints") => |_| Ok(Vec::new()),
        _ if folder.ends_with("checkpoints") => masks::checkpoint,
        _ if folder.contains("data/features/") && last.ends_with(".safetensors") => masks::features,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn files_are_compared_by_name_and_byte() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [a, b] = folders.each_ref().map(|folder| folder.path());
        for folder in [a, b] {
            write(folder, "run/history.csv", "1,2\n");
            write(folder, "run/checkpoints/previous", folder.to_str().unwrap());
        }
        write(b, "run/.tmp-1", "half");
        write(b, ".new-run-2/recipe.toml", "half");
        write(b, "run/checkpoints/new", "half");
        assert_eq!((differences(a, b).unwrap(), n_left_over(b).unwrap()), (vec![], 3));

        write(b, "run/history.csv", "1,3\n");
        write(a, "run/report.txt", "");
        write(b, "run/plots/loss.svg", "");
        let found = differences(a, b).unwrap().join("\n");
        for part in [
            "run/report.txt is missing",
            "run/plots/loss.svg is too many",
            "run/history.csv differs at byte 2 of 4 (disturbed: 4)",
        ] {
            assert!(found.contains(part), "{found}");
        }
    }
}
