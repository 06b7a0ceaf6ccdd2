//! The blocking client against readers and writers that behave as badly as sockets do.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use gantry_frame::{
    ClientError, DecodeError, Decoded, HEADER_BYTES, Limits, Request, decode_request, encode_reply,
    read_reply, read_reply_within, write_request,
};
use gantry_message::{RequestId, ServiceNumber, Status};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies;

/// Gives a few bytes per read, with an interruption before each, and then the end or an error.
struct Dribble<'a> {
    bytes: &'a [u8],
    piece_bytes: usize,
    interrupted: bool,
    at_end: Option<ErrorKind>,
}

impl<'a> Dribble<'a> {
    fn new(bytes: &'a [u8], piece_bytes: usize) -> Self {
        Dribble { bytes, piece_bytes, interrupted: false, at_end: None }
    }
}

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.bytes.is_empty()
            && let Some(kind) = self.at_end
        {
            return Err(kind.into());
        }
        let length = buffer.len().min(self.piece_bytes);
        self.bytes.read(&mut buffer[..length])
    }
}

/// Takes a few bytes per write, with an interruption before each, across the slices it is given.
struct Trickle {
    bytes: Vec<u8>,
    piece_bytes: usize,
    interrupted: bool,
}

impl Write for Trickle {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buffer)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        let before = self.bytes.len();
        let taken = slices.iter().flat_map(|slice| slice.iter()).take(self.piece_bytes);
        self.bytes.extend(taken);
        Ok(self.bytes.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reply_bytes(body: &[u8], with_checksum: bool) -> Vec<u8> {
    let header = encode_reply(ServiceNumber::PING, RequestId::ZERO, Status::Done, body, with_checksum)
        .expect("the body is short");
    [&header, body].concat()
}

proptest! {
    #[test]
    fn request_written_in_pieces_is_header_then_body(
        service in strategies::service_numbers(),
        request_id in strategies::request_ids(),
        budget_ms in 0..=99_999_999_u32,
        body in vec(any::<u8>(), 0..300),
        with_checksum: bool,
        piece_bytes in 1..200_usize,
    ) {
        let request = Request { service, request_id, budget_ms, body: &body, with_checksum };
        let mut writer = Trickle { bytes: Vec::new(), piece_bytes, interrupted: false };
        write_request(&mut writer, &request).unwrap();
        let Ok(Decoded::Header(header)) = decode_request(&writer.bytes, &Limits::default()) else {
            return Err(TestCaseError::fail("the header is not right"));
        };
        prop_assert_eq!(&writer.bytes[HEADER_BYTES..], body.as_slice());
        prop_assert_eq!(
            (header.service, header.request_id, header.budget_ms, header.body_bytes as usize),
            (service, request_id, budget_ms, body.len())
        );
        prop_assert_eq!(header.checksum.is_some(), with_checksum && gantry_frame::checksum(&body) != 0);
        prop_assert!(header.admits_checksum(gantry_frame::checksum(&body)));
    }

    #[test]
    fn replies_read_in_pieces_come_one_by_one_and_not_a_byte_further(
        bodies in vec(vec(any::<u8>(), 0..300), 1..4),
        with_checksum: bool,
        piece_bytes in 1..200_usize,
    ) {
        let bytes: Vec<u8> = bodies.iter().flat_map(|body| reply_bytes(body, with_checksum)).collect();
        let mut left_bytes = bytes.len();
        let mut reader = Dribble::new(&bytes, piece_bytes);
        for body in &bodies {
            let reply = read_reply(&mut reader).unwrap();
            prop_assert_eq!(&reply.body, body);
            prop_assert_eq!(reply.status(), Some(Status::Done));
            left_bytes -= HEADER_BYTES + body.len();
            prop_assert_eq!(reader.bytes.len(), left_bytes);
        }
        prop_assert!(matches!(read_reply(&mut reader), Err(ClientError::Closed)));
    }
}

#[test]
fn reply_cut_off_anywhere_is_truncated_with_the_bytes_that_came() {
    let bytes = reply_bytes(b"0123456789", true);
    for length in 1..bytes.len() {
        let mut reader = Dribble::new(&bytes[..length], 7);
        let Err(ClientError::Truncated { received_bytes, expected_bytes }) = read_reply(&mut reader) else {
            panic!("a reply of {length} bytes was taken");
        };
        assert_eq!(received_bytes, length as u64);
        assert_eq!(expected_bytes, if length < HEADER_BYTES { 64 } else { 74 });
    }
}

#[test]
fn read_timeout_anywhere_is_an_error_with_its_cause() {
    let bytes = reply_bytes(b"0123456789", false);
    for length in 0..bytes.len() {
        let mut reader = Dribble { at_end: Some(ErrorKind::WouldBlock), ..Dribble::new(&bytes[..length], 7) };
        let Err(ClientError::Receive { cause }) = read_reply(&mut reader) else {
            panic!("no time-out after {length} bytes");
        };
        assert_eq!(cause.kind(), ErrorKind::WouldBlock);
    }
}

/// A server of another protocol may wait for us after its first bytes: reading on would hang.
#[test]
fn bytes_of_another_protocol_are_refused_without_reading_on() {
    let mut reader = Dribble { at_end: Some(ErrorKind::TimedOut), ..Dribble::new(b"HTTP", 1) };
    let Err(ClientError::Decode(DecodeError::Malformed { position: 0, byte: b'H', .. })) =
        read_reply(&mut reader)
    else {
        panic!("HTTP was taken for a frame");
    };
    assert_eq!(reader.bytes, b"TTP");
}

#[test]
fn reply_with_a_changed_body_is_refused_only_if_it_has_a_checksum() {
    for with_checksum in [true, false] {
        let mut bytes = reply_bytes(b"0123456789", with_checksum);
        bytes[HEADER_BYTES + 3] ^= 1;
        let result = read_reply(&mut bytes.as_slice());
        if with_checksum {
            assert!(
                matches!(result, Err(ClientError::ChecksumWrong { expected, computed }) if expected != computed)
            );
        } else {
            assert_eq!(result.unwrap().body, b"0122456789");
        }
    }
}

#[test]
fn reply_over_the_callers_limit_is_refused_before_its_body_is_read() {
    let bytes = reply_bytes(b"0123456789", false);
    let mut reader = bytes.as_slice();
    let result = read_reply_within(&mut reader, &Limits { body_bytes_max: 9 });
    assert!(matches!(result, Err(ClientError::Decode(DecodeError::BodyTooLarge { limit_bytes: 9, .. }))));
    assert_eq!(reader, b"0123456789");
    assert!(read_reply_within(&mut bytes.as_slice(), &Limits { body_bytes_max: 10 }).is_ok());
}

#[test]
fn reply_with_a_status_of_a_later_version_is_read() {
    let mut bytes = reply_bytes(b"x", false);
    bytes[21..24].copy_from_slice(b"799");
    let reply = read_reply(&mut bytes.as_slice()).unwrap();
    assert_eq!((reply.header.status_code, reply.status()), (799, None));
}

#[test]
fn writer_that_takes_nothing_is_an_error() {
    let request = Request {
        service: ServiceNumber::PING,
        request_id: RequestId::ZERO,
        budget_ms: 0,
        body: b"body",
        with_checksum: false,
    };
    let mut room = [0; 66];
    let Err(ClientError::Send { cause }) = write_request(&mut room.as_mut_slice(), &request) else {
        panic!("68 bytes fitted into 66");
    };
    assert_eq!(cause.kind(), ErrorKind::WriteZero);
}

#[test]
fn request_that_does_not_fit_a_frame_sends_nothing() {
    let request = Request {
        service: ServiceNumber::PING,
        request_id: RequestId::ZERO,
        budget_ms: 100_000_000,
        body: b"",
        with_checksum: false,
    };
    let mut sent = Vec::new();
    assert!(matches!(write_request(&mut sent, &request), Err(ClientError::Encode(_))));
    assert!(sent.is_empty());
}
