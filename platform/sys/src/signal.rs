//! Signals, in the forms that do not interrupt: blocked, ignored, read from a descriptor, or noted in a flag;
//! and the last words of a process that crashes.

mod fatal;
mod interrupted;
mod modules;

use core::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use core::sync::atomic::{AtomicBool, Ordering};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
use nix::sys::signalfd::SfdFlags;

pub use fatal::{alternate_stack, on_exit, on_fatal};
pub use interrupted::{Interrupted, thread_id, walk_own_stack, warm_up_stack_walk};
pub use modules::{LoadedModule, loaded_modules};
pub use nix::sys::signal::Signal;

/// Holds signals back from the calling thread, and from threads that it starts afterwards.
///
/// What comes stays pending, to be read from a [`SignalFd`]. Call it before the first thread is started.
/// Programs started by [`Spawn`](crate::process::Spawn) do not inherit it.
///
/// # Errors
/// None on Linux for signals that have a name; the kernel quietly keeps SIGKILL and SIGSTOP deliverable.
pub fn block(signals: &[Signal]) -> io::Result<()> {
    Ok(set_of(signals).thread_block()?)
}

/// Lets signals through to the calling thread again; those pending are delivered at once.
///
/// # Errors
/// As [`block`].
pub fn unblock(signals: &[Signal]) -> io::Result<()> {
    Ok(set_of(signals).thread_unblock()?)
}

/// Throws a signal away, in the whole process, and across exec (see [`Spawn`](crate::process::Spawn) for
/// those that it restores).
///
/// # Errors
/// `EINVAL` for SIGKILL and SIGSTOP.
pub fn ignore(signal: Signal) -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring installs no code of ours that could run at a bad moment.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// Whether SIGTERM came; written by a signal handler. Not loom's even in a model: a handler needs a `static`.
static TERMINATE: AtomicBool = AtomicBool::new(false);

/// What else the handler of SIGTERM calls.
static ON_TERMINATE: OnceLock<fn(&Interrupted)> = OnceLock::new();

/// Makes SIGTERM set a flag instead of ending the process, and returns the flag.
///
/// The signal interrupts the wait ([`WaitResult::Interrupted`](crate::futex::WaitResult), `EINTR`) of one
/// thread, the main one if that does not block it, so that a loop there gets to look at the flag. A signal
/// between the look and the wait does not, and other threads notice nothing: give their waits a limit, or use
/// a [`SignalFd`]. Calling it again returns the same flag.
pub fn terminate_flag() -> &'static AtomicBool {
    // Without SA_RESTART, which would put the interrupted wait back to sleep. On the alternate stack, so that a
    // service that has used up its own is not hit by the handler.
    let handler = SigHandler::SigAction(terminate);
    let action = SigAction::new(handler, SaFlags::SA_ONSTACK, SigSet::empty());
    // SAFETY: the handler does nothing but atomic loads and stores, and what `on_terminate` was given, whose author
    // was told there what it may do.
    unsafe { sigaction(Signal::SIGTERM, &action) }.expect("SIGTERM can be caught on every Linux");
    &TERMINATE
}

/// Has `note` called too, with where the thread was, when SIGTERM comes and sets the [flag](terminate_flag).
///
/// The interrupted thread goes on afterwards, as if nothing had happened. `note` may only do what is
/// async-signal-safe, as that of [`on_fatal`] may.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if a function was registered before; the first one stays.
pub fn on_terminate(note: fn(&Interrupted)) -> io::Result<()> {
    ON_TERMINATE.set(note).map_err(|_| {
        io::Error::new(io::ErrorKind::AlreadyExists, "the process has a function for SIGTERM already")
    })
}

extern "C" fn terminate(signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // Relaxed: the flag stands for itself, and nothing else is read because of it.
    TERMINATE.store(true, Ordering::Relaxed);
    let Some(note) = ON_TERMINATE.get() else { return };
    // Who was interrupted may be between a failed call and the look at its error.
    let error = Errno::last_raw();
    // SAFETY: this is the handler, and that is the context that the kernel gave it.
    let interrupted = unsafe { Interrupted::new(signal, context) };
    note(&interrupted);
    Errno::set_raw(error);
}

/// A signal that came, and from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// The sender's pid; 0 if it was the kernel. For SIGCHLD the child that changed.
    pub sender_pid: i32,
    /// The sender's user id.
    pub sender_uid: u32,
}

/// Signals as something to wait for with `epoll` and to read.
#[derive(Debug)]
pub struct SignalFd {
    inner: nix::sys::signalfd::SignalFd,
}

impl SignalFd {
    /// Blocks the signals in the calling thread and opens a descriptor, non-blocking and closed on exec, that
    /// is readable while one of them is pending for the process.
    ///
    /// Threads that run already must have them blocked as well, or the kernel delivers to those.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let set = set_of(signals);
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self { inner: nix::sys::signalfd::SignalFd::with_flags(&set, flags)? })
    }

    /// Takes the next pending signal, or `None` if there is none now. Several of a kind may have become one.
    ///
    /// # Errors
    /// Memory is short in the kernel.
    pub fn read(&self) -> io::Result<Option<Received>> {
        let Some(info) = self.inner.read_signal()? else { return Ok(None) };
        let number = i32::try_from(info.ssi_signo).map_err(io::Error::other)?;
        let signal = Signal::try_from(number)?;
        // A pid travels in an unsigned field here; its bits are the same.
        Ok(Some(Received { signal, sender_pid: info.ssi_pid.cast_signed(), sender_uid: info.ssi_uid }))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl From<SignalFd> for OwnedFd {
    fn from(signals: SignalFd) -> OwnedFd {
        signals.inner.into()
    }
}

fn set_of(signals: &[Signal]) -> SigSet {
    signals.iter().copied().collect()
}

#[cfg(test)]
mod tests;
