//! All interleavings of one row of the process table with its supervisors, its children and their deaths.
//!
//! Goal: never two living processes of the same life, never a recovery of a living owner, never an owner that no recovery
//! finds, never a living child that no supervisor watches. Method: every process is cut into steps of one access to the
//! row (the functions of [`ProcessRow`] themselves) or to the one slot there is; any process may take the next step, be
//! stopped for as long as it lasts, or die. States that were met before are not gone into again. The test of the test:
//! each safeguard of the protocol is taken out in turn, and must be missed.

#![cfg(not(loom))]

use std::collections::{HashMap, HashSet, VecDeque};

use gantry_segment::{Life, ProcessRow};
use gantry_sys::atomic::Ordering;

/// Supervisors that follow each other, and children that they start, in one run.
const SUPERVISORS_MAX: usize = 4;
const CHILDREN_MAX: usize = 4;

/// A safeguard of the protocol, taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// A successor closes the life that it finds after it looked who lives, not the one that it looked at.
    ClosesAnotherLife,
    /// A supervisor takes the life for its child before it writes down when that one started.
    TakesBeforeStart,
    /// A successor leaves a life open that nobody has taken yet.
    LeavesVacantOpen,
    /// A new life has the number of the last one.
    SameNumber,
    /// A child goes on though its life was refused.
    IgnoresRefusal,
    /// A pid is believed without its start time.
    BelievesPid,
    /// A supervisor begins a new life before the last one's slots are recovered.
    BeginsBeforeRecovery,
}

/// A process as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Process {
    epoch: u32,
    step: ChildStep,
    is_alive: bool,
    /// Another process was given its pid.
    is_reused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ChildStep {
    /// Forked; its command line is still its parent's.
    Execute,
    TakeLife,
    ClaimSlot,
    ReleaseSlot,
    Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum SupervisorStep {
    /// Looks at the row, as a successor does first.
    Look,
    /// Is there a living process of the life that was seen?
    LookWhoLives(Seen),
    Close(Seen),
    RecoverDead,
    /// Prepares and begins a life.
    Begin,
    Fork(u32),
    TakeForChild(u32, usize),
    NoteStart(u32, usize),
    Watch(u32, usize),
    /// Holds a stranger for its child, and waits for that one's end.
    WatchStranger,
    RecoverChild(u32),
    CloseChild,
}

/// A [`Life`], hashable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Seen {
    epoch: u32,
    pid: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Supervisor {
    step: SupervisorStep,
    is_alive: bool,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    SupervisorSteps,
    SupervisorDies,
    SupervisorStarts,
    ChildSteps(usize),
    ChildDies(usize),
    PidIsReused(usize),
}

/// Everything but the row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    supervisors: Vec<Supervisor>,
    children: Vec<Process>,
    /// Who holds the slot: life number as the word says, and the child that it really is.
    slot: Option<(u32, usize)>,
}

struct Run {
    row: ProcessRow,
    node: Node,
    mutant: Option<Mutant>,
}

fn pid_of(child: usize) -> u32 {
    100 + child as u32
}

fn ticks_of(child: usize) -> u64 {
    1_000 + child as u64
}

fn seen(life: Life) -> Seen {
    Seen { epoch: life.epoch, pid: life.pid }
}

