//! The row of a slot, and the row of a ring.

use gantry_sys::atomic::{AtomicU32, AtomicU64};

use crate::{Shared, SharedText};

/// Flag of a slot's row: it goes to the canary of its service, if the worker has one; a worker that has none takes it away.
pub const FOR_CANARY: u32 = 1 << 18;
/// Bits of a slot's flags from here: which canary, as `ServiceRow::canary_library`.
pub const CANARY_LIBRARY_SHIFT: u32 = 19;

/// One request on its way through the node.
///
/// `word` is the only truth about who may write the other fields: the communication process while it is
/// `FILLING` (and for a few comm-owned fields later), the worker while it is `RUNNING`. The fields are
/// atomics so that a reader that lost a race reads numbers, not undefined behaviour; they are ordered by
/// the compare-and-swap of `word` that hands them over. Layout and algorithm: `gantry-ring`.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct SlotRow {
    /// State, owner and generation; see `gantry_ring::Word`.
    pub word: AtomicU64,
    /// Connection row of the caller (index); written while filling.
    pub connection: AtomicU32,
    /// Generation of that connection row, so that a reply never goes to a later client.
    pub connection_generation: AtomicU32,
    /// Offset of the frame's first byte in the connection's stream; a published frame is not published again.
    pub frame_offset: AtomicU64,
    /// When the whole frame had arrived; monotonic clock, ns.
    pub arrival_ns: AtomicU64,
    /// When the caller gets 301 or 305; monotonic clock, ns.
    pub deadline_ns: AtomicU64,
    /// Service number of the frame.
    pub service: AtomicU32,
    /// Row of the service table, or `u32::MAX` for a platform number.
    pub service_index: AtomicU32,
    /// The request's block: class << 24 | index, plus one; 0 = empty body.
    pub request_block: AtomicU32,
    /// Bytes of the request's body.
    pub request_bytes: AtomicU32,
    /// The reply's block, coded as `request_block`; written by whoever makes the reply.
    pub reply_block: AtomicU32,
    /// Bytes of the reply's body.
    pub reply_bytes: AtomicU32,
    /// Status of the reply.
    pub reply_status: AtomicU32,
    /// Home I/O thread (bits 0–7), kind of service (8–15), checksum wanted (16), done before (17): the request table is
    /// asked before the service is called; for the canary (18).
    pub flags: AtomicU32,
    /// When execution began; monotonic clock, ns; written by the worker.
    pub started_ns: AtomicU64,
    /// The service's own time-out in milliseconds, from which the kill policy counts.
    pub timeout_ms: AtomicU32,
    /// Window entry of a write (index + 1), 0 = none; written while filling.
    pub window_entry: AtomicU32,
    /// Low word: attempt mark (generation) for which the communication process already answered 301. Comm only.
    pub answered: AtomicU64,
    /// The slot (index + 1, generation << 32) that a joined repeat waits for; comm only.
    pub joined: AtomicU64,
    /// The 24 bytes of the request id.
    pub request_id: [AtomicU64; 3],
    /// 128-bit hash of the body (xxh3), for 107.
    pub body_hash: [AtomicU64; 2],
    /// The caller's name.
    pub caller: SharedText<4>,
    reserved: [AtomicU64; 9],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SlotRow>() == 256);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for SlotRow {}

/// Head and tail of a ring; the cells lie behind it. Both are hints: the cells decide.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct RingRow {
    /// Position of the next entry to take.
    pub head: AtomicU64,
    head_line: [AtomicU64; 7],
    /// Position of the next cell to write.
    pub tail: AtomicU64,
    tail_line: [AtomicU64; 7],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RingRow>() == 128);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for RingRow {}
