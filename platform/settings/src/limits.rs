//! Limits that no key changes, each with its unit and its reason.

/// Bytes of a configuration file: far above any real one, so that a wrong file is refused before it fills the memory.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Slots of a node: a slot's index has 16 bits in the words of the shared memory.
pub const SLOTS_MAX: u32 = 65_536;

/// Rows of the process table: a row's index has 8 bits in a slot's owner.
pub const PROCESS_ROWS_MAX: u32 = 256;

/// Rows that no key counts: the supervisor's, the communication process's, and eight spare ones, so that a
/// successor and short-lived helpers find a row while those they replace still hold theirs.
pub const PROCESS_ROWS_RESERVED: u32 = 10;

/// Open files of the communication process that are no connections, listeners or wake-up descriptors of
/// other processes: standard streams, log, epoll, timers, memory, with room to spare.
pub const DESCRIPTORS_OWN: u32 = 64;

/// Connections that a node takes at least, however few open files are allowed; below that it does not start.
pub const CONNECTIONS_LEAST: u32 = 64;

/// Size classes of blocks: a search through them must stay shorter than a cache line of comparisons.
pub const BLOCK_CLASSES_MAX: usize = 8;

/// Bytes of all blocks together, 64 GiB: above it the key is more likely a mistake than a wish.
pub const BLOCKS_BYTES_MAX: u64 = 64 << 30;

/// Addresses of each list in `[listen]`.
pub const LISTENERS_MAX: usize = 16;

/// Keys in `service.signers`.
pub(crate) const SIGNERS_MAX: usize = 64;
/// Libraries in `service.libraries`.
pub const LIBRARIES_MAX: usize = 256;

/// Data sources: each worker keeps a connection to each.
pub const DATA_SOURCES_MAX: usize = 16;

/// Types of serial numbers: each has its cache in shared memory.
pub const SERIAL_TYPES_MAX: usize = 64;

/// Bytes of the path of a Unix socket: what `sockaddr_un` holds besides the closing zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