impl Run {
    fn new(mutant: Option<Mutant>) -> Self {
        let supervisors = vec![Supervisor { step: SupervisorStep::Look, is_alive: true }];
        Self {
            row: ProcessRow::default(),
            node: Node { supervisors, children: Vec::new(), slot: None },
            mutant,
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn supervisor(&self) -> Option<Supervisor> {
        self.node.supervisors.last().copied().filter(|supervisor| supervisor.is_alive)
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        match self.supervisor() {
            Some(supervisor) => {
                let waits =
                    matches!(supervisor.step, SupervisorStep::Watch(_, child) if self.is_living(child));
                let is_out = matches!(supervisor.step, SupervisorStep::Begin)
                    && self.node.children.len() == CHILDREN_MAX;
                if !waits && !is_out {
                    events.push(Event::SupervisorSteps);
                }
                if self.node.supervisors.len() < SUPERVISORS_MAX {
                    events.push(Event::SupervisorDies);
                }
            }
            None => events.push(Event::SupervisorStarts),
        }
        for (index, child) in self.node.children.iter().enumerate() {
            if child.is_alive {
                if child.step != ChildStep::Rest {
                    events.push(Event::ChildSteps(index));
                }
                events.push(Event::ChildDies(index));
            } else if !child.is_reused && self.row.pid() == Some(pid_of(index)) {
                events.push(Event::PidIsReused(index));
            }
        }
        events
    }

    fn is_living(&self, child: usize) -> bool {
        self.node.children[child].is_alive
    }

    fn apply(&mut self, event: Event) -> Result<(), String> {
        let last = self.node.supervisors.len() - 1;
        match event {
            Event::SupervisorDies => self.node.supervisors[last].is_alive = false,
            Event::SupervisorStarts => {
                self.node.supervisors.push(Supervisor { step: SupervisorStep::Look, is_alive: true });
            }
            Event::SupervisorSteps => {
                let next = self.supervise(self.node.supervisors[last].step)?;
                self.node.supervisors[last].step = next;
            }
            Event::ChildSteps(index) => self.live(index)?,
            Event::ChildDies(index) => self.node.children[index].is_alive = false,
            Event::PidIsReused(index) => self.node.children[index].is_reused = true,
        }
        self.check_lives()
    }

    /// One step of a supervisor, as `gantry-supervisor` takes them.
    fn supervise(&mut self, step: SupervisorStep) -> Result<SupervisorStep, String> {
        use SupervisorStep as S;
        Ok(match step {
            S::Look => S::LookWhoLives(seen(self.row.life())),
            S::LookWhoLives(life) if self.is_misled(life) => S::WatchStranger,
            S::WatchStranger => S::WatchStranger,
            S::LookWhoLives(life) => match self.find_living(life) {
                Some(child) => S::Watch(life.epoch, child),
                None => S::Close(life),
            },
            S::Close(life) => {
                let life = if self.is(Mutant::ClosesAnotherLife) { seen(self.row.life()) } else { life };
                let is_left = self.is(Mutant::LeavesVacantOpen) && life.pid.is_none();
                let is_closed = is_left || self.row.end_life(Life { epoch: life.epoch, pid: life.pid });
                // Closed already, by a predecessor: nobody can come.
                if is_closed || self.row.pid().is_none() { S::RecoverDead } else { S::Look }
            }
            S::RecoverDead => {
                self.recover(|_| true)?;
                S::Begin
            }
            S::Begin => {
                let epoch =
                    self.row.epoch() + u32::from(!self.is(Mutant::SameNumber) || self.row.epoch() == 0);
                self.row.start_ticks.store(0, Ordering::Relaxed);
                self.row.begin_life(epoch);
                S::Fork(epoch)
            }
            S::Fork(epoch) => {
                let child = Process { epoch, step: ChildStep::Execute, is_alive: true, is_reused: false };
                self.node.children.push(child);
                let child = self.node.children.len() - 1;
                if self.is(Mutant::TakesBeforeStart) {
                    S::TakeForChild(epoch, child)
                } else {
                    S::NoteStart(epoch, child)
                }
            }
            S::NoteStart(epoch, child) => {
                self.row.start_ticks.store(ticks_of(child), Ordering::Relaxed);
                if self.is(Mutant::TakesBeforeStart) {
                    S::Watch(epoch, child)
                } else {
                    S::TakeForChild(epoch, child)
                }
            }
            S::TakeForChild(epoch, child) => {
                if let Err(life) = self.row.take_life(epoch, pid_of(child)) {
                    return Err(format!("somebody else took the life of a child: {life:?}"));
                }
                if self.is(Mutant::TakesBeforeStart) {
                    S::NoteStart(epoch, child)
                } else {
                    S::Watch(epoch, child)
                }
            }
            S::Watch(_, _) if self.is(Mutant::BeginsBeforeRecovery) => S::Begin,
            S::Watch(epoch, _) => S::RecoverChild(epoch),
            S::RecoverChild(dead) => {
                self.recover(|epoch| epoch == dead)?;
                S::CloseChild
            }
            S::CloseChild => {
                let _is_closed = self.row.end_life(self.row.life());
                S::Begin
            }
        })
    }

    /// The child that lives the life which was seen: by pid and start time, or by its command line where the start was
    /// not written down.
    fn find_living(&self, life: Seen) -> Option<usize> {
        let child = (life.pid? - pid_of(0)) as usize;
        let process = self.node.children[child];
        let ticks = self.row.start_ticks.load(Ordering::Relaxed);
        let is_told = process.step != ChildStep::Execute && process.epoch == life.epoch;
        let is_it = if ticks == 0 { is_told } else { ticks == ticks_of(child) };
        (is_it && process.is_alive).then_some(child)
    }

    /// Whether the pid of that life is somebody else's by now, and is believed all the same.
    fn is_misled(&self, life: Seen) -> bool {
        let process = life.pid.map(|pid| self.node.children[(pid - pid_of(0)) as usize]);
        self.is(Mutant::BelievesPid) && process.is_some_and(|process| process.is_reused)
    }

    /// Frees the slot if it is held by a life that is to be recovered.
    fn recover(&mut self, is_meant: impl Fn(u32) -> bool) -> Result<(), String> {
        let Some((epoch, holder)) = self.node.slot.filter(|(epoch, _)| is_meant(*epoch)) else {
            return Ok(());
        };
        if self.is_living(holder) {
            return Err(format!("life {epoch} was recovered while child {holder} lives it"));
        }
        self.node.slot = None;
        Ok(())
    }

    /// One step of a child.
    fn live(&mut self, index: usize) -> Result<(), String> {
        let Process { epoch, step, .. } = self.node.children[index];
        let next = match step {
            ChildStep::Execute => ChildStep::TakeLife,
            ChildStep::TakeLife => {
                let is_refused = self.row.take_life(epoch, pid_of(index)).is_err();
                if is_refused && !self.is(Mutant::IgnoresRefusal) {
                    self.node.children[index].is_alive = false;
                }
                ChildStep::ClaimSlot
            }
            ChildStep::ClaimSlot if self.node.slot.is_some() => ChildStep::Rest,
            ChildStep::ClaimSlot => {
                self.node.slot = Some((epoch, index));
                ChildStep::ReleaseSlot
            }
            ChildStep::ReleaseSlot if self.node.slot != Some((epoch, index)) => {
                return Err(format!("the slot was taken from the living child {index}"));
            }
            ChildStep::ReleaseSlot => {
                self.node.slot = None;
                ChildStep::Rest
            }
            ChildStep::Rest => ChildStep::Rest,
        };
        self.node.children[index].step = next;
        Ok(())
    }

    /// Children that took a life and live.
    fn holders(&self) -> impl Iterator<Item = (usize, &Process)> {
        let has_life = |child: &Process| {
            child.is_alive && !matches!(child.step, ChildStep::Execute | ChildStep::TakeLife)
        };
        self.node.children.iter().enumerate().filter(move |(_, child)| has_life(child))
    }

    fn check_lives(&self) -> Result<(), String> {
        let mut lives = HashSet::new();
        for (index, child) in self.holders() {
            if !lives.insert(child.epoch) {
                return Err(format!("life {} is lived twice, also by child {index}", child.epoch));
            }
        }
        Ok(())
    }

    /// What must hold when the supervisor has done all there is to do.
    fn check_rest(&self) -> Result<(), String> {
        let watched = match self.supervisor().map(|supervisor| supervisor.step) {
            Some(SupervisorStep::Watch(epoch, child)) if self.is_living(child) => Some((epoch, child)),
            Some(SupervisorStep::WatchStranger) => None,
            _ => return Ok(()),
        };
        if let Some((epoch, holder)) = self.node.slot
            && !self.is_living(holder)
        {
            return Err(format!("no recovery finds the slot of life {epoch}, whose child {holder} is dead"));
        }
        for (index, child) in self.holders() {
            if watched != Some((child.epoch, index)) {
                return Err(format!("child {index} lives life {} and nobody watches it", child.epoch));
            }
        }
        Ok(())
    }

    fn state(&self) -> State {
        let life = self.row.life();
        // A life that is closed and one that is vacant look the same from outside; only a vacant one can be closed.
        let is_vacant = life.pid.is_none() && self.row.end_life(life);
        let ticks = self.row.start_ticks.load(Ordering::Relaxed);
        let mut node = self.node.clone();
        for (index, child) in node.children.iter_mut().enumerate() {
            if !child.is_alive && life.pid != Some(pid_of(index)) {
                // Nothing asks any more how far it came.
                *child = Process { step: ChildStep::Rest, is_reused: false, ..*child };
            }
        }
        for supervisor in node.supervisors.iter_mut().filter(|supervisor| !supervisor.is_alive) {
            supervisor.step = SupervisorStep::Look;
        }
        State { node, life: seen(life), is_vacant, ticks }
    }

    /// A row and a node in this state.
    fn at(state: &State, mutant: Option<Mutant>) -> Self {
        let row = ProcessRow::default();
        row.begin_life(state.life.epoch);
        if let Some(pid) = state.life.pid {
            row.take_life(state.life.epoch, pid).expect("it is vacant");
        } else if !state.is_vacant {
            assert!(row.end_life(row.life()));
        }
        row.start_ticks.store(state.ticks, Ordering::Relaxed);
        Self { row, node: state.node.clone(), mutant }
    }
}

/// Everything there is, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    node: Node,
    life: Seen,
    is_vacant: bool,
    ticks: u64,
}

/// From which state each was come to first, and by what.
type CameBy = HashMap<State, Option<(State, Event)>>;

fn path(came_by: &CameBy, state: &State) -> String {
    let mut events = Vec::new();
    let mut place = state;
    while let Some(Some((before, event))) = came_by.get(place) {
        events.push(format!("{event:?}"));
        place = before;
    }
    events.reverse();
    events.join(", ")
}

/// Tries everything that can happen. Gives how many states there are, or how one breaks and the events that led there.
fn explore(mutant: Option<Mutant>) -> Result<usize, String> {
    let start = Run::new(mutant).state();
    let mut came_by: CameBy = HashMap::from([(start.clone(), None)]);
    let mut open = VecDeque::from([start]);
    while let Some(state) = open.pop_front() {
        let run = Run::at(&state, mutant);
        run.check_rest().map_err(|fault| format!("{fault}: {}", path(&came_by, &state)))?;
        for event in run.events() {
            let mut next = Run::at(&state, mutant);
            next.apply(event).map_err(|fault| format!("{fault}: {}, {event:?}", path(&came_by, &state)))?;
            let next = next.state();
            if !came_by.contains_key(&next) {
                came_by.insert(next.clone(), Some((state.clone(), event)));
                open.push_back(next);
            }
        }
    }
    Ok(came_by.len())
}

#[test]
fn no_interleaving_of_deaths_and_stops_gives_a_life_to_two_or_hides_an_owner() {
    let states_count = explore(None).unwrap_or_else(|fault| panic!("{fault}"));
    println!("{states_count} states of {SUPERVISORS_MAX} supervisors and {CHILDREN_MAX} children");
    assert!(states_count > 10_000, "the model has become too small to mean anything");
}

#[test]
fn every_safeguard_of_the_process_rows_is_missed_when_it_is_taken_out() {
    let mutants = [
        Mutant::ClosesAnotherLife,
        Mutant::TakesBeforeStart,
        Mutant::LeavesVacantOpen,
        Mutant::SameNumber,
        Mutant::IgnoresRefusal,
        Mutant::BelievesPid,
        Mutant::BeginsBeforeRecovery,
    ];
    for mutant in mutants {
        match explore(Some(mutant)) {
            Ok(states_count) => panic!("{mutant:?} was not found in {states_count} states"),
            Err(fault) => println!("{mutant:?}: {fault}"),
        }
    }
}
