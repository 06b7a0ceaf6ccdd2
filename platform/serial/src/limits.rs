//! Every bound of this crate, with its unit and its reason.

/// Serial numbers in one call, as service 30000001 promises.
pub const COUNT_MAX: u32 = 10_000;

/// Numbers in one range. A process that dies leaves a gap of at most this many.
pub const RANGE_MAX: u64 = 10_000_000;

/// Bytes of a type's name, the width of its column.
pub const NAME_BYTES_MAX: usize = 32;

/// Times that a lease is tried again when another process changed the same row in between.
pub const LEASE_TRIES_MAX: u32 = 5;
