//! What is looked at on each tick: who got ready, who runs too long, who gives no sign of life, which place is to be
//! filled.

use gantry_message::Queue;
use gantry_segment::{Control, ProcessRow, ProcessState};
use gantry_settings::{SupervisorSettings, WorkersSettings};
use gantry_sys::atomic::Ordering::{Acquire, Relaxed};
use gantry_sys::signal::Signal;

use crate::SupervisorError;
use crate::children::{COMM_ROW, Ending, Life, Place, Reason};
use crate::limits::START_DEATHS_MAX;
use crate::run::{Phase, Supervisor};
use crate::spawn::last_words;
use crate::time::{after, ns};

/// What is to be done with a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    Fine,
    /// It has become ready.
    Ready,
    /// Its request runs longer than until then: ask it to end, and kill it after a while.
    Terminate { overran_ns: u64 },
    /// Kill it now: it could not answer.
    Kill(Reason),
}

/// What the verdict rests on, besides the row.
struct Watch<'a> {
    now_ns: u64,
    /// Signs of life from before are not missed: the supervisor itself did not run then.
    watch_from_ns: u64,
    supervisor: &'a SupervisorSettings,
    workers: &'a WorkersSettings,
}

impl Supervisor {
    /// Looks at every child.
    pub(crate) fn watch_children(&mut self, now_ns: u64) {
        let control = self.segments.control();
        let watch = Watch {
            now_ns,
            watch_from_ns: self.watch_from_ns,
            supervisor: &self.settings.supervisor,
            workers: &self.settings.workers,
        };
        for place in &mut self.places {
            let verdict = watch.verdict(control, place);
            watch.carry_out(place, verdict, control);
        }
        self.fill_places(now_ns);
    }

    /// Fills every vacant place whose time has come: by a spare that is ready, else by a new child. Spares themselves come
    /// last.
    pub(crate) fn fill_places(&mut self, now_ns: u64) {
        for are_spares in [false, true] {
            for index in 0..self.places.len() {
                let is_vacant = matches!(self.places[index].life, Life::Vacant { .. });
                if !is_vacant || self.places[index].kind.is_spare() != are_spares || self.seat_spare(index) {
                    continue;
                }
                let is_due = matches!(self.places[index].life, Life::Vacant { not_before_ns } if now_ns >= not_before_ns);
                if is_due && self.is_wanted(index) {
                    self.spawn(index);
                }
            }
        }
    }

    /// Whether the node wants this place filled now.
    pub(crate) fn is_wanted(&self, index: usize) -> bool {
        let kind = self.places[index].kind;
        let (is_worker, is_spare) = (kind.is_worker(), kind.is_spare());
        match &self.phase {
            Phase::Preparing | Phase::Ended => false,
            // Nobody is accepted before there is somebody to serve them.
            // Spares come when there is time for them.
            Phase::Starting => (is_worker && !is_spare) || self.is_adopted || self.has_ready_workers(),
            Phase::Serving => true,
            Phase::Stopping(stop) => {
                if is_worker {
                    stop.wants_workers() && !is_spare
                } else {
                    stop.wants_comm()
                }
            }
        }
    }

    /// Whether each queue has a worker that is ready.
    pub(crate) fn has_ready_workers(&self) -> bool {
        [Queue::Read, Queue::Write]
            .into_iter()
            .all(|queue| self.places.iter().any(|place| place.kind.queue == Some(queue) && place.is_ready()))
    }

    /// A child could not get ready. Before the node was ever ready, that happens only a few times before it gives up.
    pub(crate) fn fail_start(&mut self, index: usize, exit: &str) {
        let place = &self.places[index];
        let deaths_count = place.back_off.early_deaths_count();
        if !matches!(self.phase, Phase::Starting) || deaths_count < START_DEATHS_MAX {
            return;
        }
        let said = last_words(&self.settings.log.dir, place);
        let child = place.kind.name;
        self.fail(SupervisorError::ChildFails { child, deaths_count, exit: exit.to_owned(), said });
    }
}

