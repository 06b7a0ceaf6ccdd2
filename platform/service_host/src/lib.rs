//! Loads service libraries and calls the services in them: the platform's side of `gantry-abi`.
//!
//! - [`probe`] tries a library out in a process of its own and gives its [`Description`];
//! - [`Container`] is what a worker serves: from a service number to an [`Instance`], swapped between
//!   requests;
//! - [`call`] runs one request on an instance. What the service is lent comes from a [`Lender`], which the
//!   worker implements; this crate turns it into the C tables of the contract and back, checks what crosses,
//!   and lets no panic through.
//!
//! What it does not do: choose libraries, keep the registry, open data sources or shared memory. A library
//! that was loaded is never unloaded: workers that hold too many are replaced.
//!
//! What is believed of a library: that its pointers point to what they should. All else is checked. A handle
//! (`GantryCall*`, `GantryRows*`) is a number and not an address, so one that is used too late or on another
//! thread is refused. A service that writes where it should not takes its worker down, and only that.

mod call;
mod check;
mod container;
mod description;
mod elf;
mod environment;
mod error;
mod host;
mod host_call;
mod host_document;
mod host_serial;
mod host_sql;
mod lender;
pub mod limits;
mod loader;
mod probe;
mod running;

pub use call::{Instance, Outcome, business_body, call};
pub use container::Container;
pub use description::{Description, MigrationDescription, ServiceDescription};
pub use environment::{Bare, Environment, Missing, Need};
pub use error::LoadError;
pub use gantry_abi::{Level, SerialError, SerialErrorKind, SqlError, SqlErrorKind};
pub use lender::{
    DocumentAnswer, DocumentCommand, InnerRefusal, Lender, NothingLent, ReplyError, RequestView, ResultSet,
    SourceKind, SqlValue, is_log_enabled, log,
};
pub use loader::{Library, Loader};
pub use probe::{describe, probe};
