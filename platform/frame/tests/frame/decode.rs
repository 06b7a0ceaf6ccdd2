//! Properties of the decoder: what holds for every header, every split and every wrong byte.

use std::ops::Range;

use gantry_frame::{
    BODY_BYTES_MAX_CEILING, Checksum, DecodeError, Decoded, Field, FrameType, HEADER_BYTES, Header, Limits,
    checksum, decode_reply, decode_request, encode_header, encode_reply, encode_request,
};
use gantry_message::{RequestId, ServiceNumber, Status};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies;

const BOTH: [FrameType; 2] = [FrameType::Request, FrameType::Reply];
const UNLIMITED: Limits = Limits { body_bytes_max: BODY_BYTES_MAX_CEILING };

fn decode(frame_type: FrameType, bytes: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    match frame_type {
        FrameType::Request => decode_request(bytes, limits),
        FrameType::Reply => decode_reply(bytes, limits),
    }
}

fn encode(header: &Header) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    encode_header(header, &mut bytes).expect("the header fits its digits");
    bytes
}

/// The protocol's table once more, written from the document and not from the code: may this byte stand here?
fn is_allowed(frame_type: FrameType, position: usize, byte: u8) -> bool {
    match (position, frame_type) {
        (0, _) => byte == b'E',
        (1, _) => byte == b'T',
        (2, _) => byte == b'C',
        (3, _) => byte == b'1',
        (20, FrameType::Request) => byte == b'Q',
        (20, FrameType::Reply) => byte == b'R',
        (21..=23, FrameType::Request) => byte == b'0',
        (4..=19 | 21..=31, _) => byte.is_ascii_digit(),
        (32..=55, _) => (0x21..=0x7E).contains(&byte),
        (56..=63, _) => b"0123456789abcdef".contains(&byte),
        _ => panic!("a header has 64 bytes"),
    }
}

/// What must be answered to a header whose first wrong byte is at `position`: service and id are those
/// that end before it.
fn assert_malformed(
    result: Result<Decoded, DecodeError>,
    good: &Header,
    position: usize,
    wrong: u8,
) -> Result<(), TestCaseError> {
    let Err(error) = result else {
        return Err(TestCaseError::fail(format!("wrong byte at {position} was taken: {result:?}")));
    };
    let DecodeError::Malformed { byte, field, expected, .. } = error else {
        return Err(TestCaseError::fail(format!("{error:?} instead of malformed at {position}")));
    };
    prop_assert_eq!(error.status(), Status::Malformed);
    prop_assert_eq!(error.position(), position);
    prop_assert_eq!(byte, wrong);
    prop_assert!(field.range().contains(&position));
    prop_assert_eq!(expected, good.frame_type);
    prop_assert_eq!(error.service(), (position >= 20).then_some(good.service));
    prop_assert_eq!(error.request_id(), (position >= 56).then_some(good.request_id));
    prop_assert!(!error.wants_checksum());
    Ok(())
}

#[test]
fn encoded_request_is_the_documents_bytes() {
    let id: RequestId = "abcdefghijklmnopqrstuvwx".parse().unwrap();
    let service: ServiceNumber = "29000001".parse().unwrap();
    let header = encode_request(service, id, 300, b"123456789", true).unwrap();
    assert_eq!(&header, b"ETC10000000929000001Q00000000300abcdefghijklmnopqrstuvwxe3069283");
    let header = encode_request(ServiceNumber::PING, RequestId::ZERO, 0, b"", false).unwrap();
    assert_eq!(&header, b"ETC10000000000000001Q0000000000000000000000000000000000000000000");
}

#[test]
fn encoded_reply_is_the_documents_bytes() {
    let id: RequestId = "~!abcdefghijklmnopqrstuv".parse().unwrap();
    let service: ServiceNumber = "10000001".parse().unwrap();
    let header = encode_reply(service, id, Status::BudgetSpent, b"123456789", true).unwrap();
    assert_eq!(&header, b"ETC10000000910000001R30500000000~!abcdefghijklmnopqrstuve3069283");
    let header = encode_reply(ServiceNumber::ZERO, RequestId::ZERO, Status::Malformed, b"", true).unwrap();
    assert_eq!(&header, b"ETC10000000000000000R1010000000000000000000000000000000000000000");
}

