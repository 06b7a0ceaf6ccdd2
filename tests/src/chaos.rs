//! Chaos: a node under mixed load whose processes are killed and stopped at random, and a model of what must be true
//! of it afterwards.
//!
//! 64 connections pipeline reads, ledger writes and adds of all sizes, with budgets, repeats and queries about their
//! outcome. Meanwhile workers, the communication process, its keeper and the supervisor are killed and stopped every 50
//! to 500 ms, services are deployed and log levels changed. At the end
//!
//! - every request has had exactly one answer, and every write is known to be done or not done;
//! - what was done is in the database exactly once, and nothing else is: each serial, each counter, each balance;
//! - no slot, block or descriptor is missing, no process or segment is left;
//! - no client has seen a reset or the end of a TCP connection that it did not ask for.
//!
//! All that a run draws comes from its printed seed; what the machine's scheduler does with it does not, so that a seed
//! finds a fault again often, not always.

mod actor;
mod audit;
mod books;
mod cast;
mod chronicle;
mod dice;
mod errand;
mod hall;
mod killer;
mod operator;
mod plan;
mod reads;
mod report;
mod sockets;
mod stage;
mod wire;

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use actor::{Actor, Part};
use chronicle::Chronicle;
use hall::{Hall, Phase, Probe};
use killer::{Killer, Tally, keep_supervised};
pub use plan::{Plan, Role, USAGE};
use stage::Stage;

/// Connections over the Unix socket.
const UNIX_CONNECTIONS: usize = 4;

/// Threads that drive the clients.
const DRIVERS: usize = 4;

/// How long everything that is open when the kills end may take to be settled.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// Runs chaos and prints what happened.
///
/// # Panics
/// When something is not as it must be; the message says what, and what happened before. The node's files are kept.
pub fn run(plan: &Plan) {
    println!("chaos begins: cargo xtask chaos {plan}");
    let stage = Stage::set_up(plan);
    let idle = audit::idle_descriptors(&stage.node);
    let chronicle = Chronicle::new(stage.node.folder());
    let hall = Hall::new(plan.clone(), stage.node.address(), stage.node.unix_socket(), chronicle);
    let tally = play(&hall, &stage);
    if hall.chronicle.faults_count() == 0 {
        audit::expect_rest(&hall, &stage, &idle);
        audit::expect_every_receive_buffer(&hall, &stage);
        audit::expect_books(&hall, &stage);
    }
    if hall.chronicle.faults_count() == 0 {
        stage.stop();
        audit::expect_nothing_left(&hall, &stage);
        if let Err(error) = audit::expect_database(&hall, &stage) {
            hall.chronicle.fault(&format!("the database cannot be read: {error}"));
        }
    }
    for role in Role::ALL {
        let (kills, least) = (tally.kills.get(&role).copied().unwrap_or(0), plan.kills_min(role));
        if kills < least && hall.chronicle.faults_count() == 0 {
            hall.chronicle.fault(&format!("{role} was killed {kills} times only; {least} were wanted"));
        }
    }
    println!("{}", report::text(&hall, &tally));
    assert!(hall.chronicle.faults_count() == 0, "chaos {plan}\n{}", hall.chronicle.verdict());
}

/// Everything that goes on at the same time; returns when every connection is closed.
fn play(hall: &Hall, stage: &Stage) -> Tally {
    thread::scope(|scope| {
        let killer = scope.spawn(|| guard(hall, || Killer::new(hall, stage).run()));
        scope.spawn(|| guard(hall, || keep_supervised(hall, stage)));
        let operator = scope.spawn(|| {
            if hall.plan.commands {
                guard(hall, || operator::run(hall, stage));
            }
        });
        let mut drivers = vec![scope.spawn(|| {
            guard(hall, || {
                drive(
                    hall,
                    vec![
                        Actor::new(0, Part::Probe(Probe::Read), hall),
                        Actor::new(1, Part::Probe(Probe::Write), hall),
                    ],
                )
            });
        })];
        for driver in 0..DRIVERS {
            let indexes =
                (0..hall.plan.connections + UNIX_CONNECTIONS).filter(move |index| index % DRIVERS == driver);
            let part = |index| if index < hall.plan.connections { Part::Mixed } else { Part::Unix };
            drivers.push(scope.spawn(move || {
                guard(hall, || {
                    drive(hall, indexes.map(|index| Actor::new(index + 2, part(index), hall)).collect())
                });
            }));
        }
        // What goes wrong once goes wrong ever more; the first time tells most.
        let end = Instant::now() + hall.plan.duration;
        while Instant::now() < end && hall.chronicle.faults_count() == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        hall.set_phase(Phase::Settling);
        let tally = join(killer).unwrap_or_default();
        join(operator);
        wait_until_settled(hall);
        hall.set_phase(Phase::Closing);
        drivers.into_iter().for_each(|driver| {
            join(driver);
        });
        tally
    })
}

fn wait_until_settled(hall: &Hall) {
    let begin = Instant::now();
    while !hall.open().is_empty() && hall.chronicle.faults_count() == 0 {
        if begin.elapsed() > SETTLE_LIMIT {
            for words in hall.open() {
                hall.chronicle.fault(&format!("{words} (after {:?} of rest)", begin.elapsed()));
            }
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Drives clients until all have left.
fn drive(hall: &Hall, mut actors: Vec<Actor<'_>>) {
    let mut closing = None;
    let mut told = Instant::now();
    while actors.iter().any(|actor| !actor.is_over()) {
        let now = Instant::now();
        let is_closing = hall.phase() == Phase::Closing;
        for actor in &mut actors {
            actor.act(now);
        }
        if now.duration_since(told) > Duration::from_millis(20) {
            told = now;
            for actor in &actors {
                hall.tell_open(actor.index, actor.open_words());
            }
        }
        listen(&mut actors);
        let since = *closing.get_or_insert(now);
        if !is_closing {
            closing = None;
        } else if hall.chronicle.faults_count() > 0 || now.duration_since(since) > SETTLE_LIMIT {
            if now.duration_since(since) > SETTLE_LIMIT {
                hall.chronicle.fault("the node does not close idle connections that were half-closed");
            }
            return;
        }
    }
}

fn listen(actors: &mut [Actor<'_>]) {
    let mut ready = Vec::new();
    {
        let mut descriptors = Vec::new();
        let mut indexes = Vec::new();
        for (index, actor) in actors.iter().enumerate() {
            let Some(wire) = actor.wire() else { continue };
            let send = if wire.has_outgoing() { PollFlags::POLLOUT } else { PollFlags::empty() };
            descriptors.push(PollFd::new(wire.as_fd(), PollFlags::POLLIN | send));
            indexes.push(index);
        }
        // A signal that interrupts is as good as nothing to read.
        let count = poll(&mut descriptors, PollTimeout::from(4_u8)).unwrap_or(0);
        if count > 0 {
            let found = descriptors.iter().zip(&indexes).filter(|(one, _)| one.any().unwrap_or(true));
            ready.extend(found.map(|(_, index)| *index));
        }
    }
    for index in ready {
        actors[index].listen();
    }
}

/// A part that panics is a fault of the run, which then ends; the others are not left waiting for it.
fn guard<T>(hall: &Hall, part: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(part)) {
        Ok(result) => result,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            hall.chronicle.fault(&format!("a part of the run failed: {}", words.unwrap_or_default()));
            resume_unwind(panic)
        }
    }
}

/// What a part came to; `None` when it failed, which is noted already.
fn join<T>(part: thread::ScopedJoinHandle<'_, T>) -> Option<T> {
    part.join().ok()
}
