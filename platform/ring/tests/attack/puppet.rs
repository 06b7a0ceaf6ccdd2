//! A process that is driven instruction by instruction, and that can be put back to an earlier instruction.
//!
//! It is cloned with its stack and its heap in memory that we share with it, so that registers, that memory and the
//! shared world are all that an operation can change; saving and restoring those three is a time machine.

use std::cell::RefCell;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::memory::{ARENA_BYTES, SharedMap, allocate_in};
use crate::touch::Code86;

const STACK_BYTES: usize = 128 * 1024;
const OWN_BYTES: usize = ARENA_OFFSET + ARENA_BYTES + STACK_BYTES;
/// The front of a puppet's own mapping says what it is to do and whether it did; then comes the heap; the stack grows
/// down from the end.
const DONE_OFFSET: usize = 0;
const ARGUMENTS_OFFSET: usize = 64;
const ARENA_OFFSET: usize = 4096;

/// What a puppet runs: a plain function on the world.
#[derive(Clone, Copy)]
#[repr(C)]
struct Arguments {
    run: fn(*const u8),
    world: *const u8,
    done: *mut u8,
    arena: *mut u8,
}

/// A traced process, stopped between two instructions. Driven only by the thread that made it.
pub(crate) struct Puppet {
    pid: Pid,
    own: SharedMap,
    /// What it shares with others.
    shared: [Range<u64>; 1],
    code: RefCell<Code86>,
}

/// An instant of a puppet.
#[derive(Default)]
pub(crate) struct Instant {
    registers: Option<libc::user_regs_struct>,
    vectors: Option<libc::user_fpregs_struct>,
    heap: Vec<u8>,
    stack_offset: usize,
    stack: Vec<u8>,
}

extern "C" fn child_main(arguments: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent wrote the arguments into the shared mapping before the clone.
    let arguments = unsafe { *arguments.cast::<Arguments>() };
    allocate_in(arguments.arena);
    // SAFETY: asks to be traced by the parent; no memory is involved.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    // SAFETY: async-signal-safe; stops here until the parent drives on.
    unsafe { libc::raise(libc::SIGSTOP) };
    (arguments.run)(arguments.world);
    // SAFETY: the byte lies in the shared mapping, which outlives the child.
    unsafe { arguments.done.write_volatile(1) };
    loop {
        // SAFETY: async-signal-safe; there is nothing left to do.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
}

impl Puppet {
    /// Clones a process that will run `run` on the world in `map`, and stops it before its first instruction.
    pub(crate) fn spawn(run: fn(*const u8), map: &SharedMap) -> Self {
        let own = SharedMap::new(OWN_BYTES);
        let base = own.base().as_ptr();
        let arena = base.wrapping_add(ARENA_OFFSET);
        // SAFETY: inside the mapping and aligned; the count of what is used begins behind itself.
        unsafe { arena.cast::<usize>().write(size_of::<usize>()) };
        let done = base.wrapping_add(DONE_OFFSET);
        let arguments = Arguments { run, world: map.base().as_ptr(), done, arena };
        let place = base.wrapping_add(ARGUMENTS_OFFSET).cast::<Arguments>();
        // SAFETY: inside the mapping and aligned; nobody else has it yet.
        unsafe { place.write(arguments) };
        let top = base.wrapping_add(OWN_BYTES - 64).cast();
        // SAFETY: the stack is mapped and large enough; without CLONE_VM the child has its own memory otherwise and
        // only runs `child_main`.
        let pid = unsafe { libc::clone(child_main, top, libc::SIGCHLD, place.cast()) };
        assert!(pid > 0, "clone: {}", std::io::Error::last_os_error());
        let puppet =
            Self { pid: Pid::from_raw(pid), own, shared: [map.range()], code: RefCell::new(Code86::new()) };
        puppet.wait();
        puppet
    }

    /// Runs one instruction; gives false when the function has returned.
    pub(crate) fn step(&self) -> bool {
        ptrace::step(self.pid, None).expect("a stopped child can be stepped");
        self.wait();
        !self.is_done()
    }

    /// Runs on until the next instruction touches shared memory, and gives how many instructions that took; `None` when
    /// the function has returned.
    pub(crate) fn step_to_touch(&self) -> Option<u64> {
        let mut steps_count = 0;
        loop {
            if !self.step() {
                return None;
            }
            steps_count += 1;
            let registers = ptrace::getregs(self.pid).expect("a stopped child's registers can be read");
            if self.code.borrow_mut().touches(&registers, &self.shared) {
                return Some(steps_count);
            }
        }
    }

    /// Lets it run until its function has returned.
    pub(crate) fn run_to_end(&self) {
        while !self.is_done() {
            ptrace::cont(self.pid, None).expect("a stopped child can go on");
            self.wait();
        }
    }

    /// Kills it as `kill -9` does, and waits until it is dead.
    pub(crate) fn kill(self) {
        drop(self);
    }

    fn is_done(&self) -> bool {
        // SAFETY: inside the mapping; the child is stopped.
        unsafe { self.own.base().as_ptr().wrapping_add(DONE_OFFSET).read_volatile() == 1 }
    }

    fn heap_used(&self) -> usize {
        let place = self.own.base().as_ptr().wrapping_add(ARENA_OFFSET).cast::<usize>();
        // SAFETY: the arena begins with its count; the child is stopped.
        let used = unsafe { place.read_volatile() };
        used.min(ARENA_BYTES)
    }

    pub(crate) fn save(&self, instant: &mut Instant) {
        let registers = ptrace::getregs(self.pid).expect("a stopped child's registers can be read");
        instant.vectors = Some(self.vectors());
        let stack_pointer = registers.rsp as usize - self.own.base().addr().get();
        // 128 bytes below the stack pointer belong to the running function too (the red zone).
        instant.stack_offset = stack_pointer - 128;
        self.own.save(instant.stack_offset, OWN_BYTES - instant.stack_offset, &mut instant.stack);
        self.own.save(ARENA_OFFSET, self.heap_used(), &mut instant.heap);
        instant.registers = Some(registers);
    }

    pub(crate) fn restore(&self, instant: &Instant) {
        self.own.restore(instant.stack_offset, &instant.stack);
        self.own.restore(ARENA_OFFSET, &instant.heap);
        self.own.restore(DONE_OFFSET, &[0]);
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
        let data = vectors.as_mut_ptr();
        // SAFETY: the kernel writes one `user_fpregs_struct` to `data`.
        let result = unsafe { libc::ptrace(libc::PTRACE_GETFPREGS, self.pid.as_raw(), 0, data) };
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

/// The world that an operation is given.
pub(crate) fn world_at<W>(base: *const u8) -> &'static W {
    let base = NonNull::new(base.cast_mut()).expect("a world is not at 0");
    // SAFETY: the map is page aligned, at least as large as a world, and outlives the test; everything in a world is an
    // atomic, for which any bytes are valid and which others may change at any time.
    unsafe { base.cast().as_ref() }
}
