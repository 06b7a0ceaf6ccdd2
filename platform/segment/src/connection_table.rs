//! Connection rows and the records of outgoing replies.
//!
//! Both have one writer, the I/O thread that owns the connection; they lie in shared memory so that a new
//! communication process can go on at the right byte. `gantry-comm` has the argument beside the code.

use gantry_sys::atomic::{AtomicU32, AtomicU64};
use gantry_sys::bytes::SharedBytes;

use crate::{Region, SegmentError, Shared, SharedText};

/// One connection.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ConnectionRow {
    /// State (bits 0–7: 0 free, 1 open, 2 closing), I/O thread (8–15), generation (32–63).
    pub word: AtomicU64,
    /// `SO_COOKIE` of the socket: which descriptor of a dead process is this connection.
    pub cookie: AtomicU64,
    /// Bytes taken from the kernel so far: the stream offset of the next byte to receive.
    pub rx: AtomicU64,
    /// Stream offset of the first byte of the frame that is not yet published or refused.
    pub parsed: AtomicU64,
    /// Bytes given to the kernel so far: the stream offset of the next byte to send.
    pub tx: AtomicU64,
    /// Stream offset behind the last recorded reply.
    pub recorded: AtomicU64,
    /// Receive buffer (index + 1) while a frame is there in part, 0 = none.
    pub receive_buffer: AtomicU32,
    /// 1 TCP, 2 Unix.
    pub family: AtomicU32,
    /// First outgoing record (index + 1), 0 = none.
    pub out_head: AtomicU32,
    /// Bit 0: the peer sends no more. Bit 1: close when all is sent (after 101, 104). Bit 2: nothing is read any more.
    pub flags: AtomicU32,

    /// Slot of a large body that is being received: index + 1, generation << 32; 0 = none. Written after the
    /// three fields behind it.
    pub body_slot: AtomicU64,
    /// Stream offset of the large body's first byte.
    pub body_start: AtomicU64,
    /// Stream offset behind its last byte.
    pub body_end: AtomicU64,
    /// Bytes up to this stream offset are a refused body: received and thrown away. Written after
    /// `discard_record`.
    pub discard_end: AtomicU64,
    /// When it was accepted; monotonic clock, ns.
    pub accepted_ns: AtomicU64,
    /// The caller's name; requests of connections without one are `anonymous`'s.
    pub caller: SharedText<4>,
    /// The refusal (out record, index + 1) that is appended when the refused body is through; 0 = none.
    pub discard_record: AtomicU32,
    /// 1 = bytes are being passed to or from the kernel at this moment: `rx` or `tx` may be behind. 0 = both are exact.
    pub in_transfer: AtomicU32,
    /// How many communication processes in succession died while they served it, the present one included while it does;
    /// 0 = it is not being served.
    pub in_hand: AtomicU32,
    reserved_in_hand: AtomicU32,
    reserved: [AtomicU64; 12],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ConnectionRow>() == 256);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for ConnectionRow {}

/// Bytes that an out record holds itself: header and body of a refusal.
pub const INLINE_BYTES_MAX: usize = 208;

/// One reply on its way out, in the recorded order of its connection.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct OutRecord {
    /// 0 free, 1 the reply is in a slot, 2 the reply's bytes are in the record.
    pub kind: AtomicU32,
    /// Next record of the same connection (index + 1), 0 = last. Storing it appends the next record.
    pub next: AtomicU32,
    /// Connection row it belongs to.
    pub connection: AtomicU32,
    /// Generation of that row.
    pub connection_generation: AtomicU32,
    /// The slot that it answers: index + 1, generation << 32; 0 = a refusal, which has none.
    pub slot: AtomicU64,
    /// Stream offset of the frame that it answers.
    pub frame_offset: AtomicU64,
    /// Stream offset of the reply's first byte.
    pub start: AtomicU64,
    /// Bytes of the whole reply, header included.
    pub bytes: AtomicU64,
    /// The reply itself, kind 2.
    pub inline: [AtomicU64; INLINE_BYTES_MAX / 8],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<OutRecord>() == 256 && std::mem::offset_of!(OutRecord, inline) == 48);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for OutRecord {}

impl OutRecord {
    /// The record's own bytes in `region`, where the record lies at `offset`.
    pub(crate) fn inline_bytes(region: &Region, offset: usize) -> Result<SharedBytes<'_>, SegmentError> {
        region.bytes(offset + 48, INLINE_BYTES_MAX)
    }
}
