//! Bytes and text that cross the border: a pointer and a length, never a terminator.

use std::ffi::c_char;

/// UTF-8 text: `bytes` bytes at `data`, without a terminating zero.
///
/// Thread: any. Ownership: borrowed; whoever made it keeps it and frees it. Lifetime: told by the
/// function or struct that carries it. `data` may be null only when `bytes` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GantryText {
    /// First byte, or null when `bytes` is 0.
    pub data: *const c_char,
    /// Length in bytes, 0 to 2^31 - 1.
    pub bytes: usize,
}

/// Raw bytes: `bytes` of them at `data`.
///
/// Thread: any. Ownership: borrowed; whoever made it keeps it and frees it. Lifetime: told by the
/// function or struct that carries it. `data` may be null only when `bytes` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GantryBytes {
    /// First byte, or null when `bytes` is 0.
    pub data: *const u8,
    /// Length in bytes, 0 to 2^31 - 1.
    pub bytes: usize,
}

/// Longest text or byte string that crosses the border; a longer one is a mistake on the other side.
const CROSSING_BYTES_MAX: usize = i32::MAX as usize;

impl GantryText {
    /// Text of no bytes.
    pub const EMPTY: Self = Self { data: std::ptr::null(), bytes: 0 };

    /// Lends `text` to the other side. The result must not outlive `text`.
    pub const fn from_str(text: &str) -> Self {
        Self { data: text.as_ptr().cast(), bytes: text.len() }
    }

    /// Reads the text; `None` if it is null with a length, too long, or not UTF-8.
    ///
    /// # Safety
    /// Unless `data` is null, `bytes` bytes there are readable and do not change during `'a`.
    pub unsafe fn read<'a>(self) -> Option<&'a str> {
        let raw = GantryBytes { data: self.data.cast(), bytes: self.bytes };
        // SAFETY: the caller's promise, passed on unchanged.
        let bytes = unsafe { raw.read() }?;
        std::str::from_utf8(bytes).ok()
    }
}

impl GantryBytes {
    /// No bytes.
    pub const EMPTY: Self = Self { data: std::ptr::null(), bytes: 0 };

    /// Lends `bytes` to the other side. The result must not outlive `bytes`.
    pub const fn from_slice(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), bytes: bytes.len() }
    }

    /// Reads the bytes; `None` if the pointer is null with a length, or the length cannot be true.
    ///
    /// # Safety
    /// Unless `data` is null, `bytes` bytes there are readable and do not change during `'a`.
    pub unsafe fn read<'a>(self) -> Option<&'a [u8]> {
        if self.bytes == 0 {
            return Some(&[]);
        }
        if self.data.is_null() || self.bytes > CROSSING_BYTES_MAX {
            return None;
        }
        // SAFETY: not null, a length that a slice may have, and the caller promises the rest.
        Some(unsafe { std::slice::from_raw_parts(self.data, self.bytes) })
    }
}
