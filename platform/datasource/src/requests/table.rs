//! The table's shape and every statement on it.

use crate::connection::Connection;
use crate::error::SourceError;
use crate::migrate::{Migration, migrate, missing_steps};
use crate::value::ValueRef;

const CREATE: &str = "\
CREATE TABLE gantry_request (
  caller VARCHAR(32) NOT NULL,
  request_id VARCHAR(24) NOT NULL,
  service BIGINT NOT NULL,
  body_hash VARCHAR(32) NOT NULL,
  state INTEGER NOT NULL,
  status INTEGER NOT NULL,
  reply {blob 1048576},
  reply_bytes BIGINT NOT NULL,
  created_ms BIGINT NOT NULL,
  PRIMARY KEY (caller, request_id)
);
CREATE INDEX gantry_request_created ON gantry_request (created_ms);
";

/// The owner of the table's steps in `gantry_migration`; the stroke keeps it apart from every library's name.
const OWNER: &str = "platform/request";

const STEPS: &[Migration<'_>] = &[Migration { version: 1, sql: CREATE }];

/// Makes the table, or brings it up to date, as [`migrate`] does. Returns the versions applied now.
///
/// # Errors
/// Those of [`migrate`].
pub fn prepare_table(connection: &mut dyn Connection) -> Result<Vec<u32>, SourceError> {
    migrate(connection, OWNER, STEPS)
}

/// The versions that [`prepare_table`] would apply. Changes nothing.
///
/// # Errors
/// Those of [`missing_steps`].
pub fn missing_table_steps(connection: &mut dyn Connection) -> Result<Vec<u32>, SourceError> {
    missing_steps(connection, OWNER, STEPS)
}

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The write was done in the row's own transaction.
    Done = 1,
    /// The write that this row stands against can no longer commit.
    Fenced = 2,
}

impl State {
    pub(super) fn value(self) -> ValueRef<'static> {
        ValueRef::I64(self as i64)
    }

    pub(super) fn of(number: i64) -> Option<Self> {
        [Self::Done, Self::Fenced].into_iter().find(|state| *state as i64 == number)
    }
}

/// The status of a row whose write has not replied yet: only its own transaction ever sees it.
pub(super) const UPDATE_STATUS_PENDING: i64 = -1;

pub(super) const INSERT: &str = "INSERT INTO gantry_request \
    (caller, request_id, service, body_hash, state, status, reply, reply_bytes, created_ms) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Parameters: status, reply, reply_bytes, caller, request_id. State 1 and status -1: begun and not replied.
pub(super) const UPDATE_FINISHED: &str = "UPDATE gantry_request SET status = ?, reply = ?, reply_bytes = ? \
    WHERE caller = ? AND request_id = ? AND state = 1 AND status = -1";

/// Parameters: those of [`INSERT`] from `service` on, then the key. State 2: fenced.
pub(super) const REPLACE_FENCED: &str = "UPDATE gantry_request SET service = ?, body_hash = ?, state = ?, \
    status = ?, reply = ?, reply_bytes = ?, created_ms = ? WHERE caller = ? AND request_id = ? AND state = 2";

pub(super) const SELECT: &str = "SELECT service, body_hash, state, status, reply, reply_bytes \
    FROM gantry_request WHERE caller = ? AND request_id = ?";

pub(super) const SELECT_OLD: &str = "SELECT caller, request_id FROM gantry_request \
    WHERE created_ms < ? ORDER BY created_ms {limit ?}";

pub(super) const DELETE: &str =
    "DELETE FROM gantry_request WHERE caller = ? AND request_id = ? AND created_ms < ?";
