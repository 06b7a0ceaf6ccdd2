//! Taking over from a supervisor that died: its children live on, and what it held is taken from them.
//!
//! Nothing here stops or slows a child: descriptors are copied out of living processes (`pidfd_getfd`), and who they are
//! is told by the process table. A supervisor that dies in the middle has taken copies only, and the next one does all of
//! it again.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

use gantry_segment::Role;
use gantry_sys::eventfd::EventFd;
use gantry_sys::process::{PidFd, descriptor_numbers_end};
use gantry_sys::socket::{SocketKind, kind};

use crate::SupervisorError;
use crate::children::COMM_ROW;
use crate::limits::{KILL_LIMIT, LISTENERS_MAX};
use crate::living::{LivingProcess, end_processes};
use crate::node_segments::{Opened, recover_dead};
use crate::spawn::{FIRST_DOORBELL_NUMBER, first_listener_number};

/// The error of the kernel for a number that names no open descriptor.
const EBADF: i32 = 9;

/// What a supervisor has of the one before it.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    /// The communication process and the workers, as far as they live on.
    pub(crate) children: Vec<LivingProcess>,
    /// One for each I/O thread; `None` when nobody lives who rings or hears them.
    pub(crate) doorbells: Option<Vec<EventFd>>,
    /// Sockets that clients connect to.
    pub(crate) listeners: Vec<OwnedFd>,
}

/// Takes over who lives and what they hold.
///
/// Where this process may not look into the children (another user's, forbidden by Yama or seccomp), it could supervise
/// them but never start another that works with them: they are ended, and others take their places.
///
/// # Errors
/// [`SupervisorError::CannotEnd`] when such a child cannot be ended.
pub(crate) fn inherit(opened: &mut Opened) -> Result<Inheritance, SupervisorError> {
    let threads_count = opened.segments.control().threads().len();
    let mut children = std::mem::take(&mut opened.children);
    let keepers = std::mem::take(&mut opened.keepers);
    children.sort_by_key(|process| process.row != COMM_ROW);
    let holders = || children.iter().filter(|process| process.role == Role::Comm).chain(&keepers);
    let doorbells = holders().chain(&children).find_map(|process| {
        let taken = take_doorbells(&process.pidfd, threads_count);
        taken.inspect_err(|error| refused(process, "doorbells", error)).ok()
    });
    let listeners = holders().find_map(|process| {
        let taken = take_listeners(process, threads_count);
        let taken = taken.inspect_err(|error| refused(process, "listening sockets", error)).ok();
        taken.filter(|taken| !taken.is_empty())
    });
    if doorbells.is_none() && !children.is_empty() {
        tracing::error!(
            children_count = children.len(),
            "descriptors cannot be taken from the processes of the earlier supervisor; they are ended, and others take \
             their places (`gantry doctor` says why)"
        );
        end_processes(&children, KILL_LIMIT)?;
        end_processes(&keepers, KILL_LIMIT)?;
        recover_dead(opened.segments.control(), &[]);
        return Ok(Inheritance::default());
    }
    Ok(Inheritance { children, doorbells, listeners: listeners.unwrap_or_default() })
}

fn refused(process: &LivingProcess, what: &str, error: &io::Error) {
    tracing::warn!(process = process.name(), what, %error, "descriptors cannot be taken from this process");
}

/// Takes the doorbells of all I/O threads: every child has them under the same numbers.
fn take_doorbells(process: &PidFd, threads_count: usize) -> io::Result<Vec<EventFd>> {
    let numbers = (FIRST_DOORBELL_NUMBER..).take(threads_count);
    numbers.map(|number| EventFd::adopt(process.take_descriptor(number)?)).collect()
}

/// Takes the sockets that listen. They have fixed numbers behind the doorbells; what has another number or is no listener
/// by now is none.
fn take_listeners(process: &LivingProcess, threads_count: usize) -> io::Result<Vec<OwnedFd>> {
    let first = first_listener_number(threads_count);
    let end = RawFd::try_from(descriptor_numbers_end(process.pid)?).unwrap_or(RawFd::MAX);
    let mut listeners = Vec::new();
    for number in (first..end).take(LISTENERS_MAX) {
        let socket = match process.pidfd.take_descriptor(number) {
            Ok(descriptor) => descriptor,
            Err(error) if error.raw_os_error() == Some(EBADF) => continue,
            Err(error) => return Err(error),
        };
        // What is no socket fails to tell what kind it is.
        if matches!(kind(&socket), Ok(SocketKind::TcpListener(_) | SocketKind::UnixListener(_))) {
            listeners.push(socket);
        }
    }
    Ok(listeners)
}

