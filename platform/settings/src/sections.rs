//! The checked settings, one plain struct for each section of the file.
//!
//! A field has the name of its key. Durations are [`Duration`], sizes are whole bytes in a `u64`,
//! paths are absolute. Ranges and defaults stand in the table of keys (`keys.rs`) and in
//! `config/embedded.toml`; what is read here is within them.

use crate::print;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[node]`: who this node is and where its files are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeSettings {
    /// The instance's name, 1 to 32 of `a-z 0-9 _ -`; the keys of the shared segments are computed from it.
    pub name: String,
    /// The folder of pid file, `admin.sock`, `registry.db`, `libraries/`, `spool/` and `reports/`; absolute.
    #[serde(serialize_with = "print::path")]
    pub state_dir: PathBuf,
    /// How long a draining node still serves after its readiness went off.
    #[serde(serialize_with = "print::duration")]
    pub drain_grace: Duration,
}

/// `[listen]`: where clients connect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListenSettings {
    /// Frames over TCP. Port 0 lets the kernel choose a port.
    pub tcp: Vec<SocketAddr>,
    /// Frames over Unix stream sockets; absolute paths of at most 107 bytes.
    #[serde(serialize_with = "print::paths")]
    pub unix: Vec<PathBuf>,
    /// HTTP/JSON. Always empty in this version: the file is refused when it names an address.
    pub http: Vec<SocketAddr>,
    /// Metrics. Always empty in this version: the file is refused when it names an address.
    pub metrics: Vec<SocketAddr>,
}

/// `[comm]`: the communication process and the limits that hold for each connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommSettings {
    /// I/O threads, each with its own event loop and reply ring.
    pub threads: u32,
    /// Connections open at once; the next one is accepted and closed.
    pub connections_max: u32,
    /// Bytes of one receive buffer, a power of two; a connection holds one only while a frame is partial.
    #[serde(serialize_with = "print::size")]
    pub receive_buffer: u64,
    /// Receive buffers in the shared pool of all connections.
    pub receive_buffers: u32,
    /// Bodies of at least this many bytes are received straight into their block.
    #[serde(serialize_with = "print::size")]
    pub large_body: u64,
    /// Bytes of the largest body a client may send; above it the answer is 104.
    #[serde(serialize_with = "print::size")]
    pub body_max: u64,
    /// Frames of one connection accepted and not yet answered; at the limit its socket is not read.
    pub frames_in_flight_max: u32,
    /// Bytes of requests and replies one connection may hold; at the limit its socket is not read.
    #[serde(serialize_with = "print::size")]
    pub bytes_in_flight_max: u64,
    /// From a frame's first byte to its 64th; later the connection is closed.
    #[serde(serialize_with = "print::duration")]
    pub header_timeout: Duration,
    /// From a frame's 64th byte to the last of its body; later the connection is closed.
    #[serde(serialize_with = "print::duration")]
    pub body_timeout: Duration,
    /// How long a connection may have nothing in flight before it is closed; zero = for ever.
    #[serde(serialize_with = "print::duration")]
    pub idle_timeout: Duration,
    /// How long a client may leave replies unread before its connection is closed.
    #[serde(serialize_with = "print::duration")]
    pub write_timeout: Duration,
    /// Records of replies on their way out, shared by all connections.
    pub out_records: u32,
    /// Connections the kernel may hold that are not accepted yet, for each listener.
    pub listen_backlog: u32,
    /// Permission bits of the Unix sockets.
    #[serde(serialize_with = "print::mode")]
    pub unix_mode: u32,
    /// Frames one I/O thread dispatches before it wakes workers and looks at its sockets again.
    pub batch_max: u32,
}

/// `[workers]`: the processes that run services.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkersSettings {
    /// Processes for read services.
    pub read: u32,
    /// Processes for write and other services.
    pub write: u32,
    /// Workers with everything loaded that take the place of one that dies or leaves; 0 to 8.
    pub spare: u32,
    /// Library versions a worker may hold in memory before it is replaced between two requests.
    pub versions_max: u32,
    /// Bytes of private memory above which a worker is replaced between two requests; zero = no limit.
    #[serde(serialize_with = "print::size")]
    pub memory_max: u64,
    /// From TERM to KILL for a worker that overran its service's time-out.
    #[serde(serialize_with = "print::duration")]
    pub kill_grace: Duration,
    /// How long an idle worker looks at its queue before it sleeps; zero = not at all.
    #[serde(serialize_with = "print::duration")]
    pub spin: Duration,
}

/// `[ipc]`: the shared memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IpcSettings {
    /// Which kind of shared memory holds the segments.
    pub backend: IpcBackend,
    /// The key of the first System V segment; `None` = computed from [`NodeSettings::name`].
    pub key: Option<i32>,
    /// Requests the node can hold at once, in any state.
    pub slots: u32,
    /// Requests that may be queued for the read workers, at most `slots`.
    pub read_queue: u32,
    /// Requests that may be queued for the write workers, at most `slots`.
    pub write_queue: u32,
    /// Size classes of blocks for bodies, ascending; the largest holds `comm.body_max`.
    pub blocks: Vec<BlockClass>,
    /// Service numbers that can be known at once; each has its counters and rules in shared memory.
    pub services_max: u32,
}

/// One size class of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BlockClass {
    /// Bytes of each block, a power of two from 1 KiB.
    #[serde(serialize_with = "print::size")]
    pub size: u64,
    /// How many blocks of this size there are.
    pub count: u32,
}

/// Which kind of shared memory holds the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IpcBackend {
    /// System V segments (`shmget`).
    SysV,
    /// POSIX shared memory (`shm_open`), for containers.
    Posix,
}

/// `[admission]`: when a request is refused before anything is executed. All are shares from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdmissionSettings {
    /// Fill of the read queue above which reads are refused with 201.
    pub read_threshold: f64,
    /// Fill of the read queue below which reads are admitted again; less than `read_threshold`.
    pub read_resume: f64,
    /// The share of slots, and of each block class, that reads may hold together.
    pub read_share: f64,
    /// The share of each block class that is kept for replies.
    pub reply_share: f64,
}

/// `[idempotency]`: how long and how many writes are remembered, so that a repeat takes effect once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IdempotencySettings {
    /// How long an entry stays in the window in shared memory.
    #[serde(serialize_with = "print::duration")]
    pub window: Duration,
    /// Entries of the window; when it is full the oldest go first.
    pub entries: u32,
    /// Bytes of the longest reply that is recorded whole, at most the largest block.
    #[serde(serialize_with = "print::size")]
    pub reply_bytes_max: u64,
    /// How long `gantry_request` keeps its rows in the database; at least `window`.
    #[serde(serialize_with = "print::duration")]
    pub retention: Duration,
}

/// `[log]`: what is recorded and where.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogSettings {
    /// The least severe level that is recorded.
    pub level: LogLevel,
    /// Where records are shipped to. Always empty in this version: the file is refused when it is not.
    pub redis: crate::Secret,
    /// The folder of the log files; absolute.
    #[serde(serialize_with = "print::path")]
    pub dir: PathBuf,
    /// Bytes after which a log file is set aside and a new one begun.
    #[serde(serialize_with = "print::size")]
    pub rotate: u64,
    /// Files set aside that each process keeps, besides the one it writes.
    pub keep: u32,
}

/// The least severe level that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator should look at, and errors.
    Warn,
    /// Only what failed.
    Error,
}

impl LogLevel {
    /// The word in the configuration: `debug`, `warn` or `error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// `[supervisor]`: how children are watched and replaced.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SupervisorSettings {
    /// How often rows and deadlines are looked at.
    #[serde(serialize_with = "print::duration")]
    pub tick: Duration,
    /// A child whose heartbeat is older is killed and replaced.
    #[serde(serialize_with = "print::duration")]
    pub heartbeat_timeout: Duration,
    /// The longest wait between two starts of a child that dies before it is ready.
    #[serde(serialize_with = "print::duration")]
    pub restart_backoff_max: Duration,
    /// How long a child may take from its start to ready.
    #[serde(serialize_with = "print::duration")]
    pub ready_timeout: Duration,
    /// How long a drained stop may take before what is left is killed.
    #[serde(serialize_with = "print::duration")]
    pub stop_timeout: Duration,
}
