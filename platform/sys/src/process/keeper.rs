//! A process that does nothing but share another one's descriptors, so that they outlive it.

use core::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};

use super::PidFd;
use crate::eventfd::EventFd;

/// How its name stands in `ps`.
const NAME: &CStr = c"gantry-keeper";

/// How long a keeper waits to be confirmed. One that nobody wrote down would hold sockets for ever; this long it may
/// hold them after a death between the two.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// A keeper: its life goes on when this process dies.
#[derive(Debug)]
pub struct Keeper {
    pid: i32,
    pidfd: PidFd,
    confirmed: EventFd,
}

impl Keeper {
    /// Makes a process that shares this one's table of descriptors and sleeps until it is killed.
    ///
    /// Every descriptor that this process opens from now on is the keeper's too, and what it closes is closed there:
    /// there is one table. The keeper is a sibling (its parent is this process's parent, who has to reap it), leads
    /// a process group of its own, blocks every signal that can be blocked, may be looked into by processes of the
    /// same user, and has none of the segments, which are not copied to forked processes. It ends by itself unless
    /// [`confirm`](Self::confirm) follows within [`CONFIRM_WITHIN`]: call it when the keeper is written down where
    /// others find it.
    ///
    /// # Errors
    /// No process, memory or descriptor is left; `EINVAL` in the first process of a pid namespace, which has no
    /// parent.
    pub fn start() -> io::Result<Self> {
        let confirmed = EventFd::new()?;
        let mut number: libc::c_int = -1;
        let flags = libc::CLONE_FILES | libc::CLONE_PARENT | libc::CLONE_PIDFD;
        // The child inherits the mask of this thread: it must never run with signals open, for then a stop meant for its
        // maker's group ends it, or runs its maker's handler in it.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: without CLONE_VM the child has a copy of this memory and goes on on its own copy of this stack, as
        // after a fork; `number` outlives the call. What the child runs is async-signal-safe, as it must be where other
        // threads may have held locks.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut number, 0, 0) };
        if pid == 0 {
            sleep_for_ever(confirmed.as_raw_fd());
        }
        let cloned = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
        before.thread_set_mask()?;
        cloned?;
        let number = RawFd::from(number);
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
        let pidfd = unsafe { OwnedFd::from_raw_fd(number) };
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        Ok(Self { pid, pidfd: PidFd::from(pidfd), confirmed })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Holds it; readable when it is dead.
    #[must_use]
    pub fn pidfd(&self) -> &PidFd {
        &self.pidfd
    }

    /// Lets it live on: it was written down.
    pub fn confirm(&self) {
        self.confirmed.signal();
    }
}

/// The keeper's whole life, begun with every signal blocked. System calls only: nothing here may allocate, lock or panic.
fn sleep_for_ever(confirmed: RawFd) -> ! {
    // SAFETY: numbers only.
    unsafe { libc::setpgid(0, 0) };
    // SAFETY: a string that ends with NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    // SAFETY: numbers only. Where Yama is not built in, the kernel refuses, and nothing is needed.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    let mut watched = libc::pollfd { fd: confirmed, events: libc::POLLIN, revents: 0 };
    // SAFETY: one record, which lives on this stack. Signals are blocked, so it is not interrupted.
    let ready = unsafe { libc::poll(&raw mut watched, 1, CONFIRM_WITHIN.as_millis() as libc::c_int) };
    if ready != 1 {
        // SAFETY: ends this process without running what its original registered for its own end.
        unsafe { libc::_exit(0) };
    }
    loop {
        // SAFETY: no arguments.
        unsafe { libc::pause() };
    }
}
