//! A child has ended: what it held is recovered, who waits is woken, its place is filled again.
//!
//! The order matters. Its group is killed first, while the unreaped pid still keeps the group's number; its slots are
//! recovered only now that its pidfd says that it is dead; everybody is woken after that, because a wake-up may have
//! been given to the one that died. A supervisor that dies anywhere in between leaves less done, and the next one does
//! all of it again.

use std::fmt;

use gantry_message::ServiceNumber;
use gantry_ring::{Doorbell, Owner, Recovered, Slots, recover_worker};
use gantry_segment::{Control, ProcessRow, ProcessState};
use gantry_sys::atomic::Ordering::{Acquire, Relaxed, Release};
use gantry_sys::clock;
use gantry_sys::eventfd::EventFd;
use gantry_sys::process::{ExitState, reap, signal_group};
use gantry_sys::signal::Signal;
use serde_json::{Value, json};

use crate::children::{Life, Reason, Running};
use crate::quarantine::QuarantineRule;
use crate::report::{self, request_of};
use crate::run::Supervisor;
use crate::time::after;

/// Bits of a death note that name the fatal signal.
const NOTE_SIGNAL: u32 = 0xff;
/// Bit of a death note: it exited from inside a service.
const NOTE_EXIT: u32 = 0x100;

/// What a dead child was doing, read from its row before the row is used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastState {
    pub(crate) note: u32,
    pub(crate) service: Option<ServiceNumber>,
    /// The version of that service, if the worker had adopted the present tables; else it is not known.
    pub(crate) version: Option<String>,
}

impl Supervisor {
    /// Takes up the death of the child in a row of the process table.
    pub(crate) fn reap(&mut self, row: u8) {
        let Some(index) = self.places.iter().position(|place| place.row == row) else { return };
        let place = &mut self.places[index];
        if !place.running().is_some_and(|running| running.pidfd.is_dead()) {
            return;
        }
        let Life::Running(mut dead) = std::mem::replace(&mut place.life, Life::Vacant { not_before_ns: 0 })
        else {
            return;
        };
        // A group without members left is what is wanted.
        let _gone = signal_group(dead.pid, Signal::SIGKILL);
        let exit = reap(dead.pid);
        // Not watched is what is wanted.
        let _unwatched = self.poller.remove(&dead.pidfd);
        let control = self.segments.control();
        let process = &control.processes()[usize::from(row)];
        if dead.ready_ns.is_none() && has_been_ready(process.state()) {
            // It got ready and died between two looks.
            dead.ready_ns = Some(clock::monotonic_ns());
        }
        process.set_state(ProcessState::Dead);
        let last = last_state(control, process);
        let request = request_of(control, process);
        // Before the recovery, which lets callers know of the death: their next request must meet the quarantine.
        self.note_for_quarantine(&dead, &last);
        let control = self.segments.control();
        let process = &control.processes()[usize::from(row)];
        let recovered = if self.places[index].kind.is_worker() {
            recover_worker(Slots::new(control.slots()), Owner::new(row, dead.epoch))
        } else {
            // The next communication process recovers what this one held.
            Recovered::default()
        };
        let _is_closed = process.end_life(process.life());
        process.kill_at_ns.store(0, Relaxed);
        process.set_state(ProcessState::Free);
        sweep_and_wake_all(control, &self.doorbells);
        self.record_death(index, &dead, exit, &last, recovered);
        if last.service.is_some() {
            self.write_report(&dead, exit, &last, request);
        }
        self.follow_death(index, &dead, exit);
    }

    fn record_death(
        &self,
        index: usize,
        dead: &Running,
        exit: ExitState,
        last: &LastState,
        recovered: Recovered,
    ) {
        let place = &self.places[index];
        let is_leaving = self.is_stopping() && exit == ExitState::Exited { code: 0 };
        let ended_because = dead.ending.map(|ending| ending.reason.text());
        let service = last.service.map(|number| number.to_string());
        if is_leaving {
            tracing::debug!(child = place.kind.name, row = place.row, pid = dead.pid, "child left");
            return;
        }
        tracing::warn!(
            child = place.kind.name,
            row = place.row,
            pid = dead.pid,
            exit = %exit,
            ended_because,
            note = %Note(last.note),
            service,
            version = last.version.as_deref(),
            lost_count = recovered.lost_count,
            uncommitted_count = recovered.uncommitted_count,
            "child ended"
        );
    }

    /// Writes down what a worker that died inside a service was doing.
    fn write_report(&self, dead: &Running, exit: ExitState, last: &LastState, request: Option<Value>) {
        let service = last.service.unwrap_or(ServiceNumber::ZERO);
        let report = json!({
            "at_ms": clock::realtime_ms(),
            "service": service,
            "version": last.version,
            "pid": dead.pid,
            "exit": exit.to_string(),
            "ended_because": dead.ending.map(|ending| ending.reason.text()),
            "note": Note(last.note).to_string(),
            "request": request,
        });
        let folder = self.settings.node.state_dir.join("reports");
        if let Err(error) = report::write(&folder, &format!("{service}-{}", dead.pid), &report) {
            tracing::error!(folder = %folder.display(), %error, "a report cannot be written");
        }
    }

