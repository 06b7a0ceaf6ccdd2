//! Every bound of this crate, with its unit and its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Numbers that a service may have: eight digits, and below them the platform's own.
pub const SERVICE_NUMBERS: RangeInclusive<u32> = 10_000_000..=99_999_999;

/// Services in one library.
pub const SERVICES_MAX: usize = 1_000;

/// Services in the registry; the command line and the snapshot carry them all at once.
pub const SERVICES_TOTAL_MAX: usize = 100_000;

/// Bytes of a library's or service's name, the width of its column.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of a library's version; it becomes part of a file's name.
pub const VERSION_BYTES_MAX: usize = 32;

/// Bytes of a service's one-line description.
pub const DESCRIPTION_BYTES_MAX: usize = 400;

/// Bytes of a service's example.
pub const EXAMPLE_BYTES_MAX: usize = 4_000;

/// Data sources that one service may name.
pub const SOURCES_MAX: usize = 16;

/// Bytes of a staged file's path.
pub const FILE_BYTES_MAX: usize = 1_000;

/// Builds of a library that are remembered after others took their place, for the operator's eyes and roll-back.
pub const HISTORY_MAX: usize = 16;

/// Events of a library that are remembered: who deployed what, and why it was rolled back.
pub const EVENTS_MAX: usize = 100;

/// Bytes of the reason that an operator gives.
pub const WHY_BYTES_MAX: usize = 400;

/// Bytes of a library's file. A release build of a large service is some tens of MiB.
pub const LIBRARY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Age from which what an interrupted staging left behind is removed.
pub const STAGING_LEFT_AFTER: Duration = Duration::from_secs(3_600);

/// Longest wait for one statement on the registry; it is tiny, and others hold it for milliseconds.
pub const STATEMENT_LIMIT: Duration = Duration::from_secs(10);

/// Requests of a service that may run at once, by rule.
pub const RULE_CONCURRENCY: RangeInclusive<u32> = 1..=65_536;

/// Requests of a service per second, by rule.
pub const RULE_RATE: RangeInclusive<u32> = 1..=10_000_000;

/// Requests of a service that may come at once above its rate, by rule.
pub const RULE_BURST: RangeInclusive<u32> = 1..=10_000_000;

/// Fill of the read queue from which a service is refused, by rule.
pub const RULE_THRESHOLD: RangeInclusive<f64> = 0.0..=1.0;

/// Time-out of a service, in milliseconds: 1 ms to 1 h.
pub const TIMEOUT_MS: RangeInclusive<u32> = 1..=3_600_000;
