//! Leading a process from one system call to the next, so that a test can stop or kill it at every one of them.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::WATCHDOG;

/// Pause between two looks at the process.
const LOOK: Duration = Duration::from_micros(200);

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It stands at the beginning or the end of a system call.
    AtCall,
    /// It did not get to one while the condition held.
    NotYet,
    /// It is dead.
    Gone,
}

/// A process whose first thread is led by this thread. The thread that takes it must be the one that leads it.
pub struct Led {
    pid: Pid,
    /// It stands, and goes on when it is told to.
    stands: bool,
    is_let_go: bool,
}

impl Led {
    /// Takes a running process by the hand; it stands then.
    ///
    /// # Panics
    /// When the system refuses: the process must be of the same user, and a descendant where Yama rules.
    #[must_use]
    #[track_caller]
    pub fn take(pid: Pid) -> Self {
        ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).expect("a worker can be traced");
        let mut led = Self { pid, stands: false, is_let_go: false };
        ptrace::interrupt(pid).expect("a traced process can be interrupted");
        let begin = Instant::now();
        while !led.stands {
            assert!(begin.elapsed() < WATCHDOG, "process {pid} does not stand still");
            led.look(&mut || true);
        }
        led
    }

    /// Lets it run to its next border of a system call; gives up when `go_on` is no longer true before it gets there.
    pub fn step(&mut self, mut go_on: impl FnMut() -> bool) -> Step {
        if self.stands {
            match ptrace::syscall(self.pid, None) {
                Ok(()) => self.stands = false,
                Err(_) => return Step::Gone,
            }
        }
        loop {
            match self.look(&mut go_on) {
                Some(step) => return step,
                None if self.stands => {
                    // Another kind of stop than the one that was asked for.
                    if ptrace::syscall(self.pid, None).is_err() {
                        return Step::Gone;
                    }
                    self.stands = false;
                }
                None => {}
            }
        }
    }

    /// The system call at whose border it stands, as the kernel shows it: number, arguments, stack and place.
    #[must_use]
    pub fn call(&self) -> String {
        let text = fs::read_to_string(format!("/proc/{}/syscall", self.pid)).unwrap_or_default();
        text.split_ascii_whitespace().next().unwrap_or("?").to_owned()
    }

    /// Lets go of it in a way that leaves it stopped, as SIGSTOP does.
    ///
    /// # Panics
    /// When it does not stand.
    pub fn leave_stopped(mut self) {
        assert!(self.stands, "only who stands can be left standing");
        self.is_let_go = true;
        // Sent first: at the border of a call a detach need not deliver a signal of its own. At the beginning of a call
        // the call is still made.
        crate::processes::send_signal(self.pid, Signal::SIGSTOP);
        // It may have been killed meanwhile.
        let _gone = ptrace::detach(self.pid, None);
    }

    /// Kills it where it stands.
    pub fn kill(mut self) {
        self.is_let_go = true;
        crate::processes::kill_hard(self.pid);
        // A tracer has to take note of the death, or it stays a zombie that nobody else hears of.
        let begin = Instant::now();
        while begin.elapsed() < WATCHDOG {
            match waitpid(self.pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => thread::sleep(LOOK),
                Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// One look: what became of the last `syscall`; `None` and not `stands` when nothing did yet.
    fn look(&mut self, go_on: &mut dyn FnMut() -> bool) -> Option<Step> {
        match waitpid(self.pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                if !go_on() {
                    return Some(Step::NotYet);
                }
                thread::sleep(LOOK);
                None
            }
            Ok(WaitStatus::PtraceSyscall(_)) => {
                self.stands = true;
                Some(Step::AtCall)
            }
            Ok(WaitStatus::Stopped(_, signal)) => {
                // A signal for the process: it gets it.
                if ptrace::syscall(self.pid, signal).is_err() {
                    return Some(Step::Gone);
                }
                None
            }
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => {
                self.is_let_go = true;
                Some(Step::Gone)
            }
            Ok(_) => {
                self.stands = true;
                None
            }
        }
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        if self.is_let_go {
            return;
        }
        let begin = Instant::now();
        if !self.stands {
            let _gone = ptrace::interrupt(self.pid);
        }
        while !self.stands && !self.is_let_go && begin.elapsed() < WATCHDOG {
            self.look(&mut || true);
        }
        // It goes on as if nothing had been.
        let _gone = ptrace::detach(self.pid, None);
    }
}

#[cfg(test)]
mod tests {
    use super::{Led, Step};
    use nix::unistd::Pid;
    use std::process::{Command, Stdio};

    #[test]
    fn led_process_stops_at_each_call_and_goes_on_when_let_go() {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(cat.id()).unwrap());
        let mut led = Led::take(pid);
        let mut looks = 0;
        let step = led.step(|| {
            looks += 1;
            looks < 5
        });
        // Waiting for input is a call that was interrupted and is begun anew.
        assert!(matches!(step, Step::AtCall | Step::NotYet), "{step:?}");
        drop(led);
        drop(cat.stdin.take());
        assert!(cat.wait().unwrap().success());
    }

    #[test]
    fn led_process_is_killed_where_it_stands() {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        Led::take(Pid::from_raw(i32::try_from(cat.id()).unwrap())).kill();
        // Its parent has been told by the tracer's wait or hears of it here.
        let _status = cat.wait();
        assert!(!crate::processes::is_running(Pid::from_raw(i32::try_from(cat.id()).unwrap())));
    }
}
