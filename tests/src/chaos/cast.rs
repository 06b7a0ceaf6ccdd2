//! Who of a node lives, seen from outside: the supervisor cannot be asked, since it may be dead or stopped.

use std::path::Path;

use nix::unistd::Pid;

use super::plan::Role;
use crate::processes::{command_line, is_running, mentioning, process_group, short_name, start_ticks};

/// One living process of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) pid: Pid,
    /// When it started, in clock ticks.
    pub(super) started: u64,
}

/// The living processes of the node whose configuration this is. Commands and helpers are not among them.
pub(super) fn members(configuration: &Path) -> Vec<Member> {
    let found = mentioning(&configuration.to_string_lossy()).into_iter();
    found.filter(|pid| is_running(*pid)).filter_map(member).collect()
}

fn member(pid: Pid) -> Option<Member> {
    let words = command_line(pid);
    // A keeper is a copy of its communication process, with its command line.
    let role = if short_name(pid) == "gantry-keeper" { Role::Keeper } else { role_of(&words)? };
    Some(Member { role, pid, started: start_ticks(pid)? })
}

fn role_of(words: &[String]) -> Option<Role> {
    words.iter().find_map(|word| match word.as_str() {
        // One that goes on as another program is told to `supervise`.
        "run" | "start" | "supervise" => Some(Role::Supervisor),
        "child-comm" => Some(Role::Comm),
        "child-worker" => Some(Role::Worker),
        _ => None,
    })
}

/// What the process of this pid is taken for; `None` when it is gone or not recognised.
pub(super) fn recognised(pid: Pid) -> Option<Role> {
    is_running(pid).then(|| member(pid)).flatten().map(|member| member.role)
}

/// Those of one role.
pub(super) fn of(members: &[Member], role: Role) -> Vec<Member> {
    members.iter().filter(|member| member.role == role).copied().collect()
}

/// Whether a signal to the member's whole group reaches nobody else of the node.
pub(super) fn leads_own_group(member: &Member) -> bool {
    process_group(member.pid) == Some(member.pid)
}
