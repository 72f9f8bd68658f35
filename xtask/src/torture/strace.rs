//! Runs a process under strace, which can fail, kill or record at a system call. That needs strace 5.3 or newer and a machine
//! that lets a process trace its children.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::within;

/// Stops the traced process at the calls in question alone, and so takes a fraction of the time. A signal at a call needs the
/// slow way: with this option, strace 6.1 does not send it.
pub const QUICK: &str = "--seccomp-bpf";

/// Returns strace's path if it is installed and can tamper with system calls here.
pub fn find(logs: &Path) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let strace =
        std::env::split_paths(&paths).map(|folder| folder.join("strace")).find(|path| path.is_file())?;
    let mut command = Command::new(&strace);
    command.args(["-f", QUICK, "-y", "-o"]).arg(logs.join("strace"));
    command.args(["-e", "trace=unlink", "-e", "inject=unlink:error=EIO:when=1", "sh", "-c", "true"]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success()).then_some(strace)
}

/// Returns `command` under strace with `options`. The log goes to the file `log`.
///
/// The traced program finds no other programs: strace would follow and disturb them, too.
pub fn wrapped(strace: &Path, command: &Command, options: &[String], log: &Path) -> Command {
    let mut outer = Command::new(strace);
    outer.args(["-f", "-E", "PATH=", "-o"]).arg(log).args(options).arg("--");
    within(outer, command)
}

/// Returns how often the first process of a log made each call. strace counts calls by thread, and the first one makes nearly
/// all calls on files.
pub fn calls_of_first(log: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let first = log.split_whitespace().next();
    for line in log.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        if let (true, Some((name, _))) = (Some(pid) == first, rest.trim_start().split_once('('))
            && !name.starts_with(['<', '+', '-'])
        {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_for_the_first_process() {
        let log = "7  openat(AT_FDCWD, \"a\", O_RDONLY) = 3\n8  openat(AT_FDCWD, \"b\", O_RDONLY <unfinished ...>\n\
                   7  write(3, \"\", 0) = 0\n8  <... openat resumed>) = 4\n7  openat(AT_FDCWD, \"(\", O_RDONLY) = -1 ENOENT (x)\n\
                   7  --- SIGCHLD {si_signo=SIGCHLD (x)} ---\n7  +++ exited with 0 +++\n";
        let counts = calls_of_first(log).into_iter().collect::<Vec<_>>();
        assert_eq!(counts, [("openat".to_owned(), 2), ("write".to_owned(), 1)]);
    }
}
