//! What bounds the communication process: constants with their reasons, and what the configuration sets.

use gantry_segment::{Dimensions, NodeRow};
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering;
use gantry_sys::limits::nofile;

pub(crate) const NS_PER_MS: u64 = 1_000_000;

/// Events taken from the kernel in one turn; what is left comes with the next.
pub(crate) const EVENTS_MAX: usize = 1024;
/// The longest sleep of an I/O thread, so that its heartbeat is never older: half a second.
pub(crate) const SLEEP_NS_MAX: u64 = 500 * NS_PER_MS;
/// The sleep while something is short (buffers, records, descriptors) that only time or a client can bring back.
pub(crate) const SHORTAGE_SLEEP_NS: u64 = 10 * NS_PER_MS;
/// Connections accepted in one turn, so that a flood of them does not starve those that are open.
pub(crate) const ACCEPTS_PER_TURN: usize = 256;
/// How long nothing is accepted after the process ran out of descriptors or memory.
pub(crate) const ACCEPT_PAUSE_NS: u64 = 100 * NS_PER_MS;
/// Replies taken from the reply ring in one turn.
pub(crate) const REPLIES_PER_TURN: usize = 1024;
/// Bytes that one connection may receive in one turn, so that a fast one leaves the others their share.
pub(crate) const RECEIVE_BYTES_PER_TURN: usize = 256 * 1024;
/// Records passed to the kernel in one call: header and body of each fill the parts that `sys` takes.
pub(crate) const SEND_RECORDS_MAX: usize = gantry_sys::socket::PARTS_MAX / 2;
/// Bytes of private memory that a thread checks and hashes bodies in; larger bodies go through it piece by piece.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;
/// When receive buffers are out, a half-received frame of at least this age is given up: long enough for any
/// frame that is really on its way, short enough that silent clients do not hold up the others.
pub(crate) const EVICT_PARTIAL_AGE_NS: u64 = 100 * NS_PER_MS;
/// When out records, slots or blocks are out, a client is closed that took no byte for this long, or whose large body
/// is under way for this long. Longer than any round trip, since whoever merely reads slowly takes some.
pub(crate) const EVICT_HOLDER_AGE_NS: u64 = 1_000 * NS_PER_MS;
/// How long a connection is read after its half-close, so that a reset does not overtake the last reply.
pub(crate) const LINGER_NS: u64 = 2_000 * NS_PER_MS;

/// How long a node that ends waits for the rest of a frame that is there in part.
pub(crate) const PARTIAL_GRACE_NS: u64 = 500_000_000;
/// What a process row's `leave` says when everything is to be left to a successor.
pub(crate) const HAND_OVER: u32 = 2;
/// How often a keeper is tried to be made that could not be.
pub(crate) const KEEPER_RETRY_NS: u64 = 1_000 * NS_PER_MS;
/// How often the first thread looks after the keeper without being told of its death. By the second look a new one has
/// said that others may look into it, and it is tried out whether they can.
pub(crate) const KEEPER_LOOK_NS: u64 = 100 * NS_PER_MS;
/// How often the kernel is asked where a stream stands, until two answers agree: they do at once unless bytes arrive in
/// between.
pub(crate) const POSITION_ROUNDS_MAX: u32 = 1_000;
/// Connections that were taken over and are watched in one turn: a part of a millisecond.
pub(crate) const WATCHES_PER_TURN: usize = 256;
/// Processes in succession that may die while they serve one connection before it is closed: a defect that a client
/// sets off must not end every process there will ever be. More than kills from outside ever come to, each of which
/// would have to meet the same connection in hand, with no turn of it done in between.
pub(crate) const DEATHS_IN_HAND_MAX: u32 = 8;
/// Rows that are taken over between two signs of life.
pub(crate) const ROWS_PER_BEAT: u32 = 256;
/// Bytes that are read and thrown away in that time: more than the largest body that a frame can state.
pub(crate) const LINGER_BYTES_MAX: u64 = 128 << 20;
/// Locks of the idempotency window: enough that two I/O threads seldom meet.
pub(crate) const WINDOW_STRIPES: usize = 64;
/// Entries of one bucket of the window.
pub(crate) const WINDOW_BUCKET: usize = 8;
/// How old a count of queued slots may be that admission relies on.
pub(crate) const COUNT_AGE_NS_MAX: u64 = NS_PER_MS;
/// How often the drain rate of the queues is measured.
pub(crate) const RATE_SAMPLE_NS: u64 = 50 * NS_PER_MS;
/// After a class of blocks was found full it is not searched again for this long: a search looks at every tag.
pub(crate) const CLASS_FULL_NS: u64 = 100_000;
/// Buckets of the timer wheel, one for each millisecond: longer than the usual time-outs of the network, so that
/// few entries are met before their time.
pub(crate) const WHEEL_BUCKETS: usize = 4096;
/// How far ahead a sleeping thread looks for its next timer, in milliseconds: its longest sleep and a little.
pub(crate) const WHEEL_HORIZON_MS: u64 = 512;
/// What a refusal promises at least and at most, in milliseconds.
pub(crate) const RETRY_MS_MIN: u64 = 1;
pub(crate) const RETRY_MS_MAX: u64 = 60_000;
/// What a refusal says when nothing drains, or when only an operator ends what it is about.
pub(crate) const RETRY_MS_UNKNOWN: u64 = 1_000;

