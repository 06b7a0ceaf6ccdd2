//! Who calls.

use std::fmt;
use std::str::{self, FromStr};

use crate::MessageError;

/// Longest name of a caller, in bytes: it is stored in place, in shared rows and in `gantry_request`.
pub const CALLER_NAME_BYTES_MAX: usize = 32;

/// The authenticated name of a caller: 1 to 32 bytes of printable ASCII without space (0x21 to 0x7E).
///
/// It is stored in place and copied freely. Request ids are unique per caller, so (caller, request id) is
/// the key of a write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerName {
    /// The name, then zeros; since no byte of a name is zero, comparing the arrays compares the names.
    bytes: [u8; CALLER_NAME_BYTES_MAX],
    /// Length of the name in bytes, 1 to 32.
    length: u8,
}

impl CallerName {
    /// `anonymous`: all callers whom neither TLS nor a token names.
    pub const ANONYMOUS: CallerName = match CallerName::new(b"anonymous") {
        Ok(name) => name,
        Err(_) => panic!("`anonymous` is a caller's name"),
    };

    /// Makes a caller's name of its bytes. Can be used in a `const`.
    ///
    /// # Errors
    /// [`MessageError::CallerNameLength`] unless there are 1 to 32 bytes, [`MessageError::CallerNameByte`]
    /// with the first byte outside 0x21 to 0x7E.
    pub const fn new(name: &[u8]) -> Result<CallerName, MessageError> {
        if name.is_empty() || name.len() > CALLER_NAME_BYTES_MAX {
            return Err(MessageError::CallerNameLength { bytes: name.len() });
        }
        let mut bytes = [0; CALLER_NAME_BYTES_MAX];
        let mut position = 0;
        while position < name.len() {
            let byte = name[position];
            if !byte.is_ascii_graphic() {
                return Err(MessageError::CallerNameByte { position, byte });
            }
            bytes[position] = byte;
            position += 1;
        }
        Ok(CallerName { bytes, length: position as u8 })
    }

    /// The bytes of the name, 1 to 32.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).expect("a caller's name is ASCII, which `new` checked")
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerName({self})")
    }
}

impl FromStr for CallerName {
    type Err = MessageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        CallerName::new(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_1_to_32_bytes_is_kept_and_others_are_refused() {
        for bytes in 0..=40 {
            let text = "n".repeat(bytes);
            match text.parse::<CallerName>() {
                Ok(name) => assert!((1..=32).contains(&bytes) && name.as_str() == text),
                Err(error) => {
                    assert!(!(1..=32).contains(&bytes));
                    assert_eq!(error, MessageError::CallerNameLength { bytes });
                }
            }
        }
    }

    #[test]
    fn name_with_a_byte_outside_printable_ascii_is_refused_at_its_place() {
        for byte in (0..=u8::MAX).filter(|byte| !(0x21..=0x7E).contains(byte)) {
            let name = [b'a', b'b', byte, b' '];
            assert_eq!(CallerName::new(&name), Err(MessageError::CallerNameByte { position: 2, byte }));
        }
    }

    #[test]
    fn names_are_equal_only_when_all_their_bytes_are() {
        let parse = |text: &str| text.parse::<CallerName>().unwrap();
        assert_eq!(parse("anonymous"), CallerName::ANONYMOUS);
        assert_ne!(parse("till"), parse("till0"));
        assert!(parse("till") < parse("till0") && parse("till0") < parse("tilm"));
        assert_eq!(
            format!("{:?} {}", CallerName::ANONYMOUS, CallerName::ANONYMOUS),
            "CallerName(anonymous) anonymous"
        );
    }
}
