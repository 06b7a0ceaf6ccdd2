//! The 24 bytes by which a caller names a request.

use std::fmt;
use std::str::{self, FromStr};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{MessageError, RequestIdError};

/// Length of a request id in bytes.
pub const REQUEST_ID_BYTES: usize = 24;

/// A request id: 24 bytes of printable ASCII without space (0x21 to 0x7E), unique per caller.
///
/// It is echoed in the reply and is the key under which a write takes effect once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; REQUEST_ID_BYTES]);

impl RequestId {
    /// 24 times `0`: replies carry it when the request's id could not be read.
    pub const ZERO: RequestId = RequestId([b'0'; REQUEST_ID_BYTES]);

    /// Makes a request id of its bytes. Can be used in a `const`.
    ///
    /// # Errors
    /// [`RequestIdError`] with the first byte that is outside 0x21 to 0x7E.
    pub const fn new(bytes: [u8; REQUEST_ID_BYTES]) -> Result<RequestId, RequestIdError> {
        let mut position = 0;
        while position < REQUEST_ID_BYTES {
            let byte = bytes[position];
            if !byte.is_ascii_graphic() {
                return Err(RequestIdError { position, byte });
            }
            position += 1;
        }
        Ok(RequestId(bytes))
    }

    /// Where the id lies among all ids, in millionths from 0 to 999,999: a share of 50,000 of the requests are those whose
    /// ids lie below 50,000. The same id always lies at the same place.
    pub fn position_ppm(&self) -> u32 {
        /// Its own seed, so that it has nothing to do with other uses of the hash.
        const SEED: u64 = 1_000_000;
        (xxh3_64_with_seed(&self.0, SEED) % 1_000_000) as u32
    }

    /// The 24 bytes as they stand in a frame.
    pub const fn as_bytes(&self) -> &[u8; REQUEST_ID_BYTES] {
        &self.0
    }

    /// The 24 characters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("a request id is ASCII, which `new` checked")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// Reads exactly 24 bytes, each 0x21 to 0x7E.
impl FromStr for RequestId {
    type Err = MessageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; REQUEST_ID_BYTES] =
            text.as_bytes().try_into().map_err(|_| MessageError::RequestIdLength { bytes: text.len() })?;
        Ok(RequestId::new(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_takes_every_printable_byte_and_refuses_every_other_at_its_place() {
        for byte in 0..=u8::MAX {
            for position in 0..REQUEST_ID_BYTES {
                let mut bytes = *RequestId::ZERO.as_bytes();
                bytes[position] = byte;
                let id = RequestId::new(bytes);
                if (0x21..=0x7E).contains(&byte) {
                    assert_eq!(id.unwrap().as_bytes(), &bytes);
                } else {
                    assert_eq!(id, Err(RequestIdError { position, byte }));
                }
            }
        }
    }

    #[test]
    fn id_with_two_wrong_bytes_names_the_first() {
        let mut bytes = *RequestId::ZERO.as_bytes();
        bytes[7] = b' ';
        bytes[9] = 0xFF;
        assert_eq!(RequestId::new(bytes), Err(RequestIdError { position: 7, byte: b' ' }));
    }

    #[test]
    fn text_of_another_length_is_refused() {
        let parse = |text: &str| text.parse::<RequestId>();
        assert_eq!(parse(""), Err(MessageError::RequestIdLength { bytes: 0 }));
        assert_eq!(parse(&"a".repeat(23)), Err(MessageError::RequestIdLength { bytes: 23 }));
        assert_eq!(parse(&"a".repeat(25)), Err(MessageError::RequestIdLength { bytes: 25 }));
        assert_eq!(parse(&"0".repeat(24)), Ok(RequestId::ZERO));
    }

    #[test]
    fn text_with_a_space_is_refused_with_the_place_in_words() {
        let error = "has a space somewhere---".parse::<RequestId>().unwrap_err();
        assert_eq!(error, MessageError::RequestId(RequestIdError { position: 3, byte: b' ' }));
        assert!(error.to_string().starts_with("byte 3 of the request id is 0x20"), "{error}");
    }

    #[test]
    fn id_prints_its_characters() {
        let text = "!till-07~2024.05#000042Z";
        let id: RequestId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(format!("{id:?}"), format!("RequestId({text})"));
    }
}
