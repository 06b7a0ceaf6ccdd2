//! What holds for the whole node, and for each I/O thread.

use gantry_sys::atomic::{AtomicU32, AtomicU64};

use crate::Shared;

/// Settings and marks of the whole node. The supervisor writes; everybody reads.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct NodeRow {
    /// Grows with each change of the service or library table; stored last, with Release.
    pub directory_generation: AtomicU64,
    /// 0 serving, 1 draining: readiness off, still serving, 2 drained: new requests get 204.
    pub draining: AtomicU32,
    /// 1 = the node stops; processes end when they have nothing left.
    pub stopping: AtomicU32,
    /// Log level: 1 error, 2 warn, 3 debug.
    pub log_level: AtomicU32,
    /// Admission threshold of the read queue in millionths.
    pub read_threshold_ppm: AtomicU32,
    /// Where admission resumes, in millionths.
    pub read_resume_ppm: AtomicU32,
    /// Time-out of services that have none of their own, in milliseconds.
    pub service_timeout_ms: AtomicU32,
    /// Time from a frame's first byte to its 64th, in milliseconds; 0 = no limit. Likewise below.
    pub header_timeout_ms: AtomicU32,
    /// Time from the header to the body's last byte, in milliseconds.
    pub body_timeout_ms: AtomicU32,
    /// Time that a connection may be silent, in milliseconds.
    pub idle_timeout_ms: AtomicU32,
    /// Time that a client may leave its replies unread, in milliseconds.
    pub write_timeout_ms: AtomicU32,
    /// Requests that the read queue may hold.
    pub read_queue_max: AtomicU32,
    /// Requests that the write queue may hold.
    pub write_queue_max: AtomicU32,
    /// Open connections; written by the communication process.
    pub connections_open: AtomicU32,
    /// CPU load of the machine in millionths; written by the supervisor.
    pub cpu_load_ppm: AtomicU32,
    /// Wall clock at the start of the node, in milliseconds since 1970.
    pub started_ms: AtomicU64,
    reserved: [AtomicU64; 7],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<NodeRow>() == 128);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for NodeRow {}

/// One I/O thread of the communication process.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ThreadRow {
    /// 1 while the thread sleeps in `epoll_wait`; whoever changes it to 0 rings its eventfd.
    pub sleeping: AtomicU32,
    /// 1 = look at all slots of this thread: recovery changed some, or a reply ring was full.
    pub sweep: AtomicU32,
    /// When the thread last went round its loop; monotonic clock, ns.
    pub heartbeat_ns: AtomicU64,
    /// Refusals and closings by cause, in the order of the communication process's own list of counters.
    pub counters: [AtomicU64; 30],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ThreadRow>() == 256);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for ThreadRow {}
