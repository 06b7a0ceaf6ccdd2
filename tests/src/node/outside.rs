//! What a test does to a node from outside, past its commands.

use std::fs;
use std::path::PathBuf;

use nix::unistd::Pid;

use super::cleanup::{STOP_WATCHDOG, collect_logs, wait_for};
use super::{Node, pid_of};
use crate::memory::SharedMemory;
use crate::processes::{is_running, kill_hard, mentioning};
use crate::until;

impl Node {
    /// One of the node's segments (`control`, `blocks` or `directory`), as its supervisor has it.
    ///
    /// # Panics
    /// When it cannot be looked at.
    #[must_use]
    #[track_caller]
    pub fn memory(&self, segment: &str) -> SharedMemory {
        SharedMemory::of(self.pid("supervisor"), &self.segment_id(segment))
    }

    /// What `status` calls one of the node's segments.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    #[track_caller]
    pub fn segment_id(&self, segment: &str) -> String {
        let status = self.status();
        let segments = status.0["segments"].as_array();
        let found = segments.into_iter().flatten().find(|found| found["name"] == segment);
        found
            .and_then(|found| found["id"].as_str())
            .map(str::to_owned)
            .unwrap_or_else(|| panic!("no segment {segment} in {}", status.0["segments"]))
    }

    /// Kills every process of the node at once, so that nothing is tidied up, and waits until they are gone.
    ///
    /// # Panics
    /// When one of them cannot be killed.
    #[track_caller]
    pub fn kill_everything(&mut self) {
        let configuration = self.config().to_string_lossy().into_owned();
        // The supervisor first: it would start the others again.
        let child = self.child.take();
        if let Some(child) = &child {
            kill_hard(pid_of(child));
        }
        until("every process is dead", || {
            let left: Vec<Pid> =
                mentioning(&configuration).into_iter().filter(|pid| is_running(*pid)).collect();
            left.iter().for_each(|pid| kill_hard(*pid));
            left.is_empty().then_some(())
        });
        if let Some(mut child) = child {
            wait_for(&mut child, STOP_WATCHDOG);
        }
    }

    /// Everything that the node's processes have logged, and what its supervisors wrote to standard error.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut files = Vec::new();
        collect_logs(&self.path, &mut files);
        let text = |file: &PathBuf| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
        files.iter().map(text).collect()
    }
}
