//! The node's cache of serial numbers: ranges that are leased and not given out, and what became of the others.
//!
//! Places and sizes only. How numbers move through them, and why none comes twice, is said in `gantry-serials`.

use gantry_sys::atomic::{AtomicU32, AtomicU64};

use crate::{Shared, SharedText};

/// Types that the cache has room for: twice as many as can be configured, so that a database that was made anew,
/// whose types are others, finds room beside those of the old one.
pub const SERIAL_KINDS_MAX: usize = 128;
/// Redis lists of one type whose figures are kept apart.
pub const SERIAL_LISTS_MAX: usize = 8;
/// Ranges of one type that each row of the process table has room for.
pub const SERIAL_CELLS: usize = 4;
/// Redis servers that can be chosen between: the primary and the standby.
pub const SERIAL_SERVERS: usize = 2;

/// What holds for the serial numbers of the whole node. Zero is right for a node that starts.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct SerialNode {
    /// The server in use: 0 the primary, 1 the standby. An operator's command writes, workers read.
    pub chosen: AtomicU32,
    reserved_word: AtomicU32,
    /// When figures are next written to the database; monotonic clock, ns. Any worker moves it on.
    pub report_due_ns: AtomicU64,
    /// How each server does, as the workers found.
    pub servers: [SerialServer; SERIAL_SERVERS],
    reserved: [AtomicU64; 22],
}

/// How one Redis server does. Workers write; only how soon it is tried again depends on it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SerialServer {
    /// Until when nobody tries it; monotonic clock, ns; 0 = it serves.
    pub away_until_ns: AtomicU64,
    /// Failures since it last answered.
    pub failures: AtomicU64,
    /// Failures in all.
    pub failures_total: AtomicU64,
    reserved: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SerialNode>() == 256);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for SerialNode {}

/// One type of serial numbers, in one database.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct SerialKind {
    /// Names the type and its database; 0 = the row is free. Claimed by one exchange, never given back.
    pub tag: AtomicU64,
    /// The highest epoch that was seen; ranges of lower ones are not given out any more. It only grows.
    pub epoch: AtomicU64,
    /// The end of the highest range that was leased for certain; it only grows.
    pub top: AtomicU64,
    /// Numbers given out, and not rolled back afterwards.
    pub issued: AtomicU64,
    /// Numbers drawn in transactions that were rolled back.
    pub rolled_back: AtomicU64,
    /// Numbers thrown away because their range's epoch was over.
    pub dropped: AtomicU64,
    /// When the level of its Redis list is next looked at; monotonic clock, ns.
    pub check_due_ns: AtomicU64,
    /// Until when somebody fills its Redis list; monotonic clock, ns. A death leaves it to run out.
    pub fill_until_ns: AtomicU64,
    /// 1 = its Redis list is below half.
    pub is_low: AtomicU32,
    /// 1 = a process of this node has drawn from it, so it is worth filling.
    pub is_used: AtomicU32,
    /// The type's name, for people.
    pub name: SharedText<4>,
    reserved: [AtomicU64; 2],
    /// The Redis lists that were popped from.
    pub lists: [SerialList; SERIAL_LISTS_MAX],
}

/// A Redis list of one type, as this node has met it. Figures only, but for `turn`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SerialList {
    /// Names the list; 0 = free.
    pub tag: AtomicU64,
    /// Numbers popped from it.
    pub taken: AtomicU64,
    /// Those of `taken` that the database knows of.
    pub reported: AtomicU64,
    /// The highest count of pops that the server told; a lower one later shows that its data went back.
    pub turn: AtomicU64,
    /// Why it was given up, as a code of `gantry-serials`; 0 = it is in use.
    pub ended: AtomicU32,
    /// 1 = the database knows that it was given up.
    pub ended_reported: AtomicU32,
    reserved: [AtomicU64; 3],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SerialKind>() == 640 && size_of::<SerialList>() == 64);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for SerialKind {}

/// The ranges of one type that one row of the process table holds: a cache line of its own, which the process of that
/// row fills and from which every process takes.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct SerialCells {
    /// The ranges, in no order.
    pub cells: [SerialCell; SERIAL_CELLS],
}

/// One range. Only the process in the cell's row makes an empty cell full; everybody takes, by exchanging `word`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SerialCell {
    /// Which filling this is, its epoch's low bits, and how many numbers are left.
    pub word: AtomicU64,
    /// The number behind the range's last one; written only while nothing is left.
    pub end: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SerialCells>() == 64);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for SerialCells {}
