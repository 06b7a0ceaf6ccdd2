//! The attack on the ring: real processes, stopped and killed at every instruction.
//!
//! Goal: no slot lost or handed out twice, no block leaked, the rings usable, every accepted request answered exactly
//! once, whatever dies where. Method, on the compiled code, instruction by instruction (`puppet.rs`):
//!
//! - *snapshot*: the victim is killed after its k-th instruction, for every k; the survivors recover and go on.
//! - *pair*: the same, while a live peer was stopped after its j-th instruction, for every j and k; after recovery
//!   the peer goes on from there.
//! - *stopped*: nobody dies; the victim is stopped after its k-th instruction, the others send requests through the
//!   rings for more than a lap, then it goes on.
//!
//! A kill leaves nothing but the memory, so where an instruction changed no shared byte the outcome of its
//! predecessor holds and is not computed again. The test of the test: six wrong variants of the algorithm
//! (`gantry_ring::mutants`), each of which must be found.
//!
//! Run with `cargo test -p gantry-ring --release --features mutants --test attack -- --nocapture`.

#![cfg(target_arch = "x86_64")]

mod puppet;
mod world;

use gantry_ring::mutants;

use puppet::{Instant, Puppet, SharedMap};
use world::{COMM, Dead, WORKER_A, WORKER_B, WORLD_BYTES, World};

type Operation = fn(*const u8);

fn world_at(base: *const u8) -> &'static World {
    World::at(std::ptr::NonNull::new(base.cast_mut()).expect("a world is not at 0"))
}

fn submit(base: *const u8) {
    world_at(base).submit(COMM, 9);
}
fn serve_a(base: *const u8) {
    world_at(base).serve(WORKER_A);
}
fn serve_b(base: *const u8) {
    world_at(base).serve(WORKER_B);
}
fn deliver(base: *const u8) {
    world_at(base).deliver();
}
fn expire(base: *const u8) {
    world_at(base).expire_first();
}
fn sweep_lost(base: *const u8) {
    world_at(base).sweep_lost();
}
fn recover_a(base: *const u8) {
    world_at(base).recover_a();
}

/// What the world looks like when the attack begins.
#[derive(Debug, Clone, Copy)]
enum Setup {
    Empty,
    OneQueued,
    TwoQueued,
    OneDone,
    DoneAndQueued,
    OneLost,
    OneRunning,
}

/// The rings' positions when the attack begins, in cells: at the start, and where the next push wraps.
const OFFSETS: [u32; 2] = [0, 7];

fn set_up(world: &World, setup: Setup, offset: u32) {
    world.churn(offset);
    let submit = |id| world.submit(COMM, id).expect("the small world has room");
    match setup {
        Setup::Empty => {}
        Setup::OneQueued => drop(submit(1)),
        Setup::TwoQueued => {
            submit(1);
            submit(2);
        }
        Setup::OneDone => {
            submit(1);
            world.serve(WORKER_B);
        }
        Setup::DoneAndQueued => {
            submit(1);
            world.serve(WORKER_B);
            submit(2);
        }
        Setup::OneLost | Setup::OneRunning => {
            submit(1);
            world.take_only(WORKER_A);
            if matches!(setup, Setup::OneLost) {
                world.recover(A_DIES);
            }
        }
    }
    world.owe_accepted();
}

/// One attack: who is the victim, what it is doing, and who else is about.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    setup: Setup,
    victim: Operation,
    dead: Dead,
    /// For a pair: what a live peer is in the middle of.
    peer: Option<Operation>,
}

const A_DIES: Dead = Dead::Worker(WORKER_A);

const fn single(name: &'static str, setup: Setup, victim: Operation, dead: Dead) -> Attack {
    Attack { name, setup, victim, dead, peer: None }
}

const fn pair(name: &'static str, setup: Setup, victim: Operation, dead: Dead, peer: Operation) -> Attack {
    Attack { name, setup, victim, dead, peer: Some(peer) }
}

const SINGLES: [Attack; 9] = [
    single("submit into an empty ring", Setup::Empty, submit, Dead::Comm),
    single("submit behind another", Setup::OneQueued, submit, Dead::Comm),
    single("take, run, reply", Setup::OneQueued, serve_a, A_DIES),
    single("take the first of two", Setup::TwoQueued, serve_a, A_DIES),
    single("deliver", Setup::OneDone, deliver, Dead::Comm),
    single("expire", Setup::OneQueued, expire, Dead::Comm),
    single("expire the first of two", Setup::TwoQueued, expire, Dead::Comm),
    single("take up what was lost", Setup::OneLost, sweep_lost, Dead::Comm),
    single("recover a worker", Setup::OneRunning, recover_a, A_DIES),
];

const PAIRS: [Attack; 9] = [
    pair("submit × take", Setup::OneQueued, submit, Dead::Comm, serve_b),
    pair("submit into an empty ring × take", Setup::Empty, submit, Dead::Comm, serve_b),
    pair("take × take of one", Setup::OneQueued, serve_a, A_DIES, serve_b),
    pair("take × take of two", Setup::TwoQueued, serve_a, A_DIES, serve_b),
    pair("take × submit", Setup::OneQueued, serve_a, A_DIES, submit),
    pair("take × expire", Setup::OneQueued, serve_a, A_DIES, expire),
    pair("expire × take", Setup::OneQueued, expire, Dead::Comm, serve_b),
    pair("deliver × take", Setup::DoneAndQueued, deliver, Dead::Comm, serve_b),
    pair("take up what was lost × take", Setup::OneLost, sweep_lost, Dead::Comm, serve_b),
];

/// What an attack found: how many points were tried, and the first that broke.
#[derive(Default)]
struct Outcome {
    points_count: u64,
    fault: Option<String>,
}

