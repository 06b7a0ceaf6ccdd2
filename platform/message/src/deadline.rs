//! Until when a caller waits.

use std::time::Duration;

const NS_PER_MS: u64 = 1_000_000;

/// The instant by which a request must be answered, in nanoseconds of the machine's monotonic clock.
///
/// A plain number of a clock that all processes of a node share (`CLOCK_MONOTONIC`), so it can stand in
/// shared memory. It holds as many nanoseconds as a `u64` can and never wraps: sums saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline {
    at_ns: u64,
}

impl Deadline {
    /// The deadline of a request whose last byte arrived at `arrival_ns`.
    ///
    /// It is the arrival plus the smaller of the caller's budget and the service's time-out, both in
    /// milliseconds; a budget of 0 means that the caller states none. With a budget of 0 and the start of
    /// the execution as arrival it is also the instant from which the *kill* policy applies.
    pub const fn from_arrival(arrival_ns: u64, budget_ms: u32, timeout_ms: u32) -> Deadline {
        let wait_ms = if budget_ms == 0 || timeout_ms < budget_ms { timeout_ms } else { budget_ms };
        // A u32 of milliseconds is below 2^52 nanoseconds: the product cannot overflow.
        Deadline { at_ns: arrival_ns.saturating_add(wait_ms as u64 * NS_PER_MS) }
    }

    /// A deadline at a given instant: what [`Deadline::at_ns`] returned in another process.
    pub const fn from_ns(at_ns: u64) -> Deadline {
        Deadline { at_ns }
    }

    /// The instant, in nanoseconds of the monotonic clock.
    pub const fn at_ns(self) -> u64 {
        self.at_ns
    }

    /// Whether the deadline has come: true from the very nanosecond on.
    pub const fn is_past(self, now_ns: u64) -> bool {
        now_ns >= self.at_ns
    }

    /// The time left, zero once the deadline is past.
    pub const fn left(self, now_ns: u64) -> Duration {
        Duration::from_nanos(self.at_ns.saturating_sub(now_ns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn smaller_of_budget_and_timeout_counts_and_budget_zero_does_not() {
        assert_eq!(Deadline::from_arrival(5, 300, 15_000).at_ns(), 300_000_005);
        assert_eq!(Deadline::from_arrival(5, 20_000, 15_000).at_ns(), 15_000_000_005);
        assert_eq!(Deadline::from_arrival(5, 0, 15_000).at_ns(), 15_000_000_005);
        assert_eq!(Deadline::from_arrival(5, 0, 0).at_ns(), 5);
    }

    #[test]
    fn deadline_beyond_the_clock_saturates() {
        let deadline = Deadline::from_arrival(u64::MAX - 1, u32::MAX, u32::MAX);
        assert_eq!(deadline, Deadline::from_ns(u64::MAX));
        assert!(!deadline.is_past(u64::MAX - 1));
    }

    #[test]
    fn deadline_is_past_from_its_own_nanosecond_on() {
        let deadline = Deadline::from_ns(100);
        assert!(!deadline.is_past(99) && deadline.is_past(100) && deadline.is_past(101));
        assert_eq!(deadline.left(40), Duration::from_nanos(60));
        assert_eq!(deadline.left(100), Duration::ZERO);
        assert_eq!(deadline.left(u64::MAX), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn deadline_is_past_exactly_when_nothing_is_left(
            arrival_ns: u64, budget_ms: u32, timeout_ms: u32, now_ns: u64,
        ) {
            let deadline = Deadline::from_arrival(arrival_ns, budget_ms, timeout_ms);
            prop_assert!(deadline.at_ns() >= arrival_ns);
            prop_assert_eq!(deadline.is_past(now_ns), deadline.left(now_ns).is_zero());
        }
    }
}
