//! Rows of the idempotency window.

use gantry_sys::atomic::{AtomicU32, AtomicU64};

use crate::{Shared, SharedText};

/// Largest reply that an entry keeps itself, in bytes; a larger one is asked for in the database.
pub const REPLY_INLINE_MAX: usize = 520;

/// What is known of one write request. Only the communication process writes; `word` is stored last when an
/// entry is made and when it changes, so that a new communication process finds it whole.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct WindowEntry {
    /// State in bits 0–7 (0 free, 1 running, 2 done and the reply is here, 3 done and the reply is in the
    /// database, 4 failed: never took effect or was lost), generation in bits 32–63.
    pub word: AtomicU64,
    /// Hash of caller and request id.
    pub key_hash: AtomicU64,
    /// When the entry last changed; monotonic clock, ns.
    pub changed_ns: AtomicU64,
    /// The slot that runs it: index + 1, generation << 32.
    pub slot: AtomicU64,
    /// Service number.
    pub service: AtomicU32,
    /// Status of the reply.
    pub status: AtomicU32,
    /// Bytes of the reply.
    pub reply_bytes: AtomicU32,
    reserved: AtomicU32,
    /// Hash of the request's body.
    pub body_hash: [AtomicU64; 2],
    /// The request id.
    pub request_id: [AtomicU64; 3],
    /// The caller.
    pub caller: SharedText<4>,
    padding: [AtomicU64; 15],
    /// The reply.
    pub reply: [AtomicU64; REPLY_INLINE_MAX / 8],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<WindowEntry>() == 768);

impl Default for WindowEntry {
    fn default() -> Self {
        let zeros = || AtomicU64::new(0);
        Self {
            word: zeros(),
            key_hash: zeros(),
            changed_ns: zeros(),
            slot: zeros(),
            service: AtomicU32::new(0),
            status: AtomicU32::new(0),
            reply_bytes: AtomicU32::new(0),
            reserved: AtomicU32::new(0),
            body_hash: std::array::from_fn(|_| zeros()),
            request_id: std::array::from_fn(|_| zeros()),
            caller: SharedText::default(),
            padding: std::array::from_fn(|_| zeros()),
            reply: std::array::from_fn(|_| zeros()),
        }
    }
}

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for WindowEntry {}
