//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Serial numbers in one call, as service 30000001 promises.
pub const COUNT_MAX: u32 = 10_000;

/// Numbers in one range. A process that dies leaves a gap of at most this many.
pub const RANGE_MAX: u64 = 10_000_000;

/// Bytes of a type's name, the width of its column.
pub const NAME_BYTES_MAX: usize = 32;

/// Times that a lease is tried again when another process changed the same row in between.
pub const LEASE_TRIES_MAX: u32 = 5;

/// Chunks that a range is cut into for Redis: one is popped at once, so that the round trip is shared by many numbers
/// and a node that dies takes few with it.
pub const CHUNKS_PER_RANGE: i64 = 16;

/// Numbers in one chunk.
pub const CHUNK_NUMBERS_MAX: i64 = 1 << 20;

/// Pops in one draw, after which the database serves.
pub const POPS_MAX: u32 = 64;

/// How long a draw that finds nothing in memory may wait for Redis in all, the making of the connection included, and at
/// most half of its own limit. Who meets a silent server waits this long once; then no draw asks that server
/// until it has answered a look from aside.
pub const REDIS_LIMIT: Duration = Duration::from_millis(300);

/// How long each exchange of filling up may take: requests may be waiting, and memory mostly has what they need.
pub const REDIS_BETWEEN_LIMIT: Duration = Duration::from_millis(100);

/// How long after a failure a server is looked at from aside for the first time; doubled at each failure.
pub const AWAY_FIRST: Duration = Duration::from_millis(50);

/// How long a server that fails again and again is left alone.
pub const AWAY_MAX: Duration = Duration::from_secs(5);

/// How often one process of a node looks at the level of a list and at the type's epoch.
pub const CHECK_PERIOD: Duration = Duration::from_millis(500);

/// How often one process of a node writes the node's figures to the database.
pub const REPORT_PERIOD: Duration = Duration::from_secs(5);

/// How long others leave the filling of a list to the one who began. If that one died, they wait no longer; if it is
/// only slow, the list gets twice as much.
pub const FILL_LEASE: Duration = Duration::from_secs(2);

/// How long Redis keeps what nobody uses any more: lists of servers that were, their counts.
pub const UNUSED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the figures of a list that was given up are shown apart.
pub const LIST_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a statement about figures may take.
pub const FIGURES_LIMIT: Duration = Duration::from_secs(2);

/// Types, lists and nodes that are read for status: far above what a database has.
pub const STATUS_ROWS_MAX: usize = 10_000;
