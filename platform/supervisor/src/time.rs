//! Times of the monotonic clock, in nanoseconds.

use std::time::Duration;

/// A time as nanoseconds; 584 years are enough for any.
pub(crate) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The moment that is `time` after `from_ns`.
pub(crate) fn after(from_ns: u64, time: Duration) -> u64 {
    from_ns.saturating_add(ns(time))
}
