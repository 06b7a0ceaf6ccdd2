//! Ending a node, and what it leaves behind when it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Node, gantry_binary, pid_of};
use crate::processes::{is_running, kill_hard, mentioning, runs_executable, send_signal};

/// How long a node may take to drain and stop before the harness kills it.
pub(super) const STOP_WATCHDOG: Duration = Duration::from_secs(30);

impl Node {
    /// Ends whatever is left of this node, gently first. It must not panic: it runs when a test has failed.
    fn clean_up(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(mut child) = self.child.take() {
            send_signal(pid_of(&child), Signal::SIGTERM);
            if wait_for(&mut child, STOP_WATCHDOG).is_none() {
                faults.push(format!("the node did not stop within {STOP_WATCHDOG:?} and was killed"));
                kill_hard(pid_of(&child));
                wait_for(&mut child, STOP_WATCHDOG);
            }
        }
        // Also a daemon, and children of a supervisor that the test killed.
        self.quietly(&["stop", "--now"]);
        // Found by the configuration they were started with, not by pids seen before: those come back as
        // other tests' processes.
        let mut left = mentioning(&self.config.to_string_lossy());
        let ours = [&gantry_binary(), &self.executable];
        left.retain(|pid| {
            is_running(*pid) && ours.iter().any(|executable| runs_executable(*pid, executable))
        });
        for pid in left {
            faults.push(format!("process {pid} was left over and was killed"));
            kill_hard(pid);
        }
        self.quietly(&["ipc", "clean"]);
        for segment in self.segments() {
            faults.push(format!("a segment was left over and was removed: {segment:?}"));
            drop(Command::new("ipcrm").args(["-m", &segment.id.to_string()]).status());
        }
        faults
    }

    /// A command whose failure only means that there was nothing to do.
    fn quietly(&self, arguments: &[&str]) {
        let mut command = Command::new(gantry_binary());
        command.arg("-c").arg(self.config()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(mut child) = command.spawn()
            && wait_for(&mut child, STOP_WATCHDOG).is_none()
        {
            kill_hard(pid_of(&child));
            wait_for(&mut child, STOP_WATCHDOG);
        }
    }

    fn print_logs(&self) {
        eprintln!("the files of node {} are kept in {}", self.name, self.path.display());
        if self.is_quiet {
            return;
        }
        let mut files = Vec::new();
        collect_logs(&self.path, &mut files);
        for file in files {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned();
            if text.trim().is_empty() {
                continue;
            }
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("--- the end of {}\n{tail}", file.display());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let faults = self.clean_up();
        let is_kept = *self.is_kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        let failed = thread::panicking() || is_kept;
        if failed {
            self.print_logs();
            if let Some(folder) = self.folder.take() {
                // Kept for whoever looks into the failure.
                let _kept = folder.keep();
            }
        }
        if let Some((database, name)) = self.database.take().filter(|_| !failed) {
            database.remove(&name);
        }
        for fault in &faults {
            eprintln!("node {}: {fault}", self.name);
        }
        // A node that cannot be stopped is a failure too, but a second panic would hide the first.
        assert!(failed || faults.is_empty(), "the node left something behind: {faults:?}");
    }
}

/// Waits until a child ends; `None` when it does not within the watchdog, else its exit code if it has one.
pub(super) fn wait_for(child: &mut Child, watchdog: Duration) -> Option<Option<i32>> {
    let begin = Instant::now();
    while begin.elapsed() < watchdog {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.code()),
            Ok(None) => thread::sleep(Duration::from_millis(5)),
            Err(_) => return None,
        }
    }
    None
}

pub(super) fn collect_logs(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_logs(&path, files);
        } else if path.to_string_lossy().contains(".log")
            || path.extension().is_some_and(|end| end == "stderr")
        {
            files.push(path);
        }
    }
}