/// Goal: every position knows exactly the bytes of the table. Method: all 64 positions, all 256 bytes, both
/// types, with only the bytes up to the changed one there and with the whole header there.
#[test]
fn each_wrong_byte_at_each_position_is_malformed_at_once_and_each_right_one_is_not() {
    let id: RequestId = "till-07.2024-05-01.00042".parse().unwrap();
    let service: ServiceNumber = "20000004".parse().unwrap();
    for frame_type in BOTH {
        let good = Header {
            body_bytes: 1234,
            service,
            frame_type,
            status_code: if frame_type == FrameType::Request { 0 } else { 304 },
            budget_ms: 5678,
            request_id: id,
            checksum: Some(0x00AB_CDEF),
        };
        let encoded = encode(&good);
        for position in 0..HEADER_BYTES {
            assert_eq!(decode(frame_type, &encoded[..position], &UNLIMITED), Ok(Decoded::Incomplete));
            for byte in 0..=u8::MAX {
                let mut bytes = encoded;
                bytes[position] = byte;
                let short = decode(frame_type, &bytes[..=position], &UNLIMITED);
                let whole = decode(frame_type, &bytes, &UNLIMITED);
                if is_allowed(frame_type, position, byte) {
                    assert!(short.is_ok() && matches!(whole, Ok(Decoded::Header(_))), "{position} {byte}");
                } else {
                    assert_malformed(short, &good, position, byte).unwrap();
                    assert_malformed(whole, &good, position, byte).unwrap();
                }
            }
        }
    }
}

#[test]
fn request_given_to_the_reply_decoder_is_malformed_at_its_type_and_the_other_way_round() {
    let request = encode_request(ServiceNumber::PING, RequestId::ZERO, 0, b"", false).unwrap();
    let reply = encode_reply(ServiceNumber::PING, RequestId::ZERO, Status::Done, b"", false).unwrap();
    assert_eq!(decode_reply(&request, &UNLIMITED).unwrap_err().position(), 20);
    assert_eq!(decode_request(&reply, &UNLIMITED).unwrap_err().position(), 20);
}

#[test]
fn error_says_the_place_the_byte_and_what_belongs_there() {
    let error = decode_request(b"ETC1000000161000000x", &Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "malformed frame: byte 19 of the header is 0x78, in the service number, \
         where a frame of version 1 has 8 decimal digits"
    );
}

#[test]
fn checksum_of_zero_reads_as_not_checked() {
    let header = Header::request(ServiceNumber::PING, RequestId::ZERO, 0, 4, Some(0));
    let Ok(Decoded::Header(decoded)) = decode_request(&encode(&header), &UNLIMITED) else {
        panic!("the header is right");
    };
    assert_eq!(decoded, Header { checksum: None, ..header });
    assert!(decoded.admits_checksum(0xDEAD_BEEF));
    let checked = Header { checksum: Some(0xDEAD_BEEF), ..header };
    assert!(checked.admits_checksum(0xDEAD_BEEF) && !checked.admits_checksum(0xDEAD_BEEE));
}

/// A frame as it goes over a socket: header, then body.
fn frames() -> impl Strategy<Value = (Header, Vec<u8>)> {
    (strategies::headers(FrameType::Request), vec(any::<u8>(), 0..200)).prop_map(|(header, body)| {
        let body_bytes = body.len() as u32;
        (Header { body_bytes, ..header }, body)
    })
}

/// Reassembles frames from pieces as a connection would.
fn receive(pieces: impl Iterator<Item = Vec<u8>>) -> Result<Vec<(Header, Vec<u8>)>, DecodeError> {
    let mut buffer = Vec::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend(piece);
        while let Decoded::Header(header) = decode_request(&buffer, &UNLIMITED)? {
            let frame_bytes = HEADER_BYTES + header.body_bytes as usize;
            if buffer.len() < frame_bytes {
                break;
            }
            let frame: Vec<u8> = buffer.drain(..frame_bytes).collect();
            frames.push((header, frame[HEADER_BYTES..].to_vec()));
        }
    }
    assert!(buffer.is_empty(), "{} bytes left over", buffer.len());
    Ok(frames)
}

fn cut(bytes: &[u8], ranges: Vec<Range<usize>>) -> impl Iterator<Item = Vec<u8>> {
    ranges.into_iter().map(|range| bytes[range].to_vec())
}

fn any_type() -> impl Strategy<Value = FrameType> {
    prop_oneof![Just(FrameType::Request), Just(FrameType::Reply)]
}

