//! `manifest.json`: size and SHA-256 of every file that a run wrote and that will not change again.
//!
//! ```json
//! {
//!   "version": 1,
//!   "files": [
//!     {"path": "checkpoints/best", "bytes": 65536, "sha256": "9f86d0…"},
//!     {"path": "evaluation/confusion_matrix.csv", "bytes": 412, "sha256": "60303a…"}
//!   ]
//! }
//! ```
//!
//! Files stand in the order of their paths. It needs no digest of its own: whatever is damaged in it contradicts the files, or
//! cannot be read. A run that goes on first removes the entries of the files that it is going to change ([`forget`]). So while a
//! run is at work, the manifest has at most the files of other commands, and not `summary.json`.
//!
//! Commands that write into the folder of a finished run call [`record`], which touches only the entries of what they wrote:
//! to write a page again must not hide that a table has changed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallow_core::{FileError, digest, files};

use crate::names::MANIFEST;
use crate::walk::{files_below, name_in};

const VERSION: u32 = 1;

/// Size limit of the file, in bytes: enough for 100,000 entries with long names.
const MAX_BYTES: u64 = 64 << 20;

/// The content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    files: Vec<FileEntry>,
}

/// A file as it was when it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name: relative to the run folder, with `/` between the parts.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, as lower-case hexadecimal digits.
    pub sha256: String,
}

/// How a file differs from its entry. Displays as the end of a sentence that begins with the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no such file.
    Missing,
    /// Something else has its name: a folder, a FIFO or the like, in words.
    NotAFile(&'static str),
    /// It has another size.
    Size {
        /// The size now, in bytes.
        found: u64,
        /// The recorded size.
        recorded: u64,
    },
    /// It has the recorded size, but other content.
    Content,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::NotAFile(what) => write!(f, "is {what}, expected a regular file: move it away"),
            Self::Size { found, recorded } => write!(f, "has {found} bytes, {recorded} were recorded"),
            Self::Content => f.write_str("has other content than was recorded"),
        }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest is damaged, or another version wrote it.
    #[error(
        "{}: {problem}: restore it from a copy. Without it (remove it), only files that carry a digest of \
         their own can be checked",
        path.display()
    )]
    Damaged {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Manifest {
    /// Reads the manifest of the run folder `run`; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or has another version.
    pub fn read(run: &Path) -> Result<Option<Self>, ManifestError> {
        let path = run.join(MANIFEST);
        if let Err(e) = fs::symlink_metadata(&path)
            && files::is_absent(&e)
        {
            return Ok(None);
        }
        let bytes = files::read_at_most(&path, MAX_BYTES)?;
        let manifest: Result<Self, String> = serde_json::from_slice(&bytes).map_err(|e| e.to_string());
        let manifest = manifest.and_then(|manifest| manifest.problem().map_or(Ok(manifest), Err));
        Ok(Some(manifest.map_err(|problem| ManifestError::Damaged { path, problem })?))
    }

    /// Returns what contradicts itself in the manifest. Paths that lead out of the folder are refused.
    fn problem(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("it has version {}, expected {VERSION}", self.version));
        }
        let is_inside = |path: &str| {
            let mut parts = Path::new(path).components();
            !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        if let Some(outside) = self.files.iter().find(|file| !is_inside(&file.path)) {
            return Some(format!("it names {:?}, which is no file of the folder", outside.path));
        }
        let unordered = self.files.windows(2).find(|two| two[0].path >= two[1].path);
        unordered.map(|two| format!("{:?} stands before {:?}", two[0].path, two[1].path))
    }

    /// Returns the files that it records, in the order of their paths.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Returns the entry of the file `name`, if it is recorded.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        let found = self.files.binary_search_by(|file| file.path.as_str().cmp(name));
        found.ok().map(|at| &self.files[at])
    }

    /// Returns how `content`, read from the file `name`, differs from what was recorded; `None` if it does not, or if the file
    /// is not recorded.
    pub fn difference(&self, name: &str, content: &[u8]) -> Option<Difference> {
        let file = self.file(name)?;
        let found = content.len() as u64;
        if found != file.bytes {
            return Some(Difference::Size { found, recorded: file.bytes });
        }
        (digest::of_bytes(content) != file.sha256).then_some(Difference::Content)
    }

    /// Returns the names of the files in the folder `run` that are not recorded, without the manifest itself.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn unknown(&self, run: &Path) -> Result<Vec<String>, FileError> {
        let mut names = files_below(run, run)?;
        names.retain(|name| name != MANIFEST && self.file(name).is_none());
        Ok(names)
    }

    fn into_entries(self) -> Entries {
        self.files.into_iter().map(|file| (file.path.clone(), file)).collect()
    }

    fn write(files: Entries, run: &Path) -> Result<(), FileError> {
        let (path, files) = (run.join(MANIFEST), files.into_values().collect());
        let text = serde_json::to_string_pretty(&Self { version: VERSION, files });
        let text = text.map_err(|e| FileError::writing(&path)(e.into()))?; // never: it holds plain data only
        files::write(&path, format!("{text}\n").as_bytes())
    }
}

