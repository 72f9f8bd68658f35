//! Lists the files of a run folder, by names relative to it with `/` between their parts.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use tallow_core::FileError;
use tallow_core::files::is_absent;

use crate::names::EVENT_FILE_PREFIX;

/// Returns the names of the files that TensorBoard reads in the run folder `run`; normally one.
///
/// # Errors
/// If the folder cannot be read.
pub fn event_files(run: &Path) -> Result<Vec<PathBuf>, FileError> {
    let is_event_file = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(EVENT_FILE_PREFIX))
    };
    Ok(entries(run)?.into_iter().filter(is_event_file).collect())
}

/// Returns the names of all files at or below `path`, which lies in `run`, in order. A link is a file, whatever it leads to: so
/// the walk ends, and stays in the folder. Returns nothing if nothing is there.
pub(crate) fn files_below(run: &Path, path: &Path) -> Result<Vec<String>, FileError> {
    let mut found = Vec::new();
    let mut paths = vec![path.to_owned()];
    while let Some(path) = paths.pop() {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => paths.extend(entries(&path)?),
            Ok(_) => found.extend(name_in(run, &path)),
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(FileError::reading(&path)(e)),
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the name of `path` in the run folder `run`; `None` if it does not lie there.
pub(crate) fn name_in(run: &Path, path: &Path) -> Option<String> {
    // a path in the current folder may begin with `.` or not
    let plain =
        |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let (path, run) = (plain(path), plain(run));
    let parts = path.strip_prefix(&run).ok()?.components();
    let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
    Some(parts.join("/"))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let list =
        || -> io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    list().map_err(FileError::new("list the folder", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_however_the_current_folder_is_written() {
        let name = |run: &str, path: &str| name_in(Path::new(run), Path::new(path));
        assert_eq!(name("runs/a", "runs/a/plots/x.svg"), Some("plots/x.svg".into()));
        for [run, path] in
            [[".", "report.html"], [".", "./report.html"], ["./a", "a/report.html"], ["a", "./a/report.html"]]
        {
            assert_eq!(name(run, path), Some("report.html".into()), "{run} {path}");
        }
        assert_eq!(name("runs/a", "runs/b/report.html"), None);
    }
}
