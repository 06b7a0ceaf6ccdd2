//! Looking at processes and segments from outside, through `/proc` only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Sends SIGKILL. A process that is already gone is no error: tests race with restarts.
///
/// # Panics
/// When the system refuses for another reason.
#[track_caller]
pub fn kill_hard(pid: Pid) {
    send_signal(pid, Signal::SIGKILL);
}

/// Sends a signal to one process; one that is already gone is no error.
///
/// # Panics
/// When the system refuses for another reason.
#[track_caller]
pub fn send_signal(pid: Pid, signal: Signal) {
    match signal::kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{signal} cannot be sent to {pid}: {error}"),
    }
}

/// Whether the process runs: a zombie does not.
#[must_use]
pub fn is_running(pid: Pid) -> bool {
    state_letter(pid).is_some_and(|letter| !matches!(letter, 'Z' | 'X'))
}

/// The process group, read from `/proc/PID/stat`; `None` when the process is gone.
#[must_use]
pub fn process_group(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    // Fields from the third on: state, parent, group.
    after_name.split_ascii_whitespace().nth(2)?.parse().ok().map(Pid::from_raw)
}

/// Private resident memory (`RssAnon`) in KiB; `None` when the process is gone.
#[must_use]
pub fn private_kib(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Raises this process's limit of open files to what `count` connections need.
///
/// # Panics
/// When the system does not allow that many.
pub fn allow_open_files(count: u64) {
    let wanted = count + 256;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of open files can be read");
    if soft < wanted {
        let result = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted));
        result.unwrap_or_else(|error| panic!("{wanted} open files are needed, {hard} are allowed: {error}"));
    }
}

/// Processes whose command line mentions `text`. A test uses its own temporary folder, which nobody else's
/// has.
#[must_use]
pub fn mentioning(text: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pid_of = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw);
    let mentions = |pid: &Pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(text)
    };
    let own = Pid::this();
    entries.flatten().filter_map(pid_of).filter(|pid| *pid != own && mentions(pid)).collect()
}

/// The words of the process's command line; empty when it is gone or a zombie.
#[must_use]
pub fn command_line(pid: Pid) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The short name under which `ps` lists the process.
#[must_use]
pub fn short_name(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// When the process started, in clock ticks since the machine's start; `None` when it is gone.
#[must_use]
pub fn start_ticks(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The 22nd field; the state, behind the name, is the third.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What the process's descriptors lead to, by number; empty when it is gone.
#[must_use]
pub fn descriptors(pid: Pid) -> BTreeMap<u32, String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeMap::new() };
    let descriptor = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
    };
    entries.flatten().filter_map(descriptor).collect()
}

/// Whether the process was stopped by a signal.
#[must_use]
pub fn is_stopped(pid: Pid) -> bool {
    state_letter(pid) == Some('T')
}

/// Whether the process runs this executable; guards a kill against a pid that was handed out again.
#[must_use]
pub fn runs_executable(pid: Pid, executable: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|link| link == executable)
}

/// One System V segment as `/proc/sysvipc/shm` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Under which it is found; 0 when it was removed and only lives on in those who have it attached.
    pub key: i64,
    /// The kernel's id, for `ipcrm -m`.
    pub id: u64,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes, as asked for.
    pub bytes: u64,
    /// Who made it.
    pub creator: Pid,
    /// Bytes that really take memory.
    pub resident_bytes: u64,
}

/// Every System V segment of this machine.
#[must_use]
pub fn segments() -> Vec<Segment> {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    table.lines().skip(1).filter_map(segment).collect()
}

/// Columns: key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap.
fn segment(line: &str) -> Option<Segment> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    Some(Segment {
        key: columns.first()?.parse().ok()?,
        id: columns.get(1)?.parse().ok()?,
        mode: u32::from_str_radix(columns.get(2)?, 8).ok()?,
        bytes: columns.get(3)?.parse().ok()?,
        creator: Pid::from_raw(columns.get(4)?.parse().ok()?),
        resident_bytes: columns.get(14)?.parse().ok()?,
    })
}

fn state_letter(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::{is_running, private_kib, process_group, segment};
    use nix::unistd::{Pid, getpgrp};

    #[test]
    fn own_process_runs_in_its_group_and_has_private_memory() {
        let own = Pid::this();
        assert!(is_running(own));
        assert_eq!(process_group(own), Some(getpgrp()));
        assert!(private_kib(own).is_some_and(|kib| kib > 0));
    }

    #[test]
    fn line_of_the_segment_table_is_read_by_column() {
        let line =
            "  91226113   7   600  400000000  4242  4243  3  0  0  0  0  1700000000 0 1700000000  8192  0";
        let segment = segment(line).unwrap();
        assert_eq!((segment.key, segment.id, segment.mode), (91_226_113, 7, 0o600));
        assert_eq!(segment.bytes, 400_000_000);
        assert_eq!((segment.creator.as_raw(), segment.resident_bytes), (4242, 8192));
    }
}
