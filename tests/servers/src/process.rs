//! How servers are run: as whom, where, and until when.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time for a server to come up or to go down; it takes a few seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The user that servers run as where we are root, whom they refuse.
const UNPRIVILEGED: &str = "nobody";

/// A folder that the servers' user may write to.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("gantry-server-").tempdir().expect("a temporary folder");
    if Uid::effective().is_root() {
        let (user, group) = unprivileged();
        chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
    }
    folder
}

/// An address of the loopback for one server of this process alone, so that no port is ever taken by somebody else while
/// a server is down.
pub(crate) fn own_host() -> Ipv4Addr {
    static MADE: Mutex<u32> = Mutex::new(0);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    *made += 1;
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = u8::try_from(1 + *made % 250).expect("1 to 250 fits a byte");
    // From 127.128.0.0 on, since 127.0.x.x is where people run their own servers.
    Ipv4Addr::new(127, 0x80 | high, low, host)
}

/// A program as the servers' user, sent `at_death` whatever ends us.
pub(crate) fn command(program: &Path, at_death: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", at_death]);
    if Uid::effective().is_root() {
        let (user, group) = unprivileged();
        command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
    }
    command.arg("--").arg(program).stdin(Stdio::null());
    command
}

/// Starts it in its folder; what it says goes to `log` there.
pub(crate) fn spawn(mut command: Command, folder: &Path) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
    command.stdout(log.try_clone().expect("a log")).stderr(log).current_dir(folder);
    command.spawn().expect("setpriv of util-linux")
}

/// What a server has said so far.
pub(crate) fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Asks it to end and waits for that; ends it when it does not.
pub(crate) fn end(child: &mut Child, signal: Signal) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    send(child, signal);
    let began = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if began.elapsed() > PATIENCE {
            send(child, Signal::SIGKILL);
            // It is gone in any case, and this may run while a test fails.
            let _ended = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a child that was not waited for yet. One that is to stop stands when this returns: until each of its
/// threads does, it still answers.
pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, signal).expect("our child takes signals");
    let began = Instant::now();
    while signal == Signal::SIGSTOP && !stands(pid) {
        assert!(began.elapsed() < PATIENCE, "process {pid} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether no thread of it runs any more.
fn stands(pid: Pid) -> bool {
    let threads =
        std::fs::read_dir(format!("/proc/{pid}/task")).map(|threads| threads.flatten().collect::<Vec<_>>());
    threads.unwrap_or_default().iter().all(|thread| {
        let line = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // `pid (name) state …`, and a name may have anything in it; a thread that has gone has no line.
        line.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['T', 't', 'Z', 'X']))
    })
}

/// Words for what is not installed.
pub(crate) fn missing(what: &str) -> String {
    format!("{what} is not installed; `cargo xtask setup` installs what the tests need")
}

fn unprivileged() -> (u32, u32) {
    let user = nix::unistd::User::from_name(UNPRIVILEGED).expect("users can be read");
    let user = user.unwrap_or_else(|| panic!("there is no user {UNPRIVILEGED}"));
    (user.uid.as_raw(), user.gid.as_raw())
}
