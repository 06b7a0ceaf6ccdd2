//! Chaos: a node under mixed load whose processes are killed and stopped at random, and a model of what must be true
//! of it afterwards.
//!
//! 64 connections pipeline reads, ledger writes and adds of all sizes, with budgets, repeats and queries about their
//! outcome. Meanwhile workers, the communication process, its keeper and the supervisor are killed and stopped every 50
//! to 500 ms, services are deployed and log levels changed. At the end
//!
//! - every request has had exactly one answer, and every write is known to be done or not done;
//! - what was done is in the database exactly once, and nothing else is: each serial, each counter, each balance, and each
//!   movement with its two sides;
//! - no slot, block, receive buffer, connection row or descriptor is missing, no process or segment is left;
//! - no client has seen a reset or the end of a TCP connection that it did not ask for.
//!
//! That each of these would be noticed is shown by breaking it on purpose: `--spoil`.
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
mod reconcile;
mod report;
mod sockets;
mod spoil;
mod stage;
mod wire;

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use actor::{Actor, Part};
use chronicle::Chronicle;
use errand::Settled;
use hall::{Hall, Phase, Probe, UNKNOWN};
use killer::{Killer, Tally, keep_supervised};
pub use plan::{Plan, Role, USAGE};
use report::Times;
pub use spoil::Spoil;
use stage::Stage;

/// Connections over the Unix socket.
const UNIX_CONNECTIONS: usize = 4;

/// Threads that drive the clients.
const DRIVERS: usize = 4;

/// How long everything that is open when the kills end may take to be settled.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// How often a run says how far it is.
const PROGRESS: Duration = Duration::from_secs(60);

/// Runs chaos and prints what happened: only the run's own words. What the node's processes say is in the run's folder,
/// whose path is printed, and which is kept when the run fails.
///
/// # Errors
/// In words, what is not as it must be, and what happened before.
///
/// # Panics
/// When the node cannot be set up.
pub fn run(plan: &Plan) -> Result<(), String> {
    println!("chaos begins: cargo xtask chaos {plan}");
    let begin = Instant::now();
    let stage = Stage::set_up(plan);
    let idle = audit::idle_descriptors(&stage.node);
    println!("  log and files: {} (kept when the run fails)", stage.node.folder().display());
    let chronicle = Chronicle::new(stage.node.folder());
    let hall = Hall::new(plan.clone(), stage.node.address(), stage.node.unix_socket(), chronicle);
    let mut times = Times { set_up: begin.elapsed(), ..Times::default() };
    let tally = play(&hall, &stage);
    times.play = begin.elapsed() - times.set_up;
    guard(&hall, || audit(&hall, &stage, idle));
    expect_kills(&hall, &tally);
    times.audit = begin.elapsed() - times.set_up - times.play;
    println!("{}", report::text(&hall, &tally, times));
    if hall.chronicle.faults_count() == 0 {
        return match plan.spoil {
            None => Ok(()),
            Some(spoil) => {
                stage.node.keep_files();
                Err(format!("nothing was noticed of what was spoilt: {}", spoil.name()))
            }
        };
    }
    if let Some(spoil) = plan.spoil
        && hall.chronicle.has_fault(spoil.noticed_as())
    {
        println!("noticed, as it should be:\n{}", hall.chronicle.verdict());
        return Ok(());
    }
    stage.node.keep_files();
    Err(format!("chaos {plan}\n{}", hall.chronicle.verdict()))
}

/// Looks at everything once it is over; a fault ends it, since what comes later would only follow from it.
fn audit(hall: &Hall, stage: &Stage, mut idle: audit::Idle) {
    let is_sound = || hall.chronicle.faults_count() == 0;
    if is_sound() {
        reconcile::expect_work(hall);
        expect_settled(hall);
        audit::expect_counts(hall, stage);
        spoil::at_rest(hall.plan.spoil, stage, &mut idle);
        audit::expect_rest(hall, stage, &idle);
    }
    if is_sound() {
        audit::expect_every_receive_buffer(hall, stage);
        audit::expect_every_connection(hall, stage);
        reconcile::expect_books(hall, stage);
    }
    if is_sound() {
        stage.stop();
        let _leftover = spoil::after_stop(hall.plan.spoil, stage);
        audit::expect_nothing_left(hall, stage);
        if let Err(error) = reconcile::expect_database(hall, stage) {
            hall.chronicle.fault(&format!("the database cannot be read: {error}"));
        }
    }
}

/// Each unknown end of a write has become a known one, once.
fn expect_settled(hall: &Hall) {
    let settled = [Settled::ByRepeat, Settled::ToldDone, Settled::ToldFailed];
    let settled: u64 = settled.into_iter().map(|how| hall.counted(how.words())).sum();
    let unknown = hall.counted(UNKNOWN);
    if settled != unknown {
        hall.chronicle.fault(&format!("{unknown} ends of writes were unknown, {settled} were settled"));
    }
}

fn expect_kills(hall: &Hall, tally: &Tally) {
    for role in Role::ALL {
        let (kills, least) = (tally.kills.get(&role).copied().unwrap_or(0), hall.plan.kills_min(role));
        if kills < least && hall.chronicle.faults_count() == 0 {
            hall.chronicle.fault(&format!("{role} was killed {kills} times only; {least} were wanted"));
        }
    }
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
        let begin = Instant::now();
        let mut told = Duration::ZERO;
        while begin.elapsed() < hall.plan.duration && hall.chronicle.faults_count() == 0 {
            thread::sleep(Duration::from_millis(20));
            if begin.elapsed() >= told + PROGRESS {
                told += PROGRESS;
                println!("{}", report::progress(hall, told));
            }
        }
        hall.set_phase(Phase::Settling);
        let tally = join(killer).flatten().unwrap_or_default();
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
fn guard<T>(hall: &Hall, part: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(part)) {
        Ok(result) => Some(result),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            hall.chronicle.fault(&format!("a part of the run failed: {}", words.unwrap_or_default()));
            None
        }
    }
}

/// What a part came to; `None` when it failed, which is noted already.
fn join<T>(part: thread::ScopedJoinHandle<'_, T>) -> Option<T> {
    part.join().ok()
}
