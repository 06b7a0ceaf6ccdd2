//! How a statement that runs is ended from another thread.

use gantry_odbc_cancel::Canceller;
use odbc_api::{ConnectionOptions, environment};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Ends what one statement is doing. It may come too early to hit anything, so it is to be used again until the call has
/// returned.
#[derive(Clone)]
pub(super) enum Stopper {
    /// The driver's own way, `SQLCancel`.
    Driver(Canceller),
    /// `KILL QUERY` over a connection of its own (MariaDB). Its driver's `SQLCancel` sends the same while a call holds the
    /// connection's lock; between two calls it closes the statement instead, without the lock and beside the thread that is
    /// about to use it. Then two threads read from one socket, and one of them waits for ever.
    Session(Arc<Session>),
}

/// A session of MariaDB, and how to reach its server.
pub(super) struct Session {
    /// The connection string; it holds the password.
    connection: String,
    /// The server's number of the session.
    id: u64,
}

impl Session {
    pub(super) fn new(connection: String, id: u64) -> Self {
        Self { connection, id }
    }

    fn kill_query(&self) -> bool {
        /// Seconds that connecting may take: who is to be stopped waits for it.
        const CONNECT_SEC: u32 = 2;
        let options =
            ConnectionOptions { login_timeout_sec: Some(CONNECT_SEC), ..ConnectionOptions::default() };
        let killed = environment()
            .and_then(|environment| environment.connect_with_connection_string(&self.connection, options))
            .and_then(|own| own.execute(&format!("KILL QUERY {}", self.id), (), None).map(drop));
        killed.is_ok()
    }
}

impl Stopper {
    /// Asks the database to end it; `false` if it could not be asked. The server's own limit then does it a little later.
    pub(super) fn stop(&self) -> bool {
        match self {
            Self::Driver(canceller) => canceller.cancel(),
            // A panic of the driver's wrapper must not end the watchdog.
            Self::Session(session) => {
                catch_unwind(AssertUnwindSafe(|| session.kill_query())).unwrap_or(false)
            }
        }
    }
}
