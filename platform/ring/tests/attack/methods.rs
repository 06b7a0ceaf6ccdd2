//! The ways to attack.

use std::collections::BTreeSet;

use crate::attacks::{Operation, Pair, Single, Subject};
use crate::memory::SharedMap;
use crate::puppet::{Instant, Puppet, world_at};
use crate::rows::{Fate, Sight, Table};
use crate::scenes::Scene;
use crate::survivors::Who;
use crate::world::{COMM, Fault, Kind, Status, WORKER_B, WORLD_BYTES, World};
use gantry_ring::{SlotRef, State, mutants};
use gantry_sys::atomic::Ordering;

/// A request that others leave in the ring while somebody is stopped.
const LEFT_ID: u32 = 15;

/// Instructions after which an operation should have ended.
const STEPS_MAX: u64 = 20_000;

/// What an attack found.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Instants tried: instructions of the victim, times those of the peer.
    pub(crate) points_count: u64,
    /// Instants whose outcome was computed; the others are the same as one of these.
    pub(crate) worlds_count: u64,
    /// Rows of the table that were met.
    pub(crate) rows: BTreeSet<&'static str>,
    /// The first that broke.
    pub(crate) fault: Option<String>,
}

/// A world with a place to keep it.
struct Stage {
    map: SharedMap,
}

impl Stage {
    /// A world in this scene, its rings `offset` cells from the start.
    fn new(scene: Scene, offset: u32) -> Self {
        let stage = Self { map: SharedMap::new(WORLD_BYTES.next_multiple_of(4096)) };
        // The scene is as the right algorithm makes it, also when a wrong one is to be found in it.
        let mutant = mutants::activate(None);
        stage.world().churn(offset, false, 0);
        scene.make(stage.world());
        mutants::activate(mutant);
        stage
    }

    fn world(&self) -> &'static World {
        world_at(self.map.base().as_ptr())
    }

    fn puppet(&self, operation: Operation) -> Puppet {
        Puppet::spawn(operation.run, &self.map)
    }

    fn save(&self, into: &mut Vec<u8>) {
        self.map.save(0, WORLD_BYTES, into);
    }

    fn restore(&self, saved: &[u8]) {
        self.map.restore(0, saved);
    }
}

/// Runs `look` at each instruction of the victim that changed something, with the world as it is then, which is put back
/// afterwards.
fn at_each_change(
    stage: &Stage,
    victim: &Puppet,
    outcome: &mut Outcome,
    mut look: impl FnMut(&mut Outcome, &[u8]) -> Result<(), String>,
) {
    let (mut now, mut before) = (Vec::new(), Vec::new());
    for steps in 0_u64.. {
        outcome.points_count += 1;
        stage.save(&mut now);
        if now != before {
            outcome.worlds_count += 1;
            if let Err(fault) = look(outcome, &now) {
                outcome.fault = Some(format!("after {steps} instructions: {fault}"));
                return;
            }
            stage.restore(&now);
            std::mem::swap(&mut before, &mut now);
        }
        if !victim.step() {
            return;
        }
        if steps > STEPS_MAX {
            outcome.fault = Some(format!("it does not end within {STEPS_MAX} instructions"));
            return;
        }
    }
}

/// Kills the victim after each instruction: at once, and after all others went on beside it.
pub(crate) fn single(table: &Table, attack: &Single, offset: u32) -> Outcome {
    let stage = Stage::new(attack.scene, offset);
    let watch = Watch::new(stage.world(), attack);
    let victim = stage.puppet(attack.victim);
    let mut outcome = Outcome::default();
    at_each_change(&stage, &victim, &mut outcome, |outcome, now| {
        let world = stage.world();
        world.expect(attack.victim.who, 0);
        let fate = watch.fate(table, outcome)?;
        world.recover(attack.victim.who);
        world.converge(attack.victim.who)?;
        watch.check(fate)?;
        stage.restore(now);
        world.expect(attack.victim.who, 0);
        world.go_on_beside(attack.victim.who)?;
        world.recover(attack.victim.who);
        world.converge(attack.victim.who).map_err(|fault| format!("after a stop: {fault}"))?;
        watch.check(fate).map_err(|fault| format!("after a stop: {fault}"))
    });
    outcome
}

/// The request that an attack looks at.
struct Watch<'a> {
    world: &'static World,
    attack: &'a Single,
    id: u32,
    slot: SlotRef,
    start: Sight,
}

impl<'a> Watch<'a> {
    fn new(world: &'static World, attack: &'a Single) -> Self {
        let (id, slot) = match attack.subject {
            Subject::Is(id) => (id, world.slot_of(id)),
            Subject::Comes(id) => {
                let slots = world.slots();
                let free = slots.words().find(|(_, word)| word.is(State::Free));
                (id, free.map(|(index, word)| word.slot(index)))
            }
        };
        let slot = slot.expect("the scene has the request, or a slot for it");
        let start = Sight::of(world, slot.index, slot);
        Self { world, attack, id, slot, start }
    }

