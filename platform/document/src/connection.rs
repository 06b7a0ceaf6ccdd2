//! What a document source is to a worker.

use std::time::Duration;

use crate::{Answer, Command, DocumentError};

/// What a connection may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A write is refused before the server is asked.
    ReadOnly,
    /// Everything.
    ReadWrite,
}

/// Where documents are.
pub trait Source {
    /// Opens a connection. Blocks for `limit` at most.
    ///
    /// # Errors
    /// No server that takes writes answers in time, or it refuses us.
    fn connect(&self, access: Access, limit: Duration) -> Result<Box<dyn Connection>, DocumentError>;
}

/// A connection, used by one thread and for one request at a time.
pub trait Connection {
    /// Prepares for a request, and begins its transaction if there is one. One that lay idle is asked for a sign of
    /// life first, so that a server that went away is noticed here, where nothing was done yet. Blocks for `limit` at
    /// most.
    ///
    /// # Errors
    /// The connection does not answer, or a transaction is open.
    fn begin(&mut self, limit: Duration) -> Result<(), DocumentError>;

    /// Runs a command. Blocks for `limit` at most; the server is told to stop then, and a connection that gave no answer
    /// in time [is broken](Connection::is_broken). A command that failed in a transaction ends that transaction.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind). Outside a transaction the documents before the one that was refused stay
    /// changed, and after a time-out or a lost connection it is unknown what was done.
    fn run(&mut self, command: &Command<'_>, limit: Duration) -> Result<Answer, DocumentError>;

    /// Commits what was done since [`begin`](Connection::begin); without transactions it was kept already. Blocks for
    /// `limit` at most.
    ///
    /// # Errors
    /// Nothing was kept, or with [`ConnectionLost`](crate::ErrorKind::ConnectionLost) and
    /// [`Timeout`](crate::ErrorKind::Timeout) it is unknown.
    fn commit(&mut self, limit: Duration) -> Result<(), DocumentError>;

    /// Undoes what was done since [`begin`](Connection::begin), as far as there are transactions. Blocks shortly; a
    /// connection on which it fails is broken, and the server undoes it by itself.
    fn rollback(&mut self);

    /// Whether what is done between [`begin`](Connection::begin) and [`commit`](Connection::commit) is kept or undone
    /// as one.
    fn has_transactions(&self) -> bool;

    /// Whether it is of no use any more.
    fn is_broken(&self) -> bool;
}
