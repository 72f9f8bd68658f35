//! Temporary files and folders, which get their final name when they are complete, and the removal of those that killed
//! processes left.
//!
//! A process locks a temporary file or folder for as long as it works on it, and the system drops the lock when the process
//! ends, however it ends. So a temporary file that can be locked has no writer left and may be removed, also beside other
//! processes at work. This is true across containers that share a folder, where process ids would mean nothing. Between the
//! creation of a file and its lock another process may take it for a leftover. The creator sees that, because the file is
//! then locked or gone, and creates another one. Where files cannot be locked (some network file systems), nothing is
//! removed.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, TryLockError};
use std::io;
use std::path::Path;

use tempfile::{Builder, NamedTempFile, TempDir};

use crate::files::FileError;

/// Name prefix of temporary files.
const FILE_PREFIX: &str = ".tmp-";
/// Number of random characters at the end of a temporary name.
const N_RANDOM: usize = 6;

/// Creates a temporary file in `folder` and locks it.
pub(crate) fn file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(FILE_PREFIX).rand_bytes(N_RANDOM);
    as_the_umask_says(&mut builder, 0o666);
    loop {
        let file = builder.tempfile_in(folder)?;
        if is_held(file.as_file(), file.path()) {
            return Ok(file);
        }
    }
}

/// A folder under a temporary name. It is removed with this value, unless that is kept.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// The folder, open and locked, on systems where folders can be opened.
    _lock: Option<File>,
}

impl TemporaryFolder {
    /// Creates a folder in `parent` with a name that begins with `prefix`, and locks it.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn new(parent: &Path, prefix: &str) -> Result<Self, FileError> {
        let mut builder = Builder::new();
        builder.prefix(prefix).rand_bytes(N_RANDOM);
        as_the_umask_says(&mut builder, 0o777);
        loop {
            let folder = builder.tempdir_in(parent).map_err(FileError::new("create a folder in", parent))?;
            if !cfg!(unix) {
                return Ok(Self { folder, _lock: None });
            }
            match File::open(folder.path()) {
                Ok(lock) if is_held(&lock, folder.path()) => return Ok(Self { folder, _lock: Some(lock) }),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {} // taken for a leftover
                Err(e) => return Err(FileError::new("open the folder", folder.path())(e)),
            }
        }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder, which the caller has renamed.
    pub fn keep(self) {
        let _ = self.folder.keep();
    }
}

/// Removes the temporary files that killed processes left in `folder` and in the folders below it. A file that cannot be
/// removed stays: it takes space, and does no other harm.
pub fn remove_files(folder: &Path) {
    for entry in entries(folder) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => remove_files(&entry.path()),
            Ok(kind) if kind.is_file() && is_temporary(&entry.file_name(), FILE_PREFIX) => {
                // some network file systems lock only files that are open for writing
                let file = File::options().read(true).write(true).open(entry.path());
                if let Some(_held) = hold_leftover(file, &entry.path()) {
                    let _ = fs::remove_file(entry.path());
                }
            }
            _ => {}
        }
    }
}

/// Removes the folders that killed processes left in `parent` under temporary names with this prefix.
pub fn remove_folders(parent: &Path, prefix: &str) {
    for entry in entries(parent) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && is_temporary(&entry.file_name(), prefix)
            && let Some(_held) = hold_leftover(File::open(entry.path()), &entry.path())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Whether a temporary file or folder with this prefix can have this name.
fn is_temporary(name: &OsStr, prefix: &str) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix(prefix));
    random.is_some_and(|random| random.len() == N_RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Locks the temporary file or folder that is open as `file`, if nobody works on it. Holding the lock while it is removed
/// keeps others from beginning to work on it.
fn hold_leftover(file: io::Result<File>, path: &Path) -> Option<File> {
    let file = file.ok().filter(|_| cfg!(unix))?;
    (file.try_lock().is_ok() && is_at(&file, path)).then_some(file)
}

/// Locks `file`, which this process has created at `path`, until it is closed. Returns false if another process takes it for
/// a leftover.
fn is_held(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        Ok(()) | Err(TryLockError::Error(_)) => is_at(file, path),
    }
}

