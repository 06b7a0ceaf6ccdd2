//! MongoDB, by the official driver.
//!
//! Commands are sent as they are (`find`, `insert`, `update` …) and not through the driver's collections: so each of them
//! carries its own time limit, no document is parsed on the way, and nothing is repeated behind the platform's back,
//! which runs a whole request again or not at all. The driver's asynchronous side is used, on one thread of its own: a
//! future can be left when the time is over, which its blocking side has no way to do. What it left behind is thrown
//! away with the connection.

mod connection;
mod failure;
mod reply;
mod request;
mod runtime;
mod source;

pub use source::MongoSource;
