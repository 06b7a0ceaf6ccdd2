//! A node's shared memory, looked at and written to from outside, through one of its processes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use nix::unistd::Pid;

/// Bytes compared at once in a search.
const PIECE: usize = 1 << 20;

/// One segment as a process has it mapped. Writing needs the rights of a debugger: the same user, or root.
#[derive(Debug)]
pub struct SharedMemory {
    memory: File,
    start: u64,
    bytes: u64,
}

impl SharedMemory {
    /// The segment that `status` calls `id` (`sysv:NUMBER` or `posix:NAME`), in the process `pid`.
    ///
    /// # Panics
    /// When the process has it not mapped, or may not be looked into.
    #[must_use]
    #[track_caller]
    pub fn of(pid: Pid, id: &str) -> Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process's mappings can be read");
        let found = maps.lines().find_map(|line| range(line, id));
        let (start, end) = found.unwrap_or_else(|| panic!("process {pid} has no segment {id}:\n{maps}"));
        let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
        Self { memory: memory.expect("a process's memory can be opened"), start, bytes: end - start }
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes from `offset` on.
    ///
    /// # Panics
    /// When the segment ends before.
    #[must_use]
    #[track_caller]
    pub fn read(&self, offset: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        assert!(offset + count as u64 <= self.bytes, "the segment has {} bytes only", self.bytes);
        self.memory.read_exact_at(&mut bytes, self.start + offset).expect("shared memory can be read");
        bytes
    }

    /// Puts bytes to `offset`.
    ///
    /// # Panics
    /// When the segment ends before.
    #[track_caller]
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        assert!(offset + bytes.len() as u64 <= self.bytes, "the segment has {} bytes only", self.bytes);
        self.memory.write_all_at(bytes, self.start + offset).expect("shared memory can be written");
    }

    /// Every offset below `end` at which `wanted` stands.
    #[must_use]
    pub fn find(&self, wanted: &[u8], end: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let mut offset = 0;
        while offset < end.min(self.bytes) {
            let rest = usize::try_from(self.bytes - offset).unwrap_or(PIECE);
            let piece = self.read(offset, rest.min(PIECE + wanted.len() - 1));
            let here = piece.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
            found.extend(here.map(|(at, _)| offset + at as u64));
            offset += PIECE as u64;
        }
        found
    }
}

/// The range of a line of `/proc/PID/maps` if it is this segment: address, rights, offset, device, inode, path.
fn range(line: &str, id: &str) -> Option<(u64, u64)> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (inode, path) = (columns.get(4)?, columns.get(5)?);
    let is_it = match id.split_once(':')? {
        ("sysv", number) => path.starts_with("/SYSV") && *inode == number,
        ("posix", name) => path.strip_prefix("/dev/shm/") == Some(name.trim_start_matches('/')),
        _ => false,
    };
    let (start, end) = columns.first()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    is_it.then_some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn mapping_of_a_segment_is_found_by_its_id() {
        let line = "7f0000001000-7f0000003000 rw-s 00000000 00:01 98305    /SYSV47540001 (deleted)";
        assert_eq!(range(line, "sysv:98305"), Some((0x7f00_0000_1000, 0x7f00_0000_3000)));
        assert_eq!(range(line, "sysv:98306"), None);
        let line = "7f0000001000-7f0000002000 rw-s 00000000 00:1a 12 /dev/shm/gantry-x.control";
        assert!(range(line, "posix:/gantry-x.control").is_some() && range(line, "posix:/gantry-x").is_none());
    }
}
