//! Records the operations of a process on the files of a folder, by strace.
//!
//! The recording refuses calls that it does not understand. At the end its operations, replayed, must give the files that the
//! process left: so it cannot have missed a write.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::disk::{Inode, Operation, Place, Recording};
use super::process::{self, Ended};
use super::strace;

/// All calls that change files, and those that sync them.
const CALLS: &str = "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,\
     fdatasync,sync,syncfs,sync_file_range,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,\
     mkdirat,copy_file_range,sendfile,splice";

/// Longest text that strace shows of a write, in bytes.
const MAX_WRITE_BYTES: usize = 1 << 28;

/// Runs `command` in `folder` and records what it does to the files there. Returns how it ended, too.
///
/// # Errors
/// If strace fails, or the recording does not explain the files that are there in the end.
pub fn record(strace: &Path, command: &Command, folder: &Path, logs: &Path) -> Result<(Ended, Recording)> {
    let log = logs.join("strace");
    let [length, trace] = [MAX_WRITE_BYTES.to_string(), format!("trace={CALLS}")];
    let options = [strace::QUICK, "-y", "-xx", "-s", &length, "-e", &trace].map(str::to_owned);
    let mut recorder = Recorder::new(folder)?;
    let ended = process::run(strace::wrapped(strace, command, &options, &log), logs, None)?;
    let text = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    recorder.read(&text)?;
    let recording = recorder.recording;
    ensure_explains(&recording, folder)?;
    Ok((ended, recording))
}

/// Checks that the operations of `recording` give what is in `folder`.
fn ensure_explains(recording: &Recording, folder: &Path) -> Result<()> {
    let all = recording.state(recording.operations().len(), &[]);
    let now = Recording::of_folder(folder)?;
    let there = now.state(0, &[]);
    let paths: Vec<&str> = there.paths().collect();
    ensure!(all.paths().eq(paths.iter().copied()), "the recording has other files than the folder");
    for path in paths {
        let [replayed, there] = [recording.content(&all, path), now.content(&there, path)];
        ensure!(replayed == there, "the recording does not explain the content of {path}");
    }
    Ok(())
}

/// An open file.
struct Open {
    inode: Inode,
    appends: bool,
    /// Where the next write goes.
    at: usize,
}

/// Turns lines of strace into operations.
struct Recorder {
    recording: Recording,
    /// The folder, as strace shows it.
    root: PathBuf,
    /// Open files of the folder by their descriptors, which all threads share.
    open: HashMap<String, Open>,
}

/// A call that succeeded, as strace shows it.
struct Call<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    result: &'a str,
}

impl Recorder {
    fn new(folder: &Path) -> Result<Self> {
        let recording = Recording::of_folder(folder)?;
        Ok(Self { recording, root: folder.canonicalize()?, open: HashMap::new() })
    }

