//! The ways to attack, and everything, shared out among the processors.

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use gantry_comm::attack::{Sockets, Turns, begin};
use gantry_segment::Segments;

use crate::outside::{Outside, WATCHDOG};
use crate::scenarios::{self, Act, Scenario};
use crate::stepper::{Step, Stepper, rest};
use crate::world::{COMM_ROW, EPOCH, World};

/// Turns after each act: receive and dispatch, deliver and send, and one that finds nothing.
const TURNS_PER_ACT: u32 = 3;
/// One of so many deaths has a successor that is killed after each of its instructions too.
const NESTED_STRIDE: u64 = 100;
/// Instants below which the attack has become too small to mean anything.
const POINTS_MIN: u64 = 300_000;

/// What an attack found.
#[derive(Default)]
struct Outcome {
    /// Instructions after which the process was killed.
    points_count: u64,
    /// Those that left something else than their predecessor: a successor took over.
    worlds_count: u64,
    fault: Option<String>,
}

/// One life of the communication process, driven instruction by instruction through what is left of a scenario.
struct Victim<'w> {
    world: &'w World,
    scenario: &'w Scenario,
    stepper: Stepper,
    outside: Outside,
}

impl<'w> Victim<'w> {
    /// Begins the life `epoch`, at rest before its first instruction, with the connection of `outside`.
    fn new(world: &'w World, scenario: &'w Scenario, epoch: u32, outside: Outside) -> Self {
        let socket = outside.socket();
        let (sockets, is_new) = sockets_of(world, &outside);
        let stepper = Stepper::spawn(|| {
            let segments = Segments::attach(world.handoff()).unwrap();
            let doorbells = std::slice::from_ref(&world.doorbell);
            rest();
            let mut socket = Some(socket).filter(|_| is_new);
            begin::<()>(&segments, &world.settings, (COMM_ROW, epoch), doorbells, sockets, |turns| {
                loop {
                    if let Some(socket) = socket.take() {
                        turns.accept(socket.into());
                    }
                    turns.turn().unwrap();
                    rest();
                }
            })
            .unwrap()
        });
        Self { world, scenario, stepper, outside }
    }

