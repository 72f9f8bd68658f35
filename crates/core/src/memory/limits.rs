//! The memory that the process may have: what the machine has, what the process's control group (its container) may
//! have, and what the process itself may have (`ulimit -v`). Linux tells; other systems are not asked.

use std::fmt;
use std::fs;
use std::path::Path;

/// An amount of memory, and what sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The amount in bytes.
    pub bytes: u64,
    /// What sets it, as the end of a sentence: "on this machine".
    pub place: &'static str,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} are free {}", in_words(self.bytes), self.place)
    }
}

/// Returns the memory that the process may still take without swapping; `None` if the system does not tell.
pub fn free() -> Option<Room> {
    smallest(&read(Path::new("/")), |limit| limit.all_bytes.saturating_sub(limit.used_bytes))
}

/// Returns all memory that the process may have, free or not; `None` if the system does not tell.
pub fn total() -> Option<Room> {
    smallest(&read(Path::new("/")), |limit| limit.all_bytes)
}

/// Returns a number of bytes for people: `7.9 GB`.
pub fn in_words(n_bytes: u64) -> String {
    match n_bytes {
        ..1_000_000_000 => format!("{} MB", n_bytes.div_ceil(1_000_000)),
        _ => format!("{:.1} GB", n_bytes as f64 / 1e9),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    all_bytes: u64,
    used_bytes: u64,
    place: &'static str,
}

fn smallest(limits: &[Limit], bytes: impl Fn(&Limit) -> u64) -> Option<Room> {
    let rooms = limits.iter().map(|limit| Room { bytes: bytes(limit), place: limit.place });
    rooms.min_by_key(|room| room.bytes)
}

/// Returns all limits that the files below `root` state.
fn read(root: &Path) -> Vec<Limit> {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let mut limits = Vec::new();
    limits.extend(of_machine(&text("proc/meminfo")));
    limits.extend(of_process(&text("proc/self/limits"), &text("proc/self/status")));
    for line in text("proc/self/cgroup").lines() {
        limits.extend(of_groups(root, line));
    }
    limits
}

fn of_machine(meminfo: &str) -> Option<Limit> {
    let (all, free) = (kib(meminfo, "MemTotal:")?, kib(meminfo, "MemAvailable:")?);
    Some(Limit { all_bytes: all, used_bytes: all.saturating_sub(free), place: "on this machine" })
}

/// The limit on the address space, of which an allocator reserves more than it uses. So the memory in use counts.
fn of_process(limits: &str, status: &str) -> Option<Limit> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let all_bytes = line.split_whitespace().next()?.parse().ok()?; // "unlimited" is none
    Some(Limit { all_bytes, used_bytes: kib(status, "VmRSS:")?, place: "for this process (ulimit -v)" })
}

/// Returns the limits of the control group that a line of `/proc/self/cgroup` names, and of the groups around it.
/// Version 2 has one line, `0::PATH`; version 1 has a line per controller, `N:memory:PATH`.
fn of_groups(root: &Path, line: &str) -> Vec<Limit> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, files) = match controllers {
        "" => ("sys/fs/cgroup", ["memory.max", "memory.current", "inactive_file "]),
        _ if controllers.split(',').any(|name| name == "memory") => (
            "sys/fs/cgroup/memory",
            ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "],
        ),
        _ => return Vec::new(),
    };
    let own = Path::new(path.trim_start_matches('/'));
    own.ancestors().filter_map(|group| of_group(&root.join(mount).join(group), files)).collect()
}

fn of_group(folder: &Path, [limit, usage, cache]: [&str; 3]) -> Option<Limit> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok(); // "max" is none
    let all_bytes = number(limit)?;
    // the kernel drops these pages before it refuses memory
    let stat = text("memory.stat").unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok()).unwrap_or(0);
    let used_bytes = number(usage)?.saturating_sub(cached);
    Some(Limit { all_bytes, used_bytes, place: "in this container (its control group)" })
}

/// Returns the value of the line that begins with `name`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the files of a system, and returns the limits that they state.
    fn limits(files: &[(&str, &str)]) -> Vec<Limit> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read(root.path())
    }

    const MACHINE: (&str, &str) =
        ("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  600 kB\n");
    const UNLIMITED: (&str, &str) = (
        "proc/self/limits",
        "Limit   Soft Limit  Hard Limit  Units\nMax address space         unlimited   unlimited   bytes\n",
    );

    fn room(limits: &[Limit], bytes: impl Fn(&Limit) -> u64) -> (u64, &'static str) {
        let room = smallest(limits, bytes).unwrap();
        (room.bytes, room.place)
    }

    fn free_of(limit: &Limit) -> u64 {
        limit.all_bytes - limit.used_bytes
    }

    #[test]
    fn a_machine_without_limits() {
        let found = limits(&[MACHINE, UNLIMITED, ("proc/self/cgroup", "0::/\n")]);
        assert_eq!(found, [Limit { all_bytes: 1_024_000, used_bytes: 409_600, place: "on this machine" }]);
        assert!(limits(&[]).is_empty(), "a system that tells nothing");
    }

    #[test]
    fn the_smallest_limit_counts_whichever_it_is() {
        let process =
            "Max cpu time  unlimited  unlimited  seconds\nMax address space  700000  unlimited  bytes\n";
        let status = "Name:\ttrainer\nVmSize:\t 9000 kB\nVmRSS:\t   100 kB\n";
        let of_process = [MACHINE, ("proc/self/limits", process), ("proc/self/status", status)];
        let found = limits(&of_process);
        assert_eq!(room(&found, free_of), (700_000 - 102_400, "for this process (ulimit -v)"));
        assert_eq!(room(&found, |limit| limit.all_bytes).0, 700_000);

        // version 2: the limit of a group further out counts as well, and pages of files can be dropped
        let group = [
            MACHINE,
            ("proc/self/cgroup", "0::/system.slice/job\n"),
            ("sys/fs/cgroup/system.slice/job/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/job/memory.current", "200000\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "500000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "300000\n"),
            ("sys/fs/cgroup/system.slice/memory.stat", "anon 1\ninactive_file 100000\nactive_file 7\n"),
        ];
        let found = limits(&group);
        assert_eq!(room(&found, free_of), (300_000, "in this container (its control group)"));

        // version 1, whose largest number means no limit
        let group = [
            MACHINE,
            ("proc/self/cgroup", "5:cpu:/a\n4:memory:/a\n0::/\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "400000\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "390000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "395000\n"),
        ];
        assert_eq!(room(&limits(&group), free_of).0, 10_000);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_system_tells() {
        let (free, all) = (free().unwrap(), total().unwrap());
        assert!(free.bytes > 0 && free.bytes < all.bytes, "{free:?} of {all:?}");
    }

    #[test]
    fn bytes_in_words() {
        assert_eq!([1, 512_000_000, 7_940_000_000].map(in_words), ["1 MB", "512 MB", "7.9 GB"]);
        let room = Room { bytes: 2_000_000_000, place: "on this machine" };
        assert_eq!(room.to_string(), "2.0 GB are free on this machine");
    }
}
