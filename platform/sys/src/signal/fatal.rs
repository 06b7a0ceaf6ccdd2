//! The last words of a process: one function of the owner's, called when it crashes or exits.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::OnceLock;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::Interrupted;

/// The signals that a fault in the program's own code raises.
const FATAL: [Signal; 5] = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT];
/// Size of an alternate stack in bytes: ample for a handler that walks the stack, also where the processor's
/// state alone takes 11 KiB.
const ALTERNATE_STACK_BYTES: usize = 64 * 1024;
/// How long the last words may take, in seconds. They take microseconds; only ones that wait for what the crashed
/// thread holds take longer, and those would take for ever.
const LAST_WORDS_SECONDS_MAX: u32 = 2;

/// What to call. Written once before the handlers are installed; reading it in a handler is one atomic load.
static NOTE: OnceLock<fn(&Interrupted)> = OnceLock::new();
/// Whether a thread is already speaking the last words.
static SPEAKING: AtomicBool = AtomicBool::new(false);

/// Has `note` called with where the thread was when the process is about to die of SIGSEGV, SIGBUS, SIGILL,
/// SIGFPE or SIGABRT.
///
/// Afterwards the default action takes its course: the parent sees a death by that signal, and a core is
/// written where cores are. Handlers run on the alternate stack, so that a stack overflow is noted too; Rust
/// gives its threads a small one, the calling thread gets a larger one here, and threads that C code starts may
/// call [`alternate_stack`].
///
/// `note` runs in the middle of whatever crashed, so it may only do what is async-signal-safe: stores to
/// atomics, plain system calls and [`Interrupted::walk_callers`]; no allocation, no lock, no `println!`, no
/// panic. It is called once: a second thread that crashes meanwhile waits for the end. A `note` that crashes
/// itself ends the process at once; one that does not return is ended by SIGALRM after two seconds.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if a function was registered before; the first one stays.
pub fn on_fatal(note: fn(&Interrupted)) -> io::Result<()> {
    NOTE.set(note).map_err(|_| {
        io::Error::new(io::ErrorKind::AlreadyExists, "the process has a function for its last words already")
    })?;
    alternate_stack()?;
    // All are blocked while one is handled: a crash inside `note` then ends the process at once, by the
    // kernel's hand.
    let meanwhile: SigSet = FATAL.into_iter().collect();
    let action = SigAction::new(SigHandler::SigAction(last_words), SaFlags::SA_ONSTACK, meanwhile);
    for signal in FATAL {
        // SAFETY: the handler does nothing but atomic loads and stores, plain system calls, and `note`, whose
        // author was told above what it may do.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

extern "C" fn last_words(signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // Acquire: nothing is read that another speaker wrote; it only keeps the call of `note` behind the claim.
    if SPEAKING.swap(true, Ordering::Acquire) {
        loop {
            // SAFETY: the call has no arguments and is async-signal-safe; the first speaker's signal will end
            // it.
            unsafe { libc::pause() };
        }
    }
    if let Some(note) = NOTE.get() {
        limit_last_words();
        // SAFETY: this is the handler, and that is the context that the kernel gave it.
        let interrupted = unsafe { Interrupted::new(signal, context) };
        note(&interrupted);
    }
    // SAFETY: restoring the default is async-signal-safe and installs no code.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // The signal is blocked until this handler returns, and then strikes; one raised by `kill` would not come
    // back by itself.
    // SAFETY: `raise` is async-signal-safe.
    unsafe { libc::raise(signal) };
}

/// Has the kernel end the process if the last words do not end.
fn limit_last_words() {
    // SAFETY: restoring the default is async-signal-safe and installs no code; the default ends the process.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_DFL) };
    let mut alarm = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call fills the set it is given; async-signal-safe.
    unsafe { libc::sigemptyset(alarm.as_mut_ptr()) };
    // SAFETY: the set was filled above.
    unsafe { libc::sigaddset(alarm.as_mut_ptr(), libc::SIGALRM) };
    // SAFETY: the set is whole, and where the old mask goes is null; async-signal-safe. In a program with several
    // threads another one might take the signal, which ends the process just as well.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, alarm.as_ptr(), core::ptr::null_mut()) };
    // SAFETY: the call has no preconditions and is async-signal-safe.
    unsafe { libc::alarm(LAST_WORDS_SECONDS_MAX) };
}

/// Gives the calling thread an alternate stack for signal handlers if it has none, or only a small one.
///
/// Must not be called in a handler. It is never freed, because a handler may run on it until the very end; so this is for a few long-lived
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
    let is_there = current.ss_flags & libc::SS_DISABLE == 0;
    if is_there && current.ss_size >= ALTERNATE_STACK_BYTES {
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