/// What the configuration bounds and no operator changes while the process runs.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) node_name: String,
    pub(crate) connections_max: u32,
    pub(crate) body_bytes_max: u32,
    /// Bodies of at least this many bytes are received straight into their block.
    pub(crate) large_body_bytes: u32,
    pub(crate) receive_buffer_bytes: u64,
    pub(crate) frames_in_flight_max: u32,
    pub(crate) bytes_in_flight_max: u64,
    pub(crate) batch_max: usize,
    /// The share of slots and blocks that reads may hold.
    pub(crate) read_share: f64,
    /// The share of each class of blocks that requests leave to replies.
    pub(crate) reply_share: f64,
    pub(crate) window_ns: u64,
    /// How long a stopping process waits for what it owes.
    pub(crate) stop_ns: u64,
    pub(crate) sleep_ns_max: u64,
}

impl Bounds {
    pub(crate) fn new(settings: &Settings, dimensions: &Dimensions) -> Self {
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bytes = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        let buffer = dimensions.receive_buffer_bytes;
        let largest_block = dimensions.classes.last().map_or(0, |class| class.block_bytes);
        // The supervisor raised the limit as far as it was allowed; it may be below what was configured.
        let others = settings.descriptors_needed() - u64::from(settings.comm.connections_max);
        let descriptors = u32::try_from(nofile().saturating_sub(others)).unwrap_or(u32::MAX);
        Self {
            node_name: settings.node.name.clone(),
            connections_max: settings.comm.connections_max.min(dimensions.connections).min(descriptors),
            body_bytes_max: bytes(settings.comm.body_max).min(largest_block),
            // A small frame must fit the receive buffer whole, with room for what comes behind it.
            large_body_bytes: bytes(settings.comm.large_body).min(buffer / 2),
            receive_buffer_bytes: u64::from(buffer),
            frames_in_flight_max: settings.comm.frames_in_flight_max,
            bytes_in_flight_max: settings.comm.bytes_in_flight_max,
            batch_max: settings.comm.batch_max as usize,
            read_share: settings.admission.read_share,
            reply_share: settings.admission.reply_share,
            window_ns: nanoseconds(settings.idempotency.window),
            // The supervisor kills after its own limit: leave it time to see us go.
            stop_ns: nanoseconds(settings.supervisor.stop_timeout) / 4 * 3,
            sleep_ns_max: SLEEP_NS_MAX.min(nanoseconds(settings.supervisor.heartbeat_timeout) / 4),
        }
    }
}

/// What may change while the process runs, read from the node's row once in each turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Live {
    /// New requests get 204.
    pub(crate) is_drained: bool,
    /// Readiness is off, or more.
    pub(crate) is_draining: bool,
    pub(crate) read_threshold_ppm: u32,
    pub(crate) read_resume_ppm: u32,
    pub(crate) read_queue_max: u32,
    pub(crate) write_queue_max: u32,
    pub(crate) service_timeout_ms: u32,
    /// 0 = no limit; so also below.
    pub(crate) header_ns: u64,
    pub(crate) body_ns: u64,
    pub(crate) idle_ns: u64,
    pub(crate) write_ns: u64,
}

impl Live {
    /// `is_leaving`: this process was told to end, whatever the node does.
    pub(crate) fn read(node: &NodeRow, is_leaving: bool) -> Self {
        let load = |field: &gantry_sys::atomic::AtomicU32| field.load(Ordering::Relaxed);
        let ns = |field: &gantry_sys::atomic::AtomicU32| u64::from(load(field)) * NS_PER_MS;
        let draining = load(&node.draining);
        Self {
            is_drained: draining >= 2 || is_leaving,
            is_draining: draining >= 1 || is_leaving,
            read_threshold_ppm: load(&node.read_threshold_ppm),
            read_resume_ppm: load(&node.read_resume_ppm),
            read_queue_max: load(&node.read_queue_max),
            write_queue_max: load(&node.write_queue_max),
            service_timeout_ms: load(&node.service_timeout_ms),
            header_ns: ns(&node.header_timeout_ms),
            body_ns: ns(&node.body_timeout_ms),
            idle_ns: ns(&node.idle_timeout_ms),
            write_ns: ns(&node.write_timeout_ms),
        }
    }
}
