//! Commands that end, with a watchdog.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::WATCHDOG;

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error as text.
    pub stderr: String,
}

impl Output {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// This output, which must be of a command that ended with this code.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "`{}` was to end with {code}\nstdout: {}\nstderr: {}",
            self.command,
            self.text(),
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("`{}` printed no JSON ({error}): {}", self.command, self.text()))
    }
}

/// Runs a command to its end and collects what it printed. Standard input is empty.
///
/// # Panics
/// When it cannot be started, or has not ended and closed its output within [`WATCHDOG`]; a daemon that
/// keeps its starter's pipes is found by that.
#[track_caller]
pub fn run_command(command: &mut Command) -> Output {
    let words = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{words} cannot be started: {error}"));
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits an i32"));
    let (sender, receiver) = mpsc::channel();
    // The result is dropped when the watchdog below has given up.
    thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let Ok(result) = receiver.recv_timeout(WATCHDOG) else {
        let killed = kill(pid, Signal::SIGKILL);
        panic!("{words} did not end within {WATCHDOG:?}; killed: {killed:?}");
    };
    let output = result.unwrap_or_else(|error| panic!("{words} cannot be waited for: {error}"));
    Output {
        command: words,
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