    /// What the table says of the world as it is.
    fn fate(&self, table: &Table, outcome: &mut Outcome) -> Result<Option<Fate>, String> {
        let sight = Sight::of(self.world, self.slot.index, self.slot);
        let Some(row) = table.row(&sight, self.attack.rows) else {
            // Something else changed: the rows of another attack speak of it.
            let is_as_before = sight == self.start;
            return if is_as_before { Ok(None) } else { Err(format!("no row describes {sight:?}")) };
        };
        outcome.rows.insert(row);
        let kind = Kind::of(self.world.row(self.slot));
        Ok(Some(table.fate(row, kind)))
    }

    fn check(&self, fate: Option<Fate>) -> Result<(), String> {
        let Some(fate) = fate else { return Ok(()) };
        let caller = self.world.caller(self.id);
        let told = (caller.answers.load(Ordering::Relaxed) > 0)
            .then(|| Status::from_code(caller.status.load(Ordering::Relaxed)));
        let promised = match fate {
            Fate::Nothing => None,
            Fate::Told(status) => Some(status),
        };
        if told == promised {
            return Ok(());
        }
        Err(format!("request {} was told {told:?}, README.md promises {promised:?}", self.id))
    }
}

/// Stops the victim after each instruction, lets others work for up to two laps, and lets it go on. In the end another
/// request may still be queued.
pub(crate) fn resumed(attack: &Single) -> Outcome {
    let stage = Stage::new(attack.scene, 0);
    let victim = stage.puppet(attack.victim);
    let mut outcome = Outcome::default();
    let (mut there, mut now) = (Instant::default(), Vec::new());
    // The victim may end what others send meanwhile.
    let also = attack.victim.tells();
    let mut steps = Some(1);
    while let Some(steps_count) = steps {
        victim.save(&mut there);
        stage.save(&mut now);
        for (churn, is_one_left) in [(1, true), (7, false), (8, true), (9, false), (16, true)] {
            outcome.points_count += steps_count;
            outcome.worlds_count += 1;
            let world = stage.world();
            world.expect(Who::Nobody, also);
            world.churn(churn, attack.victim.is_at_home(), also);
            if is_one_left && world.submit(COMM, LEFT_ID, Kind::Read).is_some() {
                world.caller(LEFT_ID).owed.store(1, Ordering::Relaxed);
                world.caller(LEFT_ID).expected.store(Status::Done.bit() | also, Ordering::Relaxed);
            }
            victim.run_to_end();
            if let Err(fault) = world.converge(Who::Nobody) {
                outcome.fault = Some(format!(
                    "stopped after {} instructions for {churn}: {fault}",
                    outcome.points_count / 5
                ));
                return outcome;
            }
            victim.restore(&there);
            stage.restore(&now);
        }
        steps = victim.step_to_touch();
    }
    outcome
}

/// Kills the victim after each instruction while the peer was stopped after each of its own.
pub(crate) fn pair(attack: &Pair) -> Outcome {
    let stage = Stage::new(attack.scene, 0);
    let peer = stage.puppet(attack.peer);
    let victim = stage.puppet(attack.victim);
    let (mut there, mut begin, mut start) = (Instant::default(), Instant::default(), Vec::new());
    victim.save(&mut begin);
    let mut outcome = Outcome::default();
    let (mut steps, mut peer_steps) = (Some(1), 0);
    while let Some(steps_count) = steps {
        peer.save(&mut there);
        stage.save(&mut start);
        victim.restore(&begin);
        let points_before = outcome.points_count;
        let dies_too = attack.peer.who == attack.victim.who && attack.peer.who != Who::WorkerA;
        at_each_change(&stage, &victim, &mut outcome, |_, now| {
            for is_peer_first in [false, true] {
                let world = stage.world();
                world.expect(attack.victim.who, attack.also);
                if is_peer_first && !dies_too {
                    peer.run_to_end();
                    world.go_on_beside(attack.victim.who)?;
                } else if is_peer_first {
                    world.go_on_beside(attack.victim.who)?;
                }
                world.recover(attack.victim.who);
                if !is_peer_first && !dies_too {
                    peer.run_to_end();
                }
                world.converge(attack.victim.who)?;
                peer.restore(&there);
                stage.restore(now);
            }
            Ok(())
        });
        // Each stop of the peer stands for all instructions that led to it from the last.
        outcome.points_count += (outcome.points_count - points_before) * (steps_count - 1);
        if let Some(fault) = outcome.fault {
            outcome.fault = Some(format!("peer after {peer_steps} instructions: {fault}"));
            return outcome;
        }
        stage.restore(&start);
        peer.restore(&there);
        steps = peer.step_to_touch();
        peer_steps += steps.unwrap_or(0);
    }
    outcome
}

