//! Writes take effect once: the table `gantry_request`.
//!
//! The key of a write is (caller, request id). [`begin_request`] puts its row into the write's own transaction
//! before anything else, [`finish_request`] puts the reply into it last, and one commit makes row and effect
//! permanent together. A repeat finds the row and is given the recorded reply. A key used for something else is
//! a [`Conflict`](Begun::Conflict) (status 107).
//!
//! | what happened | what is in the table |
//! |---|---|
//! | the write committed | `done`, with status and reply |
//! | it was rolled back by the service's error 304 | `done`, with 304, by [`record_error`] |
//! | it was rolled back by anything else, or its worker died before the commit | no row |
//! | somebody asked what became of it, and it can no longer commit | `fenced`, by [`fence`] |
//!
//! A row is never seen unfinished by another connection: it is committed with its reply or not at all.

mod key;
mod outcome;
mod table;

pub use key::RequestKey;
pub use outcome::{Fence, Recorded, fence, outcome, prune};
pub use table::{missing_table_steps, prepare_table};

use crate::connection::{Connection, insert_unless_present};
use crate::error::{ErrorKind, SourceError};
use crate::value::ValueRef;
use std::time::Duration;
use table::{INSERT, REPLACE_FENCED, State, UPDATE_FINISHED, UPDATE_STATUS_PENDING};

/// What was found when a write began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Its row is written in the open transaction: go on.
    New,
    /// It was done before: give this reply and do nothing.
    Replay {
        /// The recorded status.
        status: u16,
        /// The recorded reply; `None` if it was larger than what is recorded.
        reply: Option<Vec<u8>>,
    },
    /// The request id was used for another service or body: status 107.
    Conflict,
}

/// What a request asks for: its key and what must be the same when it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Caller and request id.
    pub key: RequestKey<'a>,
    /// The service's number.
    pub service: u32,
    /// Hash of the body as hex, at most 32 bytes.
    pub body_hash: &'a str,
}

/// Puts the request's row into the open write transaction, or says what the key was used for.
///
/// A fenced row is replaced, whatever it was for: nothing was executed under it, so this is a new attempt.
/// `now_ms` is the time since 1970 in milliseconds, for [`prune`]. Blocks for at most `limit` per statement (three
/// at most); where the database lets two transactions insert the same key, the second waits for the first.
///
/// # Errors
/// [`BadStatement`](ErrorKind::BadStatement): no transaction is open. [`BadValue`](ErrorKind::BadValue): the key is
/// too long. Otherwise the data source's.
pub fn begin_request(
    connection: &mut dyn Connection,
    request: &Request<'_>,
    now_ms: i64,
    limit: Duration,
) -> Result<Begun, SourceError> {
    check(connection, request, "begin request")?;
    let params = row(request, UPDATE_STATUS_PENDING, None, 0, now_ms);
    if insert_unless_present(connection, INSERT, &params, limit)? {
        return Ok(Begun::New);
    }
    let Some(found) = outcome::read(connection, request.key, limit)? else {
        // On a data source with several writers the row may have been pruned or rolled back in between.
        return Err(lost_race(connection, "begin request"));
    };
    if found.recorded.fenced {
        return replace_fenced(connection, request, &params, limit).map(|()| Begun::New);
    }
    if found.service != request.service || found.body_hash != request.body_hash {
        return Ok(Begun::Conflict);
    }
    Ok(Begun::Replay { status: found.recorded.status, reply: found.recorded.reply })
}

/// Puts the reply into the request's row, in the transaction in which [`begin_request`] wrote it.
///
/// A reply longer than `reply_bytes_max` is not kept, only its length; a repeat then gets the status alone.
///
/// # Errors
/// [`Other`](ErrorKind::Other): there is no row that was begun. Otherwise the data source's.
pub fn finish_request(
    connection: &mut dyn Connection,
    key: RequestKey<'_>,
    status: u16,
    reply: &[u8],
    reply_bytes_max: usize,
    limit: Duration,
) -> Result<(), SourceError> {
    let params = [
        status_value(status),
        kept(reply, reply_bytes_max),
        length(reply),
        key.caller.into(),
        key.request_id.into(),
    ];
    let changed = connection.execute(UPDATE_FINISHED, &params, limit)?;
    if changed == 1 {
        return Ok(());
    }
    let message = format!("{changed} rows for request {} of caller {}", key.request_id, key.caller);
    Err(SourceError::own(ErrorKind::Other, connection.source_name(), "finish request", message))
}

