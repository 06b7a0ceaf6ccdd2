//! What became of a write, asked by somebody else.

use super::key::RequestKey;
use super::table::{DELETE, INSERT, SELECT, SELECT_OLD, State};
use crate::connection::{Connection, Mode};
use crate::error::{ErrorKind, SourceError};
use crate::limits::PRUNE_BATCH_MAX;
use crate::value::ValueRef;
use std::time::Duration;

/// The recorded end of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The status of its reply; 0 when fenced.
    pub status: u16,
    /// Its reply; `None` if it was too long to be recorded, or fenced.
    pub reply: Option<Vec<u8>>,
    /// Length of its reply in bytes, recorded or not.
    pub reply_bytes: u64,
    /// Whether it never took effect and no longer can (`failed`).
    pub fenced: bool,
}

/// A row as it is compared with a repeat.
pub(super) struct Row {
    pub(super) service: u32,
    pub(super) body_hash: String,
    pub(super) recorded: Recorded,
}

/// What [`fence`] found or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// The write did not commit and no longer can: `failed`.
    Fenced,
    /// It committed: `done`.
    AlreadyDone(Recorded),
    /// Somebody holds what the fence needs for the whole limit: `running`; ask again.
    Blocked,
}

/// Looks the request up; `None`: never seen, or older than retention. Blocks for at most `limit`.
///
/// # Errors
/// [`BadValue`](ErrorKind::BadValue): the key is too long. Otherwise the data source's.
pub fn outcome(
    connection: &mut dyn Connection,
    key: RequestKey<'_>,
    limit: Duration,
) -> Result<Option<Recorded>, SourceError> {
    key.check(connection, "outcome")?;
    Ok(read(connection, key, limit)?.map(|row| row.recorded))
}

/// Writes a row against the request, in a transaction of its own, so that its transaction can no longer commit.
///
/// Only for a request whose worker is dead. `now_ms` is the time since 1970 in milliseconds. Blocks for at most
/// `limit` per statement; give it a short one, since a writer that holds on is an answer too.
///
/// # Errors
/// [`BadStatement`](ErrorKind::BadStatement): a transaction is open on the connection.
/// [`BadValue`](ErrorKind::BadValue): the key is too long. Otherwise the data source's.
pub fn fence(
    connection: &mut dyn Connection,
    key: RequestKey<'_>,
    now_ms: i64,
    limit: Duration,
) -> Result<Fence, SourceError> {
    key.check(connection, "fence")?;
    check_no_transaction(connection, "fence")?;
    let outcome = write_fence(connection, key, now_ms, limit);
    if connection.in_transaction() {
        connection.rollback()?;
    }
    match outcome {
        Ok(true) => Ok(Fence::Fenced),
        // Somebody has a row for it: read it in a view that is newer than the attempt to write.
        Ok(false) => Ok(match read(connection, key, limit)? {
            Some(row) if row.recorded.fenced => Fence::Fenced,
            Some(row) => Fence::AlreadyDone(row.recorded),
            None => Fence::Blocked,
        }),
        Err(error) if matches!(error.kind, ErrorKind::Retryable | ErrorKind::Timeout) => Ok(Fence::Blocked),
        Err(error) => Err(error),
    }
}

fn write_fence(
    connection: &mut dyn Connection,
    key: RequestKey<'_>,
    now_ms: i64,
    limit: Duration,
) -> Result<bool, SourceError> {
    connection.begin(Mode::Write, limit)?;
    // Service and body are not known to who asks by id alone, and a fenced row is replaced whatever it was for.
    let params = [
        key.caller.into(),
        key.request_id.into(),
        ValueRef::I64(0),
        ValueRef::Text("-"),
        State::Fenced.value(),
        ValueRef::I64(0),
        ValueRef::Null,
        ValueRef::I64(0),
        now_ms.into(),
    ];
    match connection.execute(INSERT, &params, limit) {
        Ok(_) => connection.commit().map(|()| true),
        Err(error) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes rows written before `older_than_ms` (time since 1970 in milliseconds), at most `batch` of them, 1 to
/// [`PRUNE_BATCH_MAX`], the oldest first, in one write transaction of its own. Returns how many; fewer than `batch` means that
/// nothing older is left. Blocks for at most `limit` per statement.
///
/// # Errors
/// [`BadStatement`](ErrorKind::BadStatement): a transaction is open on the connection. Otherwise the data source's;
/// nothing was deleted then.
pub fn prune(
    connection: &mut dyn Connection,
    older_than_ms: i64,
    batch: usize,
    limit: Duration,
) -> Result<u64, SourceError> {
    check_no_transaction(connection, "prune")?;
    let batch = batch.clamp(1, PRUNE_BATCH_MAX);
    let batch_value = ValueRef::I64(i64::try_from(batch).unwrap_or(i64::MAX));
    // Looking first, without the writer's place: most rounds find nothing.
    let old = connection.query(SELECT_OLD, &[older_than_ms.into(), batch_value], batch, limit)?;
    if old.is_empty() {
        return Ok(0);
    }
    connection.begin(Mode::Write, limit)?;
    let mut deleted = 0;
    let mut outcome = Ok(0);
    for row in 0..old.rows() {
        // The age is asked again: a fenced row may have become a new attempt since it was read.
        let params = [old.value(row, 0), old.value(row, 1), older_than_ms.into()];
        outcome = connection.execute(DELETE, &params, limit);
        match outcome {
            Ok(count) => deleted += count,
            Err(_) => break,
        }
    }
    match outcome.and_then(|_| connection.commit()) {
        Ok(()) => Ok(deleted),
        Err(error) => {
            connection.rollback()?;
            Err(error)
        }
    }
}

pub(super) fn read(
    connection: &mut dyn Connection,
    key: RequestKey<'_>,
    limit: Duration,
) -> Result<Option<Row>, SourceError> {
    let rows = connection.query(SELECT, &[key.caller.into(), key.request_id.into()], 1, limit)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let number = |column| rows.value(0, column).as_i64();
    let service = number(0).and_then(|service| u32::try_from(service).ok());
    let body_hash = rows.value(0, 1).as_text();
    let state = number(2).and_then(State::of);
    let status = number(3).and_then(|status| u16::try_from(status).ok());
    let reply_bytes = number(5).and_then(|bytes| u64::try_from(bytes).ok());
    let (Some(service), Some(body_hash), Some(state), Some(status), Some(reply_bytes)) =
        (service, body_hash, state, status, reply_bytes)
    else {
        let message = format!(
            "the row of request {} of caller {} is damaged, or was committed without a reply",
            key.request_id, key.caller
        );
        return Err(SourceError::own(ErrorKind::Other, connection.source_name(), "read request", message));
    };
    // A database that keeps empty bytes as NULL must not turn an empty reply into a missing one.
    let fenced = state == State::Fenced;
    let reply = match rows.value(0, 4).as_blob() {
        Some(reply) => Some(reply.to_vec()),
        None if reply_bytes == 0 && !fenced => Some(Vec::new()),
        None => None,
    };
    let recorded = Recorded { status, reply, reply_bytes, fenced };
    Ok(Some(Row { service, body_hash: body_hash.to_owned(), recorded }))
}

fn check_no_transaction(connection: &dyn Connection, operation: &'static str) -> Result<(), SourceError> {
    if !connection.in_transaction() {
        return Ok(());
    }
    let message = "a transaction is open; it needs one of its own";
    Err(SourceError::own(ErrorKind::BadStatement, connection.source_name(), operation, message))
}