    /// Counts a death that is a service's doing, and quarantines the version that died too often.
    fn note_for_quarantine(&mut self, dead: &Running, last: &LastState) {
        let (Some(number), Some(version)) = (last.service, &last.version) else { return };
        let is_over_time =
            dead.ending.is_some_and(|ending| ending.is_killed && ending.reason == Reason::OverTime);
        if last.note == 0 && !is_over_time {
            return;
        }
        let rule = QuarantineRule {
            deaths_count: self.settings.service.quarantine_deaths,
            window: self.settings.service.quarantine_window,
        };
        if !self.quarantine.note(number, version, clock::monotonic_ns(), rule) {
            return;
        }
        self.quarantine.forget(number);
        let (service, version) = (number.to_string(), version.clone());
        tracing::error!(
            service,
            version,
            deaths_count = rule.deaths_count,
            window = ?rule.window,
            "service version quarantined: its workers died too often; `gantry service start` lifts it"
        );
        self.quarantine_version(number, &version);
    }

    /// Sees to it that somebody takes the place, if the node wants that.
    fn follow_death(&mut self, index: usize, dead: &Running, exit: ExitState) {
        let now_ns = clock::monotonic_ns();
        let max = self.settings.supervisor.restart_backoff_max;
        let place = &mut self.places[index];
        let wait = place.back_off.after_death(dead.ready_ns.is_some(), max);
        place.life = Life::Vacant { not_before_ns: after(now_ns, wait) };
        if dead.ready_ns.is_none() {
            let exit = match dead.ending {
                Some(ending) => format!("{exit}, since {}", ending.reason.text()),
                None => exit.to_string(),
            };
            self.fail_start(index, &exit);
        }
        self.fill_places(now_ns);
    }
}

/// Whether a process in this state had become ready before.
fn has_been_ready(state: ProcessState) -> bool {
    match state {
        ProcessState::Idle | ProcessState::Busy | ProcessState::Draining | ProcessState::Stopping => true,
        ProcessState::Free | ProcessState::Starting | ProcessState::Dead => false,
    }
}

/// What the row of a dead child says of its end.
fn last_state(control: &Control, row: &ProcessRow) -> LastState {
    let number = row.running_service.load(Relaxed);
    let service = ServiceNumber::new(number).ok().filter(|number| !number.is_platform());
    let index = row.running_service_index.load(Relaxed) as usize;
    let is_present = row.generation_served.load(Relaxed) == control.node().directory_generation.load(Acquire);
    let version = control
        .services()
        .get(index)
        .filter(|known| is_present && service.is_some() && known.number.load(Acquire) == number)
        .map(|known| known.version.text());
    LastState { note: row.death_note.load(Relaxed), service, version }
}

/// Tells every I/O thread to look at its slots, and wakes every process of the node.
pub(crate) fn sweep_and_wake_all(control: &Control, doorbells: &[EventFd]) {
    for thread in control.threads() {
        // Release: pairs with the Acquire of the thread that takes the flag; the recovered words are seen.
        thread.sweep.store(1, Release);
    }
    wake_all(control, doorbells);
}

/// Wakes every process of the node, whether or not it is known to sleep.
pub(crate) fn wake_all(control: &Control, doorbells: &[EventFd]) {
    for (thread, doorbell) in control.threads().iter().zip(doorbells) {
        let _was_asleep = Doorbell::new(&thread.sleeping).claim_wake();
        doorbell.signal();
    }
    for row in control.processes() {
        if row.state() != ProcessState::Free {
            Doorbell::new(&row.bell).ring();
        }
    }
}

/// A death note in words.
struct Note(u32);

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 & NOTE_SIGNAL, self.0 & NOTE_EXIT != 0) {
            (0, false) => f.write_str("none"),
            (0, true) => f.write_str("it exited inside a service"),
            (signal, _) => write!(f, "fatal signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_dimensions;

    #[test]
    fn the_version_is_known_only_to_a_worker_that_served_the_present_tables() {
        let control = Control::heap(small_dimensions()).unwrap();
        let (row, service) = (&control.processes()[2], &control.services()[3]);
        service.number.store(19_000_003, Relaxed);
        service.version.set(b"1.2.0");
        row.running_service.store(19_000_003, Relaxed);
        row.running_service_index.store(3, Relaxed);
        row.death_note.store(11, Relaxed);
        control.node().directory_generation.store(4, Relaxed);
        row.generation_served.store(4, Relaxed);
        let last = last_state(&control, row);
        assert_eq!((last.note, last.version.as_deref()), (11, Some("1.2.0")));
        assert_eq!(last.service.map(ServiceNumber::get), Some(19_000_003));
        row.generation_served.store(3, Relaxed);
        assert_eq!(last_state(&control, row).version, None);
        row.generation_served.store(4, Relaxed);
        row.running_service_index.store(99, Relaxed);
        assert_eq!(last_state(&control, row).version, None, "an index that names no row is no version");
        row.running_service.store(0, Relaxed);
        assert_eq!(last_state(&control, row).service, None);
    }

    #[test]
    fn everybody_is_woken_and_told_to_sweep() {
        let control = Control::heap(small_dimensions()).unwrap();
        let doorbells: Vec<EventFd> = control.threads().iter().map(|_| EventFd::new().unwrap()).collect();
        let row = &control.processes()[3];
        row.set_state(ProcessState::Idle);
        row.bell.store(1, Relaxed);
        control.threads()[1].sleeping.store(1, Relaxed);
        sweep_and_wake_all(&control, &doorbells);
        assert_eq!(row.bell.load(Relaxed), 0);
        assert_eq!(control.threads()[1].sleeping.load(Relaxed), 0);
        assert!(control.threads().iter().all(|thread| thread.sweep.load(Relaxed) == 1));
        assert!(doorbells.iter().all(|doorbell| doorbell.drain() == 1));
    }

    #[test]
    fn notes_are_told_in_words() {
        let words: Vec<String> = [0, 11, 0x100].map(|note| Note(note).to_string()).into();
        assert_eq!(words, ["none", "fatal signal 11", "it exited inside a service"]);
    }
}
