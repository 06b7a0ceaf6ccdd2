//! Draining and stopping.
//!
//! A stop goes through stages. *Grace*: readiness is off, everything is still served, so that balancers look elsewhere.
//! *Comm*: new requests get 204; the communication process sends what it owes and leaves, while workers finish what
//! is queued. *Workers*: they leave. *Kill*: whoever is left when the time is over.

use std::path::PathBuf;

use gantry_segment::ProcessState;
use gantry_sys::atomic::Ordering::{Relaxed, Release};
use gantry_sys::clock;
use gantry_sys::signal::Signal;
use sd_notify::NotifyState;

use crate::SupervisorError;
use crate::children::{Ending, Life, Reason};
use crate::folder::forget_segments;
use crate::limits::KILL_LIMIT;
use crate::living::{end_processes, living_keepers};
use crate::node_segments::{queued_count, remove, remove_unless_needed, unprocessed_count};
use crate::notify::tell;
use crate::reap::wake_all;
use crate::run::{End, Phase, Supervisor};
use crate::time::after;

/// How far a drain without a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    /// The node serves.
    None,
    /// Its readiness is off.
    Grace { until_ns: u64 },
    /// New requests get 204.
    Drained,
}

/// How far a stop is.
#[derive(Debug)]
pub(crate) struct Stop {
    stage: Stage,
    /// When whoever is left is killed; begins with the end of the grace.
    deadline_ns: u64,
    is_now: bool,
    killed_count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Grace { until_ns: u64 },
    Comm,
    Workers,
    Kill,
}

impl Stop {
    /// Whether a dead worker is replaced: as long as requests may wait for one.
    pub(crate) fn wants_workers(&self) -> bool {
        matches!(self.stage, Stage::Grace { .. } | Stage::Comm)
    }

    /// Whether a dead communication process is replaced: as long as it takes requests.
    pub(crate) fn wants_comm(&self) -> bool {
        matches!(self.stage, Stage::Grace { .. })
    }
}

/// Value of `ProcessRow::leave`: leave when nothing is left to do.
pub(crate) const LEAVE: u32 = 1;
/// Value of `ProcessRow::leave`: leave at once and leave the connections to the successor.
pub(crate) const HAND_OVER: u32 = 2;

/// Values of `NodeRow::draining`.
const SERVING: u32 = 0;
const NOT_READY: u32 = 1;
const REFUSING: u32 = 2;

