//! The table of keys: every key with its range, its unit, its default, and whether it can change while
//! running. This is the only place a default is written in; the reader uses it for a key that the file
//! leaves out, messages name it as their example, and a test holds `config/embedded.toml` against it.

use crate::kind::{Count, Kind, Share, Size, Span, Word};
use crate::redis::Redis;
use crate::special::{
    Addresses, Blocks, Format, Hidden, IpcKey, Libraries, Mode, Name, NotYetList, NotYetText, PathText,
    Paths, Signers,
};
use crate::{Driver, IpcBackend, LogLevel, Synchronous, TimeoutPolicy, Transactions, limits};
use std::time::Duration;

/// Whether a change of a key takes effect by SIGHUP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// While running.
    Live,
    /// At the next start.
    Restart,
}

/// One key of the file.
pub(crate) struct Key<K> {
    /// The section; `*` stands for a name that the file chooses.
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: K,
    /// The default as the file would write it; empty where it depends on other keys.
    pub(crate) default: &'static str,
    pub(crate) change: Change,
}

/// A key without its type.
pub(crate) trait AnyKey: Sync {
    fn section(&self) -> &'static str;
    fn name(&self) -> &'static str;
    fn change(&self) -> Change;
    #[cfg(test)]
    fn default(&self) -> &'static str;
    #[cfg(test)]
    fn range(&self) -> String;
}

impl<K: Kind> AnyKey for Key<K> {
    fn section(&self) -> &'static str {
        self.section
    }

    fn name(&self) -> &'static str {
        self.name
    }

    #[cfg(test)]
    fn default(&self) -> &'static str {
        self.default
    }

    fn change(&self) -> Change {
        self.change
    }

    #[cfg(test)]
    fn range(&self) -> String {
        self.kind.range()
    }
}

