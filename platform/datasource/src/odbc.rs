//! SQL databases through ODBC: DB2, PostgreSQL, MariaDB.
//!
//! One ODBC environment per process, opened with the first connection and kept for life (IBM's libraries crash when
//! they are unloaded). Connections are this crate's [`Pool`](crate::Pool)'s; the driver manager's own pooling crashes
//! or leaks, so a node where it is switched on is refused.
//!
//! | promise | how it is kept |
//! |---|---|
//! | time limits | a limit at the server, reset only when it no longer fits; at the exact end `SQLCancel` (MariaDB: `KILL QUERY`) from a watchdog's thread |
//! | waiting for locks | the server's lock time-out, below the limit; on MariaDB, which counts in seconds, short waits are asked again and again |
//! | rows in bulk | column buffers bound for a batch of rows, at most 1 MiB; a column that is long, or turns out to be, is read in parts |
//! | a failed statement spares the transaction | where the database says so itself (PostgreSQL) a savepoint is needed, and a commit without it is refused |
//! | a driver that breaks its rules | a panic in the wrapper is a lost connection, not a dead worker |
//!
//! Text goes and comes in UTF-8 whatever the locale is, except on DB2, whose driver would take it for the locale's:
//! there it goes as UTF-16. Decimals without a fraction are whole numbers if they fit, all others exact text; dates,
//! times and timestamps are text as ISO 8601 with a blank.

mod bind;
mod connection;
mod connection_string;
mod failure;
mod fetch;
mod limits;
mod savepoints;
mod server_limits;
mod session;
mod statements;
mod stopper;
mod trap;
mod watchdog;

pub use connection::OdbcConnection;
pub use trap::{DriverTrap, driver_trap};

use crate::connection::{Access, Connection, Source};
use crate::dialect::Dialect;
use crate::error::{ErrorKind, SourceError};
use connection_string::ConnectionString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A database and how it is used.
#[derive(Clone)]
#[non_exhaustive]
pub struct OdbcOptions {
    /// The connection string, `Driver={…};Server=…;…` or `DSN=…;…`. Never shown: it holds the password.
    pub connection: String,
    /// Longest wait for a lock that another transaction holds, also when the caller's limit is longer.
    pub lock_wait: Duration,
}

impl OdbcOptions {
    /// The defaults for a connection string: wait 5 s for locks.
    #[must_use]
    pub fn new(connection: impl Into<String>) -> Self {
        Self { connection: connection.into(), lock_wait: Duration::from_secs(5) }
    }

    /// Sets the longest wait for a lock.
    #[must_use]
    pub fn lock_wait(mut self, lock_wait: Duration) -> Self {
        self.lock_wait = lock_wait;
        self
    }
}

impl fmt::Debug for OdbcOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OdbcOptions").field("lock_wait", &self.lock_wait).finish_non_exhaustive()
    }
}

/// A configured database.
#[derive(Debug, Clone)]
pub struct OdbcSource {
    name: Arc<str>,
    dialect: Dialect,
    connection: ConnectionString,
    lock_wait: Duration,
}

impl OdbcSource {
    /// Names a database. Nothing is opened yet.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported): the connection string is malformed, or names neither a driver nor a
    /// data source of the driver manager whose database is DB2, PostgreSQL or MariaDB.
    pub fn new(name: &str, options: &OdbcOptions) -> Result<Self, SourceError> {
        let name = Arc::from(name);
        let refuse = |message| SourceError::own(ErrorKind::Unsupported, &name, "configure", message);
        let connection = ConnectionString::parse(&options.connection).map_err(refuse)?;
        let dialect = connection.dialect().map_err(refuse)?;
        let connection = connection.completed(dialect);
        Ok(Self { name: Arc::clone(&name), dialect, connection, lock_wait: options.lock_wait })
    }
}

impl Source for OdbcSource {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, SourceError> {
        let connection =
            OdbcConnection::open(&self.name, &self.connection, self.dialect, self.lock_wait, access)?;
        Ok(Box::new(connection))
    }
}
