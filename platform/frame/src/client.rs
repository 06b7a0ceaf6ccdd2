//! A small blocking client: one request out, one reply in, over anything that writes and reads.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use gantry_message::{RequestId, ServiceNumber, Status};

use crate::{
    BODY_BYTES_MAX_CEILING, DecodeError, Decoded, EncodeError, HEADER_BYTES, Header, Limits, checksum,
    decode_reply, encode_request,
};

/// The most that is reserved for a body before any of it has arrived, in bytes; beyond it memory grows with
/// what arrives, so a header alone cannot make a client reserve 100 MB.
const BODY_BYTES_RESERVED_MAX: u32 = 64 * 1024;

/// A request to send.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The service asked for.
    pub service: ServiceNumber,
    /// The caller's name for the request, used for no other request.
    pub request_id: RequestId,
    /// How long the caller will wait, in milliseconds, 0 to 99,999,999; 0 = the service's own time-out.
    pub budget_ms: u32,
    /// The body, up to the node's limit.
    pub body: &'a [u8],
    /// Whether to send a checksum, and so to ask for one with the reply.
    pub with_checksum: bool,
}

/// A reply that arrived whole, its checksum verified if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The header.
    pub header: Header,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The status, or `None` if this version knows none with the header's code.
    pub fn status(&self) -> Option<Status> {
        self.header.status()
    }
}

/// Why a request could not be sent or no reply was received.
///
/// After each of these but [`ClientError::Encode`] and [`ClientError::ChecksumWrong`] the connection is at no
/// frame's beginning any more: close it, and learn by a repeat with the same request id what became of the request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request does not fit a frame; nothing was sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Writing failed, perhaps in the middle of the request.
    #[error("the request could not be sent")]
    Send {
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Reading failed, perhaps in the middle of the reply. A read time-out of the socket is one of these.
    #[error("no reply could be read")]
    Receive {
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The other side closed the connection before a reply began.
    #[error("the connection was closed before a reply came: repeat the request with the same id")]
    Closed,
    /// The other side closed the connection in the middle of a reply.
    #[error(
        "the connection was closed after {received_bytes} of the reply's {expected_bytes} bytes: \
         repeat the request with the same id"
    )]
    Truncated {
        /// Bytes of the frame that arrived.
        received_bytes: u64,
        /// Bytes of the whole frame as far as known: 64 until the header is whole, then header and body.
        expected_bytes: u64,
    },
    /// What arrived is no reply, or its body is over the limit.
    #[error("the reply cannot be understood (is this the port of a Gantry node?)")]
    Decode(#[from] DecodeError),
    /// The reply's body is not the one that was sent. The whole frame was read: the connection can go on.
    #[error(
        "the reply's body has checksum {computed:08x}, its header says {expected:08x}: ask again with the same id"
    )]
    ChecksumWrong {
        /// The checksum in the header.
        expected: u32,
        /// The checksum of the body that arrived.
        computed: u32,
    },
}

/// Sends a request. Blocks until the writer has taken all of it.
///
/// Header and body go out in one vectored write where the writer can, so that a socket sends them together.
/// It does not flush: whoever buffers to send several requests at once does that.
///
/// # Errors
/// [`ClientError::Encode`]: nothing was sent. [`ClientError::Send`]: a part may have been.
pub fn write_request<W: Write + ?Sized>(writer: &mut W, request: &Request<'_>) -> Result<(), ClientError> {
    let Request { service, request_id, budget_ms, body, with_checksum } = *request;
    let header = encode_request(service, request_id, budget_ms, body, with_checksum)?;
    write_both(writer, &header, body).map_err(|cause| ClientError::Send { cause })
}

/// Receives the next reply, whichever request it answers, with a body of any length that a frame can state.
///
/// As [`read_reply_within`] with the protocol's own limit of 99,999,999 bytes, since a client does not know
/// the node's.
///
/// # Errors
/// As [`read_reply_within`].
pub fn read_reply<R: Read + ?Sized>(reader: &mut R) -> Result<Reply, ClientError> {
    read_reply_within(reader, &Limits { body_bytes_max: BODY_BYTES_MAX_CEILING })
}

/// Receives the next reply, whichever request it answers. Blocks until it is whole; set the reader's own
/// time-out to bound that.
///
/// Reads exactly one frame and not a byte of the next. Memory grows with what arrives, up to
/// `limits.body_bytes_max`.
///
/// # Errors
/// Any [`ClientError`] but `Encode` and `Send`. Bytes that are no reply are reported at the first wrong one.
pub fn read_reply_within<R: Read + ?Sized>(reader: &mut R, limits: &Limits) -> Result<Reply, ClientError> {
    let header = read_header(reader, limits)?;
    let body = read_body(reader, header.body_bytes)?;
    if let Some(expected) = header.checksum {
        let computed = checksum(&body);
        if computed != expected {
            return Err(ClientError::ChecksumWrong { expected, computed });
        }
    }
    Ok(Reply { header, body })
}

fn read_header<R: Read + ?Sized>(reader: &mut R, limits: &Limits) -> Result<Header, ClientError> {
    let mut bytes = [0; HEADER_BYTES];
    let mut received = 0;
    loop {
        // Decoded after every read: a server of another protocol may wait for us after a few bytes.
        if let Decoded::Header(header) = decode_reply(&bytes[..received], limits)? {
            return Ok(header);
        }
        match reader.read(&mut bytes[received..]) {
            Ok(0) if received == 0 => return Err(ClientError::Closed),
            Ok(0) => {
                return Err(ClientError::Truncated {
                    received_bytes: received as u64,
                    expected_bytes: HEADER_BYTES as u64,
                });
            }
            Ok(more) => received += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(cause) => return Err(ClientError::Receive { cause }),
        }
    }
}

fn read_body<R: Read + ?Sized>(reader: &mut R, body_bytes: u32) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::with_capacity(body_bytes.min(BODY_BYTES_RESERVED_MAX) as usize);
    let received = reader
        .take(u64::from(body_bytes))
        .read_to_end(&mut body)
        .map_err(|cause| ClientError::Receive { cause })?;
    if received < body_bytes as usize {
        return Err(ClientError::Truncated {
            received_bytes: (HEADER_BYTES + received) as u64,
            expected_bytes: HEADER_BYTES as u64 + u64::from(body_bytes),
        });
    }
    Ok(body)
}

fn write_both<W: Write + ?Sized>(writer: &mut W, header: &[u8], body: &[u8]) -> io::Result<()> {
    let mut both = [IoSlice::new(header), IoSlice::new(body)];
    let mut left = both.as_mut_slice();
    while !left.is_empty() {
        match writer.write_vectored(left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            // Also drops a body that is empty, which no write would ever take.
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}
