//! Errors on the safe side: of a service, of SQL, of serials.

use std::borrow::Cow;
use std::fmt;

use crate::serial_table as serial;
use crate::sql_table as sql;

/// Why a service could not be created. The library is then not loaded.
#[derive(Debug)]
pub struct CreateError(pub String);

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CreateError {}

impl From<String> for CreateError {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl From<&str> for CreateError {
    fn from(message: &str) -> Self {
        Self(message.to_owned())
    }
}

/// How a call ends when it has no reply. In both cases the platform rolls its transaction back.
#[derive(Debug)]
pub enum ServiceError {
    /// The caller is told: status 304 with `{"error":code,"message":message}` (and `"field":field`).
    /// Recorded like a reply: the same request id gets the same answer.
    Business {
        /// 1 to 64 bytes of `a-z 0-9 _`, such as `card_unknown`.
        code: Cow<'static, str>,
        /// The member of the request that is wrong; always given with `bad_request`.
        field: Option<Cow<'static, str>>,
        /// For people.
        message: String,
    },
    /// The service failed: status 306; the text goes to the platform's log.
    Failed(String),
    /// It failed for what may be over: another request was faster, for example. What was done is taken back, and the call
    /// is made again while the caller has time; then it is as [`Failed`](Self::Failed).
    Again(String),
}

impl ServiceError {
    /// A business error with this code.
    pub fn business(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Business { code: code.into(), field: None, message: message.into() }
    }

    /// The business error `bad_request`, about this member of the request.
    pub fn bad_request(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Business {
            code: Cow::Borrowed("bad_request"),
            field: Some(field.into()),
            message: message.into(),
        }
    }

    /// A failure that may be over when the call is made again.
    pub fn again(message: impl Into<String>) -> Self {
        Self::Again(message.into())
    }

