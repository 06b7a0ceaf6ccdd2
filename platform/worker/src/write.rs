//! The transaction of a request, which the platform owns.
//!
//! It begins at the first statement (or serial) on a data source. For a write the request's own row comes first:
//! if it is there already, the write was done before, and the service is stopped and the recorded reply given. After
//! the service returned, the reply is put into that row and one commit makes both permanent. A service's error, a
//! time-out or a panic roll everything back; a business error (304) is then recorded by itself, so that a repeat
//! gets the same 304.
//!
//! | death right after | the database | the slot | the caller |
//! |---|---|---|---|
//! | begin, the row, any statement | rolled back by the death | RUNNING → LOST | read: again; write: 302, outcome `failed` |
//! | the reply in the row | rolled back by the death | RUNNING → LOST | the same |
//! | → EXECUTED | rolled back, nothing committed | → UNCOMMITTED → QUEUED | run again: its answer |
//! | the commit | committed | → UNCOMMITTED → QUEUED | run again: the row is found, its answer |
//! | → DONE | committed | DONE | its answer |

use std::time::Duration;

use gantry_abi::{SerialErrorKind, SqlError, SqlErrorKind};
use gantry_datasource::requests::{self, Begun, Request, RequestKey};
use gantry_datasource::{Mode, SourceError};
use gantry_message::{CallerName, RequestId, ServiceNumber};
use gantry_serials::{SerialError, Serials};
use gantry_sys::clock;

use crate::sources::Sources;
use crate::sql::Limit;

/// How long the end of a transaction may take once the caller's time is over: it is cheaper to finish than to leave a
/// doubt.
const END_LIMIT: Duration = Duration::from_secs(2);

/// What makes two requests the same.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) caller: CallerName,
    pub(crate) request_id: RequestId,
    pub(crate) service: ServiceNumber,
    /// Hash of the body, as hex.
    pub(crate) body_hash: String,
}

impl Identity {
    pub(crate) fn key(&self) -> RequestKey<'_> {
        RequestKey { caller: self.caller.as_str(), request_id: self.request_id.as_str() }
    }

    fn request(&self) -> Request<'_> {
        Request { key: self.key(), service: self.service.get(), body_hash: &self.body_hash }
    }
}

/// Why a service was stopped in the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The write was done before.
    Replay { status: u16, reply: Option<Vec<u8>> },
    /// The request id was used for something else.
    Conflict,
}

/// The transaction of one request.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// The data source of a write's own row, which is the only one that may be written.
    source: Option<String>,
    /// Sources that were only read.
    read: Vec<String>,
    /// Document sources that take part.
    pub(crate) documents: Vec<String>,
    pub(crate) stopped: Option<Stopped>,
    /// The database took something back that may succeed when all is run again.
    pub(crate) is_taken_back: bool,
}

impl Transaction {
    /// Opens the transaction on `source` if it is not open yet. The first source that is entered to `write` is the one
    /// that may be written, where the request's row lies; the others are only read.
    pub(crate) fn enter(
        &mut self,
        sources: &mut Sources,
        source: &str,
        write: Option<&Identity>,
        limit: Limit,
    ) -> Result<(), SqlError> {
        if self.stopped.is_some() {
            return Err(aborted());
        }
        if self.source.is_none() && write.is_some() && self.read.iter().any(|read| read == source) {
            // A read that was called inside has ended; what it looked at is begun anew for writing.
            self.read.retain(|read| read != source);
            sources.roll_back(source);
        }
        if self.is_on(source) {
            // A new connection would run the rest of the statements outside of any transaction.
            return if sources.is_in_transaction(source) { Ok(()) } else { Err(lost(source)) };
        }
        let write = write.filter(|_| self.source.is_none());
        let mode = if write.is_some() { Mode::Write } else { Mode::ReadOnly };
        let Some(begun) = sources.begin(source, mode, limit) else {
            let message = format!("no data source \"{source}\" is configured; add [data.{source}]");
            return Err(SqlError::new(SqlErrorKind::UnknownSource, message));
        };
        begun.map_err(|error| gantry_host_sql::error(&error))?;
        let Some(identity) = write else {
            self.read.push(source.to_owned());
            return Ok(());
        };
        self.source = Some(source.to_owned());
        self.begin_request(sources, source, identity, limit)
    }

    fn begin_request(
        &mut self,
        sources: &mut Sources,
        source: &str,
        identity: &Identity,
        limit: Limit,
    ) -> Result<(), SqlError> {
        let begun = on(sources, source, |connection| {
            requests::begin_request(connection, &identity.request(), now_ms(), limit.left())
        });
        match begun.map_err(|error| gantry_host_sql::error(&error))? {
            Begun::New => Ok(()),
            Begun::Replay { status, reply } => {
                self.stopped = Some(Stopped::Replay { status, reply });
                Err(aborted())
            }
            Begun::Conflict => {
                self.stopped = Some(Stopped::Conflict);
                Err(aborted())
            }
        }
    }

