//! The thread that ends statements whose time is over.
//!
//! One for the process, started with the first connection. A statement is watched from before it is sent until its
//! rows are read; to watch and to stop watching costs a lock that nobody else wants.

use super::limits::CANCEL_AGAIN;
use super::stopper::Stopper;
use nix::sys::signal::SigSet;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// The watchdog of this process.
pub(super) struct Watchdog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    watched: Vec<Watched>,
    /// Numbers the watches.
    next: u64,
    /// The watch whose statement is being cancelled right now.
    cancelling: Option<u64>,
    /// When the thread looks again by itself; `None`: not before it is told.
    looks_at: Option<Instant>,
}

struct Watched {
    number: u64,
    ends_at: Instant,
    stopper: Stopper,
    was_cancelled: bool,
}

/// A statement that is being watched.
pub(super) struct Watch {
    watchdog: &'static Watchdog,
    number: u64,
    is_over: bool,
}

/// The watchdog, started if need be.
pub(super) fn watchdog() -> io::Result<&'static Watchdog> {
    static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
    static STARTING: Mutex<bool> = Mutex::new(false);
    let watchdog = WATCHDOG.get_or_init(|| Watchdog { state: Mutex::default(), changed: Condvar::new() });
    let mut is_started = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_started {
        std::thread::Builder::new().name("odbc-watchdog".to_owned()).spawn(|| {
            // Signals are for the worker's own thread, whose stack they may be meant to show.
            SigSet::all().thread_block().expect("blocking is a valid way to change a thread's mask");
            watchdog.run();
        })?;
        *is_started = true;
    }
    Ok(watchdog)
}

impl Watchdog {
    /// Watches a statement: it is cancelled at `ends_at`, and again until the watch is over.
    pub(super) fn watch(&'static self, stopper: Stopper, ends_at: Instant) -> Watch {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.watched.push(Watched { number, ends_at, stopper, was_cancelled: false });
        if state.looks_at.is_none_or(|looks_at| ends_at < looks_at) {
            self.changed.notify_all();
        }
        Watch { watchdog: self, number, is_over: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let due = state.watched.iter_mut().min_by_key(|watched| watched.ends_at);
            state = match due {
                None => {
                    state.looks_at = None;
                    self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
                Some(watched) if watched.ends_at > now => {
                    let (ends_at, left) = (watched.ends_at, watched.ends_at - now);
                    state.looks_at = Some(ends_at);
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(watched) => {
                    watched.was_cancelled = true;
                    let stopper = watched.stopper.clone();
                    let number = watched.number;
                    state.cancelling = Some(number);
                    drop(state);
                    stopper.stop();
                    let mut state = self.state();
                    state.cancelling = None;
                    // Again until the watch is over: it may have come before the statement began. Counted from here, so that a
                    // server that is slow to take it leaves time for the other watches.
                    if let Some(watched) = state.watched.iter_mut().find(|watched| watched.number == number) {
                        watched.ends_at = Instant::now() + CANCEL_AGAIN;
                    }
                    self.changed.notify_all();
                    state
                }
            };
        }
    }
}

impl Watch {
    /// Ends the watch; returns whether the statement was cancelled. Waits for a cancel that is under way, so that it
    /// cannot hit the statement that comes next.
    pub(super) fn end(mut self) -> bool {
        self.close()
    }

    fn close(&mut self) -> bool {
        self.is_over = true;
        let mut state = self.watchdog.state();
        while state.cancelling == Some(self.number) {
            state = self.watchdog.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let place = state.watched.iter().position(|watched| watched.number == self.number);
        place.is_some_and(|place| state.watched.swap_remove(place).was_cancelled)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_over {
            self.close();
        }
    }
}
