//! The last words of a process: one function of the owner's, called when it crashes or exits.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::OnceLock;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The signals that a fault in the program's own code raises.
const FATAL: [Signal; 5] = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT];
/// Size of an alternate stack in bytes: ample for a handler and a few stores, also where the processor's
/// state alone takes 11 KiB.
const ALTERNATE_STACK_BYTES: usize = 64 * 1024;

/// What to call. Written once before the handlers are installed; reading it in a handler is one atomic load.
static NOTE: OnceLock<fn(i32)> = OnceLock::new();
/// Whether a thread is already speaking the last words.
static SPEAKING: AtomicBool = AtomicBool::new(false);

/// Has `note` called with the signal's number when the process is about to die of SIGSEGV, SIGBUS, SIGILL,
/// SIGFPE or SIGABRT.
///
/// Afterwards the default action takes its course: the parent sees a death by that signal, and a core is
/// written where cores are. Handlers run on the alternate stack, so that a stack overflow is noted too; Rust
/// gives its threads one, the calling thread gets one here if it has none, and threads that C code starts may
/// call [`alternate_stack`].
///
/// `note` runs in the middle of whatever crashed, so it may only do what is async-signal-safe: stores to
/// atomics and plain system calls; no allocation, no lock, no `println!`, no panic. It is called once: a
/// second thread that crashes meanwhile waits for the end.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if a function was registered before; the first one stays.
pub fn on_fatal(note: fn(i32)) -> io::Result<()> {
    NOTE.set(note).map_err(|_| {
        io::Error::new(io::ErrorKind::AlreadyExists, "the process has a function for its last words already")
    })?;
    alternate_stack()?;
    // All are blocked while one is handled: a crash inside `note` then ends the process at once, by the
    // kernel's hand.
    let meanwhile: SigSet = FATAL.into_iter().collect();
    let action = SigAction::new(SigHandler::Handler(last_words), SaFlags::SA_ONSTACK, meanwhile);
    for signal in FATAL {
        // SAFETY: the handler does nothing but atomic loads and stores, `sigaction`, `raise`, `pause`, and
        // `note`, whose author was told above what it may do.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

extern "C" fn last_words(signal: libc::c_int) {
    // Acquire: nothing is read that another speaker wrote; it only keeps the call of `note` behind the claim.
    if SPEAKING.swap(true, Ordering::Acquire) {
        loop {
            // SAFETY: the call has no arguments and is async-signal-safe; the first speaker's signal will end
            // it.
            unsafe { libc::pause() };
        }
    }
    if let Some(note) = NOTE.get() {
        note(signal);
    }
    // SAFETY: restoring the default is async-signal-safe and installs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // The signal is blocked until this handler returns, and then strikes; one raised by `kill` would not come
    // back by itself.
    // SAFETY: `raise` is async-signal-safe.
    unsafe { libc::raise(signal) };
}

/// Gives the calling thread an alternate stack for signal handlers if it has none.
///
/// It is never freed, because a handler may run on it until the very end; so this is for a few long-lived
/// threads.
///
/// # Errors
/// What `sigaltstack` says; it has no reason to.
pub fn alternate_stack() -> io::Result<()> {
    let mut current = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: the new stack is null, so the call only writes the description of the present one into the
    // buffer.
    check(unsafe { libc::sigaltstack(core::ptr::null(), current.as_mut_ptr()) })?;
    // SAFETY: it was zeroed and then filled by the kernel; a pointer and integers have no invalid bits.
    let current = unsafe { current.assume_init() };
    if current.ss_flags & libc::SS_DISABLE == 0 {
        return Ok(());
    }
    let memory: &'static mut [u8] = Vec::leak(vec![0; ALTERNATE_STACK_BYTES]);
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    // SAFETY: the memory is leaked, so it stays valid for as long as the thread can run, and nothing else
    // refers to it.
    check(unsafe { libc::sigaltstack(&raw const stack, core::ptr::null_mut()) })
}

/// Has `note` called when the process ends by `exit` or by returning from `main` (not by `_exit` or a
/// signal).
///
/// Several may be registered; the last is called first. They run on the thread that called `exit`, beside all
/// others; keep to what needs no other thread.
///
/// # Errors
/// [`io::ErrorKind::OutOfMemory`] if the C library cannot note it.
pub fn on_exit(note: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the function is `extern "C"`, takes nothing, and lives as long as the program, which is never
    // unloaded.
    let returned = unsafe { libc::atexit(note) };
    if returned == 0 { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) }
}

fn check(returned: libc::c_int) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
