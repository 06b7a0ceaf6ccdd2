//! Why a value is not a word of the protocol.

use crate::{CALLER_NAME_BYTES_MAX, REQUEST_ID_BYTES};

/// Why bytes or a number are not one of this crate's types.
///
/// Every variant is bad input, never a fault of the platform. The facts are plain numbers, so the error can
/// be copied, compared and made in a `const`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The number has more than 8 digits.
    #[error("{number} is not a service number: it must be between 0 and 99999999")]
    ServiceNumberTooLarge {
        /// The number that was given.
        number: u32,
    },
    /// The text of a service number is empty or longer than 8 characters.
    #[error("a service number has 8 digits, not {characters} characters: write it like 10000001")]
    ServiceNumberLength {
        /// Length of the text in characters.
        characters: usize,
    },
    /// The text of a service number contains something that is not a digit.
    #[error("character {index} of a service number is not a digit (index from 0): write it like 10000001")]
    ServiceNumberDigit {
        /// Where the first character that is no digit stands, 0-based, in characters.
        index: usize,
    },
    /// The text of a request id does not have its exact length.
    #[error("a request id has exactly {REQUEST_ID_BYTES} bytes, not {bytes}")]
    RequestIdLength {
        /// Length of the text in bytes.
        bytes: usize,
    },
    /// A byte of a request id is outside 0x21 to 0x7E.
    #[error(transparent)]
    RequestId(#[from] RequestIdError),
    /// A caller's name is empty or too long.
    #[error("a caller's name has 1 to {CALLER_NAME_BYTES_MAX} bytes, not {bytes}")]
    CallerNameLength {
        /// Length of the name in bytes.
        bytes: usize,
    },
    /// A byte of a caller's name is outside 0x21 to 0x7E.
    #[error(
        "byte {position} of a caller's name is 0x{byte:02x} (position from 0): \
         only printable ASCII without space is allowed (0x21 to 0x7e)"
    )]
    CallerNameByte {
        /// Where the first wrong byte stands, 0-based.
        position: usize,
        /// The wrong byte.
        byte: u8,
    },
}

/// A byte of a request id is not printable ASCII without space (0x21 to 0x7E).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "byte {position} of the request id is 0x{byte:02x} (position from 0): \
     only printable ASCII without space is allowed (0x21 to 0x7e)"
)]
pub struct RequestIdError {
    /// Where the first wrong byte stands, 0 to 23.
    pub position: usize,
    /// The wrong byte.
    pub byte: u8,
}
