//! A child has ended: what it held is recovered, who waits is woken, its place is filled again.
//!
//! The order matters. Its group is killed first, while the unreaped pid still keeps the group's number; its slots are
//! recovered only now that its pidfd says that it is dead; then a spare takes its seat, so that its queue is served
//! again; everybody is woken after that, because a wake-up may have been given to the one that died. A supervisor that dies anywhere in between leaves less done, and the next one does
//! all of it again.

use std::fmt;

use gantry_message::ServiceNumber;
use gantry_ring::{Doorbell, Owner, Recovered, Slots, recover_worker};
use gantry_segment::{Control, LibraryFacts, ProcessRow, ProcessState};
use gantry_sys::atomic::Ordering::{Relaxed, Release};
use gantry_sys::clock;
use gantry_sys::eventfd::EventFd;
use gantry_sys::process::{ExitState, ended_child, reap};

use crate::children::{ChildKind, Life, Place, Reason, Running};
use crate::quarantine::QuarantineRule;
use crate::report::{self, Death};
use crate::run::Supervisor;
use crate::time::after;

/// Bits of a death note that name the fatal signal.
pub(crate) const NOTE_SIGNAL: u32 = 0xff;
/// Bit of a death note: it exited from inside a service.
pub(crate) const NOTE_EXIT: u32 = 0x100;

/// What a dead child was doing, read from its row before the row is used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastState {
    pub(crate) note: u32,
    pub(crate) service: Option<ServiceNumber>,
    /// The build of its library that ran, if a service was called.
    pub(crate) library: Option<LibraryFacts>,
    /// Whether that build was its library's canary.
    pub(crate) is_canary: bool,
}

impl Supervisor {
    /// Takes up the death of the child in a row of the process table.
    pub(crate) fn reap(&mut self, row: u8) {
        let Some(index) = self.places.iter().position(|place| place.row == row) else { return };
        let place = &mut self.places[index];
        // A spare may take the seat before the death is recorded.
        let kind = place.kind;
        if !place.running().is_some_and(|running| running.pidfd.is_dead()) {
            return;
        }
        let Life::Running(mut dead) = std::mem::replace(&mut place.life, Life::Vacant { not_before_ns: 0 })
        else {
            return;
        };
        dead.end_group();
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
        let last = last_state(control, process, is_over_time(&dead));
        let noted = report::noted(control, row);
        // Before the recovery, which lets callers know of the death: their next request must meet the quarantine.
        self.note_for_quarantine(&dead, &last);
        let control = self.segments.control();
        let process = &control.processes()[usize::from(row)];
        let recovered = if kind.is_worker() {
            recover_worker(Slots::new(control.slots()), Owner::new(row, dead.epoch))
        } else {
            // The next communication process recovers what this one held.
            Recovered::default()
        };
        let _is_closed = process.end_life(process.life());
        process.kill_at_ns.store(0, Relaxed);
        process.set_state(ProcessState::Free);
        // Everything that takes longer waits until somebody else serves the queue.
        self.seat_spare(index);
        sweep_and_wake_all(self.segments.control(), &self.doorbells);
        self.record_death(kind, &dead, exit, &last, recovered);
        self.follow_death(index, &dead, exit);
        self.write_report(&Death { kind, row, dead: &dead, exit, last: &last }, &noted);
    }

    fn record_death(
        &self,
        kind: &ChildKind,
        dead: &Running,
        exit: ExitState,
        last: &LastState,
        recovered: Recovered,
    ) {
        // How an orphan ended, nobody can tell.
        let is_clean = matches!(exit, ExitState::Exited { code: 0 } | ExitState::Unknown);
        let is_leaving = (self.is_stopping() || dead.is_leaving) && is_clean && dead.ending.is_none();
        let ended_because = dead.ending.map(|ending| ending.reason.text());
        let service = last.service.map(|number| number.to_string());
        if is_leaving {
            tracing::debug!(child = kind.name, epoch = dead.epoch, pid = dead.pid, "child left");
            return;
        }
        tracing::warn!(
            child = kind.name,
            epoch = dead.epoch,
            pid = dead.pid,
            exit = %exit,
            ended_because,
            note = %Note(last.note),
            service,
            version = last.library.as_ref().map(|library| library.version.as_str()),
            lost_count = recovered.lost_count,
            uncommitted_count = recovered.uncommitted_count,
            "child ended"
        );
    }

