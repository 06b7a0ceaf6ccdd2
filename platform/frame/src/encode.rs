//! Headers to bytes.

use gantry_message::{RequestId, ServiceNumber, Status};

use crate::layout::MAGIC;
use crate::{
    BODY_BYTES_MAX_CEILING, BUDGET_MS_MAX, Field, FrameType, HEADER_BYTES, Header, STATUS_CODE_MAX, checksum,
};

/// Why a header cannot be written as a frame of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body's length does not fit its 8 digits.
    #[error("a body of {body_bytes} bytes does not fit a frame, which has at most {BODY_BYTES_MAX_CEILING}")]
    BodyTooLong {
        /// Length of the body in bytes.
        body_bytes: u64,
    },
    /// The budget does not fit its 8 digits.
    #[error("a budget of {budget_ms} ms does not fit a frame: state at most {BUDGET_MS_MAX}, or 0 for none")]
    BudgetTooLong {
        /// The budget in milliseconds.
        budget_ms: u32,
    },
    /// The status does not fit its 3 digits.
    #[error("status {status_code} does not fit a frame, which has 3 digits for it")]
    StatusTooLarge {
        /// The status code.
        status_code: u16,
    },
    /// A request states a status other than 0.
    #[error("a request has status 000, not {status_code:03}: only replies have one")]
    RequestWithStatus {
        /// The status code.
        status_code: u16,
    },
}

/// Writes a header as the 64 bytes of a frame.
///
/// A checksum of `Some(0)` is written as `00000000` and reads as "not checked".
///
/// # Errors
/// [`EncodeError`] if a number does not fit its digits; `out` is then unchanged.
pub fn encode_header(header: &Header, out: &mut [u8; HEADER_BYTES]) -> Result<(), EncodeError> {
    check(header)?;
    out[Field::Magic.range()].copy_from_slice(MAGIC);
    write_decimal(&mut out[Field::BodyLength.range()], header.body_bytes);
    write_decimal(&mut out[Field::Service.range()], header.service.get());
    out[Field::Type.range()].fill(header.frame_type.byte());
    write_decimal(&mut out[Field::Status.range()], u32::from(header.status_code));
    write_decimal(&mut out[Field::Budget.range()], header.budget_ms);
    out[Field::RequestId.range()].copy_from_slice(header.request_id.as_bytes());
    write_hexadecimal(&mut out[Field::Checksum.range()], header.checksum.unwrap_or(0));
    Ok(())
}

/// The header of a request with this body; `with_checksum` computes the body's CRC-32C.
///
/// `budget_ms` is in milliseconds, 0 to 99,999,999; 0 leaves it to the service's own time-out. The node
/// sends a checksum with its reply when the request has one, which an empty body cannot ask for.
///
/// # Errors
/// [`EncodeError`] if the body or the budget does not fit its digits.
pub fn encode_request(
    service: ServiceNumber,
    request_id: RequestId,
    budget_ms: u32,
    body: &[u8],
    with_checksum: bool,
) -> Result<[u8; HEADER_BYTES], EncodeError> {
    let body_bytes = measure(body)?;
    let checksum = with_checksum.then(|| checksum(body));
    let mut out = [0; HEADER_BYTES];
    encode_header(&Header::request(service, request_id, budget_ms, body_bytes, checksum), &mut out)?;
    Ok(out)
}

/// The header of a reply with this body; `with_checksum` computes the body's CRC-32C, which a reply has
/// when its request had one.
///
/// # Errors
/// [`EncodeError::BodyTooLong`] if the body's length does not fit its digits.
pub fn encode_reply(
    service: ServiceNumber,
    request_id: RequestId,
    status: Status,
    body: &[u8],
    with_checksum: bool,
) -> Result<[u8; HEADER_BYTES], EncodeError> {
    let body_bytes = measure(body)?;
    let checksum = with_checksum.then(|| checksum(body));
    let mut out = [0; HEADER_BYTES];
    encode_header(&Header::reply(service, request_id, status, body_bytes, checksum), &mut out)?;
    Ok(out)
}

/// The length of a body, checked before its checksum is computed.
fn measure(body: &[u8]) -> Result<u32, EncodeError> {
    match u32::try_from(body.len()) {
        Ok(body_bytes) if body_bytes <= BODY_BYTES_MAX_CEILING => Ok(body_bytes),
        _ => Err(EncodeError::BodyTooLong { body_bytes: body.len() as u64 }),
    }
}

fn check(header: &Header) -> Result<(), EncodeError> {
    let Header { body_bytes, budget_ms, status_code, .. } = *header;
    if body_bytes > BODY_BYTES_MAX_CEILING {
        return Err(EncodeError::BodyTooLong { body_bytes: u64::from(body_bytes) });
    }
    if budget_ms > BUDGET_MS_MAX {
        return Err(EncodeError::BudgetTooLong { budget_ms });
    }
    if header.frame_type == FrameType::Request && status_code != 0 {
        return Err(EncodeError::RequestWithStatus { status_code });
    }
    if status_code > STATUS_CODE_MAX {
        return Err(EncodeError::StatusTooLarge { status_code });
    }
    Ok(())
}

/// Fills `out` with the last digits of a number, with leading zeros.
fn write_decimal(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        // The remainder is at most 9.
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Fills `out` with the last lowercase hexadecimal digits of a number, with leading zeros.
fn write_hexadecimal(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xF) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_that_does_not_fit_its_digits_is_refused_and_writes_nothing() {
        let good =
            Header::request(ServiceNumber::MAX, RequestId::ZERO, BUDGET_MS_MAX, BODY_BYTES_MAX_CEILING, None);
        let reply = Header::reply(ServiceNumber::MAX, RequestId::ZERO, Status::Done, 0, None);
        let encode = |header: Header| {
            let mut out = [b'x'; HEADER_BYTES];
            let result = encode_header(&header, &mut out);
            assert_eq!(result.is_err(), out == [b'x'; HEADER_BYTES]);
            result
        };
        assert_eq!(encode(good), Ok(()));
        assert_eq!(
            encode(Header { body_bytes: 100_000_000, ..good }),
            Err(EncodeError::BodyTooLong { body_bytes: 100_000_000 })
        );
        assert_eq!(
            encode(Header { budget_ms: 100_000_000, ..good }),
            Err(EncodeError::BudgetTooLong { budget_ms: 100_000_000 })
        );
        assert_eq!(
            encode(Header { status_code: 304, ..good }),
            Err(EncodeError::RequestWithStatus { status_code: 304 })
        );
        assert_eq!(encode(Header { status_code: 999, ..reply }), Ok(()));
        assert_eq!(
            encode(Header { status_code: 1000, ..reply }),
            Err(EncodeError::StatusTooLarge { status_code: 1000 })
        );
    }
}