impl Supervisor {
    /// Whether the node is on its way to its end.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_) | Phase::Ended)
    }

    /// Begins to stop; with `now`, at once and without draining. A second stop ends the grace of the first.
    pub(crate) fn stop(&mut self, now: bool) {
        let now_ns = clock::monotonic_ns();
        let timeout = self.settings.supervisor.stop_timeout;
        match &mut self.phase {
            Phase::Ended => return,
            Phase::Stopping(stop) => {
                stop.is_now |= now;
                if now {
                    stop.stage = Stage::Kill;
                } else if let Stage::Grace { until_ns } = &mut stop.stage {
                    *until_ns = now_ns;
                }
            }
            Phase::Preparing | Phase::Starting | Phase::Serving => {
                tell(&[NotifyState::Stopping]);
                self.segments.control().processes()[0].set_state(ProcessState::Stopping);
                let until_ns = self.grace_until_ns(now_ns);
                let stage = if now { Stage::Kill } else { Stage::Grace { until_ns } };
                let deadline_ns = after(until_ns, timeout);
                self.phase = Phase::Stopping(Stop { stage, deadline_ns, is_now: now, killed_count: 0 });
                if self.drain == Drain::None {
                    self.set_draining(NOT_READY);
                }
                tracing::warn!(now, "the node stops");
            }
        }
        self.advance_stop(now_ns);
    }

    /// Until when a stop still serves: no longer when nobody is connected, or the node was drained before.
    fn grace_until_ns(&self, now_ns: u64) -> u64 {
        let connections = self.segments.control().node().connections_open.load(Relaxed);
        let is_serving = matches!(self.phase, Phase::Serving);
        match self.drain {
            Drain::None if is_serving && connections > 0 => after(now_ns, self.settings.node.drain_grace),
            Drain::Grace { until_ns } => until_ns,
            Drain::None | Drain::Drained => now_ns,
        }
    }

    /// Goes on to the next stage when the present one is over.
    pub(crate) fn advance_stop(&mut self, now_ns: u64) {
        while let Phase::Stopping(stop) = &self.phase {
            let (stage, is_late) = (stop.stage, now_ns >= stop.deadline_ns);
            let next = match stage {
                Stage::Grace { until_ns } if now_ns >= until_ns => Stage::Comm,
                Stage::Comm | Stage::Workers if is_late => Stage::Kill,
                Stage::Comm if self.is_comm_done() => Stage::Workers,
                Stage::Grace { .. } | Stage::Comm | Stage::Workers | Stage::Kill => stage,
            };
            if next != stage {
                self.enter_stage(next, now_ns);
                continue;
            }
            if stage == Stage::Kill {
                self.kill_everybody(now_ns);
            }
            let is_empty = self.places.iter().all(|place| place.running().is_none());
            if is_empty && matches!(stage, Stage::Workers | Stage::Kill) {
                self.end();
            }
            return;
        }
    }

    fn enter_stage(&mut self, stage: Stage, now_ns: u64) {
        if let Phase::Stopping(stop) = &mut self.phase {
            stop.stage = stage;
            if stage == Stage::Comm {
                stop.deadline_ns = after(now_ns, self.settings.supervisor.stop_timeout);
            }
        }
        match stage {
            Stage::Comm => self.refuse_and_let_comm_leave(),
            Stage::Workers => self.let_leave(|is_worker| is_worker),
            Stage::Grace { .. } | Stage::Kill => {}
        }
    }

    /// The communication process has sent all it owed, and nothing waits for a worker any more.
    fn is_comm_done(&self) -> bool {
        let is_comm_gone =
            self.places.iter().all(|place| place.kind.is_worker() || place.running().is_none());
        let are_workers_there = self.places.iter().any(|place| place.kind.is_worker() && place.is_ready());
        is_comm_gone && (!are_workers_there || queued_count(self.segments.control()) == 0)
    }

    fn refuse_and_let_comm_leave(&mut self) {
        // Who connects from now on is refused by the kernel, not left waiting.
        self.listeners = None;
        self.set_draining(REFUSING);
        self.segments.control().node().stopping.store(1, Release);
        self.let_leave(|is_worker| !is_worker);
    }

    /// Asks the children of a kind to leave when they have nothing left.
    fn let_leave(&self, is_meant: impl Fn(bool) -> bool) {
        let control = self.segments.control();
        for place in self.places.iter().filter(|place| is_meant(place.kind.is_worker())) {
            control.processes()[usize::from(place.row)].leave.store(LEAVE, Release);
        }
        wake_all(control, &self.doorbells);
    }

    /// Lets the next look at each child kill it.
    fn kill_everybody(&mut self, now_ns: u64) {
        let Phase::Stopping(stop) = &mut self.phase else { return };
        for place in &mut self.places {
            if let Life::Running(running) = &mut place.life
                && running.ending.is_none_or(|ending| !ending.is_killed && ending.kill_at_ns > now_ns)
            {
                let reason = Reason::Stop;
                running.ending = Some(Ending { reason, kill_at_ns: now_ns, is_killed: false, overran_ns: 0 });
                stop.killed_count += 1;
            }
        }
    }

    /// Kills every child when the loop itself cannot go on. Blocks until each is gone, for a moment each; the segments
    /// stay, and the next start recovers what was in them.
    pub(crate) fn kill_without_loop(&mut self) {
        self.helpers.end_all(&self.poller, clock::monotonic_ns());
        for running in self.places.iter().filter_map(|place| place.running()) {
            running.signal(Signal::SIGKILL);
            let _dead = running.pidfd.wait(Some(KILL_LIMIT));
        }
        self.end_keepers();
    }

    /// Ends the keepers: what they hold is nobody's any more.
    fn end_keepers(&mut self) {
        let keepers = living_keepers(self.segments.control());
        if let Err(error) = end_processes(&keepers, KILL_LIMIT) {
            tracing::error!(%error, "a keeper is left; it holds connections that nobody serves");
            return;
        }
        for keeper in self.segments.control().keepers() {
            keeper.clear();
        }
        self.reap_strangers();
    }

    fn end(&mut self) {
        let now_ns = clock::monotonic_ns();
        for task in self.helpers.end_all(&self.poller, now_ns) {
            self.give_up(task);
        }
        self.answer_pending(now_ns);
        let before = std::mem::replace(&mut self.phase, Phase::Ended);
        self.end = match before {
            Phase::Stopping(stop) if stop.is_now => End::Now,
            Phase::Stopping(stop) if stop.killed_count > 0 => {
                End::Killed { processes_count: stop.killed_count }
            }
            _ => End::Drained,
        };
    }

    /// Leaves the node to another program, which this process will execute: the loop ends, and nobody else does.
    pub(crate) fn leave_to(&mut self, executable: PathBuf) {
        let now_ns = clock::monotonic_ns();
        for task in self.helpers.end_all(&self.poller, now_ns) {
            self.give_up(task);
        }
        self.phase = Phase::Ended;
        self.end = End::Upgrade(executable);
    }

    /// Removes what must not outlive the node, and gives its end.
    pub(crate) fn finish(mut self) -> Result<End, SupervisorError> {
        if matches!(self.end, End::Upgrade(_)) {
            // The successor finds the sockets in the communication process.
            if let Some(listeners) = &mut self.listeners {
                listeners.keep_files();
            }
            return Ok(self.end);
        }
        self.end_keepers();
        self.admin.remove_file();
        self.listeners = None;
        let control = self.segments.control();
        let row = &control.processes()[0];
        row.set_state(ProcessState::Free);
        let _is_closed = row.end_life(row.life());
        let is_given_up = self.end == End::Now && self.failure.is_none();
        let is_removed = if is_given_up {
            let given_up_count = unprocessed_count(control);
            if given_up_count > 0 {
                tracing::warn!(given_up_count, "accepted requests are given up");
            }
            remove(&self.segments)?;
            true
        } else {
            remove_unless_needed(&self.segments)?
        };
        if is_removed {
            forget_segments(&self.settings);
        }
        self.failure.map_or(Ok(self.end), Err)
    }

    fn set_draining(&self, value: u32) {
        let control = self.segments.control();
        control.node().draining.store(value, Release);
        wake_all(control, &self.doorbells);
    }

    /// Begins to drain without stopping.
    pub(crate) fn begin_drain(&mut self) {
        if self.drain == Drain::None {
            let until_ns = after(clock::monotonic_ns(), self.settings.node.drain_grace);
            self.drain = Drain::Grace { until_ns };
            self.segments.control().processes()[0].set_state(ProcessState::Draining);
            self.set_draining(NOT_READY);
            tracing::warn!("the node drains");
        }
    }

    /// Goes from the grace to refusing.
    pub(crate) fn advance_drain(&mut self, now_ns: u64) {
        if let Drain::Grace { until_ns } = self.drain
            && now_ns >= until_ns
            && !self.is_stopping()
        {
            self.drain = Drain::Drained;
            self.set_draining(REFUSING);
        }
    }

    /// Serves again.
    pub(crate) fn undrain(&mut self) {
        if self.drain != Drain::None {
            self.drain = Drain::None;
            self.segments.control().processes()[0].set_state(ProcessState::Idle);
            self.set_draining(SERVING);
            tracing::warn!("the node serves again");
        }
    }
}
