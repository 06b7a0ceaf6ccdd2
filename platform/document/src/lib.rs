//! Document data sources: one interface over MongoDB, documents as BSON.
//!
//! A worker opens a [`Connection`] for each document source that its services name. Whoever is above it (the host table
//! `gantry.document/1`) hands in a [`Command`] as bytes and gets an [`Answer`] as bytes; nothing is parsed that the
//! server parses anyway.
//!
//! - [`Source`]: where it is; [`configure`] makes one from the configuration file, and nothing is opened before
//!   [`Source::connect`].
//! - [`Connection`]: one command at a time, each cut to a time limit; a transaction where the server has them.
//! - [`DocumentError`]: what went wrong, in the kinds that SQL sources have too.
//!
//! MongoDB is behind the feature `mongodb`. Its driver runs on one thread of this process, which is started by the first
//! `connect`: so never before a fork, and never in the supervisor.
//!
//! What it does not do: it knows no services and no requests, and never commits what its caller began.
#![forbid(unsafe_code)]

#[cfg_attr(not(feature = "mongodb"), allow(dead_code, reason = "only a driver looks into commands"))]
mod command;
mod configure;
mod connection;
mod error;
pub mod limits;
#[cfg(feature = "mongodb")]
pub mod mongodb;

pub use command::{Answer, Command, Documents, DocumentsFull, Operation};
pub use configure::configure;
pub use connection::{Access, Connection, Source};
pub use error::{DocumentError, ErrorKind};