    /// Reads a log. A call counts from the line with its end.
    fn read(&mut self, log: &str) -> Result<()> {
        let mut begun: HashMap<&str, &str> = HashMap::new();
        for line in log.lines() {
            let (thread, line) = line.split_once(' ').with_context(|| format!("the line {line:?}"))?;
            let line = line.trim_start();
            let joined;
            let whole = if let Some(start) = line.strip_suffix(" <unfinished ...>") {
                begun.insert(thread, start);
                continue;
            } else if let Some(rest) = line.strip_prefix("<... ") {
                let (_, end) = rest.split_once(" resumed>").with_context(|| format!("the line {line:?}"))?;
                joined = format!("{}{end}", begun.remove(thread).unwrap_or_default());
                joined.as_str()
            } else {
                line
            };
            if let Some(call) = call(whole) {
                self.add(&call).with_context(|| format!("the call {}", shortened(whole)))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, call: &Call<'_>) -> Result<()> {
        let argument = |i: usize| call.arguments.get(i).copied().context("it has too few arguments");
        match call.name {
            "open" => self.opened(call, argument(0)?, None, argument(1)?),
            "openat" => self.opened(call, argument(1)?, Some(argument(0)?), argument(2)?),
            "write" => self.write(argument(0)?, argument(1)?, call.result),
            "ftruncate" => {
                if let Some(inode) = self.inode_of(argument(0)?)? {
                    self.recording.push(Operation::SetLength(inode, argument(1)?.parse()?));
                }
                Ok(())
            }
            "fsync" | "fdatasync" => {
                if let Some(inode) = self.inode_of(argument(0)?)? {
                    self.recording.push(Operation::Sync(inode));
                }
                Ok(())
            }
            "rename" => self.rename(argument(0)?, None, argument(1)?, None),
            "renameat" | "renameat2" => {
                self.rename(argument(1)?, Some(argument(0)?), argument(3)?, Some(argument(2)?))
            }
            "unlink" | "rmdir" => self.remove(argument(0)?, None),
            "unlinkat" => self.remove(argument(1)?, Some(argument(0)?)),
            "mkdir" => self.make_folder(argument(0)?, None),
            "mkdirat" => self.make_folder(argument(1)?, Some(argument(0)?)),
            _ => self.refuse_inside(call),
        }
    }

    /// Refuses a call that is not understood, if one of its arguments is a path or a file of the folder.
    fn refuse_inside(&self, call: &Call<'_>) -> Result<()> {
        for argument in &call.arguments {
            let path = match argument.strip_prefix('"') {
                Some(_) => self.path(argument, None)?,
                None => path_of_descriptor(argument).and_then(|path| self.inside(&path)),
            };
            ensure!(path.is_none(), "{} is not understood", call.name);
        }
        ensure!(!["sync", "syncfs"].contains(&call.name), "{} is not understood", call.name);
        Ok(())
    }

    fn opened(&mut self, call: &Call<'_>, path: &str, folder: Option<&str>, flags: &str) -> Result<()> {
        let descriptor = call.result.split('<').next().unwrap_or_default().to_owned();
        self.open.remove(&descriptor); // it was closed, which is not recorded
        let Some(path) = self.path(path, folder)? else { return Ok(()) };
        let has = |flag: &str| flags.split('|').any(|f| f == flag);
        let inode = match self.recording.find(&path) {
            Some(inode) => inode,
            None => {
                ensure!(has("O_CREAT"), "there is no {path}");
                let (place, inode) = (self.place(&path)?, self.recording.next_inode());
                self.recording.push(Operation::Create(place, inode));
                inode
            }
        };
        if has("O_TRUNC") && self.recording.n_bytes(inode) > 0 {
            self.recording.push(Operation::SetLength(inode, 0));
        }
        if has("O_WRONLY") || has("O_RDWR") {
            self.open.insert(descriptor, Open { inode, appends: has("O_APPEND"), at: 0 });
        }
        Ok(())
    }

    fn write(&mut self, descriptor: &str, text: &str, n_written: &str) -> Result<()> {
        let Some(inode) = self.inode_of(descriptor)? else { return Ok(()) };
        let mut bytes = bytes(text)?;
        bytes.truncate(n_written.parse()?);
        let end = self.recording.n_bytes(inode);
        let number = descriptor.split('<').next().unwrap_or_default();
        let open = self.open.get_mut(number).context("the file is not open")?;
        ensure!(open.inode == inode, "the descriptor is of another file");
        let at = if open.appends { end } else { open.at };
        open.at = at + bytes.len();
        self.recording.push(Operation::Write(inode, at, bytes));
        Ok(())
    }

    fn rename(&mut self, from: &str, from_in: Option<&str>, to: &str, to_in: Option<&str>) -> Result<()> {
        match (self.path(from, from_in)?, self.path(to, to_in)?) {
            (Some(from), Some(to)) => {
                let inode = self.recording.find(&from).with_context(|| format!("there is no {from}"))?;
                let renamed = Operation::Rename(self.place(&from)?, self.place(&to)?, inode);
                self.recording.push(renamed);
            }
            (None, None) => {}
            _ => bail!("a file was moved in or out"),
        }
        Ok(())
    }

    fn remove(&mut self, path: &str, folder: Option<&str>) -> Result<()> {
        if let Some(path) = self.path(path, folder)? {
            let inode = self.recording.find(&path).with_context(|| format!("there is no {path}"))?;
            let removed = Operation::Remove(self.place(&path)?, inode);
            self.recording.push(removed);
        }
        Ok(())
    }

    fn make_folder(&mut self, path: &str, folder: Option<&str>) -> Result<()> {
        if let Some(path) = self.path(path, folder)? {
            let made = Operation::MakeFolder(self.place(&path)?, self.recording.next_inode());
            self.recording.push(made);
        }
        Ok(())
    }

    /// Returns the file or folder that a descriptor is of, if it is in the folder.
    fn inode_of(&self, descriptor: &str) -> Result<Option<Inode>> {
        let path = path_of_descriptor(descriptor).and_then(|path| self.inside(&path));
        let Some(path) = path.filter(|_| !descriptor.ends_with("(deleted)")) else { return Ok(None) };
        self.recording.find(&path).map(Some).with_context(|| format!("there is no {path}"))
    }

    /// Returns a path argument relative to the folder, if it is in it. A relative one begins at the descriptor `folder`, or
    /// at the folder itself, where the process is.
    fn path(&self, argument: &str, folder: Option<&str>) -> Result<Option<String>> {
        let path = PathBuf::from(String::from_utf8(bytes(argument)?)?);
        let base = folder.and_then(path_of_descriptor).unwrap_or_else(|| self.root.clone());
        Ok(self.inside(&base.join(path)))
    }

    /// Returns the path relative to the folder, if it is in it.
    fn inside(&self, path: &Path) -> Option<String> {
        let mut plain = PathBuf::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => drop(plain.pop()),
                other => plain.push(other),
            }
        }
        Some(plain.strip_prefix(&self.root).ok()?.to_str()?.to_owned())
    }

