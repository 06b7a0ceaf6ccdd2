//! Going on as another program: the supervisor executes it in place, and it takes over like any supervisor whose
//! predecessor died. Then it replaces the children one by one, each only when everybody else is ready, so that no request
//! fails.

use std::path::PathBuf;

use gantry_sys::signal::Signal;
use serde_json::{Value, json};

use crate::adopt::can_take_from;
use crate::children::Place;
use crate::commands::Task;
use crate::helper::{Job, Lane};
use crate::limits::LAYOUT_LIMIT;
use crate::pending::Pending;
use crate::protocol::Response;
use crate::run::{Phase, Supervisor};

impl Supervisor {
    /// Asks another program what it is. `None` when the answer comes later.
    pub(crate) fn ask_for_layout(&mut self, client: u64, executable: PathBuf) -> Option<Response> {
        if let Some(reason) = self.obstacle() {
            return Some(Response::failed(reason));
        }
        let arguments = vec!["helper-layout".to_owned()];
        let task = Task::Layout { client, executable: executable.clone() };
        let job =
            Job { program: Some(executable), ..Job::new(task, Lane::Registry, arguments, LAYOUT_LIMIT) };
        match self.helpers.ask(job) {
            Ok(()) => None,
            Err(_) => Some(Response::not_now("too many changes are waiting already; try again in a while")),
        }
    }

    /// Why the node cannot be left to another program now.
    fn obstacle(&self) -> Option<String> {
        if !matches!(self.phase, Phase::Serving) {
            return Some(format!("the node is {}; try again when it serves", self.state_word()));
        }
        if self.is_upgrading {
            return Some("an upgrade is under way; see `gantry status`".to_owned());
        }
        let has_jobs =
            [Lane::Registry, Lane::Urgent].into_iter().any(|lane| self.helpers.jobs(lane).next().is_some());
        if has_jobs || self.pending.iter().any(Pending::is_waited_for) {
            return Some(
                "a change of services or a drain is under way; try again when it is done".to_owned(),
            );
        }
        let threads_count = self.doorbells.len();
        self.places.iter().filter_map(Place::running).find_map(|child| {
            let error = can_take_from(&child.pidfd, threads_count).err().filter(|_| !child.pidfd.is_dead())?;
            Some(format!(
                "a new supervisor may not look into process {} ({error}), so it could not go on with it; see `gantry \
                 doctor`, or use `gantry restart`",
                child.pid
            ))
        })
    }

    /// Leaves the node to the other program if that can go on with it.
    pub(crate) fn follow_layout(&mut self, client: u64, executable: PathBuf, outcome: Result<Value, String>) {
        let refusal = match outcome {
            Ok(found) => refusal(&self.layout, &found),
            Err(reason) => Some(format!("{} cannot be run: {reason}", executable.display())),
        };
        if let Some(refusal) = refusal.or_else(|| self.obstacle()) {
            self.answer(client, &Response::failed(refusal));
            return;
        }
        if self.signals.read().is_ok_and(|received| {
            received.is_some_and(|received| matches!(received.signal, Signal::SIGTERM | Signal::SIGINT))
        }) {
            self.answer(client, &Response::failed("the node was told to stop"));
            self.stop(false);
            return;
        }
        tracing::warn!(executable = %executable.display(), "this supervisor goes on as another program");
        self.answer(client, &Response::done(json!({ "pid": std::process::id() })));
        self.leave_to(executable);
    }

    /// How many processes of the earlier program are left; null when no upgrade is under way.
    pub(crate) fn upgrade_state(&self) -> Value {
        let is_old = |place: &&Place| place.running().is_some_and(|running| running.is_old);
        let left_count = || self.places.iter().filter(is_old).count();
        if self.is_upgrading { json!({ "left": left_count() }) } else { Value::Null }
    }
}

/// Why a program cannot go on with what this one began; `None` when it can.
fn refusal(own: &Value, other: &Value) -> Option<String> {
    for (key, what) in
        [("layout", "lays its shared memory out by version"), ("abi", "speaks with services by version")]
    {
        if !other[key].is_u64() {
            return Some(format!("it does not say what it is (`helper-layout` printed {other})"));
        }
        if own[key] != other[key] {
            return Some(format!(
                "it {what} {}, the running node by version {}; use `gantry restart` with the new program instead",
                other[key], own[key]
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_of_the_same_layout_and_contract_takes_over() {
        let own = json!({"layout": 2, "abi": 1, "version": "0.1.0"});
        assert_eq!(refusal(&own, &json!({"layout": 2, "abi": 1, "version": "0.2.0"})), None);
        for (other, words) in [
            (json!({"layout": 3, "abi": 1}), "memory out by version 3, the running node by version 2"),
            (json!({"layout": 2, "abi": 2}), "services by version 2"),
            (json!({"abi": 1}), "does not say what it is"),
            (json!("hello"), "does not say what it is"),
        ] {
            let refusal = refusal(&own, &other).unwrap();
            assert!(refusal.contains(words), "{refusal}");
        }
    }
}
