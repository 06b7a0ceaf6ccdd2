//! The keepers: processes that hold the descriptors of a communication process over its death.

use gantry_sys::atomic::{AtomicU64, Ordering};

use crate::Shared;

/// Rows of the table. One is in use; a communication process that dies while it takes over leaves one more.
pub const KEEPERS_MAX: usize = 16;

/// One keeper. The communication process writes, one at a time in a node; its successor and the supervisor read.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct KeeperRow {
    /// The keeper's pid, 0 = the row is free. Written last.
    pid: AtomicU64,
    /// When it started, in clock ticks since the machine's start: with the pid it names one life.
    start_ticks: AtomicU64,
    reserved: [AtomicU64; 6],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<KeeperRow>() == 64);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for KeeperRow {}

impl KeeperRow {
    /// Whether no keeper stands here.
    pub fn is_free(&self) -> bool {
        self.pid.load(Ordering::Acquire) == 0
    }

    /// The keeper's pid and when it started; whether it still lives is for the caller to find out.
    pub fn keeper(&self) -> Option<(u32, u64)> {
        // Acquire: pairs with the Release in `set`; the ticks are this keeper's.
        let pid = self.pid.load(Ordering::Acquire) as u32;
        (pid != 0).then(|| (pid, self.start_ticks.load(Ordering::Relaxed)))
    }

    /// Writes a keeper down in a free row.
    pub fn set(&self, pid: u32, start_ticks: u64) {
        self.start_ticks.store(start_ticks, Ordering::Relaxed);
        // Release: pairs with the Acquire in `keeper`.
        self.pid.store(u64::from(pid), Ordering::Release);
    }

    /// Frees the row: its keeper is dead.
    pub fn clear(&self) {
        self.pid.store(0, Ordering::Release);
    }
}