    /// Returns the folder and the name of a path.
    fn place(&self, path: &str) -> Result<Place> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let inode = self.recording.find(folder).with_context(|| format!("there is no {folder}"))?;
        Ok((inode, name.to_owned()))
    }
}

/// Splits a line into call, arguments and result; `None` for other lines and for calls that failed.
fn call(line: &str) -> Option<Call<'_>> {
    let (call, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
    let is_call = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // texts and paths are in hexadecimal, so every comma is one between arguments
    let call = Call { name, arguments: arguments.split(", ").collect(), result };
    (is_call && !result.starts_with(['-', '?'])).then_some(call)
}

/// Returns the path that strace shows with a descriptor.
fn path_of_descriptor(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.split_once('<')?;
    let (path, _) = path.split_once('>')?;
    Some(PathBuf::from(String::from_utf8(unescaped(path)?).ok()?))
}

/// Returns the bytes of a quoted text.
fn bytes(argument: &str) -> Result<Vec<u8>> {
    let text = argument.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    text.and_then(unescaped).with_context(|| format!("{} is not a whole text", shortened(argument)))
}

/// Returns the bytes of a text like `\x2f\x61`.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|digit| digit as u8);
    let (escapes, rest) = text.as_bytes().as_chunks::<4>();
    let byte = |escape: &[u8; 4]| match escape {
        [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    if rest.is_empty() { escapes.iter().map(byte).collect() } else { None }
}

/// The beginning of a line, for a message.
fn shortened(line: &str) -> String {
    line.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text as strace shows it.
    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    fn recorded(log: &str) -> Result<Recording> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("log"), "one\n")?;
        let mut recorder = Recorder::new(folder.path())?;
        let root = hex(recorder.root.to_str().unwrap());
        let log = log.replace("ROOT", &root);
        // `text` stands for the text in hexadecimal
        let spelled =
            log.split('`').enumerate().map(|(i, part)| if i % 2 == 1 { hex(part) } else { part.to_owned() });
        recorder.read(&spelled.collect::<String>())?;
        Ok(recorder.recording)
    }

    fn file(recording: &Recording, path: &str) -> Option<String> {
        let state = recording.state(recording.operations().len(), &[]);
        recording.content(&state, path).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn calls_become_operations() {
        let log = r#"7  mkdir("`f`", 0777)             = 0
7  openat(AT_FDCWD<ROOT>, "`f/.tmp`", O_RDWR|O_CREAT|O_EXCL, 0666) = 3<ROOT`/f/.tmp`>
7  write(3<ROOT`/f/.tmp`>, "`abc, `", 5) = 5
8  openat(AT_FDCWD<ROOT>, "`/etc/passwd`", O_RDONLY <unfinished ...>
7  write(3<ROOT`/f/.tmp`>, "`def`", 3) = 2
8  <... openat resumed>) = 4<`/etc/passwd`>
7  fsync(3<ROOT`/f/.tmp`>) = 0
7  rename("`f/.tmp`", "`f/a`") = 0
7  openat(AT_FDCWD<ROOT>, "`f`", O_RDONLY) = 3<ROOT`/f`>
7  fsync(3<ROOT`/f`>) = 0
7  openat(AT_FDCWD<ROOT>, "ROOT`/log`", O_WRONLY|O_APPEND) = 3<ROOT`/log`>
7  write(3<ROOT`/log`>, "`two`", 3) = -1 EIO (Input/output error)
7  ftruncate(3<ROOT`/log`>, 2) = 0
7  write(3<ROOT`/log`>, "`w`", 1) = 1
7  write(2<`/dev/null`>, "`note`", 4) = 4
7  unlinkat(5<ROOT`/f`>, "`b`", 0) = -1 ENOENT (No such file or directory)
7  +++ exited with 0 +++
"#;
        let recording = recorded(log).unwrap();
        assert_eq!(file(&recording, "f/a").as_deref(), Some("abc, de"));
        assert_eq!(file(&recording, "log").as_deref(), Some("onw"));
        assert_eq!(
            recording.unsynced(recording.operations().len()).len(),
            3,
            "the folder, and what was done to the log"
        );
        let removed = format!("{log}7  unlinkat(5<ROOT`/f`>, \"`a`\", 0) = 0\n");
        assert_eq!(file(&recorded(&removed).unwrap(), "f/a"), None);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "7  link(\"`log`\", \"`b`\") = 0\n",
            "7  writev(3<ROOT`/log`>, [{iov_base=\"`a`\", iov_len=1}], 1) = 1\n",
            "7  write(3<ROOT`/log`>, \"`a`\"..., 1) = 1\n",
            "7  rename(\"`log`\", \"`/elsewhere`\") = 0\n",
            "7  sync() = 0\n",
        ] {
            assert!(recorded(line).is_err(), "{line}");
        }
        assert!(recorded("7  symlink(\"`/a`\", \"`/b`\") = 0\n").unwrap().operations().is_empty());
    }
}
