//! Kills at chosen instants: the I/O thread is traced, goes so many system calls (stopped before and after each) and then
//! so many instructions further, and is killed there.

use std::mem::offset_of;
use std::ops::Range;
use std::time::Instant;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal as Caught;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use gantry_sys::process::PidFd;

use crate::client::{WATCHDOG, wait_until};

/// Name of the thread in a copy that is the first I/O thread: that of its test, cut.
const THREAD: &str = "process::the_co";

/// The first I/O thread of a communication process, stopped.
pub(crate) struct Steps {
    thread: Pid,
    begun: Instant,
}

impl Steps {
    /// Stops the first I/O thread of the process. `None`: the process is dead.
    pub(crate) fn stop(pid: i32, pidfd: &PidFd) -> Option<Self> {
        let mut found = None;
        wait_until("there is an I/O thread", || {
            found = io_thread(pid);
            found.is_some() || pidfd.is_dead()
        });
        let thread = Pid::from_raw(found?);
        // Killed too if this test is.
        ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL).ok()?;
        ptrace::interrupt(thread).ok()?;
        let mut steps = Self { thread, begun: Instant::now() };
        steps.wait().then_some(steps)
    }

    /// Goes on to the next beginning or end of a system call. `false`: it is dead.
    pub(crate) fn next_call(&mut self) -> bool {
        assert!(self.begun.elapsed() < WATCHDOG, "the process does not come to where it is waited for");
        ptrace::syscall(self.thread, None).is_ok() && self.wait()
    }

    /// Goes on until it has done this system call, and stands behind it. `false`: it is dead.
    pub(crate) fn past(&mut self, call: i64) -> bool {
        while self.next_call() {
            let registers = ptrace::getregs(self.thread).unwrap();
            // At the beginning of a call the kernel shows this number as its result.
            let is_done = registers.rax.cast_signed() != -i64::from(nix::libc::ENOSYS);
            if registers.orig_rax.cast_signed() == call && is_done {
                return true;
            }
        }
        false
    }

    /// Goes on until it is about to do this system call. `false`: it is dead.
    pub(crate) fn before(&mut self, call: i64) -> bool {
        while self.next_call() {
            let registers = ptrace::getregs(self.thread).unwrap();
            let is_begun = registers.rax.cast_signed() == -i64::from(nix::libc::ENOSYS);
            if registers.orig_rax.cast_signed() == call && is_begun {
                return true;
            }
        }
        false
    }

    /// Goes on to the `count`-th store from now on to the eight bytes at an address of ours in shared memory, and stands
    /// right behind it. `false`: `is_over` came first; it stands somewhere.
    pub(crate) fn past_store(
        &mut self,
        address: usize,
        count: u32,
        mut is_over: impl FnMut() -> bool,
    ) -> bool {
        let theirs = self.address_of(address & !7);
        let register = |index: usize| offset_of!(nix::libc::user, u_debugreg) + index * size_of::<u64>();
        let set = |index: usize, value: u64| {
            ptrace::write_user(self.thread, register(index) as ptrace::AddressType, value.cast_signed())
                .expect("hardware watch points (x86-64, and allowed by a hypervisor)");
        };
        set(7, 0);
        set(0, theirs);
        set(7, WATCH_STORES_OF_8_BYTES);
        for _ in 0..count {
            ptrace::cont(self.thread, None).unwrap();
            loop {
                match waitpid(self.thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::Stopped(_, Caught::SIGTRAP)) => break,
                    Ok(WaitStatus::StillAlive) if is_over() => {
                        ptrace::interrupt(self.thread).unwrap();
                        // A store that is met in this very moment stops it too.
                        assert!(self.wait());
                        return false;
                    }
                    Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
                    other => panic!("it ended by itself: {other:?}"),
                }
            }
        }
        true
    }

    /// Where the traced process has what this one has at an address of a shared segment.
    fn address_of(&self, ours: usize) -> u64 {
        let (name, offset) = mappings("self")
            .into_iter()
            .find_map(|mapping| {
                mapping
                    .range
                    .contains(&(ours as u64))
                    .then(|| (mapping.name, ours as u64 - mapping.range.start + mapping.offset))
            })
            .expect("an address in a segment");
        let theirs = mappings(&self.thread.to_string()).into_iter().find(|mapping| {
            let bytes = mapping.range.end - mapping.range.start;
            mapping.name == name && (mapping.offset..mapping.offset + bytes).contains(&offset)
        });
        theirs.map(|mapping| mapping.range.start + offset - mapping.offset).expect("the segment is attached")
    }

    /// What the call gave behind which it stands.
    pub(crate) fn result(&self) -> i64 {
        ptrace::getregs(self.thread).unwrap().rax.cast_signed()
    }

    /// Goes on by one instruction. `false`: it is dead.
    pub(crate) fn next_instruction(&mut self) -> bool {
        ptrace::step(self.thread, None).is_ok() && self.wait()
    }

    /// Waits for the next stop; signals that it is sent meanwhile are none of ours.
    fn wait(&mut self) -> bool {
        matches!(
            waitpid(self.thread, Some(WaitPidFlag::__WALL)),
            Ok(WaitStatus::PtraceSyscall(_)
                | WaitStatus::PtraceEvent(..)
                | WaitStatus::Stopped(_, Caught::SIGTRAP))
        )
    }

    /// Kills the process where it stands, and takes the thread's end, which only its tracer is told.
    pub(crate) fn kill(self, pidfd: &PidFd) {
        pidfd.signal(gantry_sys::signal::Signal::SIGKILL).unwrap();
        loop {
            match waitpid(self.thread, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// Debug register 7: watch the first address, for stores, eight bytes long.
const WATCH_STORES_OF_8_BYTES: u64 = 1 | 0b1001 << 16;

/// A line of a process's memory map.
struct Mapping {
    range: Range<u64>,
    offset: u64,
    name: String,
}

fn mappings(process: &str) -> Vec<Mapping> {
    let text = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mapping = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let offset = number(fields.nth(1)?)?;
        let name = fields.nth(2)?.to_owned();
        Some(Mapping { range: number(start)?..number(end)?, offset, name })
    };
    text.lines().filter_map(mapping).collect()
}

fn io_thread(pid: i32) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut tasks = tasks.filter_map(Result::ok).filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        (name.trim() == THREAD).then(|| task.file_name().to_str()?.parse().ok())?
    });
    tasks.next()
}