    /// Counts a death that is a service's doing, and quarantines the version that died too often.
    fn note_for_quarantine(&mut self, dead: &Running, last: &LastState) {
        let (Some(number), Some(library)) = (last.service, &last.library) else { return };
        if last.note == 0 && !is_over_time(dead) {
            return;
        }
        let rule = QuarantineRule {
            deaths_count: self.settings.service.quarantine_deaths,
            window: self.settings.service.quarantine_window,
        };
        if last.is_canary {
            let library = library.clone();
            return self.note_canary_death(&library);
        }
        if !self.quarantine.note(number, &library.build, clock::monotonic_ns(), rule) {
            return;
        }
        self.quarantine.forget(number);
        let (service, version) = (number.to_string(), library.version.as_str());
        tracing::error!(
            service,
            version,
            deaths_count = rule.deaths_count,
            window = ?rule.window,
            "service version quarantined: its workers died too often; an earlier build serves instead if there is one; \
             `gantry service start` lifts it"
        );
        self.quarantine_build(number, &library.build);
    }

    /// Sees to it that somebody takes the place, if the node wants that.
    fn follow_death(&mut self, index: usize, dead: &Running, exit: ExitState) {
        let now_ns = clock::monotonic_ns();
        let max = self.settings.supervisor.restart_backoff_max;
        if self.places[index].is_surplus {
            let Some(kind) = self.seats.missing_kind(&self.places) else {
                self.places.remove(index);
                return;
            };
            // Somebody else waits for the row.
            (self.places[index].kind, self.places[index].is_surplus) = (kind, false);
        }
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

/// Children that died and are nobody's business but to be reaped, looked at in one turn at most.
const STRANGERS_MAX: usize = 64;

impl Supervisor {
    /// Seats a spare that is ready in the place `index`, whose process is dead and recovered: the two places swap their
    /// kinds, and the one that is vacant now waits for the next spare. Gives whether there was one.
    pub(crate) fn seat_spare(&mut self, index: usize) -> bool {
        let vacated = &self.places[index];
        let is_wanted = vacated.kind.queue.is_some() && vacated.running().is_none() && !vacated.is_surplus;
        if !is_wanted || !self.is_wanted(index) {
            return false;
        }
        let rows = self.segments.control().processes();
        let is_ready = |place: &Place| {
            let is_free = place.running().is_some_and(|spare| spare.ending.is_none() && !spare.is_leaving);
            // Looked at in the row too: it may have become ready since the last tick.
            let is_idle = rows[usize::from(place.row)].state() == ProcessState::Idle;
            place.kind.is_spare() && is_free && is_idle && !place.is_surplus
        };
        let spares = self.places.iter().enumerate().filter(|(_, place)| is_ready(place));
        // One of the new program before one of the old.
        let is_old = |place: &Place| place.running().is_some_and(|spare| spare.is_old);
        let Some((spare, _)) = spares.min_by_key(|(_, place)| is_old(place)) else { return false };
        let (seat, from) = (&rows[usize::from(vacated.row)], &rows[usize::from(self.places[spare].row)]);
        let restarts = seat.restarts.load(Relaxed);
        seat.restarts.store(from.restarts.load(Relaxed), Relaxed);
        from.restarts.store(restarts.saturating_add(1), Relaxed);
        // From here on it is a worker of the queue, also for a supervisor that takes over.
        from.set_role(vacated.kind.role);
        Doorbell::new(&from.bell).ring();
        let kind = vacated.kind;
        self.places[index].kind = self.places[spare].kind;
        self.places[spare].kind = kind;
        true
    }

    /// Reaps dead children that nobody holds: keepers, which the communication process starts in our name.
    pub(crate) fn reap_strangers(&mut self) {
        for _ in 0..STRANGERS_MAX {
            let Some(pid) = ended_child() else { return };
            let is_child =
                self.places.iter().any(|place| place.running().is_some_and(|child| child.pid == pid));
            if is_child || self.helpers.has(pid) {
                // Its own pidfd tells; the next stranger comes to light when it has been reaped.
                return;
            }
            let exit = reap(pid);
            tracing::debug!(pid, %exit, "a keeper ended");
        }
    }
}

/// Whether a process in this state had become ready before.
pub(crate) fn has_been_ready(state: ProcessState) -> bool {
    match state {
        ProcessState::Idle | ProcessState::Busy | ProcessState::Draining | ProcessState::Stopping => true,
        ProcessState::Free | ProcessState::Starting | ProcessState::Dead => false,
    }
}

/// Whether a child was killed since its request had taken too long.
fn is_over_time(dead: &Running) -> bool {
    dead.ending.is_some_and(|ending| ending.is_killed && ending.reason == Reason::OverTime)
}

/// What the row of a dead child says of its end: which service's doing it was.
fn last_state(control: &Control, row: &ProcessRow, is_over_time: bool) -> LastState {
    let is_inner = is_the_inner_ones_doing(row, is_over_time);
    let (number, library, index) = if is_inner {
        (&row.inner_service, &row.inner_library, &row.inner_service_index)
    } else {
        (&row.running_service, &row.running_library, &row.running_service_index)
    };
    let service = ServiceNumber::new(number.load(Relaxed)).ok().filter(|number| !number.is_platform());
    // Its row of the library table is freed only when no worker serves it, nor did when it died.
    let ran = library.load(Relaxed).checked_sub(1).filter(|_| service.is_some());
    let library = ran.and_then(|ran| control.libraries().get(ran as usize)?.read());
    let known = control.services().get(index.load(Relaxed) as usize);
    let canary = known.and_then(|known| known.canary_library.load(Relaxed).checked_sub(1));
    let is_canary = library.is_some() && ran == canary;
    LastState { note: row.death_note.load(Relaxed), service, library, is_canary }
}

/// Whether a death is the doing of the service that was called inside the request's: it ran when the worker crashed; of the
/// time that ran out, it took at least half.
fn is_the_inner_ones_doing(row: &ProcessRow, is_over_time: bool) -> bool {
    if row.inner_service.load(Relaxed) == 0 {
        return false;
    }
    let limit_ns = row.kill_at_ns.load(Relaxed);
    let took_ns = |since: u64| limit_ns.saturating_sub(since);
    let (all_ns, inner_ns) =
        (took_ns(row.running_since_ns.load(Relaxed)), took_ns(row.inner_since_ns.load(Relaxed)));
    !is_over_time || inner_ns >= all_ns / 2
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
    fn the_build_that_ran_is_told_from_the_row_of_the_library() {
        let control = Control::heap(small_dimensions()).unwrap();
        let (row, service) = (&control.processes()[2], &control.services()[3]);
        let facts = |build: &str| LibraryFacts {
            name: "diag".into(),
            version: "1.2.0".into(),
            build: build.into(),
            file: format!("/{build}.so"),
        };
        control.libraries()[0].write(&facts("b1"));
        control.libraries()[1].write(&facts("b2"));
        service.number.store(19_000_003, Relaxed);
        service.canary_library.store(2, Relaxed);
        row.running_service.store(19_000_003, Relaxed);
        row.running_service_index.store(3, Relaxed);
        row.running_library.store(1, Relaxed);
        row.death_note.store(11, Relaxed);
        let last = last_state(&control, row, false);
        assert_eq!((last.note, last.library, last.is_canary), (11, Some(facts("b1")), false));
        assert_eq!(last.service.map(ServiceNumber::get), Some(19_000_003));
        row.running_library.store(2, Relaxed);
        let last = last_state(&control, row, false);
        assert_eq!((last.library, last.is_canary), (Some(facts("b2")), true));
        row.running_library.store(99, Relaxed);
        assert_eq!(last_state(&control, row, false).library, None, "an index that names no row is no build");
        row.running_library.store(0, Relaxed);
        assert_eq!(last_state(&control, row, false).library, None, "it died before it called the service");
        row.running_service.store(0, Relaxed);
        assert_eq!(last_state(&control, row, false).service, None);
    }

    #[test]
    fn the_service_called_inside_is_to_blame_for_its_crash_and_for_the_time_that_it_took() {
        let control = Control::heap(small_dimensions()).unwrap();
        let row = &control.processes()[2];
        row.running_service.store(29_900_001, Relaxed);
        row.running_since_ns.store(1_000, Relaxed);
        row.kill_at_ns.store(2_000, Relaxed);
        let blamed = |is_over_time| last_state(&control, row, is_over_time).service.map(ServiceNumber::get);
        assert_eq!([blamed(false), blamed(true)], [Some(29_900_001); 2]);
        row.inner_service.store(29_900_002, Relaxed);
        row.inner_since_ns.store(1_500, Relaxed);
        assert_eq!([blamed(false), blamed(true)], [Some(29_900_002); 2]);
        row.inner_since_ns.store(1_501, Relaxed);
        assert_eq!([blamed(false), blamed(true)], [Some(29_900_002), Some(29_900_001)]);
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
