//! Bounds of the ODBC driver, with their units and reasons.

use std::time::Duration;

/// Characters of a text column up to which it is bound into a column buffer; longer ones are read in parts.
pub(super) const BOUND_CHARS_MAX: usize = 2_000;

/// Bytes of a binary column up to which it is bound.
pub(super) const BOUND_BYTES_MAX: usize = 8_000;

/// Bytes of all column buffers of one batch of rows.
pub(super) const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Rows of a batch at most.
pub(super) const BATCH_ROWS_MAX: usize = 1_000;

/// Rows of the first batch: most answers are a row or a page, and big buffers cost more than they bring there.
pub(super) const FIRST_BATCH_ROWS: usize = 16;

/// Bytes of one part of a long value.
pub(super) const PART_BYTES: usize = 64 * 1024;

/// Characters of a number, date or time as text; a longer one is read in parts.
pub(super) const NUMBER_CHARS_MAX: usize = 64;

/// Prepared statements that a connection keeps; the least recently used goes first.
pub(super) const STATEMENTS_PREPARED_MAX: usize = 128;

/// Time after which a cancel is sent again: the first may have come just before the statement began.
pub(super) const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// Sleep between two tries for a lock where the database cannot wait for less than a second.
pub(super) const LOCK_RETRY_SLEEP: Duration = Duration::from_millis(5);