proptest! {
    #[test]
    fn header_decodes_to_itself_and_is_incomplete_at_every_shorter_length(
        header in any_type().prop_flat_map(strategies::headers),
        behind in vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = encode(&header).to_vec();
        for length in 0..HEADER_BYTES {
            prop_assert_eq!(decode(header.frame_type, &bytes[..length], &UNLIMITED), Ok(Decoded::Incomplete));
        }
        bytes.extend(behind);
        prop_assert_eq!(decode(header.frame_type, &bytes, &UNLIMITED), Ok(Decoded::Header(header)));
    }

    #[test]
    fn pipelined_frames_arrive_whole_under_any_split(
        frames in vec(frames(), 1..6),
        mut cuts in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|(header, body)| encode(header).into_iter().chain(body.iter().copied()))
            .collect();
        let mut ends: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len())).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut start = 0;
        let ranges = ends.into_iter().map(|end| std::mem::replace(&mut start, end)..end).collect();
        prop_assert_eq!(receive(cut(&bytes, ranges)), Ok(frames.clone()));
        let single = (0..bytes.len()).map(|index| index..index + 1).collect();
        prop_assert_eq!(receive(cut(&bytes, single)), Ok(frames));
    }

    /// One frame must not have two answers: what was said of a prefix stands when more bytes come, whether
    /// they are random or a header with a few wrong bytes.
    #[test]
    fn answer_given_to_a_prefix_is_the_answer_to_the_whole(
        frame_type in any_type(),
        header in any_type().prop_flat_map(strategies::headers),
        changes in vec((0..HEADER_BYTES, any::<u8>()), 0..4),
        behind in vec(any::<u8>(), 0..80),
        noise in vec(any::<u8>(), 0..150),
        body_bytes_max in 0..=u32::MAX,
    ) {
        let limits = Limits { body_bytes_max };
        let mut mutated = encode(&header).to_vec();
        for (position, byte) in changes {
            mutated[position] = byte;
        }
        mutated.extend(behind);
        for bytes in [mutated, noise] {
            let first_wrong = bytes
                .iter()
                .take(HEADER_BYTES)
                .enumerate()
                .position(|(position, byte)| !is_allowed(frame_type, position, *byte));
            let whole = decode(frame_type, &bytes, &limits);
            for length in 0..=bytes.len() {
                // A copy of exactly this length, so that a read behind it would be out of bounds.
                let prefix: Box<[u8]> = bytes[..length].into();
                let answer = decode(frame_type, &prefix, &limits);
                match first_wrong {
                    Some(position) if length > position => {
                        prop_assert_eq!(answer.map_err(|error| error.position()), Err(position));
                        prop_assert_eq!(answer, whole);
                    }
                    None if length >= HEADER_BYTES => {
                        prop_assert_ne!(answer, Ok(Decoded::Incomplete));
                        prop_assert_eq!(answer, whole);
                    }
                    _ => prop_assert_eq!(answer, Ok(Decoded::Incomplete)),
                }
            }
        }
    }

    #[test]
    fn first_of_several_wrong_bytes_is_the_one_reported(
        header in any_type().prop_flat_map(strategies::headers),
        position in 0..HEADER_BYTES,
        byte: u8,
        behind in vec(any::<u8>(), HEADER_BYTES),
        body_bytes_max in 0..=u32::MAX,
    ) {
        prop_assume!(!is_allowed(header.frame_type, position, byte));
        let mut bytes = encode(&header);
        bytes[position] = byte;
        bytes[position + 1..].copy_from_slice(&behind[position + 1..]);
        // Malformed comes before too large, whatever the limit.
        let limits = Limits { body_bytes_max };
        assert_malformed(decode(header.frame_type, &bytes, &limits), &header, position, byte)?;
    }

    #[test]
    fn body_over_the_limit_is_refused_once_the_header_is_whole_and_names_the_request(
        header in any_type().prop_flat_map(strategies::headers),
        body_bytes_max in 0..=BODY_BYTES_MAX_CEILING,
    ) {
        let limits = Limits { body_bytes_max };
        let bytes = encode(&header);
        let before = decode(header.frame_type, &bytes[..HEADER_BYTES - 1], &limits);
        prop_assert_eq!(before, Ok(Decoded::Incomplete));
        let whole = decode(header.frame_type, &bytes, &limits);
        if header.body_bytes <= body_bytes_max {
            prop_assert_eq!(whole, Ok(Decoded::Header(header)));
        } else {
            let error = whole.unwrap_err();
            prop_assert_eq!(error, DecodeError::BodyTooLarge { header, limit_bytes: body_bytes_max });
            prop_assert_eq!(error.status(), Status::BodyTooLarge);
            prop_assert_eq!(error.service(), Some(header.service));
            prop_assert_eq!(error.request_id(), Some(header.request_id));
            prop_assert_eq!(error.wants_checksum(), header.checksum.is_some());
            prop_assert!(Field::BodyLength.range().contains(&error.position()));
        }
    }

    #[test]
    fn checksum_in_pieces_is_that_of_the_whole(pieces in vec(vec(any::<u8>(), 0..300), 0..8)) {
        let mut running = Checksum::new();
        for piece in &pieces {
            running.update(piece);
        }
        prop_assert_eq!(running.finish(), checksum(&pieces.concat()));
    }
}

#[test]
fn body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let limits = Limits::default();
    assert_eq!(limits.body_bytes_max, 1_048_576);
    for (body_bytes, taken) in [(1_048_576, true), (1_048_577, false)] {
        let header = Header::request(ServiceNumber::PING, RequestId::ZERO, 0, body_bytes, None);
        assert_eq!(decode_request(&encode(&header), &limits).is_ok(), taken);
    }
}
