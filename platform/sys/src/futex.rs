//! Sleeping until a word in shared memory changes, and waking those who sleep.
//!
//! These are shared futexes: the kernel finds the sleepers by the memory itself, so processes that attached
//! the same segment at different addresses meet. The private kind would be quicker and would silently never
//! wake another process.

use std::time::Duration;

use crate::atomic::AtomicU32;

/// Why a [`wait`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// Somebody called [`wake`], or the kernel woke us without reason: look at the word again.
    Woken,
    /// The word did not hold the expected value, so nobody slept.
    Changed,
    /// The time was up.
    TimedOut,
    /// A signal came, or the kernel would not let us sleep: look at the word again.
    Interrupted,
}

/// The longest time that one wait asks the kernel for: 68 years, which every kernel's arithmetic bears.
#[cfg(not(loom))]
const WAIT_SECONDS_MAX: u64 = i32::MAX as u64;

/// Sleeps as long as `word` holds `expected`, at most for `timeout` (`None`: without limit). Blocks the
/// thread.
///
/// The check and the falling asleep are one step for the kernel: a change of the word followed by a [`wake`]
/// is never lost. A return says nothing about the word; load it again. Waking orders memory only through the
/// word itself.
#[cfg(not(loom))]
#[must_use = "the result tells a change from a time-out"]
pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> WaitResult {
    let limit = timeout.map(|duration| {
        let duration = duration.min(Duration::from_secs(WAIT_SECONDS_MAX));
        nix::sys::time::TimeSpec::from_duration(duration)
    });
    let limit: *const libc::timespec = limit.as_ref().map_or(core::ptr::null(), |limit| limit.as_ref());
    // SAFETY: the word is a live, aligned 32-bit integer for the whole call, the kernel only reads it, and
    // `limit` is null or points to a value that lives until the end of this function.
    let returned =
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, limit) };
    if returned == 0 {
        return WaitResult::Woken;
    }
    match nix::errno::Errno::last() {
        nix::errno::Errno::EAGAIN => WaitResult::Changed,
        nix::errno::Errno::ETIMEDOUT => WaitResult::TimedOut,
        // EINTR; the others (no such call, bad address) cannot happen with a real reference on Linux.
        _ => WaitResult::Interrupted,
    }
}

/// In a model nobody sleeps: the caller's loop looks at the word again after all other threads had their
/// turn.
#[cfg(loom)]
#[must_use = "the result tells a change from a time-out"]
pub fn wait(_word: &AtomicU32, _expected: u32, _timeout: Option<Duration>) -> WaitResult {
    loom::thread::yield_now();
    WaitResult::Woken
}

/// Wakes at most `count` of those who sleep on `word`, in whatever process they are, and returns how many it
/// woke.
///
/// Never blocks. Change the word first, or the woken will fall asleep again.
#[cfg(not(loom))]
pub fn wake(word: &AtomicU32, count: u32) -> u32 {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: the word is a live, aligned 32-bit integer, of which the kernel only takes the address.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    // A negative result would be a bad address, which a reference is not.
    u32::try_from(woken).unwrap_or(0)
}

/// In a model nobody sleeps, so nobody is woken.
#[cfg(loom)]
pub fn wake(_word: &AtomicU32, _count: u32) -> u32 {
    loom::thread::yield_now();
    0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::atomic::Ordering;

    #[test]
    fn wait_on_a_changed_word_returns_at_once() {
        assert_eq!(wait(&AtomicU32::new(1), 2, None), WaitResult::Changed);
    }

    #[test]
    fn wait_without_a_waker_times_out() {
        let word = AtomicU32::new(7);
        assert_eq!(wait(&word, 7, Some(Duration::from_millis(1))), WaitResult::TimedOut);
        assert_eq!(wait(&word, 7, Some(Duration::ZERO)), WaitResult::TimedOut);
    }

    #[test]
    fn wait_for_the_longest_duration_is_not_refused_by_the_kernel() {
        assert_eq!(wait(&AtomicU32::new(0), 1, Some(Duration::MAX)), WaitResult::Changed);
    }

    #[test]
    fn wake_without_sleepers_wakes_nobody() {
        assert_eq!(wake(&AtomicU32::new(0), u32::MAX), 0);
    }

    #[test]
    fn wake_ends_the_wait_of_another_thread() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let mut results = Vec::new();
                while word.load(Ordering::Acquire) == 0 {
                    results.push(wait(&word, 0, Some(Duration::from_secs(60))));
                }
                results
            });
            // Wake without changing the word until one sleeper was really there; then let it go.
            while wake(&word, 1) == 0 {
                std::thread::yield_now();
            }
            word.store(1, Ordering::Release);
            wake(&word, u32::MAX);
            let results = sleeper.join().unwrap();
            assert!(results.contains(&WaitResult::Woken), "{results:?}");
            assert!(!results.contains(&WaitResult::TimedOut), "{results:?}");
        });
    }
    /// The first word of an attached segment.
    fn word(attachment: &crate::shm::Attachment) -> &AtomicU32 {
        // SAFETY: a segment begins on a page and is longer than the word; it is attached as long as the borrow,
        // and everybody uses the word as an atomic.
        unsafe { attachment.base().cast::<AtomicU32>().as_ref() }
    }

    #[test]
    fn wake_reaches_a_sleeper_in_another_process() {
        use crate::process::{ExitState, Output, PidFd, Spawn, own_executable, reap};
        use crate::shm::{self, SegmentKey};
        const SEGMENT: &str = "GANTRY_SYS_TEST_FUTEX";
        if let Ok(id) = std::env::var(SEGMENT) {
            let attachment = shm::attach(&id.parse().unwrap()).unwrap();
            while word(&attachment).load(Ordering::Acquire) == 0 {
                assert_ne!(wait(word(&attachment), 0, Some(Duration::from_secs(60))), WaitResult::TimedOut);
            }
            return;
        }
        let id =
            shm::create(&SegmentKey::Posix(format!("gantry-sys-futex-{}", std::process::id())), 4096, true);
        let id = id.unwrap();
        let attachment = shm::attach(&id).unwrap();
        let mut spawn = Spawn::new(own_executable().unwrap());
        let spawn = spawn.args(["futex::tests::wake_reaches_a_sleeper_in_another_process", "--exact"]);
        let spawned = spawn.env(SEGMENT, id.to_string()).stdout(Output::Null).spawn();
        let child = spawned.inspect_err(|_| shm::remove(&id).unwrap()).unwrap();
        let held = PidFd::from(child.pidfd);
        let started = std::time::Instant::now();
        let mut woken = 0;
        while woken == 0 && !held.is_dead() && started.elapsed() < Duration::from_secs(60) {
            woken = wake(word(&attachment), 1);
        }
        word(&attachment).store(1, Ordering::Release);
        wake(word(&attachment), u32::MAX);
        let ended = held.wait(Some(Duration::from_secs(60)));
        shm::remove(&id).unwrap();
        if !ended {
            held.signal(crate::signal::Signal::SIGKILL).unwrap();
        }
        assert_eq!(woken, 1, "no wake found the other process");
        assert!(ended);
        assert_eq!(reap(child.pid), ExitState::Exited { code: 0 });
    }
}
