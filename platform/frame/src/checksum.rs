//! The checksum of a body.

/// The CRC-32C (Castagnoli) of a whole body.
///
/// 0 cannot be told from "not checked" in a header; see [`Header::checksum`](crate::Header::checksum).
pub fn checksum(body: &[u8]) -> u32 {
    crc32c::crc32c(body)
}

/// The CRC-32C of a body that arrives in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum {
    so_far: u32,
}

impl Checksum {
    /// The checksum of nothing yet.
    pub const fn new() -> Checksum {
        Checksum { so_far: 0 }
    }

    /// Adds the next piece, of any length.
    pub fn update(&mut self, piece: &[u8]) {
        self.so_far = crc32c::crc32c_append(self.so_far, piece);
    }

    /// The checksum of all pieces, the same as that of the whole.
    pub const fn finish(self) -> u32 {
        self.so_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_castagnoli_with_the_published_check_value() {
        assert_eq!(checksum(b"123456789"), 0xE306_9283);
        // RFC 3720, B.4: 32 bytes of zeros, and of ones.
        assert_eq!(checksum(&[0x00; 32]), 0x8A91_36AA);
        assert_eq!(checksum(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(checksum(b""), 0);
    }
}