/// Records a reply whose transaction was rolled back: a business error (304), which a repeat is given again.
///
/// Called after `rollback_to` in the same transaction, or after `rollback` with a new write transaction or none
/// (then it commits by itself). If the key has a reply by now, that one stays and is returned: it is what the
/// caller must be told.
///
/// # Errors
/// As [`begin_request`], but without a transaction it is no error.
pub fn record_error(
    connection: &mut dyn Connection,
    request: &Request<'_>,
    status: u16,
    reply: &[u8],
    reply_bytes_max: usize,
    now_ms: i64,
    limit: Duration,
) -> Result<Option<Recorded>, SourceError> {
    request.key.check(connection, "record error")?;
    let kept = kept(reply, reply_bytes_max);
    let params = row(request, i64::from(status), kept.as_blob(), reply.len(), now_ms);
    if insert_unless_present(connection, INSERT, &params, limit)? {
        return Ok(None);
    }
    let Some(found) = outcome::read(connection, request.key, limit)? else {
        return Err(lost_race(connection, "record error"));
    };
    if !found.recorded.fenced {
        return Ok(Some(found.recorded));
    }
    replace_fenced(connection, request, &params, limit).map(|()| None)
}

/// The parameters of [`INSERT`]; [`replace_fenced`] uses the same ones.
fn row<'a>(
    request: &Request<'a>,
    status: i64,
    reply: Option<&'a [u8]>,
    reply_bytes: usize,
    now_ms: i64,
) -> [ValueRef<'a>; 9] {
    [
        request.key.caller.into(),
        request.key.request_id.into(),
        request.service.into(),
        request.body_hash.into(),
        State::Done.value(),
        status.into(),
        reply.into(),
        i64::try_from(reply_bytes).unwrap_or(i64::MAX).into(),
        now_ms.into(),
    ]
}

fn replace_fenced(
    connection: &mut dyn Connection,
    request: &Request<'_>,
    row: &[ValueRef<'_>; 9],
    limit: Duration,
) -> Result<(), SourceError> {
    let params = [
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        request.key.caller.into(),
        request.key.request_id.into(),
    ];
    match connection.execute(REPLACE_FENCED, &params, limit)? {
        1 => Ok(()),
        _ => Err(lost_race(connection, "replace fenced request")),
    }
}

fn check(
    connection: &dyn Connection,
    request: &Request<'_>,
    operation: &'static str,
) -> Result<(), SourceError> {
    request.key.check(connection, operation)?;
    key::check_length(
        connection,
        operation,
        "body hash",
        request.body_hash,
        crate::limits::BODY_HASH_BYTES_MAX,
    )?;
    if connection.in_transaction() {
        return Ok(());
    }
    Err(SourceError::own(
        ErrorKind::BadStatement,
        connection.source_name(),
        operation,
        "no transaction is open; the row belongs to the write's transaction",
    ))
}

fn lost_race(connection: &dyn Connection, operation: &'static str) -> SourceError {
    let message = "the row of the same request changed in between";
    SourceError::own(ErrorKind::Retryable, connection.source_name(), operation, message)
}

fn status_value(status: u16) -> ValueRef<'static> {
    ValueRef::I64(status.into())
}

fn kept(reply: &[u8], reply_bytes_max: usize) -> ValueRef<'_> {
    if reply.len() <= reply_bytes_max { ValueRef::Blob(reply) } else { ValueRef::Null }
}

fn length(reply: &[u8]) -> ValueRef<'static> {
    ValueRef::I64(i64::try_from(reply.len()).unwrap_or(i64::MAX))
}
