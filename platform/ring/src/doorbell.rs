//! Waking a sleeping process without a system call when nobody sleeps.
//!
//! One word for each sleeper, not a counter: a wake-up that was given to a process that then dies is made good by
//! waking everybody after each recovery.

use std::time::Duration;

use gantry_sys::atomic::{AtomicU32, Ordering, fence};
use gantry_sys::futex;

#[cfg(feature = "mutants")]
use crate::mutants::{self, Mutant};

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slept {
    /// There was work at the second look: it did not sleep.
    Not,
    /// Somebody rang, or the wait ended without a known cause.
    Woken,
    /// The time was over.
    TimedOut,
}

/// A sleeper's word: 1 while it sleeps or is about to, 0 else.
#[derive(Debug, Clone, Copy)]
pub struct Doorbell<'a> {
    word: &'a AtomicU32,
}

impl<'a> Doorbell<'a> {
    /// The doorbell in `word`.
    pub fn new(word: &'a AtomicU32) -> Self {
        Self { word }
    }

    /// Says that its owner is about to sleep. The owner then looks for work once more, and only then sleeps.
    pub fn announce(&self) {
        self.word.store(1, Ordering::Relaxed);
        #[cfg(feature = "mutants")]
        if mutants::is(Mutant::UnfencedSleep) {
            return;
        }
        // SeqCst: a store and a later load of other places must not swap, which no weaker fence forbids. Pairs with
        // the fence in `ring`: either the ringer sees the 1, or the second look sees the work.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back.
    pub fn withdraw(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Sleeps until somebody rings, `limit` is over, or `is_work` says at the second look that there is something.
    /// Blocks for at most `limit`.
    pub fn sleep(&self, limit: Duration, is_work: impl FnOnce() -> bool) -> Slept {
        self.announce();
        let slept = if is_work() {
            Slept::Not
        } else {
            match futex::wait(self.word, 1, Some(limit)) {
                futex::WaitResult::TimedOut => Slept::TimedOut,
                _ => Slept::Woken,
            }
        };
        self.withdraw();
        slept
    }

    /// Says that there is work: called after it was published. Gives whether its owner had announced a sleep, and
    /// so must be woken: by [`ring`](Self::ring) or, for an I/O thread, through its eventfd.
    pub fn claim_wake(&self) -> bool {
        #[cfg(feature = "mutants")]
        if mutants::is(Mutant::UnfencedRing) {
            return self.word.compare_exchange(1, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        }
        // SeqCst: pairs with the fence in `announce`; see there.
        fence(Ordering::SeqCst);
        self.word.compare_exchange(1, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Wakes its owner if it sleeps. Gives whether it did; the system call is made only then.
    pub fn ring(&self) -> bool {
        let is_asleep = self.claim_wake();
        if is_asleep {
            futex::wake(self.word, 1);
        }
        is_asleep
    }
}
