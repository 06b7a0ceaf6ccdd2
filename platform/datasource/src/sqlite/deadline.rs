//! The time limit of the call that is running, as SQLite's callbacks see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared between a connection and the callbacks that SQLite runs inside its calls, on the same thread.
///
/// A mutex and not a cell only because SQLite's callbacks must be `Send`; nobody ever waits for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadline(Arc<Mutex<Option<Instant>>>);

impl Deadline {
    /// Sets the end of the call that begins now; a limit too long for the clock is none.
    pub(crate) fn start(&self, limit: Duration) {
        self.set(Instant::now().checked_add(limit));
    }

    /// Lets the next call run without an end.
    pub(crate) fn clear(&self) {
        self.set(None);
    }

    /// Whether the call's time has ended.
    pub(crate) fn has_passed(&self) -> bool {
        self.get().is_some_and(|end| Instant::now() >= end)
    }

    /// Time left for the call, `None` if it has no end.
    fn left(&self) -> Option<Duration> {
        self.get().map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn set(&self, end: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One wait for a lock that another connection holds, cut to the deadline and the longest wait configured.
pub(crate) struct LockWait {
    deadline: Deadline,
    busy_timeout: Duration,
    began: Instant,
}

impl LockWait {
    pub(crate) fn new(deadline: Deadline, busy_timeout: Duration) -> Self {
        Self { deadline, busy_timeout, began: Instant::now() }
    }

    /// SQLite's busy handler: sleeps before try `tries` (0-based), or says that the wait is over.
    ///
    /// The first sleeps are short, since most holders commit within a millisecond; later ones are capped so that
    /// a waiter is not far behind when the place comes free.
    pub(crate) fn wait(&mut self, tries: i32) -> bool {
        const SLEEP_FIRST: Duration = Duration::from_micros(50);
        const SLEEP_MAX: Duration = Duration::from_millis(4);
        if tries == 0 {
            self.began = Instant::now();
        }
        let patience = self.busy_timeout.saturating_sub(self.began.elapsed());
        let left = self.deadline.left().map_or(patience, |left| left.min(patience));
        if left.is_zero() {
            return false;
        }
        let doubled = SLEEP_FIRST.saturating_mul(1 << tries.clamp(0, 10));
        std::thread::sleep(doubled.min(SLEEP_MAX).min(left));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_passes_when_its_limit_ends_and_never_after_clear() {
        let deadline = Deadline::default();
        assert!(!deadline.has_passed());
        deadline.start(Duration::ZERO);
        assert!(deadline.has_passed());
        deadline.start(Duration::from_secs(3600));
        assert!(!deadline.has_passed());
        deadline.start(Duration::ZERO);
        deadline.clear();
        assert!(!deadline.has_passed());
        deadline.start(Duration::MAX);
        assert!(!deadline.has_passed(), "a limit beyond the clock is no limit");
    }

    #[test]
    fn wait_is_refused_when_deadline_or_patience_has_ended() {
        let deadline = Deadline::default();
        deadline.start(Duration::ZERO);
        assert!(!LockWait::new(deadline.clone(), Duration::from_secs(5)).wait(0));
        deadline.clear();
        assert!(!LockWait::new(deadline.clone(), Duration::ZERO).wait(0));
        assert!(LockWait::new(deadline, Duration::from_secs(5)).wait(0));
    }
}
