//! A statement and the handle by which another thread cancels it.

use odbc_api::handles::{AsStatementRef, Statement as _, StatementConnection, StatementRef};
use odbc_api::sys::{HStmt, SQLCancel, SqlReturn};
use odbc_api::{
    ConnectionTransitions, CursorImpl, Error, ParameterCollectionRef, Prepared, SharedConnection,
};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A statement's handle while the statement lives; `None` afterwards.
struct Slot(Mutex<Option<Handle>>);

/// The bare handle, on its way between threads.
struct Handle(HStmt);

// SAFETY: a statement handle belongs to no thread; ODBC demands that `SQLCancel`, the only thing done with it here, may
// be called on a handle in use by another thread.
unsafe impl Send for Handle {}

/// A prepared statement that other threads may cancel. It keeps its connection alive.
pub struct Statement {
    slot: Arc<Slot>,
    /// Never handed out whole: whoever could move it away could free its handle while the slot still names it.
    prepared: Prepared<StatementConnection<SharedConnection<'static>>>,
}

impl Statement {
    /// Prepares `text` on the connection. Blocks as the driver does.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// Where `odbc-api` does: a poisoned connection, a driver that breaks ODBC's rules.
    pub fn prepare(connection: &SharedConnection<'static>, text: &str) -> Result<Self, Error> {
        let mut prepared = Arc::clone(connection).into_prepared(text)?;
        let handle = Handle(prepared.as_stmt_ref().as_sys());
        Ok(Self { slot: Arc::new(Slot(Mutex::new(Some(handle)))), prepared })
    }

    /// Runs the statement; `Some` if it returns rows. Blocks until it ends or is cancelled.
    ///
    /// # Errors
    /// The driver's; SQLSTATE `HY008` or the database's own when it was cancelled.
    ///
    /// # Panics
    /// Where `odbc-api` does: a driver that breaks ODBC's rules.
    pub fn execute(
        &mut self,
        params: impl ParameterCollectionRef,
    ) -> Result<Option<CursorImpl<StatementRef<'_>>>, Error> {
        self.prepared.execute(params)
    }

    /// Rows that the last run inserted, updated or deleted; `None` if the driver does not know.
    ///
    /// # Errors
    /// The driver's.
    pub fn row_count(&mut self) -> Result<Option<usize>, Error> {
        self.prepared.row_count()
    }

    /// Sets the driver's own time limit for each run, in whole seconds; 0 for none.
    ///
    /// # Errors
    /// The driver's, also when it knows no such limit.
    pub fn set_query_timeout_sec(&mut self, seconds: usize) -> Result<(), Error> {
        self.prepared.set_query_timeout_sec(seconds)
    }

    /// What cancels this statement.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller { slot: Arc::clone(&self.slot) }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // Waits for a cancel that is under way; after it nobody can reach the handle, which is freed next.
        *self.slot.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Statement").finish_non_exhaustive()
    }
}

/// Cancels one [`Statement`], from any thread.
#[derive(Clone)]
pub struct Canceller {
    slot: Arc<Slot>,
}

impl Canceller {
    /// Asks the driver to end what the statement is doing; `false` if the statement is gone or the driver refused.
    ///
    /// Harmless when the statement is idle, where the driver keeps ODBC's rules; MariaDB's does not (it then closes the
    /// statement beside the thread that uses it), and must not be cancelled this way. Blocks as the driver does: most open a
    /// second connection for it.
    pub fn cancel(&self) -> bool {
        let slot = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = slot.as_ref() else { return false };
        // SAFETY: the handle is allocated: `Statement` empties the slot, under the lock that is held here, before it frees
        // it. ODBC allows this call, alone among all, on a handle that another thread is using.
        let outcome = unsafe { SQLCancel(handle.0) };
        outcome == SqlReturn::SUCCESS || outcome == SqlReturn::SUCCESS_WITH_INFO
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Canceller").finish_non_exhaustive()
    }
}
