//! Several processes that a launcher started for one command: who they are, who of them talks, and where each keeps its run.
//!
//! All of them run the same command. The first one (rank 0) works in the user's run folder and talks. Each of the others has a
//! copy in a temporary folder, which is as large as the run's checkpoints and removed at the end. So the code that trains is the
//! same for all of them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tallow_comm::{Comm, CommError, Launch, Patience};
use tallow_core::shown::shown_path;
use tallow_core::temporary::{self, TemporaryFolder};
use tallow_core::{FileError, files, path_of, path_text};
use tallow_dataset::Share;
use tallow_training::{TrainingError, isa_name};

use crate::args::Command;

/// Prefix of the folders of processes that are not the first.
const PREFIX: &str = "tallow-rank-";

/// Size limit of a file of a run folder, in bytes.
const MAX_FILE_BYTES: u64 = 8 << 30;

/// The processes that share the work of this command; usually this one alone.
pub(crate) struct Company {
    pub(crate) comm: Arc<Comm>,
    launch: Option<Launch>,
}

/// The run folder of a process that is not the first. It is removed with this value.
pub(crate) struct OwnFolder {
    folder: TemporaryFolder,
}

impl OwnFolder {
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }
}

impl Company {
    /// Connects with the other processes that the environment variables describe, if the command shares its work.
    ///
    /// # Errors
    /// If they do not meet, or the command cannot share its work.
    pub(crate) fn gather(command: &Command, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let Some(launch) = Launch::from_variables(variable)? else { return Ok(Self::alone()) };
        if !matches!(command, Command::Train(_) | Command::Eval(_) | Command::Predict(_)) {
            ensure!(
                launch.world == 1,
                "only `train`, `eval` and `predict` share their work between {} processes: start this command without the launcher",
                launch.world
            );
            return Ok(Self::alone());
        }
        let greeting = format!("tallow {}, {}", env!("CARGO_PKG_VERSION"), isa_name());
        let mut comm = Comm::connect(&launch, &greeting, Patience::default())?;
        if matches!(command, Command::Train(args) if args.fast_sums) {
            comm.allow_any_order()?;
        }
        Ok(Self { comm: Arc::new(comm), launch: Some(launch) })
    }

    fn alone() -> Self {
        Self { comm: Arc::new(Comm::alone()), launch: None }
    }

    /// Whether this process is the one that talks and keeps the results.
    pub(crate) fn is_first(&self) -> bool {
        self.comm.is_first()
    }

    /// Whether there are several processes.
    pub(crate) fn is_shared(&self) -> bool {
        self.comm.world() > 1
    }

    /// Returns the number of threads for this process, if the launcher says with how many others it shares the machine.
    pub(crate) fn n_threads(&self) -> Option<usize> {
        let n_here = self.launch.as_ref().filter(|launch| launch.world > 1)?.n_here?;
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        Some((n_cores / n_here).max(1))
    }

    /// Returns the folder for the run of this process; `None` for the first one, which works in the user's.
    pub(crate) fn own_folder(&self) -> Result<Option<OwnFolder>> {
        if self.is_first() {
            return Ok(None);
        }
        let parent = std::env::temp_dir();
        temporary::remove_folders(&parent, PREFIX); // a killed process left its own
        let folder = TemporaryFolder::new(&parent, PREFIX)?;
        keep_private(folder.path())?;
        Ok(Some(OwnFolder { folder }))
    }

    /// Lets the first process prepare a run before the others, so that it alone fetches data and weights that are missing.
    pub(crate) fn after_the_first<T>(&self, prepare: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_first() {
            let prepared = prepare()?;
            self.comm.broadcast(Vec::new())?;
            return Ok(prepared);
        }
        self.comm.broadcast(Vec::new())?;
        prepare()
    }

    /// Gives every process a copy of the run that the first one has in `run`. Returns the run to resume.
    pub(crate) fn copied(&self, run: &Path, own: Option<&OwnFolder>) -> Result<PathBuf> {
        if !self.is_shared() {
            return Ok(run.to_owned());
        }
        let Some(own) = own else {
            self.comm.broadcast(packed(run)?)?;
            return Ok(run.to_owned());
        };
        let to = own.run_dir();
        unpack(&self.comm.broadcast(Vec::new())?, &to)?;
        Ok(to)
    }