/// Makes one static for each row, and `ALL` of them: a key that is not in `ALL` cannot be written.
macro_rules! keys {
    ($($id:ident: $kind:ty = $section:literal, $name:literal, $value:expr, $default:literal, $change:ident;)*) => {
        $(pub(crate) static $id: Key<$kind> =
            Key { section: $section, name: $name, kind: $value, default: $default, change: Change::$change };)*

        /// Every key there is, in the order of the documentation.
        pub(crate) static ALL: &[&dyn AnyKey] = &[$(&$id),*];
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const fn count(min: u32, max: u32, unit: &'static str) -> Count {
    Count { min, max, unit, multiple_of: 1 }
}

const fn share(min: f64, max: f64) -> Share {
    Share { min, max }
}

/// A time-out of the network: from 10 ms, so that a test can see it pass, to an hour.
const NET_TIMEOUT: Span = Span::of_ms(10, HOUR);

keys! {
    NODE_NAME: Name = "node", "name", Name { bytes_max: 32 }, r#""gantry""#, Restart;
    NODE_STATE_DIR: PathText = "node", "state_dir", PathText, r#""../var""#, Restart;
    NODE_DRAIN_GRACE: Span = "node", "drain_grace",
        Span { zero: Some("for none"), ..Span::of_ms(10, 10 * MINUTE) }, r#""5s""#, Restart;

    LISTEN_TCP: Addresses = "listen", "tcp", Addresses, r#"["127.0.0.1:7800"]"#, Restart;
    LISTEN_UNIX: Paths = "listen", "unix", Paths, "[]", Restart;
    LISTEN_HTTP: NotYetList = "listen", "http", NotYetList { what: "HTTP/JSON is" }, "[]", Restart;
    LISTEN_METRICS: NotYetList = "listen", "metrics", NotYetList { what: "metrics are" }, "[]", Restart;

    COMM_THREADS: Count = "comm", "threads", count(1, 16, "threads"), "1", Restart;
    COMM_CONNECTIONS_MAX: Count = "comm", "connections_max", count(1, 1_000_000, "connections"), "40000", Restart;
    COMM_RECEIVE_BUFFER: Size = "comm", "receive_buffer",
        Size { power_of_two: true, ..Size::of(8 * KIB, MIB) }, r#""16KiB""#, Restart;
    COMM_RECEIVE_BUFFERS: Count = "comm", "receive_buffers", count(1, 1_000_000, "buffers"), "1024", Restart;
    COMM_LARGE_BODY: Size = "comm", "large_body", Size::of(512, 512 * KIB), r#""4KiB""#, Restart;
    COMM_BODY_MAX: Size = "comm", "body_max", Size::of(KIB, 64 * MIB), r#""1MiB""#, Restart;
    COMM_FRAMES_IN_FLIGHT_MAX: Count =
        "comm", "frames_in_flight_max", count(1, limits::SLOTS_MAX, "frames of one connection"), "1024", Restart;
    COMM_BYTES_IN_FLIGHT_MAX: Size =
        "comm", "bytes_in_flight_max", Size::of(2 * KIB, 4 * GIB), r#""8MiB""#, Restart;
    COMM_HEADER_TIMEOUT: Span = "comm", "header_timeout", NET_TIMEOUT, r#""10s""#, Live;
    COMM_BODY_TIMEOUT: Span = "comm", "body_timeout", NET_TIMEOUT, r#""30s""#, Live;
    COMM_IDLE_TIMEOUT: Span = "comm", "idle_timeout",
        Span { zero: Some("for never"), ..Span::of_ms(10, 30 * DAY) }, r#""0s""#, Live;
    COMM_WRITE_TIMEOUT: Span = "comm", "write_timeout", NET_TIMEOUT, r#""30s""#, Live;
    COMM_OUT_RECORDS: Count = "comm", "out_records", count(64, 1_000_000, "records"), "8192", Restart;
    COMM_LISTEN_BACKLOG: Count = "comm", "listen_backlog", count(1, 65_535, "connections"), "4096", Restart;
    COMM_UNIX_MODE: Mode = "comm", "unix_mode", Mode, "0o600", Restart;
    COMM_BATCH_MAX: Count = "comm", "batch_max", count(1, 4096, "frames"), "256", Restart;

    WORKERS_READ: Count = "workers", "read", count(1, 128, "processes"), "2", Restart;
    WORKERS_WRITE: Count = "workers", "write", count(1, 128, "processes"), "1", Restart;
    WORKERS_SPARE: Count = "workers", "spare", count(0, 8, "processes"), "1", Restart;
    WORKERS_VERSIONS_MAX: Count = "workers", "versions_max", count(1, 64, "library versions"), "8", Restart;
    WORKERS_MEMORY_MAX: Size = "workers", "memory_max",
        Size { zero: Some("for no limit"), ..Size::of(16 * MIB, 1024 * GIB) }, r#""0""#, Restart;
    WORKERS_KILL_GRACE: Span = "workers", "kill_grace", Span::of_ms(10, 5 * MINUTE), r#""2s""#, Restart;
    WORKERS_SPIN: Span = "workers", "spin",
        Span { min: Duration::from_micros(1), max: Duration::from_millis(1), zero: Some("for not at all") },
        r#""0us""#, Restart;

    IPC_BACKEND: Word<IpcBackend> = "ipc", "backend",
        Word { words: &[("sysv", IpcBackend::SysV), ("posix", IpcBackend::Posix)] }, r#""sysv""#, Restart;
    IPC_KEY: IpcKey = "ipc", "key", IpcKey, "", Restart;
    IPC_SLOTS: Count = "ipc", "slots", count(16, limits::SLOTS_MAX, "requests"), "4096", Restart;
    IPC_READ_QUEUE: Count = "ipc", "read_queue", count(1, limits::SLOTS_MAX, "requests"), "2048", Restart;
    IPC_WRITE_QUEUE: Count = "ipc", "write_queue", count(1, limits::SLOTS_MAX, "requests"), "2048", Restart;
    IPC_BLOCKS: Blocks = "ipc", "blocks", Blocks,
        r#"[{ size = "4KiB", count = 4096 }, { size = "64KiB", count = 256 }, { size = "1MiB", count = 16 }]"#, Restart;
    IPC_SERVICES_MAX: Count = "ipc", "services_max", count(16, 65_536, "service numbers"), "1024", Restart;

    ADMISSION_READ_THRESHOLD: Share = "admission", "read_threshold", share(0.01, 1.0), "0.80", Live;
    ADMISSION_READ_RESUME: Share = "admission", "read_resume", share(0.0, 0.99), "0.65", Live;
    ADMISSION_READ_SHARE: Share = "admission", "read_share", share(0.05, 1.0), "0.75", Restart;
    ADMISSION_REPLY_SHARE: Share = "admission", "reply_share", share(0.0, 0.9), "0.25", Restart;

    SERVICE_TIMEOUT: Span = "service", "timeout", Span::of_ms(1, DAY), r#""15s""#, Live;
    SERVICE_POLICY: Word<TimeoutPolicy> = "service", "policy",
        Word { words: &[("kill", TimeoutPolicy::Kill), ("answer", TimeoutPolicy::Answer)] }, r#""kill""#, Live;
    SERVICE_LIBRARIES: Libraries = "service", "libraries", Libraries,
        r#"["gantry_diag", "gantry_account", "gantry_card", "gantry_passage", "gantry_serial", "gantry_bank", "gantry_clearing"]"#, Restart;
    SERVICE_SIGNERS: Signers = "service", "signers", Signers, "[]", Restart;
    SERVICE_QUARANTINE_DEATHS: Count = "service", "quarantine_deaths", count(1, 1000, "deaths"), "5", Live;
    SERVICE_QUARANTINE_WINDOW: Span = "service", "quarantine_window", Span::of_ms(SECOND, DAY), r#""60s""#, Live;

    SERVICE_CANARY_DEATHS: Count = "service", "canary_deaths", count(1, 1000, "deaths"), "1", Live;
    SERVICE_CANARY_CALLS: Count = "service", "canary_calls", count(1, 1_000_000, "requests"), "100", Live;
    SERVICE_CANARY_ERRORS: Share = "service", "canary_errors", share(0.0, 1.0), "0.01", Live;
    SERVICE_CANARY_SLOWNESS: Count = "service", "canary_slowness", count(1, 1000, "times"), "3", Live;

    IDEMPOTENCY_WINDOW: Span = "idempotency", "window", Span::of_ms(SECOND, 7 * DAY), r#""10m""#, Restart;
    IDEMPOTENCY_ENTRIES: Count = "idempotency", "entries",
        Count { multiple_of: 8, ..count(16, 16_777_216, "entries") }, "65536", Restart;
    IDEMPOTENCY_REPLY_BYTES_MAX: Size =
        "idempotency", "reply_bytes_max", Size::of(256, 64 * MIB), r#""64KiB""#, Restart;
    IDEMPOTENCY_RETENTION: Span =
        "idempotency", "retention", Span::of_ms(MINUTE, 3650 * DAY), r#""7d""#, Restart;

    DATA_DRIVER: Word<Driver> = "data.*", "driver",
        Word { words: &[("sqlite", Driver::Sqlite), ("odbc", Driver::Odbc), ("mongodb", Driver::MongoDb)] },
        r#""sqlite""#, Restart;
    DATA_PATH: PathText = "data.*", "path", PathText, "", Restart;
    DATA_BUSY_TIMEOUT: Span = "data.*", "busy_timeout", Span::of_ms(10, HOUR), r#""5s""#, Restart;
    DATA_SYNCHRONOUS: Word<Synchronous> = "data.*", "synchronous",
        Word { words: &[("full", Synchronous::Full), ("normal", Synchronous::Normal)] }, r#""full""#, Restart;
    DATA_CONNECTION: Hidden = "data.*", "connection", Hidden { example: "\"Driver={…};…\"" }, "", Restart;
    DATA_TRANSACTIONS: Word<Transactions> = "data.*", "transactions",
        Word { words: &[("detect", Transactions::Detect), ("on", Transactions::On), ("off", Transactions::Off)] },
        r#""detect""#, Restart;
    DATA_URI: Hidden = "data.*", "uri", Hidden { example: "\"mongodb://…\"" }, "", Restart;

    SERIAL_REDIS: Redis = "serial", "redis", Redis, r#""""#, Restart;
    SERIAL_STANDBY: Redis = "serial", "standby", Redis, r#""""#, Restart;
    SERIAL_RANGE: Count = "serial", "range", count(1, 10_000_000, "numbers"), "1000", Restart;
    SERIAL_TYPE_RANGE: Count = "serial.types.*", "range", count(1, 10_000_000, "numbers"), "", Restart;
    SERIAL_TYPE_FORMAT: Format = "serial.types.*", "format", Format, r#""{seq:16}""#, Restart;

    LOG_LEVEL: Word<LogLevel> = "log", "level",
        Word { words: &[("debug", LogLevel::Debug), ("warn", LogLevel::Warn), ("error", LogLevel::Error)] },
        r#""warn""#, Live;
    LOG_REDIS: NotYetText = "log", "redis", NotYetText { what: "shipping logs by Redis is" }, r#""""#, Restart;
    LOG_DIR: PathText = "log", "dir", PathText, r#""log""#, Restart;
    LOG_ROTATE: Size = "log", "rotate", Size::of(64 * KIB, 10 * GIB), r#""100MiB""#, Restart;
    LOG_KEEP: Count = "log", "keep", count(1, 1000, "files"), "10", Restart;

    SUPERVISOR_TICK: Span = "supervisor", "tick", Span::of_ms(1, SECOND), r#""20ms""#, Restart;
    SUPERVISOR_HEARTBEAT_TIMEOUT: Span =
        "supervisor", "heartbeat_timeout", Span::of_ms(100, 10 * MINUTE), r#""10s""#, Restart;
    SUPERVISOR_RESTART_BACKOFF_MAX: Span =
        "supervisor", "restart_backoff_max", Span::of_ms(10, 10 * MINUTE), r#""5s""#, Restart;
    SUPERVISOR_READY_TIMEOUT: Span =
        "supervisor", "ready_timeout", Span::of_ms(100, 10 * MINUTE), r#""30s""#, Restart;
    SUPERVISOR_STOP_TIMEOUT: Span =
        "supervisor", "stop_timeout", Span::of_ms(100, 10 * MINUTE), r#""20s""#, Restart;
}