    /// A failure, with the reason for the platform's log.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Business { code, field: Some(field), message } => {
                write!(f, "{code} ({field}): {message}")
            }
            Self::Business { code, field: None, message } => write!(f, "{code}: {message}"),
            Self::Failed(message) | Self::Again(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ServiceError {}

impl From<SqlError> for ServiceError {
    fn from(error: SqlError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<SerialError> for ServiceError {
    fn from(error: SerialError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<std::io::Error> for ServiceError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What went wrong with a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlErrorKind {
    /// Some error that has no kind of its own.
    Other,
    /// A unique or primary key would have been there twice.
    Unique,
    /// A foreign key points to nothing, or something still points to the row.
    ForeignKey,
    /// A check constraint is not met.
    Check,
    /// NULL in a column that allows none.
    NotNull,
    /// Some other constraint is not met.
    Constraint,
    /// Deadlock, serialisation failure or a lock that was not got. Return the error; the platform
    /// decides whether the whole request is tried again.
    Retryable,
    /// The statement passed its time limit, which is the request's time left.
    Timeout,
    /// The connection to the database was lost.
    ConnectionLost,
    /// Syntax, unknown table or column, wrong number of parameters or columns.
    BadStatement,
    /// A value does not fit: type, range, length, invalid UTF-8, NULL where none is expected.
    BadValue,
    /// More rows than asked for.
    TooManyRows,
    /// No data source of that name, or one that the service did not declare in `sources`.
    UnknownSource,
    /// A write in a service of kind read, or on a source that is read-only for this request.
    ReadOnly,
    /// The platform ended the transaction: return at once; nothing more can succeed.
    Aborted,
    /// Data sources are not lent here.
    Unavailable,
    /// A query that must have a row had none. Made on this side of the border; never crosses it.
    NoRow,
}

impl SqlErrorKind {
    /// The kind with this number of the contract; an unknown number is [`SqlErrorKind::Other`].
    pub const fn from_number(number: u32) -> Self {
        match number {
            sql::GANTRY_SQL_UNIQUE => Self::Unique,
            sql::GANTRY_SQL_FOREIGN_KEY => Self::ForeignKey,
            sql::GANTRY_SQL_CHECK => Self::Check,
            sql::GANTRY_SQL_NOT_NULL => Self::NotNull,
            sql::GANTRY_SQL_CONSTRAINT => Self::Constraint,
            sql::GANTRY_SQL_RETRYABLE => Self::Retryable,
            sql::GANTRY_SQL_TIMEOUT => Self::Timeout,
            sql::GANTRY_SQL_CONNECTION_LOST => Self::ConnectionLost,
            sql::GANTRY_SQL_BAD_STATEMENT => Self::BadStatement,
            sql::GANTRY_SQL_BAD_VALUE => Self::BadValue,
            sql::GANTRY_SQL_TOO_MANY_ROWS => Self::TooManyRows,
            sql::GANTRY_SQL_UNKNOWN_SOURCE => Self::UnknownSource,
            sql::GANTRY_SQL_READ_ONLY => Self::ReadOnly,
            sql::GANTRY_SQL_ABORTED => Self::Aborted,
            sql::GANTRY_SQL_UNAVAILABLE => Self::Unavailable,
            _ => Self::Other,
        }
    }

    /// The number that crosses the border.
    pub const fn number(self) -> u32 {
        match self {
            Self::Other | Self::NoRow => sql::GANTRY_SQL_OTHER,
            Self::Unique => sql::GANTRY_SQL_UNIQUE,
            Self::ForeignKey => sql::GANTRY_SQL_FOREIGN_KEY,
            Self::Check => sql::GANTRY_SQL_CHECK,
            Self::NotNull => sql::GANTRY_SQL_NOT_NULL,
            Self::Constraint => sql::GANTRY_SQL_CONSTRAINT,
            Self::Retryable => sql::GANTRY_SQL_RETRYABLE,
            Self::Timeout => sql::GANTRY_SQL_TIMEOUT,
            Self::ConnectionLost => sql::GANTRY_SQL_CONNECTION_LOST,
            Self::BadStatement => sql::GANTRY_SQL_BAD_STATEMENT,
            Self::BadValue => sql::GANTRY_SQL_BAD_VALUE,
            Self::TooManyRows => sql::GANTRY_SQL_TOO_MANY_ROWS,
            Self::UnknownSource => sql::GANTRY_SQL_UNKNOWN_SOURCE,
            Self::ReadOnly => sql::GANTRY_SQL_READ_ONLY,
            Self::Aborted => sql::GANTRY_SQL_ABORTED,
            Self::Unavailable => sql::GANTRY_SQL_UNAVAILABLE,
        }
    }
}

/// A statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// What went wrong.
    pub kind: SqlErrorKind,
    /// The database's own code, 0 if there is none.
    pub native_code: i32,
    /// SQLSTATE, five letters or digits; empty if there is none.
    pub sqlstate: String,
    /// What happened, for people.
    pub message: String,
}

impl SqlError {
    /// An error of this kind that no database reported.
    pub fn new(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, native_code: 0, sqlstate: String::new(), message: message.into() }
    }

    /// Whether a unique or primary key would have been there twice.
    pub fn is_unique(&self) -> bool {
        self.kind == SqlErrorKind::Unique
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQL ({:?}", self.kind)?;
        if !self.sqlstate.is_empty() {
            write!(f, ", SQLSTATE {}", self.sqlstate)?;
        }
        if self.native_code != 0 {
            write!(f, ", code {}", self.native_code)?;
        }
        write!(f, "): {}", self.message)
    }
}

impl std::error::Error for SqlError {}

/// Why no serial was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SerialErrorKind {
    /// The platform has no serial of this type.
    UnknownType,
    /// The count is 0 or above [`GANTRY_SERIALS_MAX`](crate::serial_table::GANTRY_SERIALS_MAX).
    BadCount,
    /// The source of serials cannot be reached now, or serials are not lent here.
    Unavailable,
    /// The type's number space is used up.
    Exhausted,
}

impl SerialErrorKind {
    /// The kind with this number of the contract; an unknown number is [`SerialErrorKind::Unavailable`].
    pub const fn from_number(number: u32) -> Self {
        match number {
            serial::GANTRY_SERIAL_UNKNOWN_TYPE => Self::UnknownType,
            serial::GANTRY_SERIAL_BAD_COUNT => Self::BadCount,
            serial::GANTRY_SERIAL_EXHAUSTED => Self::Exhausted,
            _ => Self::Unavailable,
        }
    }

    /// The number that crosses the border.
    pub const fn number(self) -> u32 {
        match self {
            Self::UnknownType => serial::GANTRY_SERIAL_UNKNOWN_TYPE,
            Self::BadCount => serial::GANTRY_SERIAL_BAD_COUNT,
            Self::Unavailable => serial::GANTRY_SERIAL_UNAVAILABLE,
            Self::Exhausted => serial::GANTRY_SERIAL_EXHAUSTED,
        }
    }
}

/// No serial was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialError {
    /// What went wrong.
    pub kind: SerialErrorKind,
    /// What happened, for people.
    pub message: String,
}

impl fmt::Display for SerialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial ({:?}): {}", self.kind, self.message)
    }
}

impl std::error::Error for SerialError {}
