//! The ways to attack: one life of the communication process, killed after each instruction, and its successors.

use gantry_comm::attack::{Sockets, Turns, begin};
use gantry_segment::Segments;

use crate::outside::{Outside, Patience};
use crate::scenarios::{Act, Scenario};
use crate::stepper::{Step, Stepper, rest};
use crate::world::{COMM_ROW, EPOCH, World};

/// Turns after each act: accept, or deliver and send; then receive and dispatch, or one that finds nothing.
const TURNS_PER_ACT: u32 = 2;
/// Further turns before an act that something must come before, such as a worker's before the request is queued.
const TURNS_AHEAD_MAX: u32 = 6;

/// What an attack found.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Instructions after which the process was killed.
    pub(crate) points_count: u64,
    /// Those that left something else than their predecessor, in memory or in the kernel: a successor took over.
    pub(crate) worlds_count: u64,
    pub(crate) fault: Option<String>,
}

/// One life of the communication process, driven instruction by instruction through what is left of a scenario.
struct Victim<'w> {
    world: &'w World,
    scenario: &'w Scenario,
    stepper: Stepper,
    outside: Outside,
    outcome: Outcome,
    before: Vec<u8>,
}

impl<'w> Victim<'w> {
    /// The life `epoch`, at rest before it takes over, with the connection of `outside`.
    fn new(world: &'w World, scenario: &'w Scenario, epoch: u32, outside: Outside) -> Self {
        let socket = outside.socket();
        let (sockets, is_new) = sockets_of(world, &outside);
        let client = outside.client_number();
        let mut stepper = Stepper::spawn(|| {
            // A copy of the client's socket would keep its connection alive.
            nix::unistd::close(client).unwrap();
            let segments = Segments::attach(world.handoff()).unwrap();
            let doorbells = std::slice::from_ref(&world.doorbell);
            rest();
            let mut socket = Some(socket).filter(|_| is_new);
            begin::<()>(&segments, &world.settings, (COMM_ROW, epoch), doorbells, sockets, rest, |turns| {
                loop {
                    rest();
                    if let Some(socket) = socket.take() {
                        turns.accept(socket.into());
                    }
                    turns.turn().unwrap();
                }
            })
            .unwrap()
        });
        stepper.run_to_rest();
        Self { world, scenario, stepper, outside, outcome: Outcome::default(), before: Vec::new() }
    }

