//! The bounds of a frame, each with its unit and reason.

/// Size of a header in bytes: one cache line, and all fields of version 1 fill it.
pub const HEADER_BYTES: usize = 64;

/// Longest body in bytes that a node takes unless it is configured otherwise: 1 MiB, the largest block of
/// shared memory in the default configuration.
pub const BODY_BYTES_MAX_DEFAULT: u32 = 1024 * 1024;

/// Longest body in bytes that a frame can have at all: the length field has 8 decimal digits.
pub const BODY_BYTES_MAX_CEILING: u32 = 99_999_999;

/// Largest time budget in milliseconds that a frame can state (about 27 hours): the field has 8 decimal digits.
pub const BUDGET_MS_MAX: u32 = 99_999_999;

/// Highest status code that a frame can state: the field has 3 decimal digits.
pub const STATUS_CODE_MAX: u16 = 999;

/// What a decoder takes; anything above is refused with status 104.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body in bytes. Every value is safe; one of [`BODY_BYTES_MAX_CEILING`] or more refuses no
    /// frame, because no frame can state more.
    pub body_bytes_max: u32,
}

/// A node's limits unless it is configured otherwise.
impl Default for Limits {
    fn default() -> Self {
        Limits { body_bytes_max: BODY_BYTES_MAX_DEFAULT }
    }
}
