//! Data sources: one SQL interface over the database drivers.
//!
//! A worker opens a [`Connection`] for each data source that its services name, and everything above it (the
//! host table of the services, migrations, the table of requests, serial numbers) is written against that trait.
//! Embedded SQLite ([`SqliteSource`]) is always there; DB2, PostgreSQL and MariaDB come over ODBC with the feature
//! `odbc`. They stand side by side behind the same trait, and `tests/conformance` holds each of them to the same
//! promises. [`configure`] makes either from the configuration file.
//!
//! - [`Connection`]: transactions, savepoints, statements with bound parameters, each cut to a time limit.
//! - [`Dialect`]: portable SQL text with escapes such as `{limit ?}` where databases differ.
//! - [`migrate`]: brings the tables of a library, or of the platform, up to date.
//! - [`requests`]: makes writes take effect once, by a row written in the write's own transaction.
//! - [`Pool`]: keeps a connection between requests and replaces a broken one.
//!
//! What it does not do: it knows no services and no requests in shared memory, and it never commits by itself what
//! its caller began.
//!
//! ```
//! use gantry_datasource::{Access, Connection, Mode, Source, SqliteOptions, SqliteSource, ValueRef};
//! use std::time::Duration;
//!
//! let folder = tempfile::tempdir()?;
//! let source = SqliteSource::new("main", SqliteOptions::new(folder.path().join("data.db")));
//! let mut connection = source.connect(Access::ReadWrite)?;
//! let limit = Duration::from_secs(5);
//!
//! connection.begin(Mode::Write, limit)?;
//! connection.execute("CREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY, owner VARCHAR(40))", &[], limit)?;
//! connection.execute("INSERT INTO account VALUES (?, ?)", &[7.into(), "李明".into()], limit)?;
//! connection.commit()?;
//!
//! let rows = connection.query("SELECT owner FROM account ORDER BY id {limit ?}", &[10.into()], 10, limit)?;
//! assert_eq!(rows.value(0, 0), ValueRef::Text("李明"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod configure;
mod connection;
mod dialect;
mod error;
pub mod limits;
mod migrate;
#[cfg(feature = "odbc")]
pub mod odbc;
mod pool;
pub mod requests;
mod result_set;
mod sqlite;
mod statement;
mod value;

pub use configure::{configure, trap};
pub use connection::{Access, Connection, Mode, Source, TransactionState, insert_unless_present};
pub use dialect::{Dialect, DialectError};
pub use error::{ConstraintKind, ErrorKind, SourceError, Sqlstate};
pub use migrate::{Migration, migrate, missing_steps};
#[cfg(feature = "odbc")]
pub use odbc::{OdbcConnection, OdbcOptions, OdbcSource};
pub use pool::Pool;
pub use result_set::{ResultSet, ResultSetBuilder, TooLarge};
pub use sqlite::{SqliteConnection, SqliteOptions, SqliteSource, Synchronous};
pub use statement::{PortableStatement, Verb};
pub use value::{Value, ValueRef};