    /// Drives it until the scenario is over; `look` sees each instant that left something new, with what is outside then.
    /// What it changes in the segments is put back. A life that takes over nothing is not driven through that.
    fn drive(
        &mut self,
        is_heir: bool,
        mut look: impl FnMut(&mut Outside) -> Result<(), String>,
    ) -> Result<(), String> {
        self.before = self.looked();
        if is_heir {
            self.drive_to_rest(&mut look)?;
        } else {
            self.stepper.run_to_rest();
        }
        let before = self.looked();
        self.stepper.run_to_rest();
        assert!(self.looked() == before, "what a thread makes of what was taken over is its own");
        loop {
            let next = self.scenario.acts.get(self.outside.acts_done);
            let mut turns_left = TURNS_AHEAD_MAX;
            while let Some(act) = next
                && turns_left > 0
                && !self.outside.is_time_for(self.world, self.scenario, act)?
            {
                self.drive_turn(&mut look)?;
                turns_left -= 1;
            }
            if let Some(act) = next {
                self.outside.act(self.world, act);
            }
            for _ in 0..TURNS_PER_ACT {
                self.drive_turn(&mut look)?;
            }
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Everything that a successor's fate hangs on: the shared parts, and what the kernel has taken and given.
    fn look(&self, into: &mut Vec<u8>) {
        self.world.look(into);
        let told = self.outside.positions();
        into.extend(
            [told.received, told.sent, u64::from(told.is_closed)].map(u64::to_ne_bytes).as_flattened(),
        );
    }

    fn looked(&self) -> Vec<u8> {
        let mut looked = Vec::new();
        self.look(&mut looked);
        looked
    }

    fn drive_turn(
        &mut self,
        look: &mut impl FnMut(&mut Outside) -> Result<(), String>,
    ) -> Result<(), String> {
        // Rung, so that no turn sleeps.
        self.world.doorbell.signal();
        self.drive_to_rest(look)
    }

    fn drive_to_rest(
        &mut self,
        look: &mut impl FnMut(&mut Outside) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut now = Vec::new();
        loop {
            self.look(&mut now);
            if now != self.before {
                self.outcome.worlds_count += 1;
                let saved = self.world.save();
                let looked = look(&mut self.outside);
                looked
                    .map_err(|fault| format!("after {} instructions: {fault}", self.outcome.points_count))?;
                self.world.restore(&saved);
                // The successor may have heard it in the victim's place.
                self.world.doorbell.signal();
                std::mem::swap(&mut self.before, &mut now);
            }
            loop {
                self.outcome.points_count += 1;
                match self.stepper.step() {
                    Step::Private => {}
                    Step::Shared => break,
                    Step::Rest => return Ok(()),
                }
            }
        }
    }
}

/// The sockets for a process that begins now, and whether the client is one that nobody has accepted yet.
fn sockets_of(world: &World, outside: &Outside) -> (Sockets, bool) {
    let mut sockets = Sockets::default();
    match world.connection() {
        Some((row, _)) => sockets.by_row.push((row, outside.socket().into())),
        None => return (sockets, outside.is_untouched()),
    }
    (sockets, false)
}

/// A successor takes over and ends what was begun.
fn succeed(world: &World, scenario: &Scenario, epoch: u32, mut outside: Outside) -> Result<(), String> {
    world.check_names()?;
    let (sockets, is_new) = sockets_of(world, &outside);
    let fresh = is_new.then(|| outside.socket());
    let doorbells = std::slice::from_ref(&world.doorbell);
    let life = (COMM_ROW, epoch);
    let ended = begin(
        world.segments(),
        &world.settings,
        life,
        doorbells,
        sockets,
        || {},
        |turns| {
            if let Some(socket) = fresh {
                turns.accept(socket.into());
            }
            Ending { world, scenario, outside: &mut outside, turns }.end()
        },
    );
    ended.map_err(|error| error.to_string())?
}

/// The last life: it is not killed, and all must come right.
struct Ending<'e, 't, 'a> {
    world: &'e World,
    scenario: &'e Scenario,
    outside: &'e mut Outside,
    turns: &'e mut Turns<'t, 'a>,
}

impl Ending<'_, '_, '_> {
    fn end(&mut self) -> Result<(), String> {
        self.turn()?;
        while let Some(act) = self.scenario.acts.get(self.outside.acts_done) {
            if matches!(act, Act::Leave) {
                self.wait_until("all was answered", |this| this.outside.is_answered(this.scenario))?;
            }
            let mut turns_left = TURNS_AHEAD_MAX;
            while turns_left > 0 && !self.outside.is_time_for(self.world, self.scenario, act)? {
                self.turn()?;
                turns_left -= 1;
            }
            self.outside.act(self.world, act);
            for _ in 0..TURNS_PER_ACT {
                self.turn()?;
            }
        }
        self.wait_until("everything came, and nothing is held", |this| {
            Ok(this.outside.is_complete(this.scenario)? && this.world.check_nothing_is_held().is_ok())
        })?;
        let runs = &self.outside.workers.runs;
        if let Some((id, count)) = runs.iter().find(|(_, runs)| **runs != self.scenario.runs) {
            return Err(format!("{id:?} was run {count} times"));
        }
        self.outside.leave(self.world);
        self.wait_until("the row of a client that left is free", |this| {
            Ok(this.world.connection().is_none())
        })?;
        self.world.check_names()
    }

    fn turn(&mut self) -> Result<(), String> {
        self.world.doorbell.signal();
        self.turns.turn().map_err(|error| error.to_string())?;
        self.outside.receive();
        Ok(())
    }

    /// Goes on, with workers that work if they do in this scenario, until it is so.
    fn wait_until(
        &mut self,
        what: &str,
        is_so: impl Fn(&Self) -> Result<bool, String>,
    ) -> Result<(), String> {
        let is_served = self.scenario.acts.iter().any(|act| matches!(act, Act::Serve | Act::Take));
        let mut patience = Patience::new();
        while !is_so(self)? {
            if patience.is_over() {
                let held = self.world.check_nothing_is_held();
                return Err(format!("waited in vain until {what}: {}, {held:?}", self.outside.summary()));
            }
            self.outside.workers.finish(self.world);
            if is_served {
                self.outside.workers.serve_all(self.world);
            }
            self.turn()?;
        }
        Ok(())
    }
}

/// Kills after every instruction. At one of `nested_stride` deaths, beginning with the `nested_first`-th, the successor is
/// killed after each of its own instructions too. Gives the outcomes of both.
pub(crate) fn attack(
    scenario: &Scenario,
    nested_first: u64,
    nested_stride: Option<u64>,
) -> (Outcome, Outcome) {
    let world = World::new(scenario);
    let mut victim = Victim::new(&world, scenario, EPOCH, Outside::new());
    let (mut nested, mut deaths_count) = (Outcome::default(), 0_u64);
    let driven = victim.drive(false, |outside| {
        deaths_count += 1;
        let is_nested = nested_stride.is_some_and(|stride| deaths_count % stride == nested_first % stride);
        if !is_nested {
            return succeed(&world, scenario, EPOCH + 1, outside.copy());
        }
        let mut successor = Victim::new(&world, scenario, EPOCH + 1, outside.copy());
        let driven = successor.drive(true, |outside| succeed(&world, scenario, EPOCH + 2, outside.copy()));
        nested.points_count += successor.outcome.points_count;
        nested.worlds_count += successor.outcome.worlds_count;
        driven.map_err(|fault| format!("its successor {fault}"))
    });
    victim.outcome.fault = driven.err();
    (victim.outcome, nested)
}