/// A worker that was given up though it was only stopped, after each of its instructions: its request runs again with
/// another worker while it goes on. That must not be done, since nothing protects the bytes of bodies, but the words hold.
pub(crate) fn fenced(attack: &Single) -> Outcome {
    let stage = Stage::new(attack.scene, 0);
    let victim = stage.puppet(attack.victim);
    let mut outcome = Outcome::default();
    let (mut there, mut now) = (Instant::default(), Vec::new());
    let mut steps = Some(1);
    while let Some(steps_count) = steps {
        victim.save(&mut there);
        stage.save(&mut now);
        outcome.points_count += steps_count;
        outcome.worlds_count += 1;
        let world = stage.world();
        world.expect(attack.victim.who, 0);
        world.recover_a();
        world.sweep_slots();
        let again = world.take(WORKER_B);
        victim.run_to_end();
        world.forgive(Fault::FinishRefused);
        if let Some(slot) = again {
            world.run(slot, WORKER_B);
        }
        if let Err(fault) = world.converge(attack.victim.who) {
            outcome.fault = Some(format!("after {} instructions: {fault}", outcome.points_count));
            return outcome;
        }
        victim.restore(&there);
        stage.restore(&now);
        steps = victim.step_to_touch();
    }
    outcome
}

/// Kills the recovery of each death after each instruction, and runs it again.
pub(crate) fn nested(attack: &Single) -> Outcome {
    let stage = Stage::new(attack.scene, 0);
    let victim = stage.puppet(attack.victim);
    let (recovery, dead) = attack.victim.recovery();
    let recoverer = stage.puppet(recovery);
    let mut begin = Instant::default();
    recoverer.save(&mut begin);
    let mut outcome = Outcome::default();
    at_each_change(&stage, &victim, &mut outcome, |outcome, _| {
        stage.world().expect(attack.victim.who, 0);
        recoverer.restore(&begin);
        let mut inner = Outcome::default();
        at_each_change(&stage, &recoverer, &mut inner, |_, _| {
            stage.world().recover(dead);
            stage.world().converge(dead)
        });
        outcome.points_count += inner.points_count;
        outcome.worlds_count += inner.worlds_count;
        inner.fault.map_or(Ok(()), |fault| Err(format!("recovery killed {fault}")))
    });
    outcome
}

/// A recovery that was stopped at each instruction goes on after its successor's passed, whole or in part.
pub(crate) fn overlap(attack: &Pair) -> Outcome {
    let stage = Stage::new(attack.scene, 0);
    stage.world().expect(attack.peer.who.predecessor(), 0);
    let (old, new) = (stage.puppet(attack.peer), stage.puppet(attack.victim));
    let (mut there, mut begin, mut start) = (Instant::default(), Instant::default(), Vec::new());
    new.save(&mut begin);
    let mut outcome = Outcome::default();
    let mut steps = Some(1);
    while let Some(steps_count) = steps {
        old.save(&mut there);
        stage.save(&mut start);
        new.restore(&begin);
        let points_before = outcome.points_count;
        at_each_change(&stage, &new, &mut outcome, |_, now| {
            let world = stage.world();
            // The successor is killed here: its own successor finishes, begins to work, and is overtaken by the old one.
            world.recover(attack.victim.who);
            let filling = world.fill(attack.victim.who.comm_next(), 30, Kind::Read, 0);
            old.run_to_end();
            if let Some(slot) = filling {
                let owner = attack.victim.who.comm_next();
                let submitted = world.requests().submit(slot, owner);
                submitted.map_err(|word| format!("a slot was taken from a living successor: {word:?}"))?;
            }
            world.converge(attack.victim.who)?;
            old.restore(&there);
            stage.restore(now);
            Ok(())
        });
        outcome.points_count += (outcome.points_count - points_before) * (steps_count - 1);
        if outcome.fault.is_some() {
            return outcome;
        }
        stage.restore(&start);
        old.restore(&there);
        steps = old.step_to_touch();
    }
    outcome
}

/// Kills real processes with `SIGKILL` after every `stride`-th instruction; the memory must be what the single attack
/// found there.
pub(crate) fn literal(attack: &Single, stride: u64) -> Outcome {
    let stage = Stage::new(attack.scene, 0);
    let mut start = Vec::new();
    stage.save(&mut start);
    let expected = worlds_of(&stage, attack);
    let mut outcome = Outcome::default();
    let (recovery, _) = attack.victim.recovery();
    let mut now = Vec::new();
    for (steps, wanted) in expected.iter().enumerate().step_by(stride as usize) {
        stage.restore(&start);
        outcome.points_count += 1;
        outcome.worlds_count += 1;
        let victim = stage.puppet(attack.victim);
        for _ in 0..steps {
            victim.step();
        }
        victim.kill();
        stage.save(&mut now);
        if now != *wanted {
            outcome.fault = Some(format!("the memory after {steps} instructions is not what was put back"));
            return outcome;
        }
        stage.world().expect(attack.victim.who, 0);
        let survivor = stage.puppet(recovery);
        survivor.run_to_end();
        survivor.kill();
        if let Err(fault) = stage.world().converge(attack.victim.who) {
            outcome.fault = Some(format!("after {steps} instructions: {fault}"));
            return outcome;
        }
    }
    outcome
}

/// The world after each instruction of an undisturbed victim.
fn worlds_of(stage: &Stage, attack: &Single) -> Vec<Vec<u8>> {
    let victim = stage.puppet(attack.victim);
    let mut worlds = Vec::new();
    loop {
        let mut now = Vec::new();
        stage.save(&mut now);
        worlds.push(now);
        if !victim.step() {
            return worlds;
        }
    }
}
