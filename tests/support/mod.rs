//! The test harness: runs the built binary in a temporary folder, within bounded time, and inspects its output.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Time limit; a process that takes longer counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// A network of 5,382 parameters and two epochs of four steps, with the default schedule; takes a fraction of a second.
pub(crate) const TINY: &str = "--dataset sample --offline --train-subset 60 --epochs 2 --batch-size 16 \
     --set model.widths=[4,4,8,8] --set model.dropout=[0.1,0.1] --set model.dense=8 --set model.input_px=[32,32]";

/// [`TINY`] without the settings that a test may want to choose.
pub(crate) const TINY_MODEL: &str = "--dataset sample --offline --set model.widths=[4,4,8,8] \
     --set model.dropout=[0.1,0.1] --set model.dense=8";

/// Returns `args` followed by `changes`. Keys that `changes` sets are removed from `args`, because arguments may not
/// contradict each other.
pub(crate) fn changed(args: &str, changes: &str) -> String {
    let key = |word: &str| word.split_once('=').map(|(key, _)| key.to_owned());
    let set_anew: Vec<String> = changes.split_whitespace().filter_map(key).collect();
    let is_kept = |word: &&str| key(word).is_none_or(|key| !set_anew.contains(&key));
    let mut kept = Vec::new();
    for word in args.split_whitespace().filter(is_kept) {
        if word == "--set" && kept.last() == Some(&"--set") {
            continue; // the word before was removed; this is its value
        }
        kept.push(word);
    }
    let kept = kept.join(" ");
    format!("{} {changes}", kept.strip_suffix(" --set").unwrap_or(&kept))
}

/// An empty folder to run the binary in.
pub(crate) struct Sandbox {
    folder: TempDir,
    /// Files for the binary's output, outside `folder`, so that `folder` holds only what the binary writes.
    logs: TempDir,
}

/// The result of a run of the binary.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The command as typed.
    pub(crate) command: String,
    /// `None` if the process was ended by a signal.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running binary.
pub(crate) struct Running {
    command: String,
    child: Child,
    logs: [PathBuf; 2],
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), logs: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Returns the relative paths of all files and folders in the sandbox, sorted.
    pub(crate) fn everything(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(self.folder.path()).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Returns the number of epochs of the run `run` that are over.
    pub(crate) fn n_epochs(&self, run: &str) -> usize {
        let events = fs::read_to_string(self.path(run).join("events.jsonl")).unwrap_or_default();
        events.lines().filter(|line| line.contains(r#""event":"epoch""#)).count()
    }

    /// Runs `trainer` with the words of `args` and waits for its end.
    #[track_caller]
    pub(crate) fn trainer(&self, args: &str) -> Ran {
        self.start(args).wait()
    }

    /// Starts `trainer` with the words of `args`.
    #[track_caller]
    pub(crate) fn start(&self, args: &str) -> Running {
        self.start_command(trainer(args), &format!("trainer {args}"))
    }

    /// Starts `trainer` with a full pipe as standard error: it blocks on its first message as long as the pipe is held.
    pub(crate) fn start_gagged(&self, args: &str) -> (Running, PipeReader) {
        let (reader, writer) = full_pipe();
        (self.launch(trainer(args), &format!("trainer {args}"), Some(writer.into())), reader)
    }

    /// Starts `command` in the sandbox; messages show it as `typed`.
    #[track_caller]
    pub(crate) fn start_command(&self, command: Command, typed: &str) -> Running {
        self.launch(command, typed, None)
    }

    #[track_caller]
    fn launch(&self, mut command: Command, typed: &str, gag: Option<Stdio>) -> Running {
        let folder = tempfile::tempdir_in(self.logs.path()).unwrap().keep();
        let logs = ["stdout", "stderr"].map(|name| folder.join(name));
        let [stdout, stderr] = logs.each_ref().map(|path| File::create(path).unwrap());
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(stdout).stderr(gag.unwrap_or_else(|| stderr.into()));
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        Running { command: typed.to_owned(), child, logs }
    }
}

/// Returns the command for the built binary with the words of `args`, without the environment variables that it reads.
pub(crate) fn trainer(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(args.split_whitespace());
    for variable in ["TALLOW_ISA", "TALLOW_CONV", "RUST_LOG", "RAYON_NUM_THREADS", "RUST_BACKTRACE"] {
        command.env_remove(variable);
    }
    for variable in ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
        command.env_remove(variable); // the tests may have been launched as one of several processes
    }
    command
}

/// Returns a pipe that accepts no more bytes.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (mut filler, n_chunks) = (writer.try_clone().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&n_chunks);
    // blocks as soon as the pipe is full, and ends when the reader is closed
    std::thread::spawn(move || {
        while filler.write_all(&[b'.'; 1024]).is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut n_before = 0;
    wait_until("the pipe is full", || {
        std::thread::sleep(Duration::from_millis(100));
        let n = n_chunks.load(Ordering::SeqCst);
        n > 0 && std::mem::replace(&mut n_before, n) == n
    });
    (reader, writer)
}

impl Running {
    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -s {name} {}", self.child.id())).status();
        assert!(kill.unwrap().success(), "{}: cannot be sent {name}", self.command);
    }

    /// Kills the process with SIGKILL; returns whether it was still running.
    pub(crate) fn kill(mut self) -> bool {
        self.child.kill().unwrap();
        self.wait().status.is_none()
    }

    pub(crate) fn is_at_work(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ran {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(3)),
                None => panic!("{}: still at work after {PATIENCE:?}; {}", self.command, self.printed(1)),
            }
        };
        let (stdout, stderr) = (self.printed(0), self.printed(1));
        assert!(!stderr.contains("panicked"), "{}: {stderr}", self.command);
        Ran { command: self.command.clone(), status: status.code(), stdout, stderr }
    }

    /// What was printed so far on standard output.
    pub(crate) fn stdout(&self) -> String {
        self.printed(0)
    }

    /// Returns the output on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.printed(1)
    }

    /// Returns the output so far on standard output (0) or error (1).
    fn printed(&self, stream: usize) -> String {
        String::from_utf8_lossy(&fs::read(&self.logs[stream]).unwrap()).into_owned()
    }
}

