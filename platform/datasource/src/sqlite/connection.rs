//! The promises of a connection, kept with SQLite.

use super::deadline::Deadline;
use super::failure::Failure;
use super::{SqliteOptions, open};
use crate::connection::{Access, Connection, Mode, TransactionState};
use crate::dialect::Dialect;
use crate::error::{ErrorKind, SourceError};
use crate::limits::{SAVEPOINT_NAME_BYTES_MAX, TEXTS_REMEMBERED_MAX};
use crate::result_set::{ResultSet, ResultSetBuilder};
use crate::statement::{PortableStatement, Verb};
use crate::value::ValueRef;
use rusqlite::types::ValueRef as NativeRef;
use rusqlite::{CachedStatement, Statement};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A connection to a SQLite file.
pub struct SqliteConnection {
    source_name: Arc<str>,
    native: rusqlite::Connection,
    access: Access,
    transaction: Transaction,
    broken: bool,
    deadline: Deadline,
    texts: HashMap<Box<str>, Text>,
    /// The process that opened it: SQLite's locks do not survive a fork.
    pid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open(Mode),
    Aborted,
}

/// What is remembered of a statement's text.
struct Text {
    statement: Arc<PortableStatement>,
    /// Names of the columns at its last run; shared by the answers so that they need not be copied each time.
    columns: Option<Arc<[Box<str>]>>,
}

impl SqliteConnection {
    /// Opens the file, made if it is missing, as the data source `source_name`.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported): the linked SQLite is older than 3.51.3, or the file system cannot
    /// share memory. [`ConnectionLost`](ErrorKind::ConnectionLost): the file cannot be opened.
    /// [`Corrupt`](ErrorKind::Corrupt): it is no SQLite database. [`Retryable`](ErrorKind::Retryable): others held
    /// it for all of [`OPEN_LIMIT`](crate::limits::OPEN_LIMIT).
    pub fn open(
        source_name: &Arc<str>,
        options: &SqliteOptions,
        access: Access,
    ) -> Result<Self, SourceError> {
        let deadline = Deadline::default();
        let native = open::open(options, access, &deadline)
            .map_err(|failure| failure.into_source_error(source_name, "open"))?;
        Ok(Self {
            source_name: Arc::clone(source_name),
            native,
            access,
            transaction: Transaction::None,
            broken: false,
            deadline,
            texts: HashMap::new(),
            pid: std::process::id(),
        })
    }

    /// Runs one call of SQLite within its limit (`None`: however long it takes) and notes what a failure did to
    /// the transaction and the connection.
    fn run<T>(
        &mut self,
        operation: &'static str,
        limit: Option<Duration>,
        call: impl FnOnce(&rusqlite::Connection) -> Result<T, Failure>,
    ) -> Result<T, SourceError> {
        match limit {
            Some(Duration::ZERO) => {
                return Err(self.refuse(ErrorKind::Timeout, operation, "no time was left for it"));
            }
            Some(limit) => self.deadline.start(limit),
            None => self.deadline.clear(),
        }
        let outcome = call(&self.native);
        self.deadline.clear();
        outcome.map_err(|failure| {
            let error = failure.into_source_error(&self.source_name, operation);
            self.broken |= matches!(error.kind, ErrorKind::ConnectionLost | ErrorKind::Corrupt);
            if matches!(self.transaction, Transaction::Open(_)) && self.native.is_autocommit() {
                self.transaction = Transaction::Aborted;
            }
            error
        })
    }

    /// Runs a statement of our own that controls the transaction.
    fn control(
        &mut self,
        operation: &'static str,
        text: &str,
        limit: Option<Duration>,
    ) -> Result<(), SourceError> {
        self.run(operation, limit, |native| {
            native.prepare_cached(text)?.raw_execute()?;
            Ok(())
        })
    }

    fn control_savepoint(
        &mut self,
        operation: &'static str,
        words: &str,
        name: &str,
    ) -> Result<(), SourceError> {
        self.check_usable(operation)?;
        if self.transaction == Transaction::None {
            return Err(self.refuse(ErrorKind::BadStatement, operation, "no transaction is open"));
        }
        if !is_savepoint_name(name) {
            return Err(self.refuse(
                ErrorKind::BadStatement,
                operation,
                "a savepoint's name is 1 to 30 of a-z, 0-9 and _, not starting with a digit",
            ));
        }
        self.control(operation, &format!("{words} {name}"), None)
    }

