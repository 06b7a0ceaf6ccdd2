//! Between the contract's SQL and the data source's: values, errors, rows, time limits.

use std::time::Duration;

use gantry_abi::{SqlError, SqlErrorKind};
use gantry_datasource::{ConstraintKind, ErrorKind, SourceError, ValueRef};
use gantry_segment::ProcessNote;
use gantry_service_host::{ResultSet, SqlValue};
use gantry_sys::clock;

/// Until when a request's statements may run; monotonic clock, ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) u64);

impl Limit {
    /// What is left now; zero when it has passed.
    pub(crate) fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(clock::monotonic_ns()))
    }
}

/// The platform's own part of a transaction, as it is noted; no SQL begins with a bracket.
pub(crate) const BEGIN: &str = "(begin the transaction)";
/// See [`BEGIN`].
pub(crate) const COMMIT: &str = "(record the reply and commit)";
/// See [`BEGIN`].
pub(crate) const RECORD: &str = "(record the reply)";
/// See [`BEGIN`].
pub(crate) const DRAW: &str = "(draw serials)";

/// A statement that is noted for as long as this lives, so that a report of this worker's death can name it.
pub(crate) struct Noted<'a>(&'a ProcessNote);

impl<'a> Noted<'a> {
    pub(crate) fn begin(note: &'a ProcessNote, source: &str, text: &str) -> Self {
        note.begin_statement(source, text, clock::monotonic_ns());
        Self(note)
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.end_statement();
    }
}

/// A parameter as the data source takes it.
pub(crate) fn parameter<'a>(value: &SqlValue<'a>) -> ValueRef<'a> {
    match *value {
        SqlValue::Null => ValueRef::Null,
        SqlValue::I64(number) => ValueRef::I64(number),
        SqlValue::F64(number) => ValueRef::F64(number),
        SqlValue::Text(text) => ValueRef::Text(text),
        SqlValue::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

/// An error as a service sees it.
pub(crate) fn error(error: &SourceError) -> SqlError {
    let kind = match &error.kind {
        ErrorKind::Constraint(ConstraintKind::Unique) => SqlErrorKind::Unique,
        ErrorKind::Constraint(ConstraintKind::ForeignKey) => SqlErrorKind::ForeignKey,
        ErrorKind::Constraint(ConstraintKind::Check) => SqlErrorKind::Check,
        ErrorKind::Constraint(ConstraintKind::NotNull) => SqlErrorKind::NotNull,
        ErrorKind::Constraint(_) => SqlErrorKind::Constraint,
        ErrorKind::Retryable => SqlErrorKind::Retryable,
        ErrorKind::Timeout => SqlErrorKind::Timeout,
        ErrorKind::ConnectionLost => SqlErrorKind::ConnectionLost,
        ErrorKind::BadStatement => SqlErrorKind::BadStatement,
        ErrorKind::BadValue => SqlErrorKind::BadValue,
        ErrorKind::TooManyRows { .. } => SqlErrorKind::TooManyRows,
        ErrorKind::ReadOnly => SqlErrorKind::ReadOnly,
        ErrorKind::Aborted => SqlErrorKind::Aborted,
        _ => SqlErrorKind::Other,
    };
    SqlError::new(kind, error.to_string())
}

/// The rows of an answer, one after the other.
pub(crate) struct Rows {
    set: gantry_datasource::ResultSet,
    /// The current row, counted from 1; 0 before the first.
    row: usize,
}

impl Rows {
    pub(crate) fn new(set: gantry_datasource::ResultSet) -> Self {
        Self { set, row: 0 }
    }
}

impl ResultSet for Rows {
    fn columns(&self) -> usize {
        self.set.columns().len()
    }

    fn next(&mut self) -> Result<bool, SqlError> {
        if self.row >= self.set.rows() {
            return Ok(false);
        }
        self.row += 1;
        Ok(true)
    }

    fn value(&self, column: usize) -> Result<SqlValue<'_>, SqlError> {
        let row = self.row.checked_sub(1);
        let value = row.and_then(|row| self.set.get(row, column));
        let Some(value) = value else {
            let message = format!("row {} has no column {column}", self.row);
            return Err(SqlError::new(SqlErrorKind::BadStatement, message));
        };
        Ok(match value {
            ValueRef::Null => SqlValue::Null,
            ValueRef::I64(number) => SqlValue::I64(number),
            ValueRef::F64(number) => SqlValue::F64(number),
            ValueRef::Text(text) => SqlValue::Text(text),
            ValueRef::Blob(bytes) => SqlValue::Blob(bytes),
        })
    }
}
