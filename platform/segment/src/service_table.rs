//! The table of services and the table of libraries that the directory points into.

use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::{Shared, SharedText};

/// One service. Only the supervisor writes (rule state and counts excepted), field by field: each field means
/// something by itself, so a reader may see the old time-out with the new policy, and no harm is done. A row
/// keeps its number for the life of the segment.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ServiceRow {
    /// The 8-digit number; 0 = free row.
    pub number: AtomicU32,
    /// 1 read, 2 write, 3 other; 0 = unloaded.
    pub kind: AtomicU32,
    /// 1 = may be called, 0 = stopped (103).
    pub enabled: AtomicU32,
    /// 1 = quarantined (303).
    pub quarantined: AtomicU32,
    /// Time-out in milliseconds; 0 = the node's.
    pub timeout_ms: AtomicU32,
    /// Code of `message::Policy`: 1 kill, 2 answer.
    pub policy: AtomicU32,
    /// Row of the library table.
    pub library: AtomicU32,
    /// Bit 0: declared idempotent. Bit 1: uses a data source.
    pub flags: AtomicU32,
    /// Most requests in flight; 0 = no rule.
    pub rule_concurrency: AtomicU32,
    /// Most requests a second; 0 = no rule.
    pub rule_rate: AtomicU32,
    /// Requests that may come at once under `rule_rate`.
    pub rule_burst: AtomicU32,
    /// Own admission threshold in millionths; 0 = the node's.
    pub rule_threshold_ppm: AtomicU32,
    /// 1 = refuse all (203).
    pub rule_refuse: AtomicU32,
    /// Requests accepted and not answered; communication process only, recounted by a new one.
    pub in_flight: AtomicU32,
    /// Time at which the rate rule's bucket is full again; monotonic clock, ns; communication process only.
    pub rate_full_at_ns: AtomicU64,
    /// The service's name, as `card.recharge`.
    pub name: SharedText<8>,
    /// Its library's version.
    pub version: SharedText<4>,
    /// Row + 1 of the build that is tried on a share of the requests; 0 = none.
    pub canary_library: AtomicU32,
    /// That share, in millionths.
    pub canary_ppm: AtomicU32,
    reserved: [AtomicU64; 9],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ServiceRow>() == 256);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for ServiceRow {}

/// One library. The supervisor writes; workers read under the sequence.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct LibraryRow {
    /// Odd while the supervisor writes the row.
    sequence: AtomicU32,
    /// 1 = used by a service row, 0 = free.
    pub used: AtomicU32,
    reserved: AtomicU64,
    /// Name, as `gantry_card`.
    name: SharedText<8>,
    /// Version, as `1.4.0`.
    version: SharedText<4>,
    /// Content hash of the file, 64 hex digits.
    build: SharedText<8>,
    /// Path of the staged file.
    file: SharedText<50>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<LibraryRow>() == 640);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for LibraryRow {}

/// What a library row says, copied out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LibraryFacts {
    /// Name, as `gantry_card`.
    pub name: String,
    /// Version, as `1.4.0`.
    pub version: String,
    /// Content hash of the file.
    pub build: String,
    /// Path of the staged file, at most 400 bytes.
    pub file: String,
}

/// The bit of `ProcessRow::failed_libraries` for a row of the library table.
pub fn library_bit(row: u32) -> u64 {
    1 << (row % 64)
}

impl LibraryRow {
    /// Longest path that the row holds, in bytes.
    pub const FILE_BYTES_MAX: usize = SharedText::<50>::BYTES_MAX;

    /// Writes the row. One writer (the supervisor); readers meanwhile see that it changes and read again.
    pub fn write(&self, facts: &LibraryFacts) {
        let before = self.sequence.load(Ordering::Relaxed) | 1;
        self.sequence.store(before, Ordering::Relaxed);
        // Release: the fields below are not seen before the odd sequence.
        fence(Ordering::Release);
        self.name.set(facts.name.as_bytes());
        self.version.set(facts.version.as_bytes());
        self.build.set(facts.build.as_bytes());
        self.file.set(facts.file.as_bytes());
        self.used.store(1, Ordering::Relaxed);
        // Release: pairs with the Acquire in `read`; the fields are whole.
        self.sequence.store(before.wrapping_add(1), Ordering::Release);
    }

    /// Reads the row; `None` when it is free, or was being written at each of many tries (its writer died;
    /// the next supervisor writes it again).
    pub fn read(&self) -> Option<LibraryFacts> {
        for _ in 0..1_000 {
            // Acquire: pairs with the Release at the end of `write`.
            let before = self.sequence.load(Ordering::Acquire);
            if before & 1 == 1 {
                std::thread::yield_now();
                continue;
            }
            let facts = LibraryFacts {
                name: self.name.text(),
                version: self.version.text(),
                build: self.build.text(),
                file: self.file.text(),
            };
            let used = self.used.load(Ordering::Relaxed);
            // Acquire: the fields above are read before the sequence is read again.
            fence(Ordering::Acquire);
            if self.sequence.load(Ordering::Relaxed) == before {
                return (used == 1).then_some(facts);
            }
        }
        None
    }

    /// Frees the row. Only the supervisor, when no service row names it.
    pub fn clear(&self) {
        self.used.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_row_gives_back_what_was_written() {
        let row = LibraryRow::default();
        assert_eq!(row.read(), None);
        let facts = LibraryFacts {
            name: "gantry_card".into(),
            version: "1.0.0".into(),
            build: "ab".repeat(32),
            file: "/var/lib/gantry/libraries/gantry_card-1.0.0-abababababababab.so".into(),
        };
        row.write(&facts);
        assert_eq!(row.read(), Some(facts));
        row.clear();
        assert_eq!(row.read(), None);
    }
}
