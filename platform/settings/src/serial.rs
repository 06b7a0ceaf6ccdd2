//! `[serial]`: the types of serial numbers and how each is written.

use crate::Secret;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// `[serial]`: where serial numbers come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SerialSettings {
    /// The primary Redis, a [`RedisUrl`](crate::RedisUrl) that was checked; empty = none.
    pub redis: Secret,
    /// The standby Redis, likewise.
    pub standby: Secret,
    /// Numbers taken from the database at once, for types that say nothing else.
    pub range: u64,
    /// The types by name: `recharge`, `passage`, `card`, `tag`, `account` and those the file adds.
    pub types: BTreeMap<String, SerialType>,
}

/// One type of serial numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SerialType {
    /// Numbers taken from the database at once.
    pub range: u64,
    /// How a number is written.
    pub format: SerialFormat,
}

/// How a serial number is written: literal text, `{date}` (eight digits, YYYYMMDD) and exactly one
/// `{seq:N}` (the number itself, at least N digits, padded with zeros).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialFormat {
    text: String,
    parts: Vec<SerialPart>,
}

/// A piece of a [`SerialFormat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SerialPart {
    /// Text that stands as it is.
    Literal(String),
    /// The date the number is issued on, `YYYYMMDD`.
    Date,
    /// The number, padded with zeros to this many digits, 1 to 18.
    Sequence {
        /// Digits of the number.
        digits: u32,
    },
}

/// Most digits a `{seq:N}` may have: 10^18 - 1 still fits every database's 64-bit integer.
pub const SEQUENCE_DIGITS_MAX: u32 = 18;

/// Longest serial number in bytes: the columns that hold one in the services' tables are this wide.
pub const SERIAL_BYTES_MAX: usize = 40;

/// Why a serial format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerialFormatError {
    /// A `{` has no `}`, or a `}` no `{`.
    #[error("a brace has no partner")]
    Unbalanced,
    /// A placeholder with an unknown name.
    #[error("there is no placeholder {{{name}}}")]
    UnknownPlaceholder {
        /// What stood between the braces.
        name: String,
    },
    /// The digits of `{seq:N}` are missing or out of range.
    #[error("{{seq:N}} needs a number of digits from 1 to {SEQUENCE_DIGITS_MAX}, not \"{digits}\"")]
    Digits {
        /// What stood after the colon.
        digits: String,
    },
    /// Not exactly one `{seq:N}`.
    #[error("it has {count} {{seq:N}}, and needs exactly one")]
    Sequences {
        /// How many there are.
        count: usize,
    },
    /// A literal character that is not printable ASCII without the space.
    #[error("the character {character:?} is not printable ASCII")]
    Character {
        /// The character.
        character: char,
    },
    /// The serial number would be longer than [`SERIAL_BYTES_MAX`].
    #[error("its numbers would have {bytes} bytes; {SERIAL_BYTES_MAX} is the most")]
    TooLong {
        /// Bytes of each number.
        bytes: usize,
    },
}

impl SerialFormat {
    /// Reads a format such as `T{date}{seq:10}`.
    ///
    /// # Errors
    /// [`SerialFormatError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, SerialFormatError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (part, after) = next_part(rest)?;
            parts.push(part);
            rest = after;
        }
        let count = parts.iter().filter(|part| matches!(part, SerialPart::Sequence { .. })).count();
        if count != 1 {
            return Err(SerialFormatError::Sequences { count });
        }
        let bytes: usize = parts.iter().map(SerialPart::bytes).sum();
        if bytes > SERIAL_BYTES_MAX {
            return Err(SerialFormatError::TooLong { bytes });
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The format as it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pieces in order.
    pub fn parts(&self) -> &[SerialPart] {
        &self.parts
    }

    /// The largest number the digits of `{seq:N}` can show.
    pub fn sequence_max(&self) -> u64 {
        let digits = self.parts.iter().find_map(|part| match part {
            SerialPart::Sequence { digits } => Some(*digits),
            SerialPart::Literal(_) | SerialPart::Date => None,
        });
        10_u64.pow(digits.unwrap_or(0)) - 1
    }

    /// Writes `sequence` in this format; `date` is eight digits, `YYYYMMDD`.
    ///
    /// A number above [`SerialFormat::sequence_max`] gets more digits than asked for, never fewer: a longer
    /// serial number is still unique. Refuse it before, if its length matters.
    pub fn render(&self, date: &str, sequence: u64) -> String {
        let mut serial = String::with_capacity(SERIAL_BYTES_MAX);
        for part in &self.parts {
            match part {
                SerialPart::Literal(text) => serial.push_str(text),
                SerialPart::Date => serial.push_str(date),
                SerialPart::Sequence { digits } => {
                    serial.push_str(&format!("{sequence:0width$}", width = *digits as usize));
                }
            }
        }
        serial
    }
}

impl Serialize for SerialFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl SerialPart {
    fn bytes(&self) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Date => "YYYYMMDD".len(),
            Self::Sequence { digits } => *digits as usize,
        }
    }
}

/// The first piece of `text`, which is not empty, and what follows it.
fn next_part(text: &str) -> Result<(SerialPart, &str), SerialFormatError> {
    let Some(inside) = text.strip_prefix('{') else {
        let end = text.find(['{', '}']).unwrap_or(text.len());
        let (literal, rest) = text.split_at(end);
        if literal.is_empty() {
            return Err(SerialFormatError::Unbalanced);
        }
        return match literal.chars().find(|character| !character.is_ascii_graphic()) {
            Some(character) => Err(SerialFormatError::Character { character }),
            None => Ok((SerialPart::Literal(literal.to_owned()), rest)),
        };
    };
    let (name, rest) = inside.split_once('}').ok_or(SerialFormatError::Unbalanced)?;
    if name == "date" {
        return Ok((SerialPart::Date, rest));
    }
    let Some(digits) = name.strip_prefix("seq:") else {
        return Err(SerialFormatError::UnknownPlaceholder { name: name.to_owned() });
    };
    match digits.parse() {
        Ok(count @ 1..=SEQUENCE_DIGITS_MAX) => Ok((SerialPart::Sequence { digits: count }, rest)),
        Ok(_) | Err(_) => Err(SerialFormatError::Digits { digits: digits.to_owned() }),
    }
}
