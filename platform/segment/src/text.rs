//! Short texts in shared memory.

use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::Shared;

/// A text of at most `8 * WORDS` bytes. It has one writer at a time; a reader that may meet a writer must have
/// another way to know that what it read is whole (a generation, a sequence).
#[derive(Debug)]
#[repr(C)]
pub struct SharedText<const WORDS: usize> {
    /// Length in bytes; a reader cuts it to the space there is.
    bytes: AtomicU32,
    reserved: AtomicU32,
    words: [AtomicU64; WORDS],
}

// SAFETY: `repr(C)`, atomics only, without padding (two u32 before u64s).
unsafe impl<const WORDS: usize> Shared for SharedText<WORDS> {}

impl<const WORDS: usize> Default for SharedText<WORDS> {
    fn default() -> Self {
        Self {
            bytes: AtomicU32::new(0),
            reserved: AtomicU32::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl<const WORDS: usize> SharedText<WORDS> {
    /// The most bytes that fit.
    pub const BYTES_MAX: usize = WORDS * 8;

    /// Writes `text`, cut at `BYTES_MAX`. Relaxed: whoever publishes the row orders it.
    pub fn set(&self, text: &[u8]) {
        let text = &text[..text.len().min(Self::BYTES_MAX)];
        for (index, word) in self.words.iter().enumerate() {
            let mut bytes = [0_u8; 8];
            let start = (index * 8).min(text.len());
            let end = (start + 8).min(text.len());
            bytes[..end - start].copy_from_slice(&text[start..end]);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.bytes.store(text.len() as u32, Ordering::Relaxed);
    }

    /// The bytes, at most `BYTES_MAX`.
    pub fn get(&self) -> Vec<u8> {
        let mut buffer = [0_u8; 512];
        let length = self.copy_to(&mut buffer);
        buffer[..length].to_vec()
    }

    /// Copies the bytes to the front of `buffer` without allocating, and gives their count.
    pub fn copy_to(&self, buffer: &mut [u8]) -> usize {
        let length = (self.bytes.load(Ordering::Relaxed) as usize).min(Self::BYTES_MAX).min(buffer.len());
        for (word, bytes) in self.words.iter().zip(buffer[..length].chunks_mut(8)) {
            let value = word.load(Ordering::Relaxed).to_le_bytes();
            bytes.copy_from_slice(&value[..bytes.len()]);
        }
        length
    }

    /// The text, with anything that is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.get()).into_owned()
    }

    /// Whether the text is exactly these bytes, without allocating.
    pub fn is(&self, other: &[u8]) -> bool {
        let mut buffer = [0_u8; 512];
        let length = self.copy_to(&mut buffer);
        buffer[..length] == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_and_a_long_one_is_cut() {
        let text = SharedText::<2>::default();
        text.set(b"0123456789abcdefXYZ");
        assert_eq!(text.get(), b"0123456789abcdef");
        text.set(b"abc");
        assert!(text.is(b"abc") && !text.is(b"abcd") && !text.is(b"ab"));
        assert_eq!(text.text(), "abc");
    }
}