/// Whether descriptors can be taken from a child, so that a successor of this supervisor can go on with it.
///
/// # Errors
/// What the kernel says.
pub(crate) fn can_take_from(process: &PidFd, threads_count: usize) -> io::Result<()> {
    take_doorbells(process, threads_count).map(drop)
}

/// Ends helpers of a supervisor that died: what they still change in the registry, nobody would publish. What they had
/// begun is rolled back by the database.
pub(crate) fn end_stray_helpers(configuration: &Path) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut strays = Vec::new();
    for pid in pids.filter(|pid| is_helper(*pid, configuration)) {
        // Held first and compared again: it is still the one that was found.
        let Ok(pidfd) = PidFd::open(pid) else { continue };
        if is_helper(pid, configuration) {
            tracing::warn!(pid, "a helper of an earlier supervisor is ended");
            strays.push(LivingProcess { row: 0, epoch: 0, role: Role::None, is_keeper: false, pid, pidfd });
        }
    }
    if let Err(error) = end_processes(&strays, KILL_LIMIT) {
        tracing::error!(%error, "a helper of an earlier supervisor goes on");
    }
}

/// Whether the process is a helper that works on the registry of this configuration.
fn is_helper(pid: i32, configuration: &Path) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let [_, option, file, command, ..] = words[..] else { return false };
    option == b"-c" && file == configuration.as_os_str().as_encoded_bytes() && command == b"helper-registry"
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_sys::process::{Child, Spawn, reap};
    use gantry_sys::socket::listen_tcp;
    use std::os::fd::AsFd;
    use std::time::Duration;

    const WATCHDOG: Duration = Duration::from_secs(60);

    fn living(child: Child) -> LivingProcess {
        let (pid, pidfd) = (child.pid, PidFd::from(child.pidfd));
        LivingProcess { row: 1, epoch: 1, role: Role::Comm, is_keeper: false, pid, pidfd }
    }

    fn end(process: &LivingProcess) {
        end_processes(std::slice::from_ref(process), WATCHDOG).unwrap();
        assert!(reap(process.pid).has_ended());
    }

    #[test]
    fn doorbells_and_listeners_are_taken_by_number_and_are_the_same_objects() {
        let doorbells = [EventFd::new().unwrap(), EventFd::new().unwrap()];
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), 5).unwrap();
        let other = std::fs::File::open("/dev/null").unwrap();
        let mut spawn = Spawn::new("/bin/sleep");
        spawn.arg("600").own_group();
        spawn.inherit_as(&doorbells[0], 3).inherit_as(&doorbells[1], 4);
        spawn.inherit_as(&other, 5).inherit_as(&listener, 7);
        let child = living(spawn.spawn().unwrap());
        let taken = take_doorbells(&child.pidfd, 2).unwrap();
        doorbells[1].signal();
        assert_eq!((taken[0].drain(), taken[1].drain()), (0, 1));
        assert!(take_doorbells(&child.pidfd, 3).is_err(), "the third is no doorbell");
        let listeners = take_listeners(&child, 2).unwrap();
        let cookie = |socket: &OwnedFd| gantry_sys::socket::cookie(socket.as_fd()).unwrap();
        assert_eq!(listeners.iter().map(cookie).collect::<Vec<_>>(), [cookie(&listener)]);
        end(&child);
    }

    #[test]
    fn a_helper_is_told_by_its_command_line_and_nothing_else_is_ended() {
        let start = |file: &str, word: &str| {
            let mut spawn = Spawn::new("/bin/sh");
            // The shell takes its own `-c` from where the configuration's would stand.
            spawn.args(["-c", file, word]).own_group();
            living(spawn.spawn().unwrap())
        };
        let script = format!("sleep 600; true # {}", std::process::id());
        let (helper, child, stranger) = (
            start(&script, "helper-registry"),
            start(&script, "child-worker"),
            start("sleep 600; true", "helper-registry"),
        );
        // The kernel lets the parent go on before the new program's command line is in place.
        while !is_helper(helper.pid, Path::new(&script)) {
            std::thread::yield_now();
        }
        end_stray_helpers(Path::new(&script));
        assert!(helper.pidfd.wait(Some(WATCHDOG)));
        assert!(!child.pidfd.is_dead() && !stranger.pidfd.is_dead());
        assert!(reap(helper.pid).has_ended());
        end(&child);
        end(&stranger);
    }
}
