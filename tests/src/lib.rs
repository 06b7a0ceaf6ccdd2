//! Harness of the whole-system tests: real nodes, real sockets, and a client written from the contract alone.
//!
//! Nothing here depends on the platform's crates. [`frame`] encodes and decodes frames from the text of the
//! protocol, [`Node`] runs the `gantry` binary with a state folder of its own, and [`until`] is how a test
//! waits: for a condition, with a watchdog, never for a length of time.
//!
//! ```no_run
//! use gantry_tests::{Node, NodeOptions};
//!
//! let node = Node::start(NodeOptions::small());
//! let mut client = node.client();
//! assert_eq!(client.call(19_000_001, "hello").done().body, b"hello");
//! ```
//!
//! The binary is `GANTRY_BIN`, or `release/gantry` in the target folder of the running test.
//! `GANTRY_TEST_BACKEND` (`sysv` or `posix`) chooses the kind of shared memory, `GANTRY_TEST_DATABASE` the kind of
//! database ([`Database::chosen`]), `GANTRY_SOAK=1` asks for the long versions.
#![forbid(unsafe_code)]

pub mod chaos;
mod client;
mod command;
mod crc32c;
mod database;
pub mod etc;
pub mod frame;
pub mod licence;
mod load;
pub mod memory;
mod node;
mod options;
mod plugin;
pub mod processes;
pub mod source;
mod status;
pub mod steps;
mod wait;

pub use client::Client;
pub use command::{Output, run_command};
pub use crc32c::crc32c;
pub use database::Database;
pub use frame::{Reply, Request, RequestId};
pub use load::{Answer, Load, Sent, tally};
pub use node::{Node, gantry_binary, repository_root};
pub use options::{Backend, NodeOptions};
pub use plugin::{compile_plugin, compile_program};
pub use status::{Process, Status};
pub use wait::{WATCHDOG, soak, until};
