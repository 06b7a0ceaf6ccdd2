//! A connection to a database over ODBC: opening it, its state, and how each call to the driver is framed.

mod calls;

use super::connection_string::ConnectionString;
use super::failure::Failure;
use super::limits::LOCK_RETRY_SLEEP;
use super::savepoints::Savepoints;
use super::server_limits::ServerLimits;
use super::session;
use super::statements::{Prepared, Statements, Text};
use super::stopper::{Session, Stopper};
use super::trap::pooling_here;
use super::watchdog::{Watchdog, watchdog};
use crate::connection::{Access, Mode};
use crate::dialect::Dialect;
use crate::error::{ErrorKind, SourceError};
use crate::limits::OPEN_LIMIT;
use gantry_odbc_cancel::Statement;
use odbc_api::{ConnectionOptions, Cursor, SharedConnection, environment};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest limit that the clock is asked to add.
const LIMIT_MAX: Duration = Duration::from_secs(10_000_000);

/// A connection to a database over ODBC.
pub struct OdbcConnection {
    source_name: Arc<str>,
    dialect: Dialect,
    access: Access,
    /// `None` only while it is dropped.
    native: Option<SharedConnection<'static>>,
    statements: Statements,
    transaction: Transaction,
    /// A statement failed in the transaction, and the database refuses all others until it is undone (PostgreSQL).
    spoiled: bool,
    savepoints: Savepoints,
    limits: ServerLimits,
    /// A lock that is not had rolls the whole transaction back (a setting of MariaDB's).
    lock_wait_rolls_back: bool,
    broken: bool,
    watchdog: &'static Watchdog,
    /// How its statements are stopped where the driver's own way will not do.
    session: Option<Arc<Session>>,
    /// The process that opened it: a driver's sockets and locks do not survive a fork.
    pid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open(Mode),
    Aborted,
}

impl OdbcConnection {
    /// Opens a connection and sets its session up.
    pub(super) fn open(
        source_name: &Arc<str>,
        string: &ConnectionString,
        dialect: Dialect,
        lock_wait: Duration,
        access: Access,
    ) -> Result<Self, SourceError> {
        let opened = framed(|| connect(string, dialect)).and_then(|native| {
            let watchdog = watchdog().map_err(|error| {
                Failure::own(ErrorKind::Unsupported, format!("no thread for the time limits: {error}"))
            })?;
            Ok((native, watchdog))
        });
        let (native, watchdog) = opened.map_err(|failure| refused(failure, dialect, source_name))?;
        let mut connection = Self {
            source_name: Arc::clone(source_name),
            dialect,
            access,
            native: Some(native),
            statements: Statements::default(),
            transaction: Transaction::None,
            spoiled: false,
            savepoints: Savepoints::default(),
            limits: ServerLimits::new(dialect, lock_wait),
            lock_wait_rolls_back: false,
            broken: false,
            watchdog,
            session: None,
            pid: std::process::id(),
        };
        let set_up = framed(|| connection.set_up(string));
        set_up.map_err(|failure| refused(failure, dialect, source_name))?;
        Ok(connection)
    }

    fn set_up(&mut self, string: &ConnectionString) -> Result<(), Failure> {
        for text in session::opening(self.dialect, self.access) {
            self.tell(text)?;
        }
        if self.dialect == Dialect::MariaDb {
            let answer = self.ask("SELECT @@innodb_rollback_on_timeout")?;
            self.lock_wait_rolls_back = answer.as_deref() == Some("1");
            let answer = self.ask("SELECT CONNECTION_ID()")?;
            let id = answer.as_deref().and_then(|id| id.parse().ok()).ok_or_else(|| {
                Failure::own(ErrorKind::Unsupported, format!("the session has no number: {answer:?}"))
            })?;
            self.session = Some(Arc::new(Session::new(string.text(), id)));
        }
        Ok(())
    }

