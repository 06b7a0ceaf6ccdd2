//! Running a service once more after the database took its transaction back.
//!
//! A deadlock, a conflict of serializable transactions, a lock that was not given in time: the database undid what was done,
//! and says that the same again may well succeed. The platform owns the transaction, so it can do that, and not each
//! service or each caller by itself. Nothing of the first run is left: its transaction is rolled back, its reply is
//! cleared, and the request's own row went with the transaction. It ends when the caller's time does, and never
//! begins after EXECUTED, when a commit may have been reached.

use std::time::Duration;

use gantry_sys::clock;

use crate::sql::Limit;

/// The first pause; each further one is twice as long, up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// The pauses between the runs of one request.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    limit: Limit,
    /// Runs that were taken back.
    pub(crate) count: u32,
}

impl Pauses {
    pub(crate) fn new(limit: Limit) -> Self {
        Self { next: PAUSE_MIN, limit, count: 0 }
    }

    /// Sleeps before the next run. `false`, at once: no time would be left for it.
    pub(crate) fn sleep(&mut self) -> bool {
        let pause = spread(self.next, clock::monotonic_ns());
        if self.limit.left() <= pause {
            return false;
        }
        self.next = (self.next * 2).min(PAUSE_MAX);
        self.count += 1;
        std::thread::sleep(pause);
        true
    }
}

/// Half to one and a half times the pause, so that two which met do not meet again.
fn spread(pause: Duration, now_ns: u64) -> Duration {
    let drawn = now_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    pause / 2 + pause * (drawn as u32) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_end_before_the_deadline() {
        let mut pauses = Pauses::new(Limit(clock::monotonic_ns() + 100_000_000));
        while pauses.sleep() {}
        assert!(pauses.count >= 3, "1.5 + 3 + 6 ms leave time for more: {}", pauses.count);
        assert_eq!(pauses.next, PAUSE_MAX.min(PAUSE_MIN * 2_u32.pow(pauses.count)));
        assert!(pauses.limit.left() > Duration::ZERO || pauses.count > 3, "the last pause ended in time");
        assert!(!Pauses::new(Limit(0)).sleep());
    }

    #[test]
    fn a_pause_is_half_to_one_and_a_half_times_its_length() {
        for number in 0..1000_u64 {
            let pause = spread(PAUSE_MAX, number * 7919);
            assert!((PAUSE_MAX / 2..=PAUSE_MAX * 3 / 2).contains(&pause), "{pause:?}");
        }
    }
}
