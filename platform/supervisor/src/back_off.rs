//! How long to wait before a child is started again.

use std::time::Duration;

use crate::limits::BACK_OFF_FIRST;

/// The wait before the next start of one child. A child that had been ready is started again at once; only one that
/// dies before it is ready, and would die again, waits longer each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BackOff {
    /// Deaths in a row before the child was ready.
    early_deaths_count: u32,
}

impl BackOff {
    /// Notes a death and gives the wait before the next start, at most `max`.
    pub(crate) fn after_death(&mut self, was_ready: bool, max: Duration) -> Duration {
        if was_ready {
            self.early_deaths_count = 0;
            return Duration::ZERO;
        }
        self.early_deaths_count = self.early_deaths_count.saturating_add(1);
        // 2^20 times the first wait is above any `max` that settings allow.
        let doublings = (self.early_deaths_count - 1).min(20);
        (BACK_OFF_FIRST * 2_u32.pow(doublings)).min(max)
    }

    /// Deaths in a row before the child was ready.
    pub(crate) fn early_deaths_count(self) -> u32 {
        self.early_deaths_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn a_child_that_had_been_ready_is_started_at_once_however_often_it_dies() {
        let mut back_off = BackOff::default();
        for _ in 0..100 {
            assert_eq!(back_off.after_death(true, MAX), Duration::ZERO);
        }
    }

    #[test]
    fn early_deaths_double_the_wait_up_to_the_limit_and_a_ready_life_forgets_them() {
        let mut back_off = BackOff::default();
        let waits: Vec<u128> = (0..8).map(|_| back_off.after_death(false, MAX).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(back_off.early_deaths_count(), 8);
        assert_eq!(back_off.after_death(true, MAX), Duration::ZERO);
        assert_eq!(back_off.after_death(false, MAX), BACK_OFF_FIRST);
    }

    #[test]
    fn the_wait_neither_overflows_nor_passes_a_small_limit() {
        let mut back_off = BackOff { early_deaths_count: u32::MAX };
        assert_eq!(back_off.after_death(false, Duration::from_millis(10)), Duration::from_millis(10));
    }
}
