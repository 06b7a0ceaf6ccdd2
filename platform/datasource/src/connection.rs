//! The promises that every driver keeps.

use crate::dialect::Dialect;
use crate::error::SourceError;
use crate::result_set::ResultSet;
use crate::value::ValueRef;
use std::sync::Arc;
use std::time::Duration;

/// What a connection is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only: the connection refuses every write, whatever a service sends.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// What a transaction is begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One consistent view of the data; writes are refused.
    ReadOnly,
    /// Reads and writes. Where a database has one writer at a time, the wait for that place is in `begin`.
    Write,
}

/// Where a connection's transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// None is open; each statement commits by itself.
    None,
    /// Begun and intact. After a failed statement, [`rollback_to`](Connection::rollback_to) a savepoint is enough.
    Open,
    /// Begun, and since then rolled back by the data source itself, savepoints included (SQLite does so when a
    /// write is cut off by its time limit). Every call but [`rollback`](Connection::rollback) is refused with
    /// [`Aborted`](crate::ErrorKind::Aborted), so that no later statement can commit on its own by mistake.
    Aborted,
}

/// One connection to a data source, used by one thread at a time.
///
/// Statements are portable SQL text (see [`Dialect`]) with `?` for each bound parameter; the text must be one
/// statement, and neither starts nor ends transactions. Each is prepared once and kept for the next use.
///
/// `limit` is how long a call may block, above zero; a limit of zero is a [`Timeout`](crate::ErrorKind::Timeout) before
/// anything is sent. When it ends, a statement has no effect; waiting for a lock that others hold ends in
/// [`Retryable`](crate::ErrorKind::Retryable) instead, as it would after a lost race. A time limit that ends inside a
/// write transaction leaves it to the owner to roll back: [`in_transaction`](Connection::in_transaction) stays
/// true until it does, and [`transaction`](Connection::transaction) tells whether savepoints are still good
/// ([`Open`](TransactionState::Open)) or all is lost already ([`Aborted`](TransactionState::Aborted)).
///
/// Dropping a connection rolls back what was not committed. A connection must not be used in a forked child:
/// open it there; a driver that notices refuses with [`ConnectionLost`](crate::ErrorKind::ConnectionLost).
pub trait Connection: Send {
    /// The data source's name in the configuration.
    fn source_name(&self) -> &Arc<str>;

    /// The SQL that it speaks.
    fn dialect(&self) -> Dialect;

