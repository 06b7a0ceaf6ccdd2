//! A process that is driven instruction by instruction, and that can be put back to an earlier instruction.
//!
//! It is cloned with its stack in memory that we share with it, so that registers, stack and the shared world are all
//! that an operation on the ring can change; saving and restoring those three is a time machine.

use std::ptr::NonNull;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Memory shared with child processes.
#[derive(Debug)]
pub(crate) struct SharedMap {
    base: NonNull<u8>,
    bytes: usize,
}

impl SharedMap {
    /// Zeroed anonymous memory.
    pub(crate) fn new(bytes: usize) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping; nothing is replaced.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        assert!(base != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Self { base: NonNull::new(base.cast()).expect("a mapping is not at 0"), bytes }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Copies `bytes` from `offset` on. Only while the processes that write here are stopped.
    pub(crate) fn save(&self, offset: usize, bytes: usize, into: &mut Vec<u8>) {
        assert!(offset + bytes <= self.bytes);
        into.clear();
        into.reserve(bytes);
        // SAFETY: inside the mapping by the assertion.
        let from = unsafe { self.base.add(offset) };
        // SAFETY: `into` has room for `bytes`, the source is mapped, and both are apart.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), bytes) };
        // SAFETY: the bytes were just written.
        unsafe { into.set_len(bytes) };
    }

    /// Puts saved bytes back.
    pub(crate) fn restore(&self, offset: usize, saved: &[u8]) {
        assert!(offset + saved.len() <= self.bytes);
        // SAFETY: inside the mapping by the assertion.
        let to = unsafe { self.base.add(offset) };
        // SAFETY: the target is mapped and apart from `saved`.
        unsafe { std::ptr::copy_nonoverlapping(saved.as_ptr(), to.as_ptr(), saved.len()) };
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: our own mapping, unmapped once; no reference outlives the map's owner.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

const STACK_BYTES: usize = 128 * 1024;
/// The front of the stack's mapping holds what the child is to do; the stack grows down from the end.
const DONE_OFFSET: usize = 0;
const ARGUMENTS_OFFSET: usize = 64;

/// What a puppet runs: a plain function on the world, which must neither allocate nor make a system call.
#[derive(Clone, Copy)]
#[repr(C)]
struct Arguments {
    run: fn(*const u8),
    world: *const u8,
    done: *mut u8,
}

/// A traced process, stopped between two instructions.
#[derive(Debug)]
pub(crate) struct Puppet {
    pid: Pid,
    stack: SharedMap,
}

/// An instant of a puppet.
#[derive(Default)]
pub(crate) struct Instant {
    registers: Option<libc::user_regs_struct>,
    vectors: Option<libc::user_fpregs_struct>,
    stack_offset: usize,
    stack: Vec<u8>,
}

extern "C" fn child_main(arguments: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent wrote the arguments into the shared stack mapping before the clone.
    let arguments = unsafe { *arguments.cast::<Arguments>() };
    // SAFETY: asks to be traced by the parent; no memory is involved.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    // SAFETY: async-signal-safe; stops here until the parent drives on.
    unsafe { libc::raise(libc::SIGSTOP) };
    (arguments.run)(arguments.world);
    // SAFETY: the byte lies in the shared stack mapping, which outlives the child.
    unsafe { arguments.done.write_volatile(1) };
    loop {
        // SAFETY: async-signal-safe; there is nothing left to do.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
}

impl Puppet {
    /// Clones a process that will run `run(world)` and stops it before its first instruction.
    pub(crate) fn spawn(run: fn(*const u8), world: NonNull<u8>) -> Self {
        let stack = SharedMap::new(STACK_BYTES);
        let base = stack.base().as_ptr();
        let arguments = Arguments { run, world: world.as_ptr(), done: base.wrapping_add(DONE_OFFSET) };
        let place = base.wrapping_add(ARGUMENTS_OFFSET).cast::<Arguments>();
        // SAFETY: inside the mapping and aligned; nobody else has it yet.
        unsafe { place.write(arguments) };
        let top = base.wrapping_add(STACK_BYTES - 64).cast();
        // SAFETY: the stack is mapped and large enough; without CLONE_VM the child has its own memory otherwise and
        // only runs `child_main`.
        let pid = unsafe { libc::clone(child_main, top, libc::SIGCHLD, place.cast()) };
        assert!(pid > 0, "clone: {}", std::io::Error::last_os_error());
        let puppet = Self { pid: Pid::from_raw(pid), stack };
        puppet.wait();
        puppet
    }

    /// Runs one instruction; gives false when the function has returned.
    pub(crate) fn step(&self) -> bool {
        ptrace::step(self.pid, None).expect("a stopped child can be stepped");
        self.wait();
        !self.is_done()
    }

    /// Lets it run until its function has returned.
    pub(crate) fn run_to_end(&self) {
        while !self.is_done() {
            ptrace::cont(self.pid, None).expect("a stopped child can go on");
            self.wait();
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        // SAFETY: inside the mapping; the child is stopped.
        unsafe { self.stack.base().as_ptr().wrapping_add(DONE_OFFSET).read_volatile() == 1 }
    }

    pub(crate) fn save(&self, instant: &mut Instant) {
        let registers = ptrace::getregs(self.pid).expect("a stopped child's registers can be read");
        instant.vectors = Some(self.vectors());
        let stack_pointer = registers.rsp as usize - self.stack.base().as_ptr() as usize;
        // 128 bytes below the stack pointer belong to the running function too (the red zone).
        instant.stack_offset = stack_pointer - 128;
        self.stack.save(instant.stack_offset, STACK_BYTES - instant.stack_offset, &mut instant.stack);
        instant.registers = Some(registers);
    }

    pub(crate) fn restore(&self, instant: &Instant) {
        self.stack.restore(instant.stack_offset, &instant.stack);
        self.stack.restore(DONE_OFFSET, &[0]);
        ptrace::setregs(self.pid, instant.registers.expect("saved before"))
            .expect("registers can be written");
        let mut vectors = instant.vectors.expect("saved before");
        let data = std::ptr::from_mut(&mut vectors);
        // SAFETY: the kernel reads one `user_fpregs_struct` from `data`.
        let result = unsafe { libc::ptrace(libc::PTRACE_SETFPREGS, self.pid.as_raw(), 0, data) };
        assert!(result == 0, "PTRACE_SETFPREGS: {}", std::io::Error::last_os_error());
    }

    fn vectors(&self) -> libc::user_fpregs_struct {
        let mut vectors = std::mem::MaybeUninit::<libc::user_fpregs_struct>::zeroed();
        // SAFETY: the kernel writes one `user_fpregs_struct` to `vectors`.
        let result =
            unsafe { libc::ptrace(libc::PTRACE_GETFPREGS, self.pid.as_raw(), 0, vectors.as_mut_ptr()) };
        assert!(result == 0, "PTRACE_GETFPREGS: {}", std::io::Error::last_os_error());
        // SAFETY: zeroed is a valid value, and the kernel filled it.
        unsafe { vectors.assume_init() }
    }

    fn wait(&self) {
        match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP | Signal::SIGSTOP)) => {}
            other => panic!("the puppet did not stop as it should: {other:?}"),
        }
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, Some(WaitPidFlag::__WALL));
    }
}
