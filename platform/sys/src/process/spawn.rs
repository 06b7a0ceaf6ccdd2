//! Starting a program with chosen descriptors.
//!
//! By `posix_spawn`, which runs nothing of ours between fork and exec: `fork` in a process with several
//! threads leaves the child with locks that nobody will ever release, and `Command`'s own error pipe may sit
//! on the very number that a descriptor is to get in the child.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use super::descriptor::PidFd;
use super::reap;

/// Numbers below are the standard streams.
const FIRST_FREE_NUMBER: RawFd = 3;
/// Dispositions that a parent may have set to "ignore" and that no child of ours can work with: Rust's own
/// start-up ignores SIGPIPE, an ignored SIGCHLD loses exit statuses, and an ignored SIGTERM would leave only
/// SIGKILL.
const SET_TO_DEFAULT: [Signal; 3] = [Signal::SIGPIPE, Signal::SIGCHLD, Signal::SIGTERM];

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}: {call}: {cause}", program.display())]
pub struct SpawnError {
    /// The program's path.
    pub program: PathBuf,
    /// What failed: a system call or the step of preparation.
    pub call: &'static str,
    /// The kernel's reason.
    pub cause: io::Error,
}

/// Where a standard stream of the child goes.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// To where this process's own goes.
    Inherit,
    /// Nowhere.
    Null,
    /// Into this open file (or socket, or pipe).
    File(BorrowedFd<'a>),
    /// Into a new pipe, whose reading end comes back in [`Child`].
    Pipe,
}

/// A process that was started.
#[derive(Debug)]
pub struct Child {
    /// Its pid, which stays its own until [`reap`] has taken its exit status.
    pub pid: i32,
    /// Holds the process; see [`PidFd`].
    pub pidfd: OwnedFd,
    /// The reading end of its standard output, if that was to be a pipe. Blocking, closed on exec.
    pub stdout: Option<OwnedFd>,
    /// The reading end of its standard error, if that was to be a pipe. Blocking, closed on exec.
    pub stderr: Option<OwnedFd>,
}

/// A program to be started: its arguments, its descriptors, its surroundings.
///
/// The child gets an empty signal mask, default dispositions of SIGPIPE, SIGCHLD and SIGTERM (all caught
/// signals are default anyway), `/dev/null` as standard input, and of the other descriptors those named here.
/// Limits, working directory, user and umask are this process's.
///
/// ```
/// use gantry_sys::process::{Output, Spawn};
///
/// let child = Spawn::new("/bin/echo").arg("hello").stdout(Output::Pipe).spawn()?;
/// let mut said = String::new();
/// std::io::Read::read_to_string(&mut std::fs::File::from(child.stdout.unwrap()), &mut said)?;
/// assert_eq!(said, "hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Spawn<'a> {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Descriptors of this process, with the numbers they get in the child.
    inherited: Vec<(BorrowedFd<'a>, RawFd)>,
    own_group: bool,
    stdout: Output<'a>,
    stderr: Output<'a>,
}

