//! Words that every part of the platform shares: numbers, ids, statuses, deadlines.
//!
//! Each type can hold only what the protocol allows, so a value that exists was checked once, where it
//! came in, and nobody checks it again. The crate knows no bytes of a socket (that is `gantry-frame`), no
//! shared memory and no database; it depends on nothing else of the platform.
//!
//! ```
//! use gantry_message::{Deadline, Executed, RequestId, ServiceNumber, Status};
//!
//! let service: ServiceNumber = "20000004".parse()?;
//! assert_eq!(service.to_string(), "20000004");
//! assert!(ServiceNumber::PING.is_platform());
//!
//! let id: RequestId = "till-07.2024-05-01.00042".parse()?;
//! assert_eq!(id.as_bytes().len(), 24);
//!
//! assert_eq!(Status::WorkerLost.executed(), Executed::Unknown);
//! assert_eq!(Status::ReadQueueOverThreshold.to_string(), "201 refused: read queue over its threshold");
//!
//! // The caller waits 300 ms, the service would be given 15 s: the caller's budget counts.
//! let deadline = Deadline::from_arrival(1_000_000, 300, 15_000);
//! assert_eq!(deadline.at_ns(), 301_000_000);
//! # Ok::<(), gantry_message::MessageError>(())
//! ```
#![forbid(unsafe_code)]

mod caller_name;
mod deadline;
mod error;
mod kind;
pub mod outcome;
mod request_id;
mod service_number;
mod status;

pub use caller_name::{CALLER_NAME_BYTES_MAX, CallerName};
pub use deadline::Deadline;
pub use error::{MessageError, RequestIdError};
pub use kind::{Kind, Policy, Queue};
pub use request_id::{REQUEST_ID_BYTES, RequestId};
pub use service_number::ServiceNumber;
pub use status::{Executed, Status};
