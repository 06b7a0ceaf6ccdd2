//! Connections kept between requests.

use crate::connection::{Access, Connection, Mode, Source};
use crate::error::{ErrorKind, SourceError};
use crate::limits::POOL_IDLE_MAX;
use std::fmt;
use std::time::Duration;

/// The connections of one process to one data source.
///
/// Connections are opened when they are asked for, in the process that uses them, and a broken one is dropped
/// instead of kept, so a database that comes back is found by the next request.
pub struct Pool {
    source: Box<dyn Source>,
    access: Access,
    idle: Vec<Box<dyn Connection>>,
}

impl Pool {
    /// Prepares a pool; nothing is opened yet.
    #[must_use]
    pub fn new(source: Box<dyn Source>, access: Access) -> Self {
        Self { source, access, idle: Vec::new() }
    }

    /// The data source behind it.
    #[must_use]
    pub fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// Takes a connection with no transaction open: an idle one, or a new one.
    ///
    /// # Errors
    /// Those of [`Source::connect`].
    pub fn take(&mut self) -> Result<Box<dyn Connection>, SourceError> {
        match self.idle.pop() {
            Some(connection) => Ok(connection),
            None => self.source.connect(self.access),
        }
    }

    /// Takes a connection and begins a transaction on it. A connection that was lost while it was idle is replaced
    /// by a new one, since nothing has been done on it yet.
    ///
    /// # Errors
    /// Those of [`Source::connect`] and [`Connection::begin`].
    pub fn begin(&mut self, mode: Mode, limit: Duration) -> Result<Box<dyn Connection>, SourceError> {
        while let Some(mut connection) = self.idle.pop() {
            match connection.begin(mode, limit) {
                Ok(()) => return Ok(connection),
                Err(error) if error.kind == ErrorKind::ConnectionLost => drop(connection),
                Err(error) => {
                    self.put_back(connection)?;
                    return Err(error);
                }
            }
        }
        let mut connection = self.source.connect(self.access)?;
        match connection.begin(mode, limit) {
            Ok(()) => Ok(connection),
            Err(error) => {
                self.put_back(connection)?;
                Err(error)
            }
        }
    }

    /// Gives a connection back. A transaction left open on it is rolled back; a broken connection is closed.
    ///
    /// # Errors
    /// Those of [`Connection::rollback`]; the connection was closed then, which rolls back too.
    pub fn put_back(&mut self, mut connection: Box<dyn Connection>) -> Result<(), SourceError> {
        connection.rollback()?;
        if !connection.is_broken() && self.idle.len() < POOL_IDLE_MAX {
            self.idle.push(connection);
        }
        Ok(())
    }

    /// Number of connections waiting for use.
    #[must_use]
    pub fn idle_count(&self) -> usize {
        self.idle.len()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pool")
            .field("source", self.source.name())
            .field("access", &self.access)
            .field("idle_count", &self.idle.len())
            .finish()
    }
}