/// A world with a place to keep it.
struct Stage {
    map: SharedMap,
}

impl Stage {
    fn new(setup: Setup, offset: u32) -> Self {
        let stage = Self { map: SharedMap::new(WORLD_BYTES.next_multiple_of(4096)) };
        set_up(stage.world(), setup, offset);
        stage
    }

    fn world(&self) -> &'static World {
        World::at(self.map.base())
    }

    fn puppet(&self, operation: Operation) -> Puppet {
        Puppet::spawn(operation, self.map.base())
    }

    fn save(&self, into: &mut Vec<u8>) {
        self.map.save(0, WORLD_BYTES, into);
    }
}

/// Kills the victim after each instruction.
fn snapshot(attack: &Attack, offset: u32) -> Outcome {
    let stage = Stage::new(attack.setup, offset);
    let victim = stage.puppet(attack.victim);
    let (mut now, mut before) = (Vec::new(), Vec::new());
    let mut outcome = Outcome::default();
    loop {
        outcome.points_count += 1;
        stage.save(&mut now);
        if now != before {
            stage.world().recover(attack.dead);
            if let Err(fault) = stage.world().converge() {
                outcome.fault =
                    Some(format!("{}: after {} instructions: {fault}", attack.name, outcome.points_count));
                return outcome;
            }
            stage.map.restore(0, &now);
            std::mem::swap(&mut before, &mut now);
        }
        if !victim.step() {
            return outcome;
        }
    }
}

/// Kills the victim after each instruction while the peer was stopped after each of its own.
fn snapshot_pair(attack: &Attack, peer: Operation) -> Outcome {
    let stage = Stage::new(attack.setup, 0);
    let peer = stage.puppet(peer);
    let mut outcome = Outcome::default();
    let (mut there, mut start) = (Instant::default(), Vec::new());
    for peer_steps in 0_u64.. {
        peer.save(&mut there);
        stage.save(&mut start);
        let fault = kill_beside(&stage, attack, &peer, &there, &mut outcome.points_count);
        if let Err(fault) = fault {
            outcome.fault = Some(format!("{}: peer after {peer_steps} instructions: {fault}", attack.name));
            return outcome;
        }
        stage.map.restore(0, &start);
        peer.restore(&there);
        if !peer.step() {
            break;
        }
    }
    outcome
}

/// One peer's instant: a new victim is driven to its end and killed after each instruction.
fn kill_beside(
    stage: &Stage,
    attack: &Attack,
    peer: &Puppet,
    there: &Instant,
    points: &mut u64,
) -> Result<(), String> {
    let victim = stage.puppet(attack.victim);
    let (mut now, mut before) = (Vec::new(), Vec::new());
    for victim_steps in 0_u64.. {
        *points += 1;
        stage.save(&mut now);
        if now != before {
            stage.world().recover(attack.dead);
            peer.run_to_end();
            let result = stage.world().converge();
            result.map_err(|fault| format!("victim after {victim_steps}: {fault}"))?;
            peer.restore(there);
            stage.map.restore(0, &now);
            std::mem::swap(&mut before, &mut now);
        }
        if !victim.step() {
            return Ok(());
        }
    }
    Ok(())
}

/// Stops the victim after each instruction, lets others work for more than a lap, and lets it go on.
fn stop_and_resume(attack: &Attack) -> Outcome {
    let stage = Stage::new(attack.setup, 0);
    let victim = stage.puppet(attack.victim);
    let mut outcome = Outcome::default();
    let (mut there, mut now) = (Instant::default(), Vec::new());
    loop {
        victim.save(&mut there);
        stage.save(&mut now);
        for churn in [1, 7, 8, 9, 16] {
            outcome.points_count += 1;
            stage.world().churn(churn);
            victim.run_to_end();
            if let Err(fault) = stage.world().converge() {
                let steps = outcome.points_count / 5;
                outcome.fault =
                    Some(format!("{}: stopped after {steps} instructions for {churn}: {fault}", attack.name));
                return outcome;
            }
            victim.restore(&there);
            stage.map.restore(0, &now);
        }
        if !victim.step() {
            return outcome;
        }
    }
}

/// All attacks; ends at the first fault.
fn attack_all() -> Outcome {
    let mut total = Outcome::default();
    let runs = SINGLES
        .iter()
        .flat_map(|attack| OFFSETS.map(|offset| (attack, Some(offset))))
        .chain(SINGLES.iter().map(|attack| (attack, None)));
    for (attack, offset) in runs {
        let outcome = match offset {
            Some(offset) => snapshot(attack, offset),
            None => stop_and_resume(attack),
        };
        total.points_count += outcome.points_count;
        if outcome.fault.is_some() {
            return Outcome { fault: outcome.fault, ..total };
        }
    }
    for attack in &PAIRS {
        let outcome = snapshot_pair(attack, attack.peer.expect("a pair has a peer"));
        println!("  {:>9} points  {}", outcome.points_count, attack.name);
        total.points_count += outcome.points_count;
        if outcome.fault.is_some() {
            return Outcome { fault: outcome.fault, ..total };
        }
    }
    total
}

/// One test, since a mutant is switched on for the whole process.
#[test]
fn every_death_and_every_stop_is_survived_and_every_mutant_is_found() {
    let outcome = attack_all();
    println!("the algorithm: {} points", outcome.points_count);
    assert_eq!(outcome.fault, None);
    assert!(outcome.points_count > 100_000, "the attack has become too small to mean anything");
    for mutant in mutants::ALL {
        mutants::activate(Some(mutant));
        let outcome = attack_all();
        mutants::activate(None);
        let fault = outcome.fault.unwrap_or_else(|| panic!("the mutant {mutant:?} was not found"));
        println!("{mutant:?}: found after {} points: {fault}", outcome.points_count);
    }
}
