//! Bytes to headers.

use gantry_message::{RequestId, ServiceNumber, Status};

use crate::layout::{Allowed, REPLY, REQUEST};
use crate::{Field, FrameType, HEADER_BYTES, Header, Limits};

/// What the bytes so far amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// All bytes so far are right, but the header is not whole yet.
    Incomplete,
    /// The header; its body follows after the 64 bytes.
    Header(Header),
}

/// Why no request or reply begins with these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A byte is not what may stand there. Where the next frame begins is unknown: close the connection.
    #[error(
        "malformed frame: byte {position} of the header is 0x{byte:02x}, in the {field}, \
         where a frame of version 1 has {}", field.content(*expected)
    )]
    Malformed {
        /// Where the first wrong byte stands, 0 to 63.
        position: usize,
        /// The wrong byte.
        byte: u8,
        /// The field in which it stands.
        field: Field,
        /// What was decoded: requests, or replies.
        expected: FrameType,
        /// The service number, if it stands before the wrong byte.
        service: Option<ServiceNumber>,
        /// The request id, if it stands before the wrong byte.
        request_id: Option<RequestId>,
    },
    /// The header is well-formed, but its body is longer than the limit.
    #[error("the frame's body of {} bytes is over the limit of {limit_bytes} bytes", header.body_bytes)]
    BodyTooLarge {
        /// The whole header.
        header: Header,
        /// The limit, in bytes.
        limit_bytes: u32,
    },
}

impl DecodeError {
    /// The status to reply with: 101 or 104.
    pub const fn status(&self) -> Status {
        match self {
            DecodeError::Malformed { .. } => Status::Malformed,
            DecodeError::BodyTooLarge { .. } => Status::BodyTooLarge,
        }
    }

    /// The service number, if it could be read; the reply has [`ServiceNumber::ZERO`] otherwise.
    pub const fn service(&self) -> Option<ServiceNumber> {
        match self {
            DecodeError::Malformed { service, .. } => *service,
            DecodeError::BodyTooLarge { header, .. } => Some(header.service),
        }
    }

    /// The request id, if it could be read; the reply has [`RequestId::ZERO`] otherwise.
    pub const fn request_id(&self) -> Option<RequestId> {
        match self {
            DecodeError::Malformed { request_id, .. } => *request_id,
            DecodeError::BodyTooLarge { header, .. } => Some(header.request_id),
        }
    }

    /// Where the wrong byte stands, 0 to 63; for a body over the limit, where its length begins.
    pub const fn position(&self) -> usize {
        match self {
            DecodeError::Malformed { position, .. } => *position,
            DecodeError::BodyTooLarge { .. } => Field::BodyLength.range().start,
        }
    }

    /// Whether the request is known to have a checksum, so that the reply must have one. A malformed header
    /// is wrong before its checksum is whole, so its reply has none.
    pub const fn wants_checksum(&self) -> bool {
        match self {
            DecodeError::Malformed { .. } => false,
            DecodeError::BodyTooLarge { header, .. } => header.checksum.is_some(),
        }
    }
}

/// Decodes the header of a request from its first bytes, as many as there are.
///
/// `prefix` begins where the frame begins and may have any length; what is past the header's 64 bytes is
/// not looked at. Call it again with a longer prefix when more bytes have arrived: each call looks at all of
/// them anew, which for 64 bytes is cheaper than keeping a state. The answer depends only on the bytes up to
/// the first wrong one, never on how they were split.
///
/// # Errors
/// [`DecodeError::Malformed`] at the first wrong byte, even if the header is not whole: whoever sent it gets
/// the answer at once. The service number and request id are given when they stand before that byte: what
/// stands after it may not have arrived yet, and one frame must not have two answers. So a wrong magic, body
/// length or service number leaves both unknown, a wrong type, status, budget or request id leaves the
/// request id unknown, and a wrong checksum leaves neither.
///
/// [`DecodeError::BodyTooLarge`] when the whole header is there and well-formed but its body is longer than
/// `limits` allows. It waits for the whole header because a malformed byte anywhere comes first, and the
/// reply is to name the request.
pub fn decode_request(prefix: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    decode(prefix, FrameType::Request, &REQUEST, limits)
}

/// Decodes the header of a reply from its first bytes, for clients; otherwise as [`decode_request`].
///
/// Any three digits are a status, so that a client understands nodes of a later version.
///
/// # Errors
/// As [`decode_request`].
pub fn decode_reply(prefix: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    decode(prefix, FrameType::Reply, &REPLY, limits)
}

fn decode(
    prefix: &[u8],
    frame_type: FrameType,
    allowed: &Allowed,
    limits: &Limits,
) -> Result<Decoded, DecodeError> {
    if let Some(position) = allowed.first_wrong(prefix) {
        return Err(malformed(prefix, position, frame_type));
    }
    let Some(bytes) = prefix.first_chunk() else {
        return Ok(Decoded::Incomplete);
    };
    let header = read_fields(bytes, frame_type);
    if header.body_bytes > limits.body_bytes_max {
        return Err(DecodeError::BodyTooLarge { header, limit_bytes: limits.body_bytes_max });
    }
    Ok(Decoded::Header(header))
}

/// Describes the wrong byte at `position`; all bytes before it are right.
fn malformed(prefix: &[u8], position: usize, expected: FrameType) -> DecodeError {
    let field = Field::ALL
        .into_iter()
        .find(|field| field.range().contains(&position))
        .expect("the fields fill the header, and the wrong byte is inside it");
    let right = &prefix[..position];
    DecodeError::Malformed {
        position,
        byte: prefix[position],
        field,
        expected,
        service: right.get(Field::Service.range()).map(read_service),
        request_id: right.get(Field::RequestId.range()).map(read_request_id),
    }
}

/// Reads the fields of a header that is known to be well-formed.
fn read_fields(bytes: &[u8; HEADER_BYTES], frame_type: FrameType) -> Header {
    let number = |field: Field| read_decimal(&bytes[field.range()]);
    // Three digits: at most 999.
    let status_code = number(Field::Status) as u16;
    let checksum = read_hexadecimal(&bytes[Field::Checksum.range()]);
    Header {
        body_bytes: number(Field::BodyLength),
        service: read_service(&bytes[Field::Service.range()]),
        frame_type,
        status_code,
        budget_ms: number(Field::Budget),
        request_id: read_request_id(&bytes[Field::RequestId.range()]),
        checksum: (checksum != 0).then_some(checksum),
    }
}

fn read_service(digits: &[u8]) -> ServiceNumber {
    ServiceNumber::new(read_decimal(digits)).expect("8 digits are at most 99999999")
}

fn read_request_id(bytes: &[u8]) -> RequestId {
    let bytes = bytes.try_into().expect("the field has 24 bytes");
    RequestId::new(bytes).expect("the header was found well-formed up to here")
}

/// At most 8 decimal digits as a number.
fn read_decimal(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// At most 8 lowercase hexadecimal digits as a number.
fn read_hexadecimal(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| {
        let value = if *digit >= b'a' { digit - b'a' + 10 } else { digit - b'0' };
        number << 4 | u32::from(value)
    })
}
