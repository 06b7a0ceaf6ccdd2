//! What the writing thread tells the others.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What happened to the records so far.
#[derive(Default)]
struct State {
    /// Marks that were sent to the writing thread.
    sent: u64,
    /// Marks that it has come to.
    came: u64,
    /// Records that could not be written.
    lost: u64,
}

/// Shared by the writing thread and the guard.
#[derive(Default)]
pub(crate) struct Written {
    state: Mutex<State>,
    came: Condvar,
}

/// A line that is no record: the writing thread answers it when all lines before it are in the file.
/// Records begin with `{`, so none can be taken for it.
pub(crate) const MARK: &[u8] = b"\0";

impl Written {
    /// Counts a mark that is about to be sent and returns how many that makes. The caller sends it before
    /// anybody counts another.
    pub(crate) fn send_mark(&self) -> u64 {
        let mut state = self.state();
        state.sent += 1;
        state.sent
    }

    /// The writing thread came to a mark.
    pub(crate) fn mark(&self) {
        self.state().came += 1;
        self.came.notify_all();
    }

    /// Waits until the writing thread has come to `marks` marks, for at most `timeout`. Returns whether it has.
    pub(crate) fn wait(&self, marks: u64, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        let mut state = self.state();
        while state.came < marks {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// `records` more could not be written.
    pub(crate) fn lose(&self, records: u64) {
        let mut state = self.state();
        state.lost = state.lost.saturating_add(records);
    }

    /// Records that could not be written, since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.state().lost
    }

    /// The state is a few counters, each changed in one step: a thread that panicked cannot have spoilt it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
