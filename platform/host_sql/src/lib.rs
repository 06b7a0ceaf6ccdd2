//! Between the SQL of the contract with services and that of the data sources: values, errors, rows.
//!
//! - [`parameter`] and [`Rows`]: a value on its way to the database, and back;
//! - [`error`]: what a service is told of a failure.
//!
//! Whoever lends SQL to a service uses it: the worker, and the test kit of service writers.
//!
//! What it does not do: open connections, begin or end transactions.
#![forbid(unsafe_code)]

use gantry_datasource::{ConstraintKind, ErrorKind, SourceError, ValueRef};
use gantry_service_host::{ResultSet, SqlError, SqlErrorKind, SqlValue};

/// A parameter as the data source takes it.
pub fn parameter<'a>(value: &SqlValue<'a>) -> ValueRef<'a> {
    match *value {
        SqlValue::Null => ValueRef::Null,
        SqlValue::I64(number) => ValueRef::I64(number),
        SqlValue::F64(number) => ValueRef::F64(number),
        SqlValue::Text(text) => ValueRef::Text(text),
        SqlValue::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

/// An error as a service sees it.
pub fn error(error: &SourceError) -> SqlError {
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
    let state = error.sqlstate.to_string();
    let is_state = state.len() == 5 && state.bytes().all(|byte| byte.is_ascii_alphanumeric());
    SqlError {
        native_code: error.code,
        sqlstate: if is_state { state } else { String::new() },
        ..SqlError::new(kind, error.to_string())
    }
}

/// The rows of an answer, one after the other.
#[derive(Debug)]
pub struct Rows {
    set: gantry_datasource::ResultSet,
    /// The current row, counted from 1; 0 before the first.
    row: usize,
}

impl Rows {
    /// Stands before the first row.
    pub fn new(set: gantry_datasource::ResultSet) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_datasource::Sqlstate;
    use std::sync::Arc;

    #[test]
    fn a_service_is_told_the_code_and_the_state_of_the_database() {
        let mut found = SourceError::own(ErrorKind::Retryable, &Arc::from("main"), "execute", "deadlock");
        (found.code, found.sqlstate) = (1213, Sqlstate(*b"40001"));
        let told = error(&found);
        assert_eq!(
            (told.kind, told.native_code, told.sqlstate.as_str()),
            (SqlErrorKind::Retryable, 1213, "40001")
        );
        found.sqlstate = Sqlstate([b'4', 0, 0xff, b'0', b'0']);
        assert_eq!(error(&found).sqlstate, "", "no driver's rubbish");
    }
}