impl<'a> Spawn<'a> {
    /// Prepares to start the program at `program`, a path that is not searched for in `PATH`.
    #[must_use]
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            inherited: Vec::new(),
            own_group: false,
            stdout: Output::Inherit,
            stderr: Output::Inherit,
        }
    }

    /// Adds one argument. The program's own path is the argument before the first.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable in the child's environment, which otherwise is this process's. The last setting of a
    /// name counts.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Hands a descriptor on under its own number. In this process it stays closed on exec.
    pub fn inherit(&mut self, descriptor: &'a impl AsFd) -> &mut Self {
        let descriptor = descriptor.as_fd();
        self.inherited.push((descriptor, descriptor.as_raw_fd()));
        self
    }

    /// Hands a descriptor on under a chosen number, from 3 up. In this process it stays closed on exec.
    pub fn inherit_as(&mut self, descriptor: &'a impl AsFd, number: RawFd) -> &mut Self {
        self.inherited.push((descriptor.as_fd(), number));
        self
    }

    /// Makes the child the leader of a process group of its own, whose number is its pid.
    pub fn own_group(&mut self) -> &mut Self {
        self.own_group = true;
        self
    }

    /// Says where standard output goes; by default to where this process's goes.
    pub fn stdout(&mut self, output: Output<'a>) -> &mut Self {
        self.stdout = output;
        self
    }

    /// Says where standard error goes; by default to where this process's goes.
    pub fn stderr(&mut self, output: Output<'a>) -> &mut Self {
        self.stderr = output;
        self
    }

    /// Starts the program. Blocks until the child has executed it (or failed to).
    ///
    /// # Errors
    /// The program is missing or no program, no descriptor or process is left, two descriptors want the same
    /// number, or an argument contains a NUL.
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        let failed = |call: &'static str| {
            move |cause: io::Error| SpawnError { program: self.program.clone(), call, cause }
        };
        let program = text(self.program.as_os_str()).map_err(failed("program path"))?;
        let mut arguments = vec![program.clone()];
        for argument in &self.arguments {
            arguments.push(text(argument).map_err(failed("argument"))?);
        }
        let environment = self.whole_environment().map_err(failed("environment"))?;
        let attributes = self.attributes().map_err(failed("posix_spawnattr"))?;
        let plan = self.plan().map_err(failed("descriptors"))?;
        let pid = posix_spawn(program.as_c_str(), &plan.actions, &attributes, &arguments, &environment)
            .map_err(|errno| failed("posix_spawn")(errno.into()))?;
        let pid = pid.as_raw();
        let pidfd = PidFd::open(pid).inspect_err(|_| end_unwatched(pid)).map_err(failed("pidfd_open"))?;
        Ok(Child { pid, pidfd: pidfd.into(), stdout: plan.stdout, stderr: plan.stderr })
    }

    /// This process's environment with the additions, as the kernel wants it.
    fn whole_environment(&self) -> io::Result<Vec<CString>> {
        let mut whole: std::collections::BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        for (name, value) in &self.environment {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(invalid(format!("{} is not a variable's name", name.display())));
            }
            whole.insert(name.clone(), value.clone());
        }
        let line =
            |(name, value): (&OsString, &OsString)| text(&[name.as_os_str(), value].join(OsStr::new("=")));
        whole.iter().map(line).collect()
    }

    fn attributes(&self) -> io::Result<PosixSpawnAttr> {
        let mut attributes = PosixSpawnAttr::init()?;
        let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
        attributes.set_sigmask(&SigSet::empty())?;
        attributes.set_sigdefault(&SET_TO_DEFAULT.into_iter().collect())?;
        if self.own_group {
            flags |= PosixSpawnFlags::POSIX_SPAWN_SETPGROUP;
            attributes.set_pgroup(Pid::from_raw(0))?;
        }
        attributes.set_flags(flags)?;
        Ok(attributes)
    }

    /// Works out which descriptor goes where.
    ///
    /// Each is first duplicated above all wanted numbers, so that in the child no move can overwrite the
    /// source of another (3 to 5 while 5 goes to 3). The duplicates are closed on exec; only the moved ones
    /// survive it.
    fn plan(&self) -> io::Result<Plan> {
        let mut taken = BTreeSet::new();
        for (_, number) in &self.inherited {
            if *number < FIRST_FREE_NUMBER {
                return Err(invalid(format!("descriptor {number} is a standard stream")));
            }
            if !taken.insert(*number) {
                return Err(invalid(format!("two descriptors shall become number {number}")));
            }
        }
        let floor = taken.last().map_or(FIRST_FREE_NUMBER, |last| last.saturating_add(1));
        let mut plan =
            Plan { actions: PosixSpawnFileActions::init()?, sources: Vec::new(), stdout: None, stderr: None };
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        plan.put(&null, libc::STDIN_FILENO, floor)?;
        plan.stdout = plan.put_output(self.stdout, libc::STDOUT_FILENO, floor)?;
        plan.stderr = plan.put_output(self.stderr, libc::STDERR_FILENO, floor)?;
        for (descriptor, number) in &self.inherited {
            plan.put(descriptor, *number, floor)?;
        }
        Ok(plan)
    }
}

/// The moves that the child makes before exec, and what must stay open until it has.
struct Plan {
    actions: PosixSpawnFileActions,
    /// Duplicates above all numbers that the child shall use; open as long as the plan lives.
    sources: Vec<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Plan {
    fn put(&mut self, descriptor: impl AsFd, number: RawFd, floor: RawFd) -> io::Result<()> {
        let duplicate = fcntl(descriptor.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(floor))?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
        let duplicate = unsafe { OwnedFd::from_raw_fd(duplicate) };
        self.actions.add_dup2(duplicate.as_raw_fd(), number)?;
        self.sources.push(duplicate);
        Ok(())
    }

    /// Returns the reading end if a pipe was wanted. The writing end of this process is closed with the plan,
    /// so the reader sees the end when the child has ended.
    fn put_output(&mut self, output: Output<'_>, number: RawFd, floor: RawFd) -> io::Result<Option<OwnedFd>> {
        match output {
            Output::Inherit => Ok(None),
            Output::Null => {
                let null = std::fs::File::options().write(true).open("/dev/null")?;
                self.put(&null, number, floor)?;
                Ok(None)
            }
            Output::File(file) => {
                self.put(file, number, floor)?;
                Ok(None)
            }
            Output::Pipe => {
                let (reader, writer) = io::pipe()?;
                self.put(&writer, number, floor)?;
                Ok(Some(reader.into()))
            }
        }
    }
}

/// Ends a child that cannot be watched, so that no process runs of which nobody knows. It is unreaped, so the
/// pid is its own.
fn end_unwatched(pid: i32) {
    if nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
        while !reap(pid).has_ended() {
            std::thread::yield_now();
        }
    }
}

fn text(value: &OsStr) -> io::Result<CString> {
    CString::new(value.as_bytes()).map_err(|_| invalid(format!("{} contains a NUL byte", value.display())))
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Takes over a descriptor that the parent handed on under a known number. It becomes closed on exec.
///
/// Works once for each number: a descriptor that came through exec is the only kind that is *not* closed on
/// exec (everything that Rust opens is), so one that is cannot be such a legacy and is refused. Call it
/// early, before anything foreign opens files.
///
/// # Errors
/// `EBADF` if the number is not open, [`io::ErrorKind::InvalidInput`] if it is a standard stream, was taken
/// already or never came from the parent.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST_FREE_NUMBER {
        return Err(invalid(format!("descriptor {number} is a standard stream or none")));
    }
    // SAFETY: borrowed only to ask for and set its flags; if the number is not open, the kernel says so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = FdFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFD)?);
    if flags.contains(FdFlag::FD_CLOEXEC) {
        return Err(invalid(format!("descriptor {number} was not inherited, or was taken already")));
    }
    fcntl(borrowed, FcntlArg::F_SETFD(flags | FdFlag::FD_CLOEXEC))?;
    // SAFETY: it came through exec, so nothing in this process owns it, and the flag that was just set keeps
    // a second call out.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