    /// Returns which of `n` things this process takes.
    pub(crate) fn own(&self, n: usize) -> Range<usize> {
        Share::of_shard(self.comm.rank(), self.comm.world(), n)
    }

    /// Returns what all processes give, in their order; `None` if one of them was stopped and gives nothing.
    pub(crate) fn gathered<T: Serialize + DeserializeOwned>(&self, own: Option<T>) -> Result<Option<Vec<T>>> {
        if !self.is_shared() {
            return Ok(own.map(|own| vec![own]));
        }
        let all = self.comm.gather(&serde_json::to_vec(&own)?)?;
        let all: Vec<Option<T>> =
            all.iter().map(|part| serde_json::from_slice(part)).collect::<Result<_, _>>()?;
        Ok(all.into_iter().collect())
    }

    /// Ends the command for all processes. A failure of one of them is told to the others, and one of them prints it.
    pub(crate) fn conclude<T>(&self, ended: Result<T>) -> Result<T>
    where
        T: From<std::process::ExitCode>,
    {
        let error = match ended {
            Err(error) if self.is_shared() => error,
            other => return other,
        };
        let lost = error.chain().find_map(|cause| match cause.downcast_ref::<TrainingError>() {
            Some(TrainingError::Comm(lost)) => Some(lost),
            _ => cause.downcast_ref::<CommError>(),
        });
        let talks = match lost {
            // the first process says why; if it is the one that is lost, the second does
            Some(CommError::Gone { rank: 0, .. }) => self.comm.rank() == 1,
            Some(_) => self.is_first(),
            None => {
                let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
                self.comm.fail(&causes.join(": "));
                self.is_first()
            }
        };
        if talks { Err(error) } else { Ok(std::process::ExitCode::FAILURE.into()) }
    }
}

/// Hides a folder from other users: temporary folders are often shared with them.
#[cfg(unix)]
fn keep_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let done = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    Ok(done.map_err(FileError::new("change the permissions of", folder))?)
}

#[cfg(not(unix))]
fn keep_private(_folder: &Path) -> Result<()> {
    Ok(())
}

/// Returns all files below `run` as one array: for each the lengths of its name and content, then both.
fn packed(run: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for path in files_below(run).with_context(|| format!("cannot read the folder {}", shown_path(run)))? {
        let name = path_text(path.strip_prefix(run).unwrap_or(&path));
        let content = files::read_at_most(&path, MAX_FILE_BYTES)?;
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend((content.len() as u64).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(content);
    }
    Ok(bytes)
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Writes the files of [`packed`] below `run`.
fn unpack(bytes: &[u8], run: &Path) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (name_len, content_len) = (number(&mut rest)?, number(&mut rest)?);
        let name = path_of(&String::from_utf8_lossy(taken(&mut rest, name_len)?));
        let is_below = name.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        ensure!(is_below, "the copy of the run has a file outside its folder");
        let path = run.join(name);
        files::create_folder(files::folder_of(&path))?;
        files::write(&path, taken(&mut rest, content_len)?)?;
    }
    Ok(())
}

fn number(rest: &mut &[u8]) -> Result<usize> {
    let bytes: [u8; 8] = taken(rest, 8)?.try_into()?;
    Ok(usize::try_from(u64::from_le_bytes(bytes))?)
}

fn taken<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8]> {
    let Some((taken, after)) = rest.split_at_checked(n) else { bail!("the copy of the run is cut off") };
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_is_copied_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        files::create_folder(&from.join("checkpoints")).unwrap();
        for (name, content) in
            [("recipe.toml", &b"epochs = 1"[..]), ("checkpoints/last", &[0, 255]), ("empty", b"")]
        {
            fs::write(from.join(name), content).unwrap();
        }
        let bytes = packed(&from).unwrap();
        unpack(&bytes, &to).unwrap();
        assert_eq!(packed(&to).unwrap(), bytes);
        assert_eq!(fs::read(to.join("checkpoints/last")).unwrap(), [0, 255]);
        assert!(unpack(&bytes[..bytes.len() - 1], &folder.path().join("c")).is_err());
        let outside = [&2u64.to_le_bytes()[..], &0u64.to_le_bytes(), b".."].concat();
        assert!(unpack(&outside, &to).unwrap_err().to_string().contains("outside"));
    }
}