/// Whether the open `file` is the one at `path`, which may have been renamed or removed since it was opened.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    fs::symlink_metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|open| id(there) == id(open)))
}

/// Elsewhere nothing is removed.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

/// Makes what `builder` creates as accessible as anything new, and not for its owner alone.
#[cfg(unix)]
fn as_the_umask_says(builder: &mut Builder<'_, '_>, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    builder.permissions(fs::Permissions::from_mode(mode)); // the system takes the umask off
}

#[cfg(not(unix))]
fn as_the_umask_says(_builder: &mut Builder<'_, '_>, _mode: u32) {}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::files;

    const PREFIX: &str = ".new-run-";

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            entries(folder).map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_killed_processes_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("evaluation")).unwrap();
        fs::create_dir_all(path(".tmp-folder")).unwrap();
        for name in [".tmp-aB3dE6", "evaluation/.tmp-000000", ".tmp-notes", ".tmp-aB3dE6.csv", "history.csv"]
        {
            fs::write(path(name), "1,2").unwrap();
        }
        std::os::unix::fs::symlink("history.csv", path(".tmp-linked")).unwrap();
        remove_files(folder.path());
        let left =
            [".tmp-aB3dE6.csv", ".tmp-folder", ".tmp-linked", ".tmp-notes", "evaluation", "history.csv"];
        assert_eq!(names(folder.path()), left);
        assert_eq!(names(&path("evaluation")), [""; 0]);

        for name in [".new-run-aB3dE6", ".new-run-mine", "runs"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("recipe.toml"), "").unwrap();
        }
        remove_folders(folder.path(), PREFIX);
        let is_there = |name: &str| files::exists(&path(name)).unwrap();
        assert!(!is_there(".new-run-aB3dE6"));
        assert!(is_there(".new-run-mine/recipe.toml") && is_there("runs/recipe.toml"));
        remove_folders(&path("nowhere"), PREFIX);
    }

    #[test]
    fn what_a_process_works_on_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        files::write_with(&path, |file| {
            remove_files(folder.path());
            file.write_all(b"one")
        })
        .unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"one".to_vec(), vec!["a.txt".into()]));

        let staging = TemporaryFolder::new(folder.path(), PREFIX).unwrap();
        remove_folders(folder.path(), PREFIX);
        assert!(files::exists(staging.path()).unwrap());
        let left = staging.path().to_owned();
        staging.keep(); // without a holder, as after a kill
        remove_folders(folder.path(), PREFIX);
        assert!(!files::exists(&left).unwrap());
    }

    /// The instant between creation and lock: the file is gone, or another process is about to remove it.
    #[test]
    fn what_was_taken_for_a_leftover_is_not_worked_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".tmp-aB3dE6");
        let file = File::create(&path).unwrap();
        let remover = File::open(&path).unwrap();
        remover.try_lock().unwrap();
        assert!(!is_held(&file, &path));
        drop(remover);
        assert!(is_held(&file, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_held(&file, &path));
        File::create(&path).unwrap();
        assert!(!is_held(&file, &path), "another file of the same name");
    }

    /// Writers and removers at once: no write fails, and nothing is left.
    #[test]
    fn writers_and_removers_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        remove_files(folder.path());
                        remove_folders(folder.path(), PREFIX);
                    }
                });
            }
            let write = |name: &'static str| {
                let folder = folder.path();
                move || -> Result<(), FileError> {
                    for i in 0..50 {
                        files::write(&folder.join(name), i.to_string().as_bytes())?;
                        let staging = TemporaryFolder::new(folder, PREFIX)?;
                        files::write(&staging.path().join("recipe.toml"), b"")?;
                    }
                    Ok(())
                }
            };
            let writers = ["a", "b"].map(|name| scope.spawn(write(name)));
            let written = writers.map(|writer| writer.join().unwrap());
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            written.into_iter().for_each(Result::unwrap);
        });
        assert_eq!(names(folder.path()), ["a", "b"]);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"49");
    }
}