    /// Runs one call, turns a panic of the driver's wrapper into an error, and notes what a failure did to the
    /// transaction and the connection.
    fn run<T>(
        &mut self,
        operation: &'static str,
        call: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, SourceError> {
        framed(|| call(self)).map_err(|failure| self.note(failure, operation))
    }

    fn note(&mut self, failure: Failure, operation: &'static str) -> SourceError {
        let is_native = matches!(failure, Failure::Native(_));
        let rolled_back = failure.rolls_back(self.dialect)
            || (self.lock_wait_rolls_back && failure.is_lock_wait(self.dialect));
        let mut error = failure.into_source_error(self.dialect, &self.source_name, operation);
        let is_about_data = matches!(error.kind, ErrorKind::Constraint(_) | ErrorKind::BadValue);
        if is_native && !is_about_data && self.is_dead() {
            error.kind = ErrorKind::ConnectionLost;
        }
        self.broken |= matches!(error.kind, ErrorKind::ConnectionLost | ErrorKind::Corrupt);
        if let Transaction::Open(_) = self.transaction {
            self.spoiled |= is_native && self.dialect.error_spoils_transaction();
            if rolled_back || self.broken {
                self.transaction = Transaction::Aborted;
            }
        }
        error
    }

    /// Whether the driver knows that the connection is gone. Asks nobody.
    fn is_dead(&self) -> bool {
        framed(|| Ok(self.with_native(odbc_api::Connection::is_dead)?)).unwrap_or(true)
    }

    fn with_native<T>(
        &self,
        call: impl FnOnce(&odbc_api::Connection<'static>) -> Result<T, odbc_api::Error>,
    ) -> Result<T, odbc_api::Error> {
        let native = self.native.as_ref().expect("it is taken out only by drop");
        call(&native.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a statement of our own that controls session or transaction.
    fn tell(&self, text: &str) -> Result<(), Failure> {
        Ok(self.with_native(|native| native.execute(text, (), None).map(drop))?)
    }

    /// The first value of a statement of our own, as text.
    fn ask(&self, text: &str) -> Result<Option<String>, Failure> {
        let mut value = Vec::new();
        let is_there = self.with_native(|native| {
            let Some(mut rows) = native.execute(text, (), None)? else { return Ok(false) };
            match rows.next_row()? {
                Some(mut row) => row.get_text(1, &mut value),
                None => Ok(false),
            }
        })?;
        Ok(is_there.then(|| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Tells the server how long the next statement may take, if what it knows does not fit.
    fn fit_limits(&mut self, left: Duration) -> Result<(), Failure> {
        let Some(limits) = self.limits.needed(left) else { return Ok(()) };
        if self.spoiled {
            // It would be refused like the statement itself, whose error is the one to tell.
            return Ok(());
        }
        let in_transaction = self.transaction != Transaction::None;
        self.tell(&self.limits.text(limits, in_transaction))?;
        self.limits.told(limits, in_transaction);
        Ok(())
    }

    /// Prepares a statement if need be and uses it within the time limit, watched; again where that helps: when it was
    /// prepared for a table that has changed, and while a lock is not had that the database does not wait for.
    fn with_statement<T>(
        &mut self,
        text: &str,
        known: &Text,
        ends_at: Instant,
        mut run: impl FnMut(&mut Prepared) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut is_fresh = false;
        // The lock that was not had when it was last asked for: what the time limit then ended was the wait for it.
        let mut refused = None;
        loop {
            let left = ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(
                    refused.unwrap_or_else(|| Failure::own(ErrorKind::Timeout, "no time was left for it"))
                );
            }
            self.fit_limits(left)?;
            let mut prepared = match self.statements.take(text) {
                Some(prepared) => prepared,
                None => {
                    is_fresh = true;
                    self.prepare(text, known)?
                }
            };
            self.limit_driver(&mut prepared, left)?;
            let stopper = match &self.session {
                Some(session) => Stopper::Session(Arc::clone(session)),
                None => Stopper::Driver(prepared.native.canceller()),
            };
            let watch = self.watchdog.watch(stopper, ends_at);
            let outcome = run(&mut prepared);
            let was_cancelled = watch.end();
            let failure = match outcome {
                Ok(value) => {
                    self.statements.keep(text, prepared);
                    return Ok(value);
                }
                Err(failure) => failure,
            };
            // Noted here, since what is told of it further up may no longer show that the database had it.
            self.spoiled |= matches!(failure, Failure::Native(_)) && self.spoils();
            if failure.is_stale(self.dialect) {
                drop(prepared);
                if !is_fresh && !self.spoils() {
                    continue;
                }
                return Err(Failure::own(ErrorKind::Retryable, "a table of it has just been changed"));
            }
            self.statements.keep(text, prepared);
            if self.may_ask_again(&failure, ends_at) {
                refused = Some(failure);
                std::thread::sleep(LOCK_RETRY_SLEEP);
                continue;
            }
            let failure = if was_cancelled { refused.unwrap_or(failure) } else { failure };
            return Err(told_of_cut(failure, was_cancelled, self.dialect));
        }
    }

    /// Whether a failed statement spoils what the connection is doing.
    fn spoils(&self) -> bool {
        self.dialect.error_spoils_transaction() && self.transaction != Transaction::None
    }

    fn may_ask_again(&self, failure: &Failure, ends_at: Instant) -> bool {
        failure.is_lock_wait(self.dialect)
            && self.limits.asks_again()
            && !(self.lock_wait_rolls_back && self.transaction != Transaction::None)
            && Instant::now() + LOCK_RETRY_SLEEP < ends_at
    }

    fn prepare(&self, text: &str, known: &Text) -> Result<Prepared, Failure> {
        let connection = self.native.as_ref().expect("it is taken out only by drop");
        let native = Statement::prepare(connection, known.portable.text())?;
        Ok(Prepared { native, answer: self.statements.answer(text), limit_sec: None })
    }

    fn limit_driver(&self, prepared: &mut Prepared, left: Duration) -> Result<(), Failure> {
        let wanted = self.limits.driver_limit_sec(left);
        if let Some(seconds) = wanted
            && prepared.limit_sec != wanted
        {
            prepared.native.set_query_timeout_sec(seconds)?;
            prepared.limit_sec = wanted;
        }
        Ok(())
    }

    /// How long MariaDB waits for the lock for definitions, in whole seconds.
    fn lock_seconds(&self, limit: Duration) -> u64 {
        self.limits.lock_wait().min(limit).as_secs()
    }

    fn refuse(&self, kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> SourceError {
        SourceError::own(kind, &self.source_name, operation, message)
    }

    /// Refuses whatever must not reach the driver in this connection's state.
    fn check_usable(&self, operation: &'static str) -> Result<(), SourceError> {
        if self.pid != std::process::id() {
            let message = format!("opened in process {}, used in a fork of it", self.pid);
            return Err(self.refuse(ErrorKind::ConnectionLost, operation, message));
        }
        if self.broken {
            let message = "an earlier error broke this connection";
            return Err(self.refuse(ErrorKind::ConnectionLost, operation, message));
        }
        if self.transaction == Transaction::Aborted {
            let message = "the database rolled the transaction back when an earlier statement failed";
            return Err(self.refuse(ErrorKind::Aborted, operation, message));
        }
        Ok(())
    }

    /// The transaction is over, one way or the other.
    fn transaction_ended(&mut self) {
        self.transaction = Transaction::None;
        self.spoiled = false;
        self.savepoints = Savepoints::default();
        self.limits.transaction_ended();
    }

    fn may_write(&self) -> bool {
        self.access == Access::ReadWrite && self.transaction != Transaction::Open(Mode::ReadOnly)
    }
}

impl Drop for OdbcConnection {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            // The parent's session must not be closed by its fork: the handles are left as they are.
            std::mem::forget(std::mem::take(&mut self.statements));
            std::mem::forget(self.native.take());
            return;
        }
        // Closing can fail in the driver, which its wrapper answers with a panic; the session is gone either way.
        let closed = catch_unwind(AssertUnwindSafe(|| {
            self.statements.forget_all();
            drop(self.native.take());
        }));
        drop(closed);
    }
}

impl fmt::Debug for OdbcConnection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OdbcConnection")
            .field("source_name", &self.source_name)
            .field("dialect", &self.dialect)
            .field("access", &self.access)
            .field("transaction", &self.transaction)
            .field("spoiled", &self.spoiled)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// Runs one call; a panic of the driver's wrapper is an error.
fn framed<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
}

fn connect(string: &ConnectionString, dialect: Dialect) -> Result<SharedConnection<'static>, Failure> {
    if let Some(trap) = pooling_here() {
        return Err(Failure::own(ErrorKind::Unsupported, trap.to_string()));
    }
    let options = ConnectionOptions {
        login_timeout_sec: u32::try_from(OPEN_LIMIT.as_secs()).ok(),
        ..ConnectionOptions::default()
    };
    let native = environment()?.connect_with_connection_string(&string.text(), options)?;
    let name = native.database_management_system_name()?;
    let is_as_expected = match dialect {
        Dialect::Postgres => name.contains("Postgre"),
        Dialect::MariaDb => name.contains("Maria") || name.contains("MySQL"),
        Dialect::Db2 => name.contains("DB2"),
        Dialect::Sqlite | Dialect::Derby => false,
    };
    if !is_as_expected {
        let message = format!("the database calls itself {name}, which is not what its driver is for");
        return Err(Failure::own(ErrorKind::Unsupported, message));
    }
    Ok(Arc::new(Mutex::new(native)))
}

/// An error while opening: whatever is not said more clearly is a database that does not answer.
fn refused(failure: Failure, dialect: Dialect, source_name: &Arc<str>) -> SourceError {
    let mut error = failure.into_source_error(dialect, source_name, "open");
    if matches!(error.kind, ErrorKind::Timeout | ErrorKind::Retryable | ErrorKind::Other) {
        error.kind = ErrorKind::ConnectionLost;
    }
    error
}

/// An error of a statement that the watchdog cut off is a time-out, whatever the driver calls it; but what is said of
/// the data, the locks or the connection is true all the same.
fn told_of_cut(failure: Failure, was_cancelled: bool, dialect: Dialect) -> Failure {
    if !was_cancelled {
        return failure;
    }
    match failure {
        Failure::Native(error) if Failure::is_vague(&error, dialect) => {
            Failure::own(ErrorKind::Timeout, format!("cancelled at its time limit: {error}"))
        }
        other => other,
    }
}

fn ends_at(limit: Duration) -> Instant {
    Instant::now() + limit.min(LIMIT_MAX)
}
