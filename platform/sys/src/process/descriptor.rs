//! A process held by descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::clock;

/// One life of one process. A pid may be given to a stranger after a death; this never is.
///
/// As a descriptor it becomes readable when the process has ended (all its threads, reaped or not).
#[derive(Debug)]
pub struct PidFd {
    /// Made by `pidfd_open`, so closed on exec.
    descriptor: OwnedFd,
}

impl PidFd {
    /// Holds the process that has this pid now.
    ///
    /// Whether that is the process one has in mind is for the caller to check afterwards, for instance by
    /// [`start_ticks`](super::start_ticks), unless it is an unreaped child.
    ///
    /// # Errors
    /// `ESRCH` if no process has this pid, `EINVAL` if it is not above 0, `EMFILE` if no descriptor is left.
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let number = RawFd::try_from(number).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Self { descriptor })
    }

    /// Whether the process has ended. Does not block, and also sees the death of a zombie that nobody reaps.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.wait(Some(Duration::ZERO))
    }

    /// Blocks until the process has ended, at most for `timeout` (`None`: without limit). Returns whether it
    /// has.
    ///
    /// Whatever cannot be told (the kernel is out of memory) counts as alive, since recovering what a living
    /// process owns does harm that waiting does not.
    #[must_use]
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let started_ns = clock::monotonic_ns();
        loop {
            let left = match timeout {
                None => PollTimeout::NONE,
                Some(limit) => {
                    let passed = Duration::from_nanos(clock::monotonic_ns().saturating_sub(started_ns));
                    let left = limit.saturating_sub(passed);
                    // Rounded up: a poll of 0 ms would turn the last millisecond into a busy loop.
                    PollTimeout::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
                }
            };
            let mut watched = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, left) {
                Ok(0) if left == PollTimeout::MAX => {}
                Ok(ready) => return ready > 0,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Takes a copy of a descriptor of that process (`pidfd_getfd`), closed on exec here.
    ///
    /// # Errors
    /// `EBADF` if it has none of this number, `ESRCH` if it is dead, `EPERM` if this process may not look into it
    /// (another user's, not dumpable, or forbidden by Yama), `EMFILE` if no descriptor is left here.
    pub fn take_descriptor(&self, number: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: the call takes numbers only.
        let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.descriptor.as_raw_fd(), number, 0) };
        if taken < 0 {
            return Err(io::Error::last_os_error());
        }
        let taken = RawFd::try_from(taken).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
        Ok(unsafe { OwnedFd::from_raw_fd(taken) })
    }

    /// Sends a signal to this process, never to one that took over its pid.
    ///
    /// # Errors
    /// `ESRCH` if it has ended and was reaped, `EPERM` if it is another user's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let (number, nothing) = (self.descriptor.as_raw_fd(), core::ptr::null::<libc::siginfo_t>());
        // SAFETY: the descriptor is open, and a null `siginfo` asks for what `kill` would send.
        let returned =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, signal as i32, nothing, 0) };
        if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(held: PidFd) -> OwnedFd {
        held.descriptor
    }
}

/// For a descriptor known to be a pidfd, such as [`Child::pidfd`](super::Child). Of any other kind, signals
/// are refused by the kernel.
impl From<OwnedFd> for PidFd {
    fn from(descriptor: OwnedFd) -> Self {
        Self { descriptor }
    }
}
