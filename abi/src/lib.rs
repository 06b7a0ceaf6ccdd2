//! The contract between the platform and a service library.
//!
//! A service library is a shared object that exports one symbol, `gantry_service_entry`, which gives
//! a static [`GantryLibrary`]: what the library is, its services, and the schema of its tables.
//! `include/gantry.h` is the same contract for C and C++; both are equal. No Rust type, panic or
//! allocation crosses the border: only `repr(C)` structs that carry their size, texts with a length,
//! and function pointers. So neither side needs to be compiled again when the other changes, and a
//! library built against version 1.x loads in every later 1.y.
//!
//! A service in Rust needs none of the C side. It implements [`Service`], and
//! [`export_library!`] does the rest:
//!
//! - [`Context`]: what is lent during a call: reply, [`Sql`], serials, log, time left;
//! - [`Context::call`]: another service, in the same transaction;
//! - [`ServiceError`]: a business error that the caller is told, or a failure;
//! - `Documents` (feature `document`): document data sources, with `bson`;
//! - `json` (feature `json`): members of a JSON request, with errors that name them.
//!
//! What it does not do: load libraries or call them. That is the platform's `gantry-service-host`.
//!
//! See [`export_library!`] for a whole library, and `README.md` for which change is compatible.

pub mod bytes;
pub mod call_table;
pub mod descriptor;
pub mod document_table;
pub mod host;
pub mod log_table;
pub mod serial_table;
pub mod sql_table;
pub mod status;

mod border;
mod call;
mod context;
#[cfg(feature = "document")]
mod document;
mod error;
#[doc(hidden)]
pub mod export;
#[cfg(feature = "json")]
pub mod json;
mod lent;
mod reply;
mod rows;
mod service;
mod sql;
mod value;

#[cfg(feature = "document")]
pub use bson;
pub use call::CallError;
pub use context::Context;
pub use descriptor::{GantryLibrary, GantryMigration, GantryService, Kind, migration};
#[cfg(feature = "document")]
pub use document::{Changed, Documents};
pub use error::{CreateError, SerialError, SerialErrorKind, ServiceError, SqlError, SqlErrorKind};
pub use reply::ReplyWriter;
pub use rows::{Row, Rows};
pub use service::{Host, Service};
pub use sql::{ROWS_MAX, Sql};
pub use status::Level;
pub use value::Value;
