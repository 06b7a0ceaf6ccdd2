//! What `/proc` tells of a process.

use std::io;

/// Resident memory of a process by kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Private memory: heap, stacks, written parts of libraries. This is what a leak makes grow.
    pub rss_anon: u64,
    /// Shared memory segments, as far as this process has touched them.
    pub rss_shmem: u64,
    /// Mapped files: programs and libraries.
    pub rss_file: u64,
}

/// Reads the resident memory of a process.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if there is no such process, [`io::ErrorKind::InvalidData`] if it has no
/// memory any more (a zombie) or never had (a kernel thread).
pub fn memory(pid: i32) -> io::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    memory_in(&status).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("process {pid} has no memory: a zombie or a kernel thread"),
        )
    })
}

fn memory_in(status: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    Some(Memory { rss_anon: field("RssAnon")?, rss_shmem: field("RssShmem")?, rss_file: field("RssFile")? })
}

/// One past the highest number that a descriptor of the process can have now: the size of its table, a power of two
/// that never shrinks.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if there is no such process; [`io::ErrorKind::InvalidData`] for a zombie, whose table is
/// gone.
pub fn descriptor_numbers_end(pid: i32) -> io::Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
    line.and_then(|size| size.trim().parse().ok()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("process {pid} has no descriptors"))
    })
}

/// When a process started, in clock ticks since the machine's start; `None` if no process has this pid.
///
/// The same pid with the same ticks is the same process: pids come back, but not within one tick.
#[must_use]
pub fn start_ticks(pid: i32) -> Option<u64> {
    if pid <= 0 {
        return None;
    }
    start_ticks_in(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether no process with this pid runs: there is none, or its main thread has ended. What it held may be held for a moment
/// longer, by its other threads or by a program that it was just starting.
pub fn has_stopped_running(pid: i32) -> bool {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            // The name may contain anything, also a closing parenthesis.
            let name_end = stat.iter().rposition(|byte| *byte == b')');
            let state = name_end.and_then(|end| stat.get(end + 2));
            state.is_some_and(|state| matches!(state, b'Z' | b'X'))
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound),
    }
}

/// The second field is the program's name in parentheses, which may itself contain spaces and parentheses;
/// the start time is the 22nd field, so the 20th behind the last closing parenthesis.
fn start_ticks_in(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = core::str::from_utf8(&stat[name_end + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_ticks_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = b"7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9876543 10 11";
        assert_eq!(start_ticks_in(stat), Some(9_876_543));
        assert_eq!(start_ticks_in(b"7 (cut) S 1 2"), None);
        assert_eq!(start_ticks_in(b""), None);
    }

    #[test]
    fn start_ticks_of_one_life_are_stable_and_of_no_process_are_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_ticks(own).unwrap() > 0);
        assert_eq!(start_ticks(own), start_ticks(own));
        assert_eq!(start_ticks(0), None);
        assert_eq!(start_ticks(-1), None);
        assert_eq!(start_ticks(i32::MAX), None);
    }

    #[test]
    fn memory_grows_by_what_is_touched() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = memory(own).unwrap();
        let touched = std::hint::black_box(vec![1_u8; 32 << 20]);
        let after = memory(own).unwrap();
        assert!(before.rss_file > 0);
        assert!(after.rss_anon >= before.rss_anon + (24 << 20), "{before:?} then {after:?}");
        drop(touched);
    }

    #[test]
    fn memory_of_no_process_and_of_a_zombie_are_errors() {
        assert_eq!(memory(i32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(memory_in("Name:\tx\nState:\tZ (zombie)\n"), None);
        assert_eq!(
            memory_in("RssAnon:\t 12 kB\nRssFile:\t 4 kB\nRssShmem:\t 0 kB\n").unwrap().rss_anon,
            12_288
        );
    }
}