    /// Begins a transaction. Blocks for at most `limit`.
    ///
    /// # Errors
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly): a write on a connection opened for reads. [`Retryable`](crate::ErrorKind::Retryable):
    /// another writer held the place for the whole limit. [`BadStatement`](crate::ErrorKind::BadStatement): one is open.
    fn begin(&mut self, mode: Mode, limit: Duration) -> Result<(), SourceError>;

    /// Commits. When it returns, the changes are on disk as the data source's durability says, and every
    /// connection sees them. It is never cut short: a commit cut off would have an unknown outcome.
    ///
    /// # Errors
    /// Nothing was committed, and the transaction waits for [`rollback`](Connection::rollback), except after
    /// [`ConnectionLost`](crate::ErrorKind::ConnectionLost): then whether it was committed is unknown.
    fn commit(&mut self) -> Result<(), SourceError>;

    /// Gives up what the transaction did. Without one it does nothing. Not cut short.
    ///
    /// # Errors
    /// The connection is broken afterwards; closing it rolls back too.
    fn rollback(&mut self) -> Result<(), SourceError>;

    /// Sets a savepoint in the open transaction. `name` is 1 to 30 of `a-z`, `0-9`, `_`, not starting with a digit;
    /// a name used again hides the older one until it is released.
    ///
    /// # Errors
    /// [`BadStatement`](crate::ErrorKind::BadStatement): no transaction, or a bad name.
    fn savepoint(&mut self, name: &str) -> Result<(), SourceError>;

    /// Forgets the savepoint and those set after it; what was done since stays in the transaction.
    ///
    /// # Errors
    /// [`BadStatement`](crate::ErrorKind::BadStatement): no transaction or no such savepoint.
    fn release(&mut self, name: &str) -> Result<(), SourceError>;

    /// Undoes what was done since the savepoint, which itself stays and can be used or released again.
    ///
    /// # Errors
    /// [`BadStatement`](crate::ErrorKind::BadStatement): no transaction or no such savepoint.
    /// [`Aborted`](crate::ErrorKind::Aborted): the whole transaction is gone already.
    fn rollback_to(&mut self, name: &str) -> Result<(), SourceError>;

    /// Runs a statement that changes something and returns the number of rows inserted, updated or deleted (0 for
    /// `CREATE` and the like). Outside of a transaction it commits by itself. Blocks for at most `limit`.
    ///
    /// # Errors
    /// Any [`ErrorKind`](crate::ErrorKind); the statement took no effect.
    fn execute(&mut self, text: &str, params: &[ValueRef<'_>], limit: Duration) -> Result<u64, SourceError>;

    /// Runs a statement that only reads and returns all its rows. Blocks for at most `limit`.
    ///
    /// `rows_max` is in rows; a larger answer is an error, never cut short in silence.
    ///
    /// # Errors
    /// [`TooManyRows`](crate::ErrorKind::TooManyRows), [`TooLarge`](crate::ErrorKind::TooLarge) (over
    /// [`RESULT_BYTES_MAX`](crate::limits::RESULT_BYTES_MAX)) and any other kind.
    fn query(
        &mut self,
        text: &str,
        params: &[ValueRef<'_>],
        rows_max: usize,
        limit: Duration,
    ) -> Result<ResultSet, SourceError>;

    /// Takes the lock under which one connection at a time brings tables up to date; [`migrate`](crate::migrate) does.
    /// Outside of a transaction; held until [`unlock_definitions`](Connection::unlock_definitions) or the connection's
    /// end. Where a write transaction is alone anyway there is no such lock. Blocks for at most `limit`.
    ///
    /// # Errors
    /// [`Retryable`](crate::ErrorKind::Retryable): another connection held it for the whole limit.
    fn lock_definitions(&mut self, _limit: Duration) -> Result<(), SourceError> {
        Ok(())
    }

    /// Gives back what [`lock_definitions`](Connection::lock_definitions) took.
    ///
    /// # Errors
    /// The connection is broken afterwards; closing it gives the lock back too.
    fn unlock_definitions(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Where the transaction stands.
    fn transaction(&self) -> TransactionState;

    /// Whether a transaction was begun and neither committed nor rolled back by its owner.
    fn in_transaction(&self) -> bool {
        self.transaction() != TransactionState::None
    }

    /// Whether the connection is of no further use, and should be dropped and opened again.
    fn is_broken(&self) -> bool;
}

/// Where connections come from: a configured data source.
pub trait Source: Send {
    /// The data source's name in the configuration.
    fn name(&self) -> &Arc<str>;

    /// The SQL that it speaks.
    fn dialect(&self) -> Dialect;

    /// Opens a connection. Blocks for at most [`OPEN_LIMIT`](crate::limits::OPEN_LIMIT).
    ///
    /// # Errors
    /// [`ConnectionLost`](crate::ErrorKind::ConnectionLost), [`Unsupported`](crate::ErrorKind::Unsupported),
    /// [`Corrupt`](crate::ErrorKind::Corrupt), [`Full`](crate::ErrorKind::Full).
    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, SourceError>;
}

/// Inserts one row inside the open transaction; `false` if a row with its key exists already.
///
/// On databases where any failed statement spoils the transaction (PostgreSQL), the statement is given words that
/// make it leave the row out instead of failing, so on every data source the transaction goes on as if nothing had
/// been tried. `text` is one `INSERT` of one row, without such words of its own.
///
/// # Errors
/// Those of [`Connection::execute`], except the unique violation.
pub fn insert_unless_present(
    connection: &mut dyn Connection,
    text: &str,
    params: &[ValueRef<'_>],
    limit: Duration,
) -> Result<bool, SourceError> {
    if let Some(words) = connection.dialect().insert_or_nothing()
        && connection.in_transaction()
    {
        let text = format!("{text} {words}");
        return connection.execute(&text, params, limit).map(|count| count > 0);
    }
    match connection.execute(text, params, limit) {
        Ok(_) => Ok(true),
        Err(error) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error),
    }
}
