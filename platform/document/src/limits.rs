//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Bytes that the documents of one answer may have together: more is an error, never a cut. As for SQL, an answer of
/// this size is already a mistake of the service.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one document, and so of a filter, change or options: the server's own bound.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of all documents of one command: below the 48 MB that a message to the server may have.
pub const COMMAND_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Documents of one insert, or stages of one pipeline: far above what a service has a use for.
pub const DOCUMENTS_MAX: usize = 10_000;

/// Bytes of a collection's name: the server allows 255 with the database's name.
pub const COLLECTION_BYTES_MAX: usize = 120;

/// Documents in one batch from the server.
pub const BATCH_DOCUMENTS: i32 = 1_000;

/// How long connecting may take, unless the URI says something else or the request has less time left.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A connection that lay idle for longer is asked for a sign of life before a request depends on it.
pub const IDLE_TRUSTED: Duration = Duration::from_millis(500);

/// How long that sign of life may take, and never more than half of the request's time: a new connection must still fit.
pub const SIGN_OF_LIFE_LIMIT: Duration = Duration::from_secs(1);

/// What the server is given less than the request has left, so that its own words about a time-out still arrive.
pub const SERVER_HEAD_START: Duration = Duration::from_millis(20);

/// What a command is given less than its request has left, and never more than a quarter of that: an answer that says what
/// happened is to reach the caller before the platform's own, which can only say that nothing is known.
pub const REPLY_HEAD_START: Duration = Duration::from_millis(100);

/// How long the end of a transaction may take once the request's time is over.
pub const END_LIMIT: Duration = Duration::from_secs(2);