    fn refuse(&self, kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> SourceError {
        SourceError::own(kind, &self.source_name, operation, message)
    }

    /// Refuses whatever must not reach SQLite in this connection's state.
    fn check_usable(&self, operation: &'static str) -> Result<(), SourceError> {
        if self.pid != std::process::id() {
            let message = format!("opened in process {}, used in a fork of it", self.pid);
            return Err(self.refuse(ErrorKind::ConnectionLost, operation, message));
        }
        if self.transaction == Transaction::Aborted {
            let message = "SQLite rolled the transaction back when an earlier statement failed";
            return Err(self.refuse(ErrorKind::Aborted, operation, message));
        }
        if self.broken {
            let message = "an earlier error broke this connection";
            return Err(self.refuse(ErrorKind::ConnectionLost, operation, message));
        }
        Ok(())
    }

    /// The statement for a portable text, rewritten at its first use.
    fn statement(
        &mut self,
        operation: &'static str,
        text: &str,
        params: &[ValueRef<'_>],
    ) -> Result<Arc<PortableStatement>, SourceError> {
        self.check_usable(operation)?;
        let statement = match self.texts.get(text) {
            Some(known) => Arc::clone(&known.statement),
            None => self.learn(operation, text)?,
        };
        if statement.parameters() != params.len() {
            let message = format!(
                "the statement takes {} parameters, {} were given",
                statement.parameters(),
                params.len()
            );
            return Err(self.refuse(ErrorKind::BadValue, operation, message));
        }
        Ok(statement)
    }

    fn learn(&mut self, operation: &'static str, text: &str) -> Result<Arc<PortableStatement>, SourceError> {
        let statement = PortableStatement::rewrite(text, Dialect::Sqlite)
            .map_err(|error| self.refuse(ErrorKind::BadStatement, operation, error.to_string()))?;
        let statement = Arc::new(statement);
        if self.texts.len() >= TEXTS_REMEMBERED_MAX {
            self.texts.clear();
        }
        self.texts.insert(Box::from(text), Text { statement: Arc::clone(&statement), columns: None });
        Ok(statement)
    }

    fn may_write(&self) -> bool {
        self.access == Access::ReadWrite && self.transaction != Transaction::Open(Mode::ReadOnly)
    }
}

impl Connection for SqliteConnection {
    fn source_name(&self) -> &Arc<str> {
        &self.source_name
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn begin(&mut self, mode: Mode, limit: Duration) -> Result<(), SourceError> {
        self.check_usable("begin")?;
        if self.transaction != Transaction::None {
            return Err(self.refuse(ErrorKind::BadStatement, "begin", "a transaction is open already"));
        }
        if mode == Mode::Write && self.access == Access::ReadOnly {
            return Err(self.refuse(ErrorKind::ReadOnly, "begin", "the connection was opened for reads"));
        }
        // IMMEDIATE takes the writer's place now: a transaction that reads first and writes later could find
        // that another has written in between, and would have to start again.
        let text = if mode == Mode::Write { "BEGIN IMMEDIATE" } else { "BEGIN DEFERRED" };
        self.control("begin", text, Some(limit))?;
        self.transaction = Transaction::Open(mode);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.check_usable("commit")?;
        if self.transaction == Transaction::None {
            return Err(self.refuse(ErrorKind::BadStatement, "commit", "no transaction is open"));
        }
        self.control("commit", "COMMIT", None)?;
        self.transaction = Transaction::None;
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), SourceError> {
        if self.transaction == Transaction::None {
            return Ok(());
        }
        if !self.native.is_autocommit() {
            let outcome = self.control("rollback", "ROLLBACK", None);
            self.broken |= outcome.is_err();
            outcome?;
        }
        self.transaction = Transaction::None;
        Ok(())
    }

    fn savepoint(&mut self, name: &str) -> Result<(), SourceError> {
        self.control_savepoint("savepoint", "SAVEPOINT", name)
    }

    fn release(&mut self, name: &str) -> Result<(), SourceError> {
        self.control_savepoint("release", "RELEASE", name)
    }

    fn rollback_to(&mut self, name: &str) -> Result<(), SourceError> {
        self.control_savepoint("rollback to savepoint", "ROLLBACK TO", name)
    }

    fn execute(&mut self, text: &str, params: &[ValueRef<'_>], limit: Duration) -> Result<u64, SourceError> {
        let statement = self.statement("execute", text, params)?;
        let may_write = self.may_write();
        self.run("execute", Some(limit), |native| {
            let mut prepared = native.prepare_cached(statement.text())?;
            if prepared.column_count() > 0 {
                return Err(Failure::own(ErrorKind::BadStatement, "it returns rows; use query for it"));
            }
            if !may_write && !prepared.readonly() {
                return Err(Failure::own(ErrorKind::ReadOnly, "the connection or transaction only reads"));
            }
            bind(&mut prepared, params)?;
            prepared.raw_execute()?;
            // A definition counts nothing, and SQLite would answer with the count of the statement before it.
            Ok(if statement.verb() == Verb::Define { 0 } else { native.changes() })
        })
    }

    fn query(
        &mut self,
        text: &str,
        params: &[ValueRef<'_>],
        rows_max: usize,
        limit: Duration,
    ) -> Result<ResultSet, SourceError> {
        let statement = self.statement("query", text, params)?;
        let known = self.texts.get_mut(text).and_then(|known| known.columns.take());
        let answer = self.run("query", Some(limit), |native| {
            let mut prepared = native.prepare_cached(statement.text())?;
            if prepared.column_count() == 0 {
                return Err(Failure::own(ErrorKind::BadStatement, "it returns no rows; use execute for it"));
            }
            if !prepared.readonly() {
                return Err(Failure::own(
                    ErrorKind::BadStatement,
                    "it writes and returns rows; write with execute, then read",
                ));
            }
            bind(&mut prepared, params)?;
            read_rows(&mut prepared, known, rows_max)
        })?;
        if let Some(known) = self.texts.get_mut(text) {
            known.columns = Some(answer.shared_columns());
        }
        Ok(answer)
    }

    fn transaction(&self) -> TransactionState {
        match self.transaction {
            Transaction::None => TransactionState::None,
            Transaction::Open(_) => TransactionState::Open,
            Transaction::Aborted => TransactionState::Aborted,
        }
    }

    fn is_broken(&self) -> bool {
        self.broken
    }
}

impl std::fmt::Debug for SqliteConnection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SqliteConnection")
            .field("source_name", &self.source_name)
            .field("access", &self.access)
            .field("transaction", &self.transaction)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

fn is_savepoint_name(name: &str) -> bool {
    (1..=SAVEPOINT_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn bind(prepared: &mut CachedStatement<'_>, params: &[ValueRef<'_>]) -> Result<(), Failure> {
    for (index, param) in params.iter().enumerate() {
        let place = index + 1;
        match *param {
            ValueRef::Null => prepared.raw_bind_parameter(place, rusqlite::types::Null)?,
            ValueRef::I64(number) => prepared.raw_bind_parameter(place, number)?,
            ValueRef::F64(number) if number.is_finite() => prepared.raw_bind_parameter(place, number)?,
            ValueRef::F64(number) => {
                return Err(Failure::own(ErrorKind::BadValue, format!("parameter {place} is {number}")));
            }
            ValueRef::Text(text) => prepared.raw_bind_parameter(place, text)?,
            ValueRef::Blob(bytes) => prepared.raw_bind_parameter(place, bytes)?,
        }
    }
    Ok(())
}

fn read_rows(
    prepared: &mut CachedStatement<'_>,
    known: Option<Arc<[Box<str>]>>,
    rows_max: usize,
) -> Result<ResultSet, Failure> {
    let mut rows = prepared.raw_query();
    // The first step comes before the names: SQLite prepares again inside it if the tables changed.
    let Some(row) = rows.next()? else {
        drop(rows);
        return Ok(ResultSetBuilder::new(read_columns(prepared, known)).finish());
    };
    let columns = read_columns(row.as_ref(), known);
    let columns_count = columns.len();
    let mut builder = ResultSetBuilder::new(columns);
    let mut rows_count = 0;
    let mut next = Some(row);
    while let Some(row) = next {
        if rows_count == rows_max {
            return Err(Failure::own(
                ErrorKind::TooManyRows { rows_max },
                "the answer has more rows than were allowed for",
            ));
        }
        rows_count += 1;
        for column in 0..columns_count {
            builder.push(read_cell(row.get_ref(column)?, column)?)?;
        }
        next = rows.next()?;
    }
    Ok(builder.finish())
}

fn read_cell(cell: NativeRef<'_>, column: usize) -> Result<ValueRef<'_>, Failure> {
    Ok(match cell {
        NativeRef::Null => ValueRef::Null,
        NativeRef::Integer(number) => ValueRef::I64(number),
        NativeRef::Real(number) => ValueRef::F64(number),
        NativeRef::Text(bytes) => ValueRef::Text(std::str::from_utf8(bytes).map_err(|error| {
            Failure::own(ErrorKind::BadValue, format!("text in column {column} (0-based): {error}"))
        })?),
        NativeRef::Blob(bytes) => ValueRef::Blob(bytes),
    })
}

/// The columns' names: those of the last run if they are still the same.
fn read_columns(prepared: &Statement<'_>, known: Option<Arc<[Box<str>]>>) -> Arc<[Box<str>]> {
    let names = prepared.column_names();
    match known {
        Some(known) if known.iter().map(AsRef::as_ref).eq(prepared.column_names()) => known,
        _ => names.map(Box::from).collect(),
    }
}
