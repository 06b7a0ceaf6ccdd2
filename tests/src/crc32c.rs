//! CRC-32C, so plain that it can be checked by reading: a table of what each byte does, made bit by bit.

/// Castagnoli's polynomial 0x1EDC6F41 with its bits in reverse order.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// What each value of the low byte does to the remainder.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let low_bit = remainder & 1;
            remainder >>= 1;
            if low_bit == 1 {
                remainder ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

/// The CRC-32C (Castagnoli) of `bytes`, as the frame's checksum field carries it.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |remainder: u32, byte: &u8| {
        let [low, ..] = (remainder ^ u32::from(*byte)).to_le_bytes();
        (remainder >> 8) ^ TABLE[usize::from(low)]
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn crc32c_of_the_standard_check_string_is_the_published_value() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn crc32c_of_nothing_is_zero() {
        assert_eq!(crc32c(b""), 0);
    }

    /// RFC 3720, appendix B.4.
    #[test]
    fn crc32c_of_32_zero_bytes_is_the_value_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }
}
