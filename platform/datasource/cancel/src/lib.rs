//! One thing that `odbc-api` does not offer: to cancel a statement from another thread.
//!
//! A [`Statement`] is prepared and run by one thread; its [`Canceller`] may be used by any other, at any time, also
//! when the statement is long gone. It is a crate of its own so that the unsafe call behind it has an address, and
//! the data sources forbid unsafe code as before.
//!
//! What it does not do: it knows no time limits; who cancels when is decided by the data source's watchdog.

mod statement;

pub use statement::{Canceller, Statement};
