//! What all parts of a run share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::books::Books;
use super::chronicle::Chronicle;
use super::errand::Settled;
use super::plan::{Plan, Role};
use super::spoil::Spoil;

/// Large bodies that are under way at once: fewer than there are blocks for them, so that no frame is ever thrown
/// out for want of one.
const LARGE_MAX: usize = 24;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Requests and kills.
    Chaos,
    /// No kills; what is open is settled, nothing new is begun.
    Settling,
    /// Connections are closed.
    Closing,
}

/// Which requests a probe sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Probe {
    Read,
    Write,
}

/// The shared state.
pub(super) struct Hall {
    pub(super) plan: Plan,
    pub(super) address: SocketAddr,
    pub(super) unix_socket: PathBuf,
    pub(super) chronicle: Chronicle,
    pub(super) books: Mutex<Books>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    large_count: usize,
    writes_count: usize,
    /// Communication processes leave by themselves at this time.
    are_keepers_spared: bool,
    /// Whether the second library is in force.
    is_versioned: bool,
    counts: BTreeMap<&'static str, u64>,
    statuses: BTreeMap<(&'static str, u16), u64>,
    wounds: Vec<Wound>,
    healed: BTreeMap<(Role, Probe), Vec<Duration>>,
    /// Actors that have something open.
    open: BTreeMap<usize, String>,
    kills: BTreeMap<Role, u64>,
    is_spoilt: bool,
    begin: Instant,
    /// What the audits found, in words for the report.
    findings: Vec<String>,
}

/// Under which unknown ends of writes are counted.
pub(super) const UNKNOWN: &str = "unknown ends of writes";

/// A kill that a probe has not seen the end of.
struct Wound {
    role: Role,
    at: Instant,
    waiting: [bool; 2],
}

impl Hall {
    pub(super) fn new(plan: Plan, address: SocketAddr, unix_socket: PathBuf, chronicle: Chronicle) -> Self {
        let state = State {
            phase: Phase::Chaos,
            large_count: 0,
            writes_count: 0,
            are_keepers_spared: false,
            is_versioned: false,
            counts: BTreeMap::new(),
            statuses: BTreeMap::new(),
            wounds: Vec::new(),
            healed: BTreeMap::new(),
            open: BTreeMap::new(),
            kills: BTreeMap::new(),
            findings: Vec::new(),
            is_spoilt: false,
            begin: Instant::now(),
        };
        Self { plan, address, unix_socket, chronicle, books: Mutex::default(), state: Mutex::new(state) }
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.chronicle.note(&format!("now {phase:?}"));
        self.lock().phase = phase;
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_versioned(&self) -> bool {
        self.lock().is_versioned
    }

    pub(super) fn set_versioned(&self) {
        self.lock().is_versioned = true;
    }

    pub(super) fn spare_keepers(&self, are_spared: bool) {
        self.lock().are_keepers_spared = are_spared;
    }

    pub(super) fn are_keepers_spared(&self) -> bool {
        self.lock().are_keepers_spared
    }

    /// Counts something for the report.
    pub(super) fn count(&self, what: &'static str) {
        *self.lock().counts.entry(what).or_default() += 1;
    }

    /// Counts ends of writes that were unknown, and how such were settled.
    pub(super) fn count_doubts(&self, (unknown, settled): (u64, Vec<Settled>)) {
        let mut state = self.lock();
        if unknown > 0 {
            *state.counts.entry(UNKNOWN).or_default() += unknown;
        }
        for how in settled {
            *state.counts.entry(how.words()).or_default() += 1;
        }
    }

    /// How often something was counted.
    pub(super) fn counted(&self, what: &str) -> u64 {
        self.lock().counts.get(what).copied().unwrap_or(0)
    }

    /// Whether this is the one time to break this, in the second half of the kills.
    pub(super) fn is_to_spoil(&self, spoil: Spoil) -> bool {
        if self.plan.spoil != Some(spoil) {
            return false;
        }
        let mut state = self.lock();
        let is_due = state.phase == Phase::Chaos && state.begin.elapsed() > self.plan.duration / 2;
        is_due && !std::mem::replace(&mut state.is_spoilt, true)
    }

    /// Puts what an audit found into the report.
    pub(super) fn find(&self, words: String) {
        self.lock().findings.push(words);
    }

    pub(super) fn findings(&self) -> Vec<String> {
        self.lock().findings.clone()
    }

    /// Kills so far, by role.
    pub(super) fn kills(&self) -> BTreeMap<Role, u64> {
        self.lock().kills.clone()
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    /// Counts an answer.
    pub(super) fn count_status(&self, kind: &'static str, status: u16) {
        *self.lock().statuses.entry((kind, status)).or_default() += 1;
    }

    pub(super) fn statuses(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.lock().statuses.clone()
    }

    /// Takes a place for a large body; `false` when none is free.
    pub(super) fn take_large(&self) -> bool {
        let mut state = self.lock();
        let is_free = state.large_count < LARGE_MAX;
        state.large_count += usize::from(is_free);
        is_free
    }

    pub(super) fn give_large(&self) {
        let mut state = self.lock();
        state.large_count = state.large_count.saturating_sub(1);
    }

    /// Whether one more write may be begun; if so it counts until [`end_write`](Self::end_write).
    pub(super) fn begin_write(&self) -> bool {
        let mut state = self.lock();
        let is_free = state.writes_count < self.plan.writes_max;
        state.writes_count += usize::from(is_free);
        is_free
    }

    pub(super) fn end_write(&self) {
        let mut state = self.lock();
        state.writes_count = state.writes_count.saturating_sub(1);
    }

    /// A process was killed: from now on it counts how long the probes feel it.
    pub(super) fn wound(&self, role: Role) {
        let mut state = self.lock();
        *state.kills.entry(role).or_default() += 1;
        state.wounds.push(Wound { role, at: Instant::now(), waiting: [true; 2] });
    }

    /// A probe's request, sent at this time, was answered: whatever was killed before has healed for it.
    pub(super) fn heal(&self, probe: Probe, sent: Instant) {
        let mut state = self.lock();
        let State { wounds, healed, .. } = &mut *state;
        for wound in wounds.iter_mut().filter(|wound| wound.at <= sent) {
            let is_waiting = &mut wound.waiting[usize::from(probe == Probe::Write)];
            if std::mem::take(is_waiting) {
                healed.entry((wound.role, probe)).or_default().push(wound.at.elapsed());
            }
        }
        wounds.retain(|wound| wound.waiting != [false; 2]);
    }

    /// How long each kill of a role was felt by each probe, shortest first.
    pub(super) fn healed(&self) -> BTreeMap<(Role, Probe), Vec<Duration>> {
        let mut healed = self.lock().healed.clone();
        for times in healed.values_mut() {
            times.sort_unstable();
        }
        healed
    }

    /// An actor says what it has open; empty words for nothing.
    pub(super) fn tell_open(&self, actor: usize, words: String) {
        let mut state = self.lock();
        if words.is_empty() {
            state.open.remove(&actor);
        } else {
            state.open.insert(actor, words);
        }
    }

    /// What is open, by actor.
    pub(super) fn open(&self) -> Vec<String> {
        self.lock().open.iter().map(|(actor, words)| format!("client {actor}: {words}")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
