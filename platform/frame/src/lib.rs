//! The fixed-format frame, version 1: bytes of a socket to messages and back.
//!
//! A frame is a header of 64 ASCII bytes and a body that the platform does not look into; `README.md`
//! beside this crate has the table. Decoding and encoding are pure functions over slices: they allocate
//! nothing, keep nothing between calls and never read past what they are given. [`decode_request`] may be
//! called with any beginning of a header, as often as more bytes arrive; a malformed frame is reported at
//! its first wrong byte, however the bytes were split on their way.
//!
//! The crate owns no socket and no time-out, and checks nothing that needs the platform's state: whether
//! the service exists, whether the caller may call it. [`read_reply`] and [`write_request`] are the
//! blocking client that the command line and the tests use.
//!
//! ```
//! use gantry_frame::{Decoded, Limits, decode_request, encode_reply, encode_request};
//! use gantry_message::{RequestId, ServiceNumber, Status};
//!
//! let service: ServiceNumber = "10000002".parse()?;
//! let id: RequestId = "till-07.2024-05-01.00042".parse()?;
//! let body = br#"{"account":"A1"}"#;
//!
//! let header = encode_request(service, id, 300, body, true)?;
//! assert_eq!(&header[..24], b"ETC10000001610000002Q000");
//!
//! // The first 40 bytes arrive, then all.
//! let limits = Limits::default();
//! assert_eq!(decode_request(&header[..40], &limits)?, Decoded::Incomplete);
//! let Decoded::Header(decoded) = decode_request(&header, &limits)? else { panic!("the header is whole") };
//! assert_eq!((decoded.service, decoded.body_bytes, decoded.budget_ms), (service, 16, 300));
//!
//! // The node answers, with a checksum because the request had one.
//! let reply = encode_reply(decoded.service, decoded.request_id, Status::Done, b"{}", decoded.checksum.is_some())?;
//! assert_eq!(&reply[20..24], b"R000");
//!
//! // Wrong bytes are known at once, and the reply names the service because it had been read by then.
//! let error = decode_request(b"ETC10000001610000002X", &limits).unwrap_err();
//! assert_eq!((error.status(), error.position(), error.service()), (Status::Malformed, 20, Some(service)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod checksum;
mod client;
mod decode;
mod encode;
mod header;
mod layout;
mod limits;

pub use checksum::{Checksum, checksum};
pub use client::{ClientError, Reply, Request, read_reply, read_reply_within, write_request};
pub use decode::{DecodeError, Decoded, decode_reply, decode_request};
pub use encode::{EncodeError, encode_header, encode_reply, encode_request};
pub use header::{FrameType, Header};
pub use layout::Field;
pub use limits::{
    BODY_BYTES_MAX_CEILING, BODY_BYTES_MAX_DEFAULT, BUDGET_MS_MAX, HEADER_BYTES, Limits, STATUS_CODE_MAX,
};
