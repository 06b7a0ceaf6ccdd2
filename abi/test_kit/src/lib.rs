//! Tests a service library inside the test's own process, without a platform.
//!
//! A [`Kit`] is what a worker is in production, for the one library that is linked into the test: it makes the
//! instances from their configuration, brings the tables of the library up to date in an empty SQLite database of its
//! own, and runs calls through the same C border. A call that ends well is committed, every other one rolled back; a
//! service of kind read cannot write.
//!
//! - [`Kit::call`]: one request, with a [`Reply`] to look at;
//! - [`Kit::execute`] and [`Kit::rows`]: what a test puts into the tables, and finds there;
//! - [`Kit::fail_statements`], [`Kit::set_time_left`]: what goes wrong in production.
//!
//! What it does not do: repeats of a request id (the platform answers those before a service is called), several calls
//! at a time, other databases than SQLite. Tests on a real node show those.
//!
//! ```
//! # use gantry_abi::{Context, CreateError, Host, Service, ServiceError};
//! # struct Echo;
//! # impl Service for Echo {
//! #     fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> { Ok(Self) }
//! #     fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> { context.reply(request) }
//! # }
//! # gantry_abi::export_library! {
//! #     name: "echo", version: "1", migrations: [],
//! #     services: [{ number: 19990001, kind: Read, name: "echo", service: Echo, description: "", sources: [] }],
//! # }
//! use gantry_test_kit::Kit;
//!
//! // In the library's own crate, below `#[cfg(test)]`; `export_library!` is what the kit finds.
//! let mut kit = Kit::new()?;
//! let reply = kit.call(19990001, b"hello");
//! assert_eq!((reply.status.code(), &reply.body[..]), (0, &b"hello"[..]));
//! # Ok::<(), gantry_test_kit::KitError>(())
//! ```

mod entry;
mod error;
mod kit;
mod lent;
mod reply;

pub use error::KitError;
pub use gantry_datasource::Value;
pub use kit::Kit;
pub use reply::Reply;
