//! The header of a frame, decoded.

use gantry_message::{RequestId, ServiceNumber, Status};

/// Whether a frame asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// `Q`: from a caller to a node.
    Request,
    /// `R`: from a node to a caller.
    Reply,
}

impl FrameType {
    /// The byte in the header.
    pub const fn byte(self) -> u8 {
        match self {
            FrameType::Request => b'Q',
            FrameType::Reply => b'R',
        }
    }
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the body in bytes, 0 to 99,999,999.
    pub body_bytes: u32,
    /// The service asked for, or the one that answers; numbers below 10,000,000 are the platform's.
    pub service: ServiceNumber,
    /// Whether the frame asks or answers.
    pub frame_type: FrameType,
    /// The status code, 0 to 999, 0 in a request. A number, because a client may meet codes of a later
    /// version; [`Header::status`] gives the word.
    pub status_code: u16,
    /// How long the caller will wait, in milliseconds, 0 to 99,999,999; 0 = the service's own time-out.
    pub budget_ms: u32,
    /// The caller's name for the request.
    pub request_id: RequestId,
    /// CRC-32C of the body; `None` = not checked.
    ///
    /// The field's `00000000` means "not checked", so a body whose checksum is 0 cannot be protected (the
    /// empty body, and one in 2^32 of the others): `Some(0)` is sent as `00000000` and reads as `None`.
    pub checksum: Option<u32>,
}

impl Header {
    /// The header of a request; `checksum` is that of the body, or `None` for none.
    pub const fn request(
        service: ServiceNumber,
        request_id: RequestId,
        budget_ms: u32,
        body_bytes: u32,
        checksum: Option<u32>,
    ) -> Header {
        Header {
            body_bytes,
            service,
            frame_type: FrameType::Request,
            status_code: 0,
            budget_ms,
            request_id,
            checksum,
        }
    }

    /// The header of a reply; `checksum` is that of the body, and `None` when the request had none.
    ///
    /// A reply's time budget means nothing and is `00000000`.
    pub const fn reply(
        service: ServiceNumber,
        request_id: RequestId,
        status: Status,
        body_bytes: u32,
        checksum: Option<u32>,
    ) -> Header {
        Header {
            body_bytes,
            service,
            frame_type: FrameType::Reply,
            status_code: status.code(),
            budget_ms: 0,
            request_id,
            checksum,
        }
    }

    /// The status, or `None` if this version knows none with this code.
    pub fn status(&self) -> Option<Status> {
        Status::from_code(self.status_code)
    }

    /// Whether a body with this checksum is the one that was sent; always true when the header has none.
    pub fn admits_checksum(&self, computed: u32) -> bool {
        self.checksum.is_none_or(|expected| expected == computed)
    }
}
