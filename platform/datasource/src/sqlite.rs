//! Embedded SQLite: write-ahead log, durable commits, one writer at a time.
//!
//! Several processes use the file at once, each with connections of its own. Readers never wait for the writer and
//! see a commit as soon as it returned. Writers wait for each other in `begin`, cut to the caller's limit.
//!
//! SQLite does not hold a `VARCHAR(n)` column to its length; a statement that must be portable checks lengths
//! before it stores them.

mod connection;
mod deadline;
mod failure;
mod open;

pub use connection::SqliteConnection;

use crate::connection::{Access, Connection, Source};
use crate::dialect::Dialect;
use crate::error::SourceError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How safe a commit is when the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// A crash of a process loses nothing; a power failure may lose the last commits, never the file.
    Normal,
    /// Each commit is on disk when it returns. For money, and the default.
    Full,
    /// Like `Full`, and the folder is synced too after the log is removed.
    Extra,
}

/// A SQLite file and how it is used.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The database file; its folder must exist. It is made, readable by its user alone, when it is missing.
    pub path: PathBuf,
    /// Longest wait for the place of the writer, also when the caller's limit is longer.
    pub busy_timeout: Duration,
    /// How safe a commit is when the power fails.
    pub synchronous: Synchronous,
    /// Page cache of each connection, in bytes.
    pub cache_bytes: u32,
    /// Largest size of the database file, in bytes, rounded down to pages of 4 KiB; `None` for no bound.
    pub file_bytes_max: Option<u64>,
}

impl SqliteOptions {
    /// The defaults for a file: wait 5 s, `Full`, 768 KiB of cache, no bound on the size.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            busy_timeout: Duration::from_secs(5),
            synchronous: Synchronous::Full,
            cache_bytes: 768 * 1024,
            file_bytes_max: None,
        }
    }

    /// Sets the longest wait for the place of the writer.
    #[must_use]
    pub fn busy_timeout(mut self, busy_timeout: Duration) -> Self {
        self.busy_timeout = busy_timeout;
        self
    }

    /// Sets how safe a commit is.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Sets the page cache of each connection, in bytes.
    #[must_use]
    pub fn cache_bytes(mut self, cache_bytes: u32) -> Self {
        self.cache_bytes = cache_bytes;
        self
    }

    /// Bounds the database file, in bytes; a write beyond it fails with [`Full`](crate::ErrorKind::Full).
    #[must_use]
    pub fn file_bytes_max(mut self, file_bytes_max: u64) -> Self {
        self.file_bytes_max = Some(file_bytes_max);
        self
    }
}

/// A configured SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    name: Arc<str>,
    options: SqliteOptions,
}

impl SqliteSource {
    /// Names a file. Nothing is opened yet.
    #[must_use]
    pub fn new(name: &str, options: SqliteOptions) -> Self {
        Self { name: Arc::from(name), options }
    }

    /// How the file is used.
    #[must_use]
    pub fn options(&self) -> &SqliteOptions {
        &self.options
    }
}

impl Source for SqliteSource {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, SourceError> {
        Ok(Box::new(SqliteConnection::open(&self.name, &self.options, access)?))
    }
}