impl FileEntry {
    /// Compares the file in the run folder `run` with the entry; `None` if it is as it was recorded.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn compare(&self, run: &Path) -> Result<Option<Difference>, FileError> {
        let path = run.join(&self.path);
        let Some(metadata) = files::metadata(&path)? else { return Ok(Some(Difference::Missing)) };
        if !metadata.is_file() {
            return Ok(Some(Difference::NotAFile(files::kind(&metadata))));
        }
        if metadata.len() != self.bytes {
            return Ok(Some(Difference::Size { found: metadata.len(), recorded: self.bytes }));
        }
        Ok((digest::of_file(&path)? != self.sha256).then_some(Difference::Content))
    }

    /// Records the file at `path`.
    fn of(path: &Path, name: String) -> Result<Self, FileError> {
        let bytes = fs::metadata(path).map_err(FileError::reading(path))?.len();
        Ok(Self { path: name, bytes, sha256: digest::of_file(path)? })
    }
}

/// Entries by the names of their files.
type Entries = BTreeMap<String, FileEntry>;

/// Returns the entries of the manifest; none if there is no manifest, or it is damaged.
fn known(run: &Path) -> Result<Entries, FileError> {
    match Manifest::read(run) {
        Ok(manifest) => Ok(manifest.map_or_else(Entries::new, Manifest::into_entries)),
        Err(ManifestError::Damaged { .. }) => Ok(Entries::new()),
        Err(ManifestError::File(e)) => Err(e),
    }
}

/// Prepares the manifest of the run folder `run` for a run that goes on: removes the entries of the files that the run `changes`.
///
/// The others, of files that commands wrote into the folder after the run, stay, whatever these files are now. If one of them
/// was changed or removed, that the run goes on must not hide it. A manifest without entries, or a damaged one, is removed.
///
/// # Errors
/// If the manifest cannot be read, written or removed.
pub fn forget(run: &Path, changes: impl Fn(&str) -> bool) -> Result<(), FileError> {
    let mut recorded = known(run)?;
    recorded.retain(|name, _| !changes(name));
    if !recorded.is_empty() {
        return Manifest::write(recorded, run);
    }
    let path = run.join(MANIFEST);
    match fs::remove_file(&path) {
        Err(e) if !files::is_absent(&e) => Err(FileError::new("remove", &path)(e)),
        _ => files::sync_folder(run),
    }
}

/// Writes the manifest of the run folder `run`. It records the files and folders `names`, as far as they are there, and `last`: the
/// name and the content of the file that the run writes after it, as its last one. Entries of other files stay.
///
/// # Errors
/// If a file cannot be read, or the manifest cannot be read or written.
pub fn begin(run: &Path, names: &[&str], last: (&str, &[u8])) -> Result<(), FileError> {
    let mut recorded = known(run)?;
    for name in names {
        remove_below(&mut recorded, name);
        take(&mut recorded, run, &run.join(name))?;
    }
    let (path, content) = (last.0.to_owned(), last.1);
    let entry =
        FileEntry { path: path.clone(), bytes: content.len() as u64, sha256: digest::of_bytes(content) };
    recorded.insert(path, entry);
    Manifest::write(recorded, run)
}

/// Records the files `paths` of the run folder `run` as they are now; a folder stands for all files in it. Other paths and
/// other entries are left alone. Does nothing if the folder has no manifest: nobody knows any more what its files were.
///
/// # Errors
/// If a file cannot be read, or the manifest cannot be read or written.
pub fn record(run: &Path, paths: &[impl AsRef<Path>]) -> Result<(), ManifestError> {
    let Some(manifest) = Manifest::read(run)? else { return Ok(()) };
    let mut recorded = manifest.into_entries();
    let before = recorded.clone();
    for path in paths.iter().map(AsRef::as_ref) {
        if let Some(name) = name_in(run, path).filter(|name| !name.is_empty()) {
            remove_below(&mut recorded, &name);
            take(&mut recorded, run, path)?;
        }
    }
    if recorded != before {
        Manifest::write(recorded, run)?;
    }
    Ok(())
}

