//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Bytes that one [`ResultSet`](crate::ResultSet) may hold, cells included: more is an error, never a cut.
///
/// A worker has 12 MiB of its own when idle; an answer of this size is already a mistake of the service, and the
/// largest reply that the platform carries is far smaller.
pub const RESULT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one statement's text. The longest statement that the shipped services use is under 2 KiB.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// Bound parameters of one statement; every database that Gantry is meant for takes at least this many.
pub const PARAMETERS_MAX: usize = 999;

/// Rewritten statement texts that a connection remembers. When one more comes, all are forgotten and learned
/// again: services use a fixed set of texts, so only a service that builds texts from data ever gets there.
pub const TEXTS_REMEMBERED_MAX: usize = 512;

/// Prepared statements that a SQLite connection keeps, about 3 to 8 KiB each; the least recently used goes first.
pub const STATEMENTS_PREPARED_MAX: usize = 128;

/// Virtual machine instructions of SQLite between two looks at the clock: some tens of microseconds.
pub const INSTRUCTIONS_BETWEEN_CLOCK_LOOKS: i32 = 1_000;

/// How long opening a SQLite file may wait for others that create or recover it at the same time.
pub const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Pages in the write-ahead log after which a commit copies them into the database file: 4 MiB.
pub const WAL_AUTOCHECKPOINT_PAGES: u32 = 1_000;

/// Bytes to which the write-ahead log is cut after a checkpoint, so that one burst does not keep the disk.
pub const WAL_BYTES_KEPT: u32 = 16 * 1024 * 1024;

/// Time that one statement of a migration may take: an index over a large table is built in it.
pub const MIGRATION_STATEMENT_LIMIT: Duration = Duration::from_secs(600);

/// Bytes of a savepoint's name.
pub const SAVEPOINT_NAME_BYTES_MAX: usize = 30;

/// Bytes of the owner's name in `gantry_migration`.
pub const MIGRATION_OWNER_BYTES_MAX: usize = 64;

/// Bytes of a caller's name in `gantry_request`.
pub const CALLER_BYTES_MAX: usize = 32;

/// Bytes of a request id in `gantry_request`.
pub const REQUEST_ID_BYTES_MAX: usize = 24;

/// Bytes of a body hash in `gantry_request`.
pub const BODY_HASH_BYTES_MAX: usize = 32;

/// Rows that one [`prune`](crate::requests::prune) deletes at most, so that it never holds the writer for long.
pub const PRUNE_BATCH_MAX: usize = 10_000;

/// Connections that a [`Pool`](crate::Pool) keeps idle at most; a worker runs one request at a time.
pub const POOL_IDLE_MAX: usize = 16;
