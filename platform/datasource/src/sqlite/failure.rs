//! From SQLite's errors to the words that every driver shares.

use crate::error::{ConstraintKind, ErrorKind, SourceError, Sqlstate};
use crate::result_set::TooLarge;
use rusqlite::{Error, ErrorCode, ffi};
use std::sync::Arc;

/// A failure inside a call, before the connection adds its name and the operation.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SQLite's own.
    Native(Error),
    /// Found by us.
    Own(ErrorKind, String),
}

impl Failure {
    pub(crate) fn own(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Own(kind, message.into())
    }

    pub(crate) fn into_source_error(self, source_name: &Arc<str>, operation: &'static str) -> SourceError {
        match self {
            Self::Own(kind, message) => SourceError::own(kind, source_name, operation, message),
            Self::Native(error) => from_native(&error, source_name, operation),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Native(error)
    }
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        Self::own(ErrorKind::TooLarge { bytes_max: error.bytes_max }, error.to_string())
    }
}

fn from_native(error: &Error, source_name: &Arc<str>, operation: &'static str) -> SourceError {
    let (code, message) = match error {
        Error::SqliteFailure(native, message) => {
            (Some(*native), message.clone().unwrap_or_else(|| native.to_string()))
        }
        Error::SqlInputError { error, msg, offset, .. } => {
            let place = if *offset >= 0 { format!(" at byte {offset}") } else { String::new() };
            (Some(*error), format!("{msg}{place}"))
        }
        other => (None, other.to_string()),
    };
    let kind = match code {
        Some(native) => kind_of_code(native, &message),
        None => kind_of_binding(error),
    };
    let sqlstate = if kind == ErrorKind::BadStatement { sqlstate_of(&message) } else { kind.sqlstate() };
    let code = code.map_or(0, |native| native.extended_code);
    SourceError { kind, source_name: Arc::clone(source_name), operation, code, sqlstate, message }
}

fn kind_of_code(native: ffi::Error, message: &str) -> ErrorKind {
    // SQLite says so when the file beside its log cannot grow, which is what a full disk looks like there.
    if native.extended_code == ffi::SQLITE_IOERR_SHMSIZE {
        return ErrorKind::Full;
    }
    match native.code {
        ErrorCode::ConstraintViolation => ErrorKind::Constraint(kind_of_constraint(native.extended_code)),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            ErrorKind::Retryable
        }
        ErrorCode::OperationInterrupted => ErrorKind::Timeout,
        ErrorCode::ReadOnly => ErrorKind::ReadOnly,
        ErrorCode::DiskFull => ErrorKind::Full,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => ErrorKind::Corrupt,
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            ErrorKind::ConnectionLost
        }
        ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::ParameterOutOfRange => ErrorKind::BadValue,
        ErrorCode::AuthorizationForStatementDenied | ErrorCode::SchemaChanged => ErrorKind::BadStatement,
        ErrorCode::OperationAborted => ErrorKind::Aborted,
        // SQLITE_ERROR says nothing by its number, and is what preparing a wrong statement gives; the one error
        // while running that has it and is not the statement's fault is arithmetic on a value.
        ErrorCode::Unknown if native.extended_code == ffi::SQLITE_ERROR => {
            if message == "integer overflow" {
                ErrorKind::BadValue
            } else {
                ErrorKind::BadStatement
            }
        }
        _ => ErrorKind::Other,
    }
}

fn kind_of_constraint(extended_code: i32) -> ConstraintKind {
    match extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ConstraintKind::Unique
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_CHECK => ConstraintKind::Check,
        ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
        _ => ConstraintKind::Other,
    }
}

/// Errors of the wrapper around SQLite, which have no code.
fn kind_of_binding(error: &Error) -> ErrorKind {
    match error {
        Error::Utf8Error(..)
        | Error::NulError(_)
        | Error::InvalidParameterCount(..)
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::ToSqlConversionFailure(_) => ErrorKind::BadValue,
        Error::ExecuteReturnedResults
        | Error::MultipleStatement
        | Error::InvalidParameterName(_)
        | Error::InvalidQuery => ErrorKind::BadStatement,
        Error::InvalidPath(_) | Error::SqliteSingleThreadedMode => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

/// SQLite tells these apart in words only; the words are fixed in its source.
fn sqlstate_of(message: &str) -> Sqlstate {
    if message.starts_with("no such table") {
        Sqlstate::MISSING_TABLE
    } else if message.starts_with("no such column") || message.contains("has no column named") {
        Sqlstate::MISSING_COLUMN
    } else if message.contains("already exists") {
        Sqlstate::EXISTING_TABLE
    } else {
        ErrorKind::BadStatement.sqlstate()
    }
}