    /// Drives it until the scenario is over; `look` sees each instant that left something new, with what is outside then.
    /// What it changes in the segments is put back.
    fn drive(
        &mut self,
        outcome: &mut Outcome,
        mut look: impl FnMut(&mut Outside) -> Result<(), String>,
    ) -> Result<(), String> {
        let (mut now, mut before) = (Vec::new(), Vec::new());
        let acts_left = self.scenario.acts.len() - self.outside.acts_done;
        for turn in 0..TURNS_PER_ACT * (acts_left as u32 + 1) {
            if turn % TURNS_PER_ACT == 0
                && let Some(act) = self.scenario.acts.get(self.outside.acts_done)
            {
                self.outside.act(self.world, act);
            }
            self.world.doorbell.signal();
            loop {
                self.world.look(&mut now);
                if now != before {
                    outcome.worlds_count += 1;
                    let saved = self.world.save();
                    look(&mut self.outside)?;
                    self.world.restore(&saved);
                    // The successor may have heard it in the victim's place.
                    self.world.doorbell.signal();
                    std::mem::swap(&mut before, &mut now);
                }
                let step = loop {
                    outcome.points_count += 1;
                    match self.stepper.step() {
                        Step::Private => {}
                        step => break step,
                    }
                };
                if step == Step::Rest {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The sockets for a process that begins now, and whether the client is one that nobody has accepted yet.
fn sockets_of(world: &World, outside: &Outside) -> (Sockets, bool) {
    let told = outside.positions();
    let mut sockets = Sockets::default();
    match world.connection() {
        Some((row, _, _)) => sockets.by_row.push((row, outside.socket().into())),
        None => return (sockets, told.received == 0 && told.sent == 0 && !told.is_closed),
    }
    (sockets, false)
}

/// A successor takes over and ends what was begun.
fn succeed(world: &World, scenario: &Scenario, epoch: u32, mut outside: Outside) -> Result<(), String> {
    let (sockets, is_new) = sockets_of(world, &outside);
    let fresh = is_new.then(|| outside.socket());
    let doorbells = std::slice::from_ref(&world.doorbell);
    // Rung, so that no turn sleeps.
    world.doorbell.signal();
    let ended = begin(world.segments(), &world.settings, (COMM_ROW, epoch), doorbells, sockets, |turns| {
        if let Some(socket) = fresh {
            turns.accept(socket.into());
        }
        end(world, scenario, &mut outside, turns)
    });
    ended.map_err(|error| error.to_string())?
}

fn end(
    world: &World,
    scenario: &Scenario,
    outside: &mut Outside,
    turns: &mut Turns<'_, '_>,
) -> Result<(), String> {
    let mut turn = |outside: &mut Outside| {
        world.doorbell.signal();
        turns.turn().map_err(|error| error.to_string())?;
        outside.receive();
        Ok::<(), String>(())
    };
    turn(outside)?;
    while let Some(act) = scenario.acts.get(outside.acts_done) {
        outside.act(world, act);
        for _ in 0..TURNS_PER_ACT {
            turn(outside)?;
        }
    }
    let is_served = scenario.acts.iter().any(|act| matches!(act, Act::Serve | Act::Take));
    let started = Instant::now();
    while !(outside.is_complete(scenario)? && world.check_nothing_is_held().is_ok()) {
        outside.workers.finish(world);
        if is_served {
            outside.workers.serve_all(world);
        }
        turn(outside)?;
        if scenario.ends && outside.is_complete(scenario)? {
            outside.leave(world);
        }
        if started.elapsed() > WATCHDOG {
            world.check_nothing_is_held()?;
            return Err(format!("not all came: {}", outside.summary()));
        }
    }
    let wrong = outside.workers.runs.iter().find(|(_, runs)| **runs != scenario.runs);
    if let Some((id, runs)) = wrong {
        return Err(format!("{id:?} was run {runs} times"));
    }
    outside.leave(world);
    while world.connection().is_some() {
        turn(outside)?;
        if started.elapsed() > WATCHDOG * 2 {
            return Err("the row of a client that left is not freed".to_owned());
        }
    }
    Ok(())
}

/// Kills after every instruction.
fn attack(scenario: &Scenario) -> Outcome {
    let world = World::new();
    let mut outcome = Outcome::default();
    let mut victim = Victim::new(&world, scenario, EPOCH, Outside::new());
    let driven = victim.drive(&mut outcome, |outside| succeed(&world, scenario, EPOCH + 1, outside.copy()));
    outcome.fault = driven.err().map(|fault| format!("after {} instructions: {fault}", outcome.points_count));
    outcome
}

/// At some deaths, kills the successor after every instruction of its own.
fn attack_successors(scenario: &Scenario) -> Outcome {
    let world = World::new();
    let (mut first, mut inner) = (Outcome::default(), Outcome::default());
    let mut victim = Victim::new(&world, scenario, EPOCH, Outside::new());
    let mut deaths_count = 0_u64;
    let driven = victim.drive(&mut first, |outside| {
        deaths_count += 1;
        if !deaths_count.is_multiple_of(NESTED_STRIDE) {
            return Ok(());
        }
        let mut successor = Victim::new(&world, scenario, EPOCH + 1, outside.copy());
        let driven =
            successor.drive(&mut inner, |outside| succeed(&world, scenario, EPOCH + 2, outside.copy()));
        driven.map_err(|fault| format!("after {} instructions of its successor: {fault}", inner.points_count))
    });
    let fault = driven.err().map(|fault| format!("after {} instructions: {fault}", first.points_count));
    Outcome { fault, ..inner }
}

/// Every scenario, in both ways.
pub(crate) fn attack_everything() {
    let begin = Instant::now();
    let scenarios = scenarios::all();
    let jobs = scenarios.iter().flat_map(|scenario| [(scenario, false), (scenario, true)]);
    let left = Mutex::new(jobs);
    let outcomes = Mutex::new(Vec::new());
    let threads_count = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads_count {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some((scenario, is_nested)) = next else { return };
                    let (begin, name) = (Instant::now(), scenario.name);
                    let outcome = if is_nested { attack_successors(scenario) } else { attack(scenario) };
                    let kind = if is_nested { "nested" } else { "single" };
                    let (points, worlds, took) =
                        (outcome.points_count, outcome.worlds_count, begin.elapsed());
                    println!(
                        "{points:>9} points {worlds:>6} worlds {:>6.1} s  {kind} {name}",
                        took.as_secs_f64()
                    );
                    if let Some(fault) = &outcome.fault {
                        println!("FAULT in {kind} {name}: {fault}");
                    }
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let points: u64 = outcomes.iter().map(|outcome| outcome.points_count).sum();
    let worlds: u64 = outcomes.iter().map(|outcome| outcome.worlds_count).sum();
    println!("{points} points, {worlds} worlds in {:.0} s", begin.elapsed().as_secs_f64());
    let faults: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.fault.as_ref()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(points > POINTS_MIN, "the attack has become too small to mean anything");
}