impl Watch<'_> {
    fn verdict(&self, control: &Control, place: &Place) -> Verdict {
        let Some(running) = place.running() else { return Verdict::Fine };
        let row = &control.processes()[usize::from(place.row)];
        let state = row.state();
        if let Some(ending) = running.ending {
            let is_due = self.is_kill_due(ending, row, state);
            return if is_due { Verdict::Kill(ending.reason) } else { Verdict::Fine };
        }
        let Some(ready_ns) = running.ready_ns else {
            if matches!(state, ProcessState::Idle | ProcessState::Busy) {
                return Verdict::Ready;
            }
            let is_late = self.now_ns > after(running.started_ns, self.supervisor.ready_timeout);
            return if is_late { Verdict::Kill(Reason::NotReady) } else { Verdict::Fine };
        };
        let base_ns = ready_ns.max(self.watch_from_ns);
        if place.row == COMM_ROW {
            let beats = control.threads().iter().map(|thread| thread.heartbeat_ns.load(Relaxed));
            return self.hung_since(beats.min().unwrap_or(0), base_ns);
        }
        self.verdict_of_worker(row, state, base_ns)
    }

    /// Whether a child that was asked to end has had its time. One that overran its limit may have finished just before it was
    /// asked, and have begun its next request before it heard of it: that one has its own time, and the worker leaves
    /// after it.
    fn is_kill_due(&self, ending: Ending, row: &ProcessRow, state: ProcessState) -> bool {
        if ending.is_killed || self.now_ns < ending.kill_at_ns {
            return false;
        }
        if ending.reason != Reason::OverTime {
            return true;
        }
        // Acquire: pairs with the worker's store when it begins a request.
        match row.kill_at_ns.load(Acquire) {
            limit_ns if limit_ns == ending.overran_ns => true,
            0 => state != ProcessState::Busy,
            limit_ns => self.now_ns > after(limit_ns, self.workers.kill_grace),
        }
    }

    fn verdict_of_worker(&self, row: &ProcessRow, state: ProcessState, base_ns: u64) -> Verdict {
        // Acquire: pairs with the worker's store when it begins a request.
        let kill_at_ns = row.kill_at_ns.load(Acquire);
        if kill_at_ns != 0 && self.now_ns > kill_at_ns {
            return Verdict::Terminate { overran_ns: kill_at_ns };
        }
        // A busy worker gives no sign of life until its service returns; its time-out is what ends it.
        if state == ProcessState::Busy {
            return Verdict::Fine;
        }
        self.hung_since(row.heartbeat_ns.load(Relaxed), base_ns)
    }

    fn hung_since(&self, heartbeat_ns: u64, base_ns: u64) -> Verdict {
        let limit_ns = ns(self.supervisor.heartbeat_timeout);
        let silent_ns = self.now_ns.saturating_sub(heartbeat_ns.max(base_ns));
        if silent_ns > limit_ns { Verdict::Kill(Reason::Hung) } else { Verdict::Fine }
    }

    fn carry_out(&self, place: &mut Place, verdict: Verdict, control: &Control) {
        let (kind, row) = (place.kind, place.row);
        let Life::Running(running) = &mut place.life else { return };
        let service = control.processes()[usize::from(row)].running_service.load(Relaxed);
        match verdict {
            Verdict::Fine => {}
            Verdict::Ready => {
                running.ready_ns = Some(self.now_ns);
                let took_ms = self.now_ns.saturating_sub(running.started_ns) / 1_000_000;
                tracing::debug!(child = kind.name, row, pid = running.pid, took_ms, "child ready");
            }
            Verdict::Terminate { overran_ns } => {
                let reason = Reason::OverTime;
                let kill_at_ns = after(self.now_ns, self.workers.kill_grace);
                running.ending = Some(Ending { reason, kill_at_ns, is_killed: false, overran_ns });
                let because = reason.text();
                tracing::warn!(
                    child = kind.name,
                    row,
                    pid = running.pid,
                    service,
                    because,
                    "child is asked to end"
                );
                running.signal(Signal::SIGTERM);
            }
            Verdict::Kill(reason) => {
                running.ending =
                    Some(Ending { reason, kill_at_ns: self.now_ns, is_killed: true, overran_ns: 0 });
                let because = reason.text();
                tracing::warn!(
                    child = kind.name,
                    row,
                    pid = running.pid,
                    service,
                    because,
                    "child is killed"
                );
                running.signal(Signal::SIGKILL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_settings::Settings;
    use gantry_sys::process::PidFd;
    use std::path::Path;

    use crate::children::{Running, Seats, places};
    use crate::testing::small_dimensions;

    const SECOND_NS: u64 = 1_000_000_000;

    /// A place whose process is this test's own; it is looked at, never signalled.
    fn rig() -> (Settings, Control, Vec<Place>) {
        let text = "[workers]\nread = 1\nwrite = 1\n[supervisor]\nheartbeat_timeout = \"2s\"\nready_timeout = \"5s\"\n";
        let settings = Settings::from_text(text, Path::new("/tmp/gantry.toml")).unwrap();
        let control = Control::heap(small_dimensions()).unwrap();
        let mut places = places(Seats::of(&settings.workers), Vec::new(), 8);
        let pid = i32::try_from(std::process::id()).unwrap();
        for place in &mut places {
            let mut running = Running::new(pid, PidFd::open(pid).unwrap(), 1, 10 * SECOND_NS);
            running.ready_ns = Some(10 * SECOND_NS);
            place.life = Life::Running(running);
        }
        (settings, control, places)
    }

    fn verdict(
        rig: &(Settings, Control, Vec<Place>),
        index: usize,
        now_s: u64,
        watch_from_s: u64,
    ) -> Verdict {
        let watch = Watch {
            now_ns: now_s * SECOND_NS,
            watch_from_ns: watch_from_s * SECOND_NS,
            supervisor: &rig.0.supervisor,
            workers: &rig.0.workers,
        };
        watch.verdict(&rig.1, &rig.2[index])
    }

    fn running(rig: &mut (Settings, Control, Vec<Place>), index: usize) -> &mut Running {
        match &mut rig.2[index].life {
            Life::Running(running) => running,
            Life::Vacant { .. } => panic!("the rig fills every place"),
        }
    }

    #[test]
    fn a_child_is_ready_when_its_row_says_idle_and_killed_when_that_takes_too_long() {
        let mut rig = rig();
        running(&mut rig, 1).ready_ns = None;
        rig.1.processes()[2].set_state(ProcessState::Starting);
        assert_eq!(verdict(&rig, 1, 15, 0), Verdict::Fine);
        assert_eq!(verdict(&rig, 1, 16, 0), Verdict::Kill(Reason::NotReady));
        rig.1.processes()[2].set_state(ProcessState::Idle);
        assert_eq!(verdict(&rig, 1, 16, 0), Verdict::Ready);
    }

    #[test]
    fn an_idle_worker_without_a_heartbeat_is_killed_and_a_busy_one_is_not() {
        let rig = rig();
        let row = &rig.1.processes()[2];
        row.set_state(ProcessState::Idle);
        row.heartbeat_ns.store(20 * SECOND_NS, Relaxed);
        assert_eq!(verdict(&rig, 1, 22, 0), Verdict::Fine);
        assert_eq!(verdict(&rig, 1, 23, 0), Verdict::Kill(Reason::Hung));
        assert_eq!(verdict(&rig, 1, 23, 22), Verdict::Fine, "the supervisor itself did not run until then");
        row.set_state(ProcessState::Busy);
        assert_eq!(verdict(&rig, 1, 99, 0), Verdict::Fine);
    }

    #[test]
    fn a_worker_over_its_time_is_asked_to_end_and_killed_after_the_grace() {
        let mut rig = rig();
        let row = &rig.1.processes()[2];
        row.set_state(ProcessState::Busy);
        row.kill_at_ns.store(20 * SECOND_NS, Relaxed);
        assert_eq!(verdict(&rig, 1, 20, 0), Verdict::Fine);
        assert_eq!(verdict(&rig, 1, 21, 0), Verdict::Terminate { overran_ns: 20 * SECOND_NS });
        let ending = over_time();
        running(&mut rig, 1).ending = Some(ending);
        assert_eq!(verdict(&rig, 1, 22, 0), Verdict::Fine);
        assert_eq!(verdict(&rig, 1, 23, 0), Verdict::Kill(Reason::OverTime));
        running(&mut rig, 1).ending = Some(Ending { is_killed: true, ..ending });
        assert_eq!(verdict(&rig, 1, 99, 0), Verdict::Fine, "it was killed; its pidfd tells the rest");
    }

    /// A worker that was asked at 21 s to end, over a limit of 20 s.
    fn over_time() -> Ending {
        let (kill_at_ns, overran_ns) = (23 * SECOND_NS, 20 * SECOND_NS);
        Ending { reason: Reason::OverTime, kill_at_ns, is_killed: false, overran_ns }
    }

    #[test]
    fn a_worker_that_was_asked_to_end_over_one_request_is_not_killed_for_it_in_the_next() {
        let mut rig = rig();
        running(&mut rig, 1).ending = Some(over_time());
        let row = &rig.1.processes()[2];
        row.set_state(ProcessState::Busy);
        row.kill_at_ns.store(40 * SECOND_NS, Relaxed);
        for now_s in [23, 40, 42] {
            assert_eq!(verdict(&rig, 1, now_s, 0), Verdict::Fine, "{now_s} s");
        }
        assert_eq!(verdict(&rig, 1, 43, 0), Verdict::Kill(Reason::OverTime), "it overran that too");
        row.kill_at_ns.store(0, Relaxed);
        assert_eq!(verdict(&rig, 1, 99, 0), Verdict::Fine, "the next one may take as long as it likes");
        row.set_state(ProcessState::Idle);
        assert_eq!(verdict(&rig, 1, 99, 0), Verdict::Kill(Reason::OverTime), "it should have left");
    }

    #[test]
    fn one_silent_thread_of_comm_is_enough_to_kill_it() {
        let rig = rig();
        rig.1.processes()[1].set_state(ProcessState::Idle);
        rig.1.threads()[0].heartbeat_ns.store(30 * SECOND_NS, Relaxed);
        rig.1.threads()[1].heartbeat_ns.store(29 * SECOND_NS, Relaxed);
        assert_eq!(verdict(&rig, 0, 31, 0), Verdict::Fine);
        assert_eq!(verdict(&rig, 0, 32, 0), Verdict::Kill(Reason::Hung));
    }
}
