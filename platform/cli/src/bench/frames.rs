//! The requests of one connection as bytes, and which of them a reply answers.

use std::hash::{BuildHasher, Hasher, RandomState};

use gantry_frame::{HEADER_BYTES, Header, encode_request};
use gantry_message::{RequestId, ServiceNumber};

/// Digits of the sequence number at the end of a request id.
const SEQUENCE_DIGITS: usize = 12;

/// Makes the frames of one connection. Their ids differ from those of every other connection and every other run, so
/// that no write is taken for a repeat.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    service: ServiceNumber,
    budget_ms: u32,
    body: &'a [u8],
    prefix: String,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(
        service: ServiceNumber,
        budget_ms: u32,
        body: &'a [u8],
        tag: u32,
        connection: u32,
    ) -> Self {
        Self { service, budget_ms, body, prefix: format!("{tag:08x}{connection:04x}") }
    }

    /// Appends the request with this sequence number.
    pub(crate) fn append(&self, sequence: u64, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let id: RequestId = format!("{}{sequence:012x}", self.prefix).parse()?;
        let header: [u8; HEADER_BYTES] = encode_request(self.service, id, self.budget_ms, self.body, false)?;
        out.extend_from_slice(&header);
        out.extend_from_slice(self.body);
        Ok(())
    }

    /// The sequence number of the request that a reply answers; `None` for a reply to somebody else.
    pub(crate) fn sequence(&self, reply: &Header) -> Option<u64> {
        let id = reply.request_id.as_str();
        let (prefix, digits) = id.split_at(id.len() - SEQUENCE_DIGITS);
        (prefix == self.prefix).then(|| u64::from_str_radix(digits, 16).ok())?
    }
}

/// A number that other runs do not have.
pub(crate) fn run_tag() -> u32 {
    (RandomState::new().build_hasher().finish() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_frame::{Decoded, Limits, decode_reply, encode_reply};
    use gantry_message::Status;

    #[test]
    fn a_reply_names_the_request_that_it_answers() {
        let service = ServiceNumber::new(19_000_001).unwrap();
        let (frames, other) = (Frames::new(service, 0, b"x", 7, 3), Frames::new(service, 0, b"x", 7, 4));
        let mut bytes = Vec::new();
        frames.append(0xabcdef, &mut bytes).unwrap();
        assert_eq!(bytes.len(), HEADER_BYTES + 1);
        let id = std::str::from_utf8(&bytes[32..56]).unwrap().parse().unwrap();
        let reply = encode_reply(service, id, Status::Done, b"", false).unwrap();
        let Decoded::Header(header) = decode_reply(&reply, &Limits::default()).unwrap() else {
            panic!("the header is whole")
        };
        assert_eq!(frames.sequence(&header), Some(0xabcdef));
        assert_eq!(other.sequence(&header), None);
    }
}
