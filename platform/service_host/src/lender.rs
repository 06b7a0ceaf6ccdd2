//! What the worker gives to a running call. The border (`host*.rs`) turns it into the tables of the contract.

use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

use gantry_abi::{Level, SerialError, SerialErrorKind, SqlError, SqlErrorKind};
use gantry_message::{CallerName, RequestId, ServiceNumber};

use crate::call::Instance;

/// A request as a worker took it.
#[derive(Clone, Copy, Debug)]
pub struct RequestView {
    /// Number that was called; the instance's own number.
    pub number: ServiceNumber,
    /// Who calls.
    pub caller: CallerName,
    /// The request's id.
    pub request_id: RequestId,
    /// The body, where it lies in shared memory. Whoever fills this in promises that the bytes stay readable
    /// and unchanged until the call ends: the request's block belongs to the worker for so long.
    pub body: NonNull<[u8]>,
}

/// One value: a bound parameter, or a column of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SqlValue<'a> {
    /// NULL.
    Null,
    /// An integer.
    I64(i64),
    /// A floating-point number.
    F64(f64),
    /// Text; decimals, dates and times are text too, exactly.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

/// The rows of a query's answer.
pub trait ResultSet {
    /// Number of columns.
    fn columns(&self) -> usize;

    /// Goes to the next row, at first to the first one; `false` after the last.
    ///
    /// # Errors
    /// The row cannot be read.
    fn next(&mut self) -> Result<bool, SqlError>;

    /// The value of a column of the current row. Asked only for columns below `columns`, and only after a
    /// `next` that gave `true`. What it borrows stays where it is until the following `next`.
    ///
    /// # Errors
    /// The value cannot be given as it is.
    fn value(&self, column: usize) -> Result<SqlValue<'_>, SqlError>;
}

/// What a data source keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Tables.
    Sql,
    /// Documents.
    Document,
}

/// One command on documents, as it came over the border: nothing in it was looked into.
#[derive(Clone, Copy, Debug)]
pub struct DocumentCommand<'a> {
    /// One of `GANTRY_DOCUMENT_…`, or a number that does not exist.
    pub operation: u32,
    /// The collection.
    pub collection: &'a str,
    /// Which documents, as BSON; empty for all.
    pub filter: &'a [u8],
    /// BSON documents, one after the other.
    pub documents: &'a [u8],
    /// Options, as BSON; empty for none.
    pub options: &'a [u8],
    /// Documents that may come back, 1 to 100000.
    pub documents_max: u32,
}

/// What a command on documents gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentAnswer {
    /// The documents, as BSON.
    pub documents: Vec<Box<[u8]>>,
    /// Documents that matched, were inserted or were deleted.
    pub matched: u64,
    /// Documents that are different now.
    pub modified: u64,
}

/// Why there is no room for a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The reply is larger than a reply may be.
    #[error("a reply of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// What the service asked for.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// All blocks of that size are taken.
    #[error("no memory block is free for a reply of {bytes} bytes")]
    NoRoom {
        /// What the service asked for.
        bytes: usize,
    },
    /// Nothing can be replied here, as while an instance is created.
    #[error("there is no reply here")]
    NoReply,
}

/// Why no service is called inside a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InnerRefusal {
    /// It is not there, stopped or quarantined.
    Unknown,
    /// It cannot be called here and now.
    Refused {
        /// Why, for whoever wrote the calling service.
        message: String,
    },
}

/// What a worker lends to one running call. All methods are called on the thread that runs the call, one at
/// a time, and none after it ended. A panic in one of them is caught and fails the call.
pub trait Lender {
    /// Time until the request's deadline; zero when it has passed.
    fn time_left(&self) -> Duration;

    /// Whether nobody waits for the reply any more, or the call should end for another reason.
    fn is_cancelled(&self) -> bool;

    /// Makes room for a reply of at least `bytes` bytes, 0 included, and gives the whole room. What the
    /// service wrote before is at its beginning, up to the smaller of both rooms. The room holds initialised
    /// bytes and stays where it is, reached by nobody else, until the next `reply_reserve` or the call's end.
    ///
    /// # Errors
    /// See [`ReplyError`]; the room given before stays.
    fn reply_reserve(&mut self, bytes: usize) -> Result<NonNull<[u8]>, ReplyError>;

    /// Sets the reply's length, at most that of the room given last. The last call counts; without one the
    /// reply is empty.
    ///
    /// # Errors
    /// See [`ReplyError`].
    fn reply_commit(&mut self, bytes: usize) -> Result<(), ReplyError>;

    /// Runs a statement that returns no rows and gives the number of rows it touched. `source` is one that
    /// the service declared.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    fn sql_execute(&mut self, source: &str, text: &str, params: &[SqlValue<'_>]) -> Result<u64, SqlError>;

