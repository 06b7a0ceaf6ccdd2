//! Real servers for the tests: Debian's PostgreSQL, MariaDB, Redis and nginx, and a MongoDB from PyPI, each with an address of the loopback and a
//! temporary folder of its own.
//!
//! A server ends when its value goes, also when the test fails, and when the test's process dies. Run as root, which
//! database servers refuse, it drops to a user without rights. Nothing of the machine's own servers is touched.
//!
//! ```no_run
//! use gantry_test_servers::{Kind, Server};
//!
//! let server = Server::start(Kind::Postgres);
//! server.create_database("books");
//! assert_eq!(server.sql("books", "SELECT 1 + 1").trim(), "2");
//! ```
//!
//! The program `with-server` runs a command beside a server that all its tests share.
#![forbid(unsafe_code)]

mod mongo;
mod nginx;
mod process;
mod redis;
mod server;

pub use mongo::MongoServer;
pub use nginx::Nginx;
pub use redis::RedisServer;
pub use server::{CONNECTIONS_MAX, Kind, Server};
