//! Where each field of a header stands, and which bytes it may hold.

use std::fmt;
use std::ops::Range;

use crate::{FrameType, HEADER_BYTES};

/// The first four bytes of every frame of version 1.
pub(crate) const MAGIC: &[u8; 4] = b"ETC1";

/// A field of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `ETC1`.
    Magic,
    /// Length of the body in bytes, 8 digits.
    BodyLength,
    /// Service number, 8 digits.
    Service,
    /// `Q` request, `R` reply.
    Type,
    /// Status, 3 digits; `000` in a request.
    Status,
    /// Time budget in milliseconds, 8 digits.
    Budget,
    /// Request id, 24 bytes 0x21 to 0x7E.
    RequestId,
    /// CRC-32C of the body, 8 lowercase hexadecimal digits; `00000000` = not checked.
    Checksum,
}

impl Field {
    /// The fields in the order in which they stand; together they fill the header.
    pub const ALL: [Field; 8] = [
        Field::Magic,
        Field::BodyLength,
        Field::Service,
        Field::Type,
        Field::Status,
        Field::Budget,
        Field::RequestId,
        Field::Checksum,
    ];

    /// The bytes of the header that the field takes, as offsets from 0.
    pub const fn range(self) -> Range<usize> {
        match self {
            Field::Magic => 0..4,
            Field::BodyLength => 4..12,
            Field::Service => 12..20,
            Field::Type => 20..21,
            Field::Status => 21..24,
            Field::Budget => 24..32,
            Field::RequestId => 32..56,
            Field::Checksum => 56..64,
        }
    }

    /// What stands in the field, for an error message.
    pub(crate) const fn content(self, frame_type: FrameType) -> &'static str {
        match (self, frame_type) {
            (Field::Magic, _) => "`ETC1`",
            (Field::BodyLength | Field::Service | Field::Budget, _) => "8 decimal digits",
            (Field::Type, FrameType::Request) => "`Q` for a request",
            (Field::Type, FrameType::Reply) => "`R` for a reply",
            (Field::Status, FrameType::Request) => "`000` in a request",
            (Field::Status, FrameType::Reply) => "3 decimal digits",
            (Field::RequestId, _) => "24 printable ASCII bytes without space (0x21 to 0x7e)",
            (Field::Checksum, _) => "8 lowercase hexadecimal digits",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Magic => "magic",
            Field::BodyLength => "body length",
            Field::Service => "service number",
            Field::Type => "type",
            Field::Status => "status",
            Field::Budget => "time budget",
            Field::RequestId => "request id",
            Field::Checksum => "checksum",
        })
    }
}

/// Which bytes may stand at each position of a header.
///
/// Every position allows one or two ranges of bytes (two only for hexadecimal digits), whatever stands
/// elsewhere. So a whole header is checked by 64 independent comparisons, which the compiler turns into a
/// few vector instructions, and the first wrong byte is found by the same table.
pub(crate) struct Allowed {
    low: [u8; HEADER_BYTES],
    high: [u8; HEADER_BYTES],
    /// The second range; where there is only one, it is the first again.
    other_low: [u8; HEADER_BYTES],
    other_high: [u8; HEADER_BYTES],
}

/// The table for requests.
pub(crate) static REQUEST: Allowed = Allowed::of(FrameType::Request);

/// The table for replies.
pub(crate) static REPLY: Allowed = Allowed::of(FrameType::Reply);

impl Allowed {
    const fn of(frame_type: FrameType) -> Allowed {
        let mut allowed = Allowed {
            low: [0; HEADER_BYTES],
            high: [0; HEADER_BYTES],
            other_low: [0; HEADER_BYTES],
            other_high: [0; HEADER_BYTES],
        };
        let mut index = 0;
        while index < Field::ALL.len() {
            let field = Field::ALL[index];
            let Range { start, end } = field.range();
            let mut position = start;
            while position < end {
                let (first, second) = ranges(field, frame_type, position - start);
                (allowed.low[position], allowed.high[position]) = first;
                (allowed.other_low[position], allowed.other_high[position]) = second;
                position += 1;
            }
            index += 1;
        }
        allowed
    }

    /// The position of the first byte that may not stand where it does; `bytes` begins where the header
    /// begins, and what is past the header's end is not looked at.
    pub(crate) fn first_wrong(&self, bytes: &[u8]) -> Option<usize> {
        if let Some(header) = bytes.first_chunk()
            && self.is_well_formed(header)
        {
            return None;
        }
        bytes.iter().take(HEADER_BYTES).enumerate().position(|(position, byte)| !self.admits(position, *byte))
    }

    /// Whether all bytes are right; without an early exit, so that it needs no branches.
    fn is_well_formed(&self, header: &[u8; HEADER_BYTES]) -> bool {
        let mut right = true;
        for (position, byte) in header.iter().enumerate() {
            right &= self.admits(position, *byte);
        }
        right
    }

    #[inline]
    fn admits(&self, position: usize, byte: u8) -> bool {
        ((self.low[position] <= byte) & (byte <= self.high[position]))
            | ((self.other_low[position] <= byte) & (byte <= self.other_high[position]))
    }
}

/// The two ranges (lowest, highest byte) allowed at an index of a field.
const fn ranges(field: Field, frame_type: FrameType, index: usize) -> ((u8, u8), (u8, u8)) {
    let digits = (b'0', b'9');
    let only = match (field, frame_type) {
        (Field::Magic, _) => (MAGIC[index], MAGIC[index]),
        (Field::Type, _) => (frame_type.byte(), frame_type.byte()),
        (Field::Status, FrameType::Request) => (b'0', b'0'),
        (Field::BodyLength | Field::Service | Field::Status | Field::Budget, _) => digits,
        (Field::RequestId, _) => (b'!', b'~'),
        (Field::Checksum, _) => return (digits, (b'a', b'f')),
    };
    (only, only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_fill_the_header_without_gap_or_overlap() {
        let mut end = 0;
        for field in Field::ALL {
            assert_eq!(field.range().start, end, "{field}");
            end = field.range().end;
        }
        assert_eq!(end, HEADER_BYTES);
    }
}
