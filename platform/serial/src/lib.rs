//! Serial numbers: unique for ever, drawn from ranges leased in the database.
//!
//! Uniqueness rests on one table, `gantry_serial`: a range is taken by adding its length to `next_value` in one
//! atomic statement, and what was added once is never added again. A process gives numbers out of its ranges
//! without asking the database, and forgets what is left of them when it ends: gaps are allowed, repeats never.
//!
//! Two caches lie between the database and a process, and both may lose numbers and never repeat one: lists in Redis
//! that all nodes share, and ranges in the node's memory that all its workers share. `README.md` beside this crate goes
//! through what may fail, and why no number comes twice.
//!
//! - [`Serials`]: draws; a worker's come from [`SharedSerials::of_worker`], which takes its place in the node's memory
//!   ([`NodeCache`]) and the Redis servers of the settings.
//! - [`SharedSerials::top_up`]: fills up, between requests.
//! - [`status`], [`raise`], [`switch`]: what the commands `gantry serial …` do.
//! - [`prepare_table`]: the tables.
//!
//! A range leased inside a caller's transaction comes undone when that is rolled back, and another process may
//! lease it then. So [`Serials`] must be told how a transaction ended; see [`SharedSerials::next`].
//!
//! What it does not do: it begins a transaction only where the caller has none, and it orders nothing between
//! processes.
//!
//! ```
//! use gantry_datasource::{Access, Source, SqliteOptions, SqliteSource};
//! use gantry_serials::{SerialType, Serials, prepare_table};
//! use gantry_settings::SerialFormat;
//! use std::time::Duration;
//!
//! let folder = tempfile::tempdir()?;
//! let source = SqliteSource::new("main", SqliteOptions::new(folder.path().join("data.db")));
//! let mut connection = source.connect(Access::ReadWrite)?;
//! prepare_table(&mut *connection)?;
//!
//! let format = SerialFormat::parse("R{date}{seq:10}")?;
//! let recharge = SerialType { name: "recharge".into(), range: 1_000, format };
//! let mut serials = Serials::new(&[recharge])?;
//! let drawn = serials.next(&mut *connection, "recharge", 2, 1_767_225_600_000, Duration::from_secs(5))?;
//! assert_eq!(drawn, ["R202601010000000001", "R202601010000000002"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod account;
pub mod cell;
mod error;
mod fold;
mod kind;
mod lease;
pub mod limits;
mod node;
mod raise;
mod redis;
mod report;
mod serials;
mod status;
mod supply;
mod tables;
mod top_up;

pub use error::SerialError;
pub use node::{NodeCache, ServerName};
pub use raise::{Raised, raise, switch};
pub use serials::{Mark, SerialType, Serials, SharedSerials};
pub use status::{Gap, SerialStatus, ServerStatus, TypeStatus, status};
pub use tables::{missing_table_steps, prepare_table};
