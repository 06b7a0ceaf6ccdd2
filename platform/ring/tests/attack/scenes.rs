//! What the world looks like when an attack begins.

use gantry_ring::{Owner, State};
use gantry_sys::atomic::Ordering;

use crate::survivors::Who;
use crate::world::{CELLS, COMM, Kind, WORKER_A, WORKER_A_2, WORKER_B, World};

/// A world to begin with. Requests are numbered from 1 in the order in which they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    Empty,
    /// All slots but one are queued.
    NearlyFull,
    /// No block is left, but slots are.
    NoBlock,
    OneQueued(Kind),
    TwoQueued,
    OneDone(Kind),
    DoneAndQueued,
    /// Two are queued, and one whose stale entry is still in the ring is to be queued again.
    StaleEntry,
    /// The request ring is full, a live entry at its head.
    RequestsFull,
    /// The reply ring is full, a live entry at its head; another runs with worker A.
    RepliesFull,
    /// Worker A runs it.
    Running(Kind),
    /// Worker A has executed it; whether it is committed.
    Executed(bool),
    /// Worker A died when it ran it.
    Lost(Kind),
    /// Worker A died when it had executed it.
    Uncommitted(bool),
    /// Two workers died when they had executed it.
    UncommittedTwice,
    /// Worker A is dead and ran 1, its successor in the same row runs 2.
    RunningInTwoLives,
    /// Worker A died with a read and a write, one of them executed.
    RunningMuch,
    /// A large body is half received.
    Receiving,
    /// Worker A runs the write 1, and 2 is its repeat.
    JoinedToRunning,
    /// The write 1 is done, 2 and 3 are its repeats.
    JoinedToDone,
    /// The write 1 is queued, 2 and 3 are its repeats.
    JoinedToQueued,
    /// The write 1 is lost, 2 is its repeat.
    JoinedToLost,
    /// The communication process died: 1 is queued and in no ring, 2 is a repeat of 3 which is over, a large body is half
    /// received and another slot half filled.
    Orphans,
    /// There is one worker only, and nothing to do.
    OnlyB,
    /// Both workers sleep.
    Asleep,
    /// Worker B sleeps and worker A was woken for 1.
    WokenForOne,
}

impl Scene {
    /// Makes it in an empty world.
    pub(crate) fn make(self, world: &World) {
        match self {
            Self::Empty => {}
            Self::NearlyFull => drop([1, 2, 3].map(|id| queue(world, id, Kind::Read))),
            Self::NoBlock => no_block(world),
            Self::OneQueued(kind) => queue(world, 1, kind),
            Self::TwoQueued => drop([1, 2].map(|id| queue(world, id, Kind::Read))),
            Self::OneDone(kind) => done(world, 1, kind),
            Self::DoneAndQueued => {
                done(world, 1, Kind::Read);
                queue(world, 2, Kind::Read);
            }
            Self::StaleEntry => {
                queue(world, 1, Kind::Read);
                queue(world, 2, Kind::Read);
                world.expire_first();
            }
            Self::RequestsFull => requests_full(world),
            Self::RepliesFull => replies_full(world),
            Self::Running(kind) => running(world, 1, kind, WORKER_A),
            Self::Executed(is_committed) => executed(world, is_committed),
            Self::Lost(kind) => {
                running(world, 1, kind, WORKER_A);
                world.recover(Who::WorkerA);
            }
            Self::Uncommitted(is_committed) => {
                executed(world, is_committed);
                world.recover(Who::WorkerA);
            }
            Self::UncommittedTwice => {
                executed(world, false);
                world.recover(Who::WorkerA);
                world.sweep_slots();
                execute(world);
                world.recover(Who::WorkerA);
            }
            Self::RunningInTwoLives => {
                running(world, 1, Kind::Read, WORKER_A);
                running(world, 2, Kind::Read, WORKER_A_2);
                let held = world.slot_of(2).expect("it runs");
                world.held.store(held.to_bits(), Ordering::Relaxed);
            }
            Self::RunningMuch => {
                running(world, 1, Kind::Read, WORKER_A);
                executed_as(world, 2, false);
                running(world, 3, Kind::Write, WORKER_A);
            }
            Self::Receiving => world.begin_body(COMM, 1),
            Self::JoinedToRunning | Self::JoinedToDone | Self::JoinedToQueued | Self::JoinedToLost => {
                self.joined(world);
            }
            Self::Orphans => orphans(world),
            Self::OnlyB => world.is_a_absent.store(1, Ordering::Relaxed),
            Self::Asleep => drop([WORKER_A, WORKER_B].map(|worker| world.doze(worker))),
            Self::WokenForOne => {
                Self::Asleep.make(world);
                queue(world, 1, Kind::Read);
            }
        }
    }