/// Removes the entries of `name` and of what is below it.
fn remove_below(recorded: &mut Entries, name: &str) {
    let below = format!("{name}/");
    recorded.retain(|known, _| known != name && !known.starts_with(&below));
}

/// Records the files at or below `path`. What is no regular file is left out.
fn take(recorded: &mut Entries, run: &Path, path: &Path) -> Result<(), FileError> {
    for name in files_below(run, path)? {
        let file = run.join(&name);
        if name != MANIFEST && files::is_file(&file)? {
            recorded.insert(name.clone(), FileEntry::of(&file, name)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const SUMMARY: (&str, &[u8]) = ("summary.json", b"{\"n\": 3}\n");

    /// Returns a folder with four files that its manifest records, and one that it does not.
    fn run() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a/1.csv", "1,2\n"),
            ("a/2.csv", "3,4\n"),
            ("b.txt", "text"),
            ("notes.txt", "mine"),
            ("summary.json", "{\"n\": 3}\n"),
        ] {
            put(folder.path(), name, text);
        }
        begin(folder.path(), &["a", "b.txt", "absent"], SUMMARY).unwrap();
        folder
    }

    fn put(run: &Path, name: &str, text: &str) {
        let path = run.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Returns the files that differ from the manifest, which must be readable.
    fn differing(run: &Path) -> Vec<(String, Difference)> {
        let manifest = Manifest::read(run).unwrap().unwrap();
        let compared = manifest.files().iter().map(|file| (file.path.clone(), file.compare(run).unwrap()));
        compared.filter_map(|(name, found)| Some((name, found?))).collect()
    }

    fn damage(run: &Path) -> String {
        Manifest::read(run).unwrap_err().to_string()
    }

    #[test]
    fn what_is_recorded_is_compared_and_the_rest_is_unknown() {
        let folder = run();
        let run = folder.path();
        assert!(differing(run).is_empty());
        let manifest = Manifest::read(run).unwrap().unwrap();
        let names: Vec<&str> = manifest.files().iter().map(|file| &*file.path).collect();
        assert_eq!(names, ["a/1.csv", "a/2.csv", "b.txt", "summary.json"]);
        assert_eq!(manifest.unknown(run).unwrap(), ["notes.txt"]);

        put(run, "a/1.csv", "1,3\n");
        put(run, "a/2.csv", "3,4\n5,6\n");
        fs::remove_file(run.join("b.txt")).unwrap();
        fs::create_dir(run.join("b.txt")).unwrap();
        fs::remove_file(run.join("summary.json")).unwrap();
        let expected = [
            ("a/1.csv", Difference::Content),
            ("a/2.csv", Difference::Size { found: 8, recorded: 4 }),
            ("b.txt", Difference::NotAFile("a folder")),
            ("summary.json", Difference::Missing),
        ];
        assert_eq!(differing(run), expected.map(|(name, found)| (name.to_owned(), found)));
        assert_eq!(manifest.difference("a/1.csv", b"1,2\n"), None);
        assert_eq!(manifest.difference("a/1.csv", b"1,3\n"), Some(Difference::Content));
        assert_eq!(manifest.difference("a/1.csv", b""), Some(Difference::Size { found: 0, recorded: 4 }));
        assert_eq!(manifest.difference("notes.txt", b"any"), None);
        fs::remove_dir_all(run.join("a")).unwrap();
        put(run, "a", "a file in place of the folder");
        assert_eq!(
            differing(run)[..2],
            ["a/1.csv", "a/2.csv"].map(|name| (name.to_owned(), Difference::Missing))
        );
    }

    /// A command records what it wrote, and neither hides nor forgets anything else.
    #[test]
    fn only_what_was_written_is_recorded_anew() {
        let folder = run();
        let run = folder.path();
        put(run, "b.txt", "changed by nobody");
        put(run, "a/1.csv", "7,8\n");
        put(run, "a/3.csv", "new\n");
        fs::remove_file(run.join("a/2.csv")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        record(run, &[run.join("a"), elsewhere.path().join("x"), run.to_owned()]).unwrap();
        assert_eq!(differing(run), [("b.txt".to_owned(), Difference::Size { found: 17, recorded: 4 })]);
        let manifest = Manifest::read(run).unwrap().unwrap();
        assert!(manifest.file("a/3.csv").is_some() && manifest.file("a/2.csv").is_none());
        assert!(manifest.file("notes.txt").is_none(), "the whole folder was not meant");

        fs::remove_file(run.join(MANIFEST)).unwrap();
        record(run, &[run.join("a")]).unwrap();
        assert_eq!(Manifest::read(run).unwrap(), None, "a manifest that is lost does not come back");
    }

    /// What the run itself writes is forgotten when it goes on. What others wrote stays, also if it has changed since.
    #[test]
    fn a_run_that_goes_on_keeps_the_entries_of_others() {
        let folder = run();
        let run = folder.path();
        let is_own = |name: &str| name.starts_with("a/") || ["b.txt", "summary.json"].contains(&name);
        let names = || -> Vec<String> {
            let manifest = Manifest::read(run).unwrap().unwrap();
            manifest.files().iter().map(|file| file.path.clone()).collect()
        };
        put(run, "README.md", "a card");
        put(run, "model.onnx", "a model");
        record(run, &[run.join("README.md"), run.join("model.onnx")]).unwrap();
        put(run, "README.md", "A card");
        put(run, "a/1.csv", "of more epochs\n");
        forget(run, is_own).unwrap();
        assert_eq!(names(), ["README.md", "model.onnx"]);
        let changed = ("README.md".to_owned(), Difference::Content);
        assert_eq!(differing(run), std::slice::from_ref(&changed));

        fs::remove_file(run.join("a/2.csv")).unwrap();
        begin(run, &["a", "b.txt"], SUMMARY).unwrap();
        assert_eq!(names(), ["README.md", "a/1.csv", "b.txt", "model.onnx", "summary.json"]);
        assert_eq!(differing(run), [changed]);

        // nothing is left, or nothing can be known
        forget(run, |_| true).unwrap();
        assert_eq!(Manifest::read(run).unwrap(), None);
        forget(run, is_own).unwrap();
        put(run, MANIFEST, "{");
        forget(run, is_own).unwrap();
        assert_eq!(Manifest::read(run).unwrap(), None);
    }

    /// A link to the folder above would never end, and a device cannot be read to its end.
    #[cfg(unix)]
    #[test]
    fn a_walk_follows_no_link() {
        let folder = run();
        let run = folder.path();
        std::os::unix::fs::symlink("..", run.join("a/up")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", run.join("a/zero")).unwrap();
        record(run, &[run.join("a")]).unwrap();
        let manifest = Manifest::read(run).unwrap().unwrap();
        assert_eq!(manifest.unknown(run).unwrap(), ["a/up", "a/zero", "notes.txt"]);
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        let folder = run();
        let run = folder.path();
        let text = fs::read_to_string(run.join(MANIFEST)).unwrap();
        for (from, to, says) in [
            ("\"version\": 1", "\"version\": 2", "version 2, expected 1"),
            ("a/1.csv", "../1.csv", "no file of the folder"),
            ("a/1.csv", "/etc/passwd", "no file of the folder"),
            ("a/1.csv", "", "no file of the folder"),
            ("a/1.csv", "a/2.csv", "stands before"),
            ("a/1.csv", "c", "stands before"),
            ("\"bytes\": 4,", "", "missing field `bytes`"),
            ("{", "[", "expected"),
        ] {
            assert!(text.contains(from));
            put(run, MANIFEST, &text.replacen(from, to, 1));
            let message = damage(run);
            assert!(message.contains(says) && message.contains("manifest.json"), "{to}: {message}");
            assert!(record(run, &[run.join("a")]).is_err());
        }
        put(run, MANIFEST, "");
        assert!(damage(run).contains("restore it"));
    }

    /// Whatever bit of the manifest flips: it cannot be read any more, or it contradicts a file.
    #[test]
    fn no_flipped_bit_of_the_manifest_hides_anything() {
        let folder = run();
        let run = folder.path();
        let whole = fs::read(run.join(MANIFEST)).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                fs::write(run.join(MANIFEST), &bytes).unwrap();
                let is_noticed = Manifest::read(run).is_err() || !differing(run).is_empty();
                assert!(is_noticed, "byte {at}, bit {bit}");
            }
        }
    }
}