    /// Draws serials, inside the open transaction if it is on the source.
    pub(crate) fn draw(
        &mut self,
        sources: &mut Sources,
        serials: &mut Serials,
        source: &str,
        (kind, count): (&str, u32),
        limit: Limit,
    ) -> Result<Vec<String>, gantry_abi::SerialError> {
        let refuse = |kind, message| gantry_abi::SerialError { kind, message };
        let connection = match sources.connection(source) {
            None => {
                let message = format!("serials need the data source \"{source}\"; add [data.{source}]");
                return Err(refuse(SerialErrorKind::Unavailable, message));
            }
            Some(Err(error)) => return Err(refuse(SerialErrorKind::Unavailable, error.to_string())),
            Some(Ok(connection)) => connection,
        };
        serials.next(connection, kind, count, now_ms(), limit.left()).map_err(|error| {
            self.is_taken_back |= error.is_retryable();
            let kind = match &error {
                SerialError::UnknownKind { .. } => SerialErrorKind::UnknownType,
                SerialError::CountOutOfRange { .. } => SerialErrorKind::BadCount,
                SerialError::Exhausted { .. } => SerialErrorKind::Exhausted,
                _ => SerialErrorKind::Unavailable,
            };
            refuse(kind, error.to_string())
        })
    }

    /// Whether it is open on this source already.
    pub(crate) fn is_on(&self, source: &str) -> bool {
        self.source.as_deref() == Some(source) || self.read.iter().any(|read| read == source)
    }

    /// The source on which it was begun; empty when it was not.
    pub(crate) fn source(&self) -> &str {
        self.source.as_deref().unwrap_or_default()
    }

    /// Whether a write transaction is open, and so a commit is due.
    pub(crate) fn is_open(&self) -> bool {
        self.source.is_some()
    }

    /// Puts the reply into the request's row; the commit is all that is missing then.
    pub(crate) fn finish(
        &mut self,
        sources: &mut Sources,
        identity: &Identity,
        status: u16,
        reply: &[u8],
        reply_bytes_max: usize,
    ) -> Result<(), SourceError> {
        let Some(source) = self.source.clone() else { return Ok(()) };
        on(sources, &source, |connection| {
            let key = identity.key();
            requests::finish_request(connection, key, status, reply, reply_bytes_max, END_LIMIT)
        })
    }

    /// Keeps what was done on document sources.
    ///
    /// # Errors
    /// The source's; with several sources those before it are kept.
    pub(crate) fn commit_documents(
        &mut self,
        sources: &mut Sources,
    ) -> Result<(), gantry_document::DocumentError> {
        for source in &self.documents {
            sources.documents.commit(source)?;
        }
        self.documents.clear();
        Ok(())
    }

    /// Commits what was done.
    ///
    /// # Errors
    /// The data source's; the transaction is rolled back then, or unknown if the connection was lost.
    pub(crate) fn commit(mut self, sources: &mut Sources, serials: &mut Serials) -> Result<(), SourceError> {
        for read in std::mem::take(&mut self.read) {
            sources.roll_back(&read);
        }
        let Some(source) = self.source.take() else { return Ok(()) };
        match on(sources, &source, |connection| connection.commit()) {
            Ok(()) => {
                serials.transaction_committed();
                Ok(())
            }
            Err(error) => {
                serials.transaction_rolled_back();
                sources.roll_back(&source);
                Err(error)
            }
        }
    }

    /// Undoes what was done.
    pub(crate) fn roll_back(&mut self, sources: &mut Sources, serials: &mut Serials) {
        for source in std::mem::take(&mut self.documents) {
            sources.documents.roll_back(&source);
        }
        for read in std::mem::take(&mut self.read) {
            sources.roll_back(&read);
        }
        if let Some(source) = &self.source {
            sources.roll_back(source);
            serials.transaction_rolled_back();
        }
    }

    /// After [`roll_back`](Self::roll_back): records a business error, so that a repeat gets the same one. Gives what
    /// was recorded before by another, if so.
    pub(crate) fn record_error(
        &self,
        sources: &mut Sources,
        identity: &Identity,
        status: u16,
        reply: &[u8],
        reply_bytes_max: usize,
    ) -> Result<Option<requests::Recorded>, SourceError> {
        let Some(source) = &self.source else { return Ok(None) };
        on(sources, source, |connection| {
            let request = identity.request();
            requests::record_error(connection, &request, status, reply, reply_bytes_max, now_ms(), END_LIMIT)
        })
    }
}

/// Records a reply that belongs to no transaction. Without such a data source nothing is recorded.
pub(crate) fn record_done(
    sources: &mut Sources,
    source: &str,
    identity: &Identity,
    status: u16,
    reply: &[u8],
    reply_bytes_max: usize,
) -> Result<(), SourceError> {
    let Some(connection) = sources.connection(source) else { return Ok(()) };
    let request = identity.request();
    requests::record_error(connection?, &request, status, reply, reply_bytes_max, now_ms(), END_LIMIT)
        .map(drop)
}

/// Runs `with` on the connection of a source that the transaction is already on.
pub(crate) fn on<T>(
    sources: &mut Sources,
    source: &str,
    with: impl FnOnce(&mut dyn gantry_datasource::Connection) -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    match sources.connection(source) {
        Some(Ok(connection)) => with(connection),
        Some(Err(error)) => Err(error),
        None => unreachable!("a transaction is only begun on a source that is configured"),
    }
}

/// Time since 1970 in milliseconds.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(clock::realtime_ms()).unwrap_or(i64::MAX)
}

fn lost(source: &str) -> SqlError {
    let message =
        format!("data source {source}: the connection was lost, and the transaction with it; return at once");
    SqlError::new(SqlErrorKind::ConnectionLost, message)
}

fn aborted() -> SqlError {
    let message = "the platform ended this request's transaction; return at once";
    SqlError::new(SqlErrorKind::Aborted, message)
}