/// Kills the process, so that a failing test leaves nothing running.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// Asserts that the run succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.ends_with(0)
    }

    /// Asserts that the run ended with this status.
    #[track_caller]
    pub(crate) fn ends_with(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}:\n{}", self.command, self.stderr);
        self
    }

    /// Asserts that standard error has all of `parts`.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{}: no {part:?} in:\n{}", self.command, self.stderr);
        }
        self
    }

    /// Asserts that the run failed with a message that has all of `parts`, and printed no result.
    #[track_caller]
    pub(crate) fn fails(self, parts: &[&str]) -> Self {
        assert_eq!(self.stdout, "", "{}", self.command);
        let said = self.ends_with(1).says(parts);
        assert!(said.stderr.lines().any(|line| line.starts_with("error: ")), "{}", said.stderr);
        said
    }

    /// Parses standard output, which must be one JSON document and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{}: {e}:\n{}", self.command, self.stdout))
    }
}

/// Waits until `is_so` returns true; otherwise fails with `what`.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the header of a safetensors file, and its tensors' bytes by name.
pub(crate) fn read_safetensors(bytes: &[u8]) -> (Value, BTreeMap<String, Vec<u8>>) {
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).unwrap();
    let data = &bytes[8 + header_bytes..];
    let tensor = |(name, entry): (&String, &Value)| {
        let [from, to] = [0, 1].map(|i| entry["data_offsets"][i].as_u64().unwrap() as usize);
        (name.clone(), data[from..to].to_vec())
    };
    let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__").map(tensor);
    let tensors = tensors.collect();
    (header, tensors)
}

/// Returns the model file with a changed description, and without the digest of the old one.
pub(crate) fn with_description(model: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (mut header, _) = read_safetensors(model);
    let mut description: Value =
        serde_json::from_str(header["__metadata__"]["tallow"].as_str().unwrap()).unwrap();
    change(&mut description);
    description.as_object_mut().unwrap().remove("file_digest");
    header["__metadata__"]["tallow"] = Value::String(description.to_string());
    with_header(model, &header)
}

/// Returns the safetensors file with another header.
pub(crate) fn with_header(model: &[u8], header: &Value) -> Vec<u8> {
    let old_bytes = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
    let mut text = header.to_string();
    text += &" ".repeat(text.len().next_multiple_of(8) - text.len());
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &model[8 + old_bytes..]].concat()
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
