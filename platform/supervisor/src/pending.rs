//! Commands that are answered when something has come about.

use std::time::Duration;

use gantry_ring::{Slots, State};
use gantry_segment::Control;
use gantry_sys::atomic::Ordering::Relaxed;
use gantry_sys::clock;
use serde_json::{Value, json};

use crate::protocol::Response;
use crate::receipt::{Goal, late, receipt, replaced_by};
use crate::run::{Phase, Supervisor};
use crate::shutdown::Drain;
use crate::take_back::{Progress, undo_of};
use crate::time::after;

/// A command that is answered when something has come about.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Who waits; nobody any more where the answer was that it takes longer.
    client: Option<u64>,
    deadline_ns: u64,
    wait: WaitFor,
    result: Value,
}

/// What.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// Every worker that is ready serves this.
    Served { goal: Goal },
    /// The node refuses, and nothing is in flight.
    Drained,
}

impl Pending {
    /// Whether a client waits for the answer.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.client.is_some()
    }
}

impl Supervisor {
    /// Has a client answered with `result` when `wait` has come about, or after `limit`.
    pub(crate) fn wait_for(&mut self, client: u64, wait: WaitFor, limit: Duration, result: Value) {
        let deadline_ns = after(clock::monotonic_ns(), limit);
        self.pending.push(Pending { client: Some(client), deadline_ns, wait, result });
    }

    /// Answers the commands whose time has come.
    pub(crate) fn answer_pending(&mut self, now_ns: u64) {
        for pending in std::mem::take(&mut self.pending) {
            if let (Phase::Serving, WaitFor::Served { goal }) = (&self.phase, pending.wait)
                && replaced_by(&self.snapshot, &pending.result).is_none()
                && matches!(Progress::of(self.segments.control(), &self.places, goal), Progress::Refused)
            {
                self.take_back(pending.client, goal, &pending.result);
                continue;
            }
            let Some(response) = self.answer_of(&pending, now_ns) else {
                self.pending.push(pending);
                continue;
            };
            let is_waited_for = pending.is_waited_for();
            let can_be_undone = replaced_by(&self.snapshot, &pending.result).is_none()
                && undo_of(pending.result["library"].as_str().unwrap_or_default(), &pending.result).is_some();
            if let Some(client) = pending.client {
                self.answer(client, &response);
            }
            if is_waited_for
                && !response.ok
                && can_be_undone
                && matches!(pending.wait, WaitFor::Served { .. })
            {
                // What a worker cannot load when its present request has ended is taken back all the same.
                self.pending.push(Pending { client: None, deadline_ns: u64::MAX, ..pending });
            }
        }
    }

    fn answer_of(&self, pending: &Pending, now_ns: u64) -> Option<Response> {
        let control = self.segments.control();
        let is_late = now_ns >= pending.deadline_ns || matches!(self.phase, Phase::Ended);
        match pending.wait {
            WaitFor::Served { goal } => {
                if let Some(by) = replaced_by(&self.snapshot, &pending.result) {
                    return Some(replaced(&pending.result, &by));
                }
                let receipt = || receipt(control, &self.places, goal, &pending.result);
                match Progress::of(control, &self.places, goal) {
                    Progress::Served => Some(Response::done(receipt())),
                    _ => is_late.then(|| not_everywhere(receipt())),
                }
            }
            WaitFor::Drained => {
                let in_flight_count = in_flight_count(control);
                let is_over = self.drain == Drain::Drained && in_flight_count == 0;
                let was_undone = self.drain == Drain::None;
                if was_undone {
                    return Some(Response::failed("the drain was taken back"));
                }
                (is_over || is_late).then(|| {
                    Response::done(json!({
                        "draining": true,
                        "in_flight": in_flight_count,
                        "connections": control.node().connections_open.load(Relaxed),
                    }))
                })
            }
        }
    }
}

/// Requests in any state but free.
pub(crate) fn in_flight_count(control: &Control) -> usize {
    Slots::new(control.slots()).words().filter(|(_, word)| !word.is(State::Free)).count()
}

/// A change that workers have not taken up in time.
fn not_everywhere(receipt: Value) -> Response {
    let error = format!(
        "it is in the registry, but not in force everywhere: {} still serve what was before; one that runs a request \
         changes when that ends",
        late(&receipt)
    );
    Response { result: Some(receipt), ..Response::failed(error) }
}

/// A change that workers need not take up any more.
fn replaced(result: &Value, by: &str) -> Response {
    let mut receipt = result.clone();
    if let Some(receipt) = receipt.as_object_mut() {
        receipt.insert("in_force".to_owned(), false.into());
        receipt.insert("replaced_by".to_owned(), by.into());
    }
    let error = format!("another change came before all workers served it: {by} is in force");
    Response { result: Some(receipt), ..Response::failed(error) }
}
