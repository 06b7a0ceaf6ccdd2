//! Where a thread was when a signal interrupted it, and who had called what until there.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ops::ControlFlow;

/// The return code with which the unwinder is told to go on, and to stop.
const GO_ON: c_int = 0;
const STOP: c_int = 5;

/// The unwinder's view of one frame.
#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

// The unwinder of the C++ runtime, which the standard library links too. Since libgcc 12 and glibc 2.35 it finds a
// frame's description without a lock, so that a handler may use it; before, it could wait for the dynamic linker's.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        trace: extern "C" fn(*mut Context, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut Context, is_exact: *mut c_int) -> usize;
}

/// One address on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    value: usize,
    /// Whether the instruction there is the next to run; else it is the one behind a call.
    is_exact: bool,
}

impl Address {
    /// An address inside the instruction that is under way: behind a call, another function may begin.
    fn instruction(self) -> usize {
        if self.is_exact { self.value } else { self.value.saturating_sub(1) }
    }
}

/// A thread that was interrupted by a signal, as its handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// The signal.
    pub signal: i32,
    /// The thread, as [`thread_id`] numbers them.
    pub thread: i32,
    /// The instruction that was to run next, or that faulted; 0 where it cannot be told.
    pub address: usize,
    /// The thread's stack pointer; 0 where it cannot be told.
    stack_pointer: usize,
}

impl Interrupted {
    /// What the kernel told a handler.
    ///
    /// # Safety
    /// `context` is the third argument of a handler that was installed with `SA_SIGINFO`, or null.
    pub(super) unsafe fn new(signal: c_int, context: *const c_void) -> Self {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the caller promises that the kernel wrote a `ucontext_t` there, or that it is null.
        let found = unsafe { context.as_ref() };
        let (address, stack_pointer) = found.map_or((0, 0), registers);
        Self { signal, thread: thread_id(), address, stack_pointer }
    }

    /// Calls `visit` with an address in each function that had called on to where the thread was, the caller of the
    /// innermost first, until it breaks or the outermost is reached; gives which.
    ///
    /// Only in the handler, on the interrupted thread. It allocates nothing and takes no lock of this program, so it is
    /// as async-signal-safe as the C library's tables allow, once [`warm_up_stack_walk`] has run. On a damaged stack it
    /// may fault: what must be noted is noted before. It needs the address to be that of code; see
    /// [`return_address`](Self::return_address) for a thread that jumped to nowhere.
    pub fn walk_callers(&self, visit: &mut dyn FnMut(usize) -> ControlFlow<()>) -> ControlFlow<()> {
        // The first frames are the handler's own, then comes the interrupted function itself.
        let mut is_behind = false;
        walk(&mut |address| {
            if is_behind {
                return visit(address.instruction());
            }
            is_behind = address.value == self.address;
            ControlFlow::Continue(())
        })
    }

    /// The word at the top of the thread's stack: where a call of a wild pointer came from. `None` when it cannot be
    /// read.
    pub fn return_address(&self) -> Option<usize> {
        let mut word = MaybeUninit::<usize>::uninit();
        let local = libc::iovec { iov_base: word.as_mut_ptr().cast(), iov_len: size_of::<usize>() };
        let remote = libc::iovec {
            iov_base: core::ptr::without_provenance_mut(self.stack_pointer),
            iov_len: size_of::<usize>(),
        };
        // SAFETY: `getpid` has no preconditions.
        let own = unsafe { libc::getpid() };
        // SAFETY: the local vector is the buffer above; the kernel checks the other address, which is why this is no
        // plain load. A system call, so async-signal-safe.
        let read = unsafe { libc::process_vm_readv(own, &raw const local, 1, &raw const remote, 1, 0) };
        // SAFETY: read only when the kernel filled all of it; any bits are a number.
        (read == size_of::<usize>() as isize).then(|| unsafe { word.assume_init() })
    }
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> (usize, usize) {
    let general = &context.uc_mcontext.gregs;
    (general[libc::REG_RIP as usize] as usize, general[libc::REG_RSP as usize] as usize)
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> (usize, usize) {
    (context.uc_mcontext.pc as usize, context.uc_mcontext.sp as usize)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn registers(_context: &libc::ucontext_t) -> (usize, usize) {
    (0, 0)
}

/// The kernel's number of the calling thread. A system call, so async-signal-safe.
pub fn thread_id() -> i32 {
    // SAFETY: the call has no preconditions and cannot fail.
    unsafe { libc::gettid() }
}

/// Calls `visit` with an address in each function that is under way on the calling thread, the innermost first, until
/// it breaks or the outermost is reached; gives which. The innermost ones are this function's own.
pub fn walk_own_stack(visit: &mut dyn FnMut(usize) -> ControlFlow<()>) -> ControlFlow<()> {
    walk(&mut |address| visit(address.instruction()))
}

/// Walks once, so that whatever the unwinder sets up at its first use is there before a handler needs it.
pub fn warm_up_stack_walk() {
    let _ended = walk_own_stack(&mut |_| ControlFlow::Continue(()));
}

type Visit<'a> = &'a mut dyn FnMut(Address) -> ControlFlow<()>;

/// What [`step`] is given.
struct Walk<'a> {
    visit: Visit<'a>,
    ended: ControlFlow<()>,
}

#[inline(never)]
fn walk(visit: Visit<'_>) -> ControlFlow<()> {
    let mut walk = Walk { visit, ended: ControlFlow::Continue(()) };
    // SAFETY: `step` gets back the pointer to `walk`, which outlives the call, and unwinds nothing itself.
    unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
    walk.ended
}

extern "C" fn step(context: *mut Context, argument: *mut c_void) -> c_int {
    let mut is_exact = 0;
    // SAFETY: the unwinder gave this context for the time of this call.
    let value = unsafe { _Unwind_GetIPInfo(context, &raw mut is_exact) };
    // SAFETY: the argument is what `walk` gave, a pointer to its own `Walk`, which nothing else uses meanwhile.
    let walk = unsafe { &mut *argument.cast::<Walk<'_>>() };
    if value == 0 {
        // Above the first function of a thread there is nothing.
        return STOP;
    }
    walk.ended = (walk.visit)(Address { value, is_exact: is_exact != 0 });
    if walk.ended.is_break() { STOP } else { GO_ON }
}