    fn joined(self, world: &World) {
        let repeats: &[u32] = match self {
            Self::JoinedToRunning | Self::JoinedToLost => &[2],
            _ => &[2, 3],
        };
        queue(world, 1, Kind::Write);
        if self != Self::JoinedToQueued {
            world.take(WORKER_A);
        }
        for repeat in repeats {
            world.join(COMM, *repeat, 1);
        }
        match self {
            Self::JoinedToDone => world.run(world.slot_of(1).expect("it runs"), WORKER_A),
            Self::JoinedToLost => world.recover(Who::WorkerA),
            _ => {}
        }
    }
}

fn queue(world: &World, id: u32, kind: Kind) {
    world.submit(COMM, id, kind).expect("the small world has room");
}

fn done(world: &World, id: u32, kind: Kind) {
    queue(world, id, kind);
    assert!(world.serve(WORKER_B));
}

fn running(world: &World, id: u32, kind: Kind, worker: Owner) {
    queue(world, id, kind);
    world.take(worker).expect("it was queued");
}

fn executed(world: &World, is_committed: bool) {
    executed_as(world, 1, is_committed);
}

fn executed_as(world: &World, id: u32, is_committed: bool) {
    queue(world, id, Kind::Write);
    execute(world);
    if is_committed {
        world.caller(id).effects.fetch_add(1, Ordering::Relaxed);
    }
}

fn execute(world: &World) {
    let slot = world.take(WORKER_A).expect("it was queued");
    world.slots().execute(slot, WORKER_A).expect("worker A runs it");
}

/// Sends requests through that end without their entries being met, so that the ring fills with stale ones.
fn requests_full(world: &World) {
    queue(world, 1, Kind::Read);
    let live = world.slot_of(1).expect("it is queued");
    for _ in 1..CELLS {
        queue(world, 9, Kind::Read);
        let stale = world.slot_of(9).expect("it is queued");
        assert!(stale != live && world.slots().expire(stale).is_ok());
        world.slots().release(stale).expect("it has expired");
    }
    assert_eq!(world.requests().entries_count(), CELLS as u64);
}

fn replies_full(world: &World) {
    done(world, 1, Kind::Read);
    for _ in 1..CELLS {
        done(world, 9, Kind::Read);
        let stale = world.slot_of(9).expect("it is done");
        world.slots().release(stale).expect("it is done");
    }
    assert_eq!(world.replies().entries_count(), CELLS as u64);
    running(world, 2, Kind::Read, WORKER_A);
}

/// One slot holds all small blocks.
fn no_block(world: &World) {
    queue(world, 1, Kind::Read);
    let slot = world.slot_of(1).expect("it is queued");
    while world.claim_body(slot, gantry_ring::BlockKind::Reply, 0, 0).is_some() {}
}

fn orphans(world: &World) {
    running(world, 3, Kind::Write, WORKER_B);
    world.join(COMM, 2, 3);
    let original = world.slot_of(3).expect("it runs");
    world.run(original, WORKER_B);
    // The original is answered and freed; the repeat's turn never came.
    world.replies().pop();
    world.slots().release(original).expect("it is done");
    let slot = world.fill(COMM, 1, Kind::Read, 0).expect("a slot is free");
    world.slots().publish(slot, COMM).expect("it is ours");
    world.begin_body(COMM, 4);
    world.fill(COMM, 5, Kind::Read, 0).expect("a slot is free");
    assert!(world.slots().words().all(|(_, word)| !word.is(State::Free)));
}