    /// Runs a statement that returns rows, at most `rows_max`; more is [`SqlErrorKind::TooManyRows`].
    /// `source` is one that the service declared.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    fn sql_query(
        &mut self,
        source: &str,
        text: &str,
        params: &[SqlValue<'_>],
        rows_max: u32,
    ) -> Result<Box<dyn ResultSet>, SqlError>;

    /// What a source that the service declared is; `None` if this node does not have it.
    fn source_kind(&self, source: &str) -> Option<SourceKind>;

    /// Runs a command on the documents of a source that the service declared.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    fn document_run(
        &mut self,
        source: &str,
        command: &DocumentCommand<'_>,
    ) -> Result<DocumentAnswer, SqlError>;

    /// Draws `count` serials (1 to 10000) of the type named `kind` and appends them to `serials`.
    ///
    /// # Errors
    /// See [`SerialErrorKind`].
    fn serial_next(&mut self, kind: &str, count: u32, serials: &mut Vec<String>) -> Result<(), SerialError>;

    /// The service fails for what may be over when the whole request is run again.
    fn ask_again(&mut self) {}

    /// The instance of a service that is called now inside the running call, in the same transaction. Until
    /// [`end_inner`](Lender::end_inner) everything is asked for in its name.
    ///
    /// # Errors
    /// [`InnerRefusal`]; then nothing is to be ended.
    fn begin_inner(&mut self, number: ServiceNumber) -> Result<Rc<Instance>, InnerRefusal> {
        let _ = number;
        Err(InnerRefusal::Unknown)
    }

    /// The inner call is over. `spoils`: the request must not succeed any more, for this reason.
    fn end_inner(&mut self, spoils: Option<String>) {
        let _ = spoils;
    }

    /// Whether a record of this level would be written.
    fn is_log_enabled(&self, level: Level) -> bool;

    /// Writes a log record.
    fn log(&mut self, level: Level, text: &str);
}

/// Lends nothing but the log: what a service gets while an instance of it is created or destroyed.
#[derive(Debug)]
pub struct NothingLent {
    /// The service, for log records.
    pub number: ServiceNumber,
}

impl NothingLent {
    fn no_sql() -> SqlError {
        let message =
            "data sources are lent during a call only, not while an instance is created or destroyed";
        SqlError::new(SqlErrorKind::Unavailable, message)
    }
}

impl Lender for NothingLent {
    fn time_left(&self) -> Duration {
        Duration::MAX
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn reply_reserve(&mut self, _: usize) -> Result<NonNull<[u8]>, ReplyError> {
        Err(ReplyError::NoReply)
    }

    fn reply_commit(&mut self, _: usize) -> Result<(), ReplyError> {
        Err(ReplyError::NoReply)
    }

    fn sql_execute(&mut self, _: &str, _: &str, _: &[SqlValue<'_>]) -> Result<u64, SqlError> {
        Err(Self::no_sql())
    }

    fn sql_query(
        &mut self,
        _: &str,
        _: &str,
        _: &[SqlValue<'_>],
        _: u32,
    ) -> Result<Box<dyn ResultSet>, SqlError> {
        Err(Self::no_sql())
    }

    fn source_kind(&self, _: &str) -> Option<SourceKind> {
        None
    }

    fn document_run(&mut self, _: &str, _: &DocumentCommand<'_>) -> Result<DocumentAnswer, SqlError> {
        Err(Self::no_sql())
    }

    fn serial_next(&mut self, _: &str, _: u32, _: &mut Vec<String>) -> Result<(), SerialError> {
        let message = "serials are lent during a call only".to_owned();
        Err(SerialError { kind: SerialErrorKind::Unavailable, message })
    }

    fn is_log_enabled(&self, level: Level) -> bool {
        is_log_enabled(level)
    }

    fn log(&mut self, level: Level, text: &str) {
        log(self.number, level, text);
    }
}

/// Whether a service's record of this level would be written: what every lender answers.
pub fn is_log_enabled(level: Level) -> bool {
    match level {
        Level::Debug => tracing::enabled!(tracing::Level::DEBUG),
        Level::Warn => tracing::enabled!(tracing::Level::WARN),
        Level::Error => tracing::enabled!(tracing::Level::ERROR),
    }
}

/// Writes a service's log record: what every lender does with one.
pub fn log(service: ServiceNumber, level: Level, text: &str) {
    match level {
        Level::Debug => tracing::debug!(%service, "{text}"),
        Level::Warn => tracing::warn!(%service, "{text}"),
        Level::Error => tracing::error!(%service, "{text}"),
    }
}
