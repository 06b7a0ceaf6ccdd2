//! A process that does what a real one does, system calls included, and is driven instruction by instruction. It cannot be
//! put back; the segments that it shares with us can.

use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::touch::Code86;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// An instruction that touched nothing shared.
    Private,
    /// One that did, or may have.
    Shared,
    /// It rests until we go on with it.
    Rest,
}

/// A traced process that rests, or is stopped between two instructions.
pub(crate) struct Stepper {
    pid: Pid,
    shared: Vec<Range<u64>>,
    code: Code86,
}

/// In the child: stops until the tracer goes on.
pub(crate) fn rest() {
    // SAFETY: sends a signal to ourselves.
    unsafe { libc::raise(libc::SIGSTOP) };
}

impl Stepper {
    /// Forks a process that runs `run`, which must call [`rest`] when it has attached its segments. Gives it at its first
    /// rest.
    pub(crate) fn spawn(run: impl FnOnce()) -> Self {
        // SAFETY: the child runs test code in a copy of this process; glibc makes its heap usable after a fork.
        match unsafe { fork() }.expect("a process can be forked") {
            ForkResult::Child => {
                ptrace::traceme().expect("a child may ask to be traced");
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                // SAFETY: ends the copy without running what its original registered for its own end.
                unsafe { libc::_exit(i32::from(ended.is_err())) }
            }
            ForkResult::Parent { child } => {
                let mut stepper = Self { pid: child, shared: Vec::new(), code: Code86::new() };
                stepper.wait_for_rest();
                stepper.shared = shared_ranges(child);
                assert!(!stepper.shared.is_empty(), "the child has attached no segment");
                stepper
            }
        }
    }

    /// Runs one instruction.
    pub(crate) fn step(&mut self) -> Step {
        let registers = ptrace::getregs(self.pid).expect("a stopped child's registers can be read");
        let is_shared = self.code.touches(&registers, &self.shared);
        ptrace::step(self.pid, None).expect("a stopped child can be stepped");
        match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) if is_shared => Step::Shared,
            Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => Step::Private,
            Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => Step::Rest,
            other => panic!("the process did not stop as it should: {other:?}"),
        }
    }

    /// Lets it run until it rests the next time.
    pub(crate) fn run_to_rest(&mut self) {
        ptrace::cont(self.pid, None).expect("a stopped child can go on");
        self.wait_for_rest();
    }

    fn wait_for_rest(&mut self) {
        match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => {}
            other => panic!("the process did not rest: {other:?}"),
        }
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, Some(WaitPidFlag::__WALL));
    }
}

/// Where System V segments lie in a process.
fn shared_ranges(pid: Pid) -> Vec<Range<u64>> {
    let maps =
        std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("our own child can be looked into");
    let range = |line: &str| {
        let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        Some(number(start)?..number(end)?)
    };
    maps.lines().filter(|line| line.contains("/SYSV")).filter_map(range).collect()
}

/// A segment as bytes, to be kept and put back while nobody else runs.
#[derive(Debug)]
pub(crate) struct View {
    base: NonNull<u8>,
    bytes: usize,
}

impl View {
    /// Attaches the segment with this id once more.
    pub(crate) fn attach(id: i32) -> Self {
        let mut told = std::mem::MaybeUninit::<libc::shmid_ds>::zeroed();
        // SAFETY: the kernel writes one record to `told`.
        let result = unsafe { libc::shmctl(id, libc::IPC_STAT, told.as_mut_ptr()) };
        assert!(result == 0, "shmctl: {}", std::io::Error::last_os_error());
        // SAFETY: zeroed is a valid value, and the kernel filled it.
        let bytes = unsafe { told.assume_init() }.shm_segsz;
        // SAFETY: the kernel chooses a free place; nothing is replaced.
        let base = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        assert!(base.addr() != usize::MAX, "shmat: {}", std::io::Error::last_os_error());
        Self { base: NonNull::new(base.cast()).expect("a segment is not at 0"), bytes }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies a part of it.
    pub(crate) fn save(&self, part: Range<usize>, into: &mut Vec<u8>) {
        assert!(part.end <= self.bytes);
        let start = into.len();
        into.resize(start + part.len(), 0);
        // SAFETY: inside the segment by the assertion.
        let from = unsafe { self.base.add(part.start) };
        let to = into[start..].as_mut_ptr();
        // SAFETY: `into` was just made large enough, the source is attached, both are apart, and all others who have the
        // segment are stopped.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, part.len()) };
    }

    /// Puts all of it back.
    pub(crate) fn restore(&self, saved: &[u8]) {
        assert!(saved.len() == self.bytes);
        // SAFETY: the segment is attached and apart from `saved`; all others who have it are stopped.
        unsafe { std::ptr::copy_nonoverlapping(saved.as_ptr(), self.base.as_ptr(), self.bytes) };
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: our own attachment, detached once.
        unsafe { libc::shmdt(self.base.as_ptr().cast()) };
    }
}
