//! Processes: spawning them, holding on to one without mistaking its pid, ending, reaping and measuring them.

mod descriptor;
mod keeper;
mod measure;
mod spawn;

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub use descriptor::PidFd;
pub use keeper::{CONFIRM_WITHIN, Keeper};
pub use measure::{Memory, descriptor_numbers_end, has_stopped_running, memory, start_ticks};
pub use spawn::{Child, Output, Spawn, SpawnError, take_inherited};

/// Has the kernel end this process (SIGKILL) when the thread that started it ends.
///
/// # Errors
/// `NotFound`: `parent` is not this process's parent any more; the kernel's refusal.
pub fn die_with(parent: i32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have ended before that.
    if nix::unistd::getppid() != Pid::from_raw(parent) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the process that started this one has ended"));
    }
    Ok(())
}

/// Longest name of a thread that the kernel keeps, in bytes.
const NAME_BYTES_MAX: usize = 15;

/// How a child stands, as [`reap`] found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitState {
    /// It has not ended.
    Running,
    /// It returned or called `exit`; this was its status, 0 to 255.
    Exited {
        /// The status, 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core file.
        core_dumped: bool,
    },
    /// It is no child of this process, or was reaped before: its fate cannot be known here.
    Unknown,
}

impl ExitState {
    /// Whether the process is known to have ended.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Killed { .. })
    }
}

impl fmt::Display for ExitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Exited { code } => write!(f, "exited with status {code}"),
            Self::Killed { signal, core_dumped } => {
                match Signal::try_from(*signal) {
                    Ok(named) => write!(f, "killed by {named}")?,
                    Err(_) => write!(f, "killed by signal {signal}")?,
                }
                f.write_str(if *core_dumped { ", core dumped" } else { "" })
            }
            Self::Unknown => f.write_str("ended in an unknown way (not a child of this process)"),
        }
    }
}

/// Takes a child's exit status if it has ended, and with it the zombie. Does not block.
///
/// Every status can be taken once: afterwards the pid may belong to a stranger, and the answer is
/// [`ExitState::Unknown`], as it is for processes that are not children of this one.
#[must_use = "the status can be had only once"]
pub fn reap(pid: i32) -> ExitState {
    if pid <= 0 {
        // To the kernel these mean "any child" and "any of that group".
        return ExitState::Unknown;
    }
    let mut status = 0;
    // SAFETY: `status` is a live integer that the call may write.
    let returned = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    match returned {
        0 => ExitState::Running,
        ended if ended == pid => decode(ExitStatus::from_raw(status)),
        _ => ExitState::Unknown,
    }
}

/// `nix` would refuse a death by real-time signal after it took the status, so the number is read by `std`.
fn decode(status: ExitStatus) -> ExitState {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitState::Exited { code },
        (None, Some(signal)) => ExitState::Killed { signal, core_dumped: status.core_dumped() },
        (None, None) => ExitState::Running,
    }
}

/// The pid of a child that has ended and was not reaped; `None` if there is none. Takes nothing: [`reap`] does.
#[must_use]
pub fn ended_child() -> Option<i32> {
    let mut told = core::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `told` is a live record that the call may write.
    let returned = unsafe { libc::waitid(libc::P_ALL, 0, told.as_mut_ptr(), options) };
    // SAFETY: zeroed to begin with, which is a valid record, and written whole by the call if at all.
    let told = unsafe { told.assume_init() };
    // SAFETY: for a child's end, which alone was asked for, the kernel writes the pid; else it stays 0.
    let pid = unsafe { told.si_pid() };
    (returned == 0 && pid > 0).then_some(pid)
}

/// Sends a signal to every process of a group.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a group up to 1, which the kernel would take for this process's own
/// group or for everybody; `ESRCH` if the group has no member left, `EPERM` if all are another user's.
pub fn signal_group(group: i32, signal: Signal) -> io::Result<()> {
    if group <= 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{group} is not a process group of ours"),
        ));
    }
    Ok(nix::sys::signal::killpg(Pid::from_raw(group), signal)?)
}

/// Names the calling thread, as `ps` and `top` show it; in the main thread that names the process.
///
/// The kernel keeps 15 bytes: what is longer is cut at a character's border, and at the first NUL.
pub fn set_name(name: &str) {
    let name = name.split('\0').next().unwrap_or_default();
    let mut text = [0_u8; NAME_BYTES_MAX + 1];
    let kept = name.floor_char_boundary(NAME_BYTES_MAX.min(name.len()));
    text[..kept].copy_from_slice(&name.as_bytes()[..kept]);
    let text = core::ffi::CStr::from_bytes_until_nul(&text).expect("the last byte is never written");
    nix::sys::prctl::set_name(text).expect("naming a thread fails for a bad address only");
}

/// The path of the running program, to start further processes of the same kind.
///
/// If the file was replaced since (an upgrade by rename), this is the path of the new one.
///
/// # Errors
/// `/proc` is not mounted.
pub fn own_executable() -> io::Result<PathBuf> {
    Ok(without_deleted_mark(std::env::current_exe()?))
}

/// Whether that process runs the same program file as this one. A file that was replaced by rename is another, whatever its
/// path; one that is gone is still itself.
///
/// # Errors
/// The process is gone, or this one may not look into it.
pub fn runs_own_program(pid: i32) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (own, other) = (std::fs::metadata("/proc/self/exe")?, std::fs::metadata(format!("/proc/{pid}/exe"))?);
    Ok((own.dev(), own.ino()) == (other.dev(), other.ino()))
}

/// The kernel appends a remark to the name of a file that was unlinked while it runs.
fn without_deleted_mark(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(original) if !path.exists() => PathBuf::from(original),
        _ => path,
    }
}

#[cfg(test)]
mod tests;
