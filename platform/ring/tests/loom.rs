//! Models of the ring: every interleaving of a few steps, and every value that a weakly ordered processor may give to
//! each load, on heap memory.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p gantry-ring --release --test loom`. What a *death* leaves is not
//! modelled here but attacked in `tests/attack`.

#![cfg(loom)]

use gantry_ring::{
    BlockKind, Blocks, Cursor, Doorbell, Full, Owner, Queue, SlotRef, Slots, State, adopt_slots,
    push_missing, recover_worker,
};
use gantry_segment::{Life, ProcessRow, RingRow, Role, SlotRow};
use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;

/// A few slots and one ring on the heap.
struct Heap {
    rows: Vec<SlotRow>,
    ring: RingRow,
    cells: Vec<AtomicU64>,
    tags: Vec<AtomicU64>,
    bell: AtomicU32,
    sweep: AtomicU32,
    body: AtomicU64,
    process: ProcessRow,
}

const COMM: u8 = 1;
const WORKER: Owner = Owner::new(2, 1);
const OTHER: Owner = Owner::new(3, 1);

impl Heap {
    fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self {
            rows: (0..slots).map(|_| SlotRow::default()).collect(),
            ring: RingRow::default(),
            cells: (0..slots.next_power_of_two() * 2).map(|_| AtomicU64::new(0)).collect(),
            tags: (0..1).map(|_| AtomicU64::new(0)).collect(),
            bell: AtomicU32::new(0),
            sweep: AtomicU32::new(0),
            body: AtomicU64::new(0),
            process: ProcessRow::default(),
        })
    }

    fn slots(&self) -> Slots<'_> {
        Slots::new(&self.rows)
    }

    fn requests(&self) -> Queue<'_> {
        Queue::requests((&self.ring, &self.cells), self.slots())
    }

    /// Claims, fills with `mark`, publishes and pushes.
    fn submit(&self, mark: u32) {
        let owner = Owner::new(COMM, 1);
        let slot = self.slots().claim(owner, &mut Cursor::default()).expect("a slot is free");
        self.rows[usize::from(slot.index)].request_bytes.store(mark, Ordering::Relaxed);
        self.slots().publish(slot, owner).expect("the slot is ours");
        self.requests().push(slot).expect("a request ring is never full");
    }

    fn replies(&self) -> Queue<'_> {
        Queue::replies((&self.ring, &self.cells), self.slots())
    }

    /// A slot that worker 2 runs.
    fn running(&self) -> SlotRef {
        self.submit(5);
        self.requests().take(WORKER).expect("it was queued")
    }

    /// Takes one request and gives its mark.
    fn take(&self, row: u8) -> Option<u32> {
        let slot = self.requests().take(Owner::new(row, 1))?;
        Some(self.rows[usize::from(slot.index)].request_bytes.load(Ordering::Relaxed))
    }
}

#[test]
fn one_request_is_taken_by_exactly_one_of_two_workers_with_its_whole_body() {
    loom::model(|| {
        let heap = Heap::new(1);
        let producer = thread::spawn({
            let heap = heap.clone();
            move || heap.submit(7)
        });
        let worker = thread::spawn({
            let heap = heap.clone();
            move || heap.take(2)
        });
        let here = heap.take(3);
        producer.join().unwrap();
        let there = worker.join().unwrap();
        let late = heap.take(4);
        let taken: Vec<u32> = [here, there, late].into_iter().flatten().collect();
        assert_eq!(taken, [7]);
    });
}

#[test]
fn two_producers_lose_nothing_and_overwrite_nothing() {
    loom::model(|| {
        let heap = Heap::new(2);
        let other = thread::spawn({
            let heap = heap.clone();
            move || heap.submit(1)
        });
        heap.submit(2);
        other.join().unwrap();
        let mut taken = [heap.take(2).unwrap(), heap.take(2).unwrap()];
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        assert_eq!(heap.take(2), None);
    });
}

#[test]
fn expiry_and_a_taker_never_both_win() {
    loom::model(|| {
        let heap = Heap::new(1);
        heap.submit(5);
        let slot = heap.requests().entries()[0];
        let worker = thread::spawn({
            let heap = heap.clone();
            move || heap.take(2).is_some()
        });
        let is_expired = heap.slots().expire(slot).is_ok();
        let is_taken = worker.join().unwrap();
        assert!(is_expired != is_taken);
        let state = heap.slots().word(0).state();
        assert_eq!(state, Some(if is_expired { State::Expired } else { State::Running }));
    });
}

#[test]
fn a_block_is_claimed_once_and_again_only_after_its_slot_is_freed() {
    loom::model(|| {
        let heap = Heap::new(2);
        let owner = Owner::new(COMM, 1);
        let first = heap.slots().claim(owner, &mut Cursor::default()).unwrap();
        let second = heap.slots().claim(owner, &mut Cursor::at(1)).unwrap();
        let blocks = |heap: &Heap, slot| {
            Blocks::new([(64, &heap.tags[..])], heap.slots())
                .claim(0, slot, BlockKind::Request, &mut Cursor::default())
                .is_some()
        };
        let other = thread::spawn({
            let heap = heap.clone();
            move || blocks(&heap, second)
        });
        let is_first = blocks(&heap, first);
        let is_second = other.join().unwrap();
        assert!(is_first != is_second, "the one block has one holder");
        let (holder, loser) = if is_first { (first, second) } else { (second, first) };
        heap.slots().release(holder).unwrap();
        assert!(blocks(&heap, loser), "freeing the slot freed its block");
    });
}

#[test]
fn a_reply_reaches_the_home_thread_whole() {
    loom::model(|| {
        let heap = Heap::new(1);
        let comm = Owner::new(COMM, 1);
        let worker = Owner::new(2, 1);
        let slot = heap.slots().claim(comm, &mut Cursor::default()).unwrap();
        heap.slots().publish(slot, comm).unwrap();
        heap.slots().take(slot, worker).unwrap();
        let replier = thread::spawn({
            let heap = heap.clone();
            move || {
                heap.rows[0].reply_bytes.store(9, Ordering::Relaxed);
                heap.slots().finish(slot, worker).unwrap();
                Queue::replies((&heap.ring, &heap.cells), heap.slots()).push(slot).unwrap();
            }
        });
        let replies = Queue::replies((&heap.ring, &heap.cells), heap.slots());
        let popped = replies.pop();
        if popped.is_some() {
            assert_eq!(heap.rows[0].reply_bytes.load(Ordering::Relaxed), 9);
        }
        replier.join().unwrap();
        assert_eq!(popped.or_else(|| replies.pop()), Some(slot));
    });
}

#[test]
fn work_that_comes_while_a_worker_falls_asleep_is_seen_or_rung() {
    loom::model(|| {
        let heap = Heap::new(1);
        let producer = thread::spawn({
            let heap = heap.clone();
            move || {
                heap.submit(3);
                Doorbell::new(&heap.bell).claim_wake()
            }
        });
        let bell = Doorbell::new(&heap.bell);
        bell.announce();
        let is_seen = !heap.requests().is_empty();
        let is_rung = producer.join().unwrap();
        assert!(is_seen || is_rung, "a worker sleeps beside its work");
    });
}

/// The home thread of a reply falls asleep while a worker finds the reply ring full.
#[test]
fn a_sweep_that_is_asked_for_while_comm_falls_asleep_is_seen_or_rung_with_the_reply_whole() {
    loom::model(|| {
        let heap = Heap::new(1);
        let slot = heap.running();
        let worker = thread::spawn({
            let heap = heap.clone();
            move || {
                heap.rows[0].reply_bytes.store(9, Ordering::Relaxed);
                heap.slots().finish(slot, WORKER).unwrap();
                heap.sweep.store(1, Ordering::Release);
                Doorbell::new(&heap.bell).claim_wake()
            }
        });
        Doorbell::new(&heap.bell).announce();
        let is_seen = heap.sweep.load(Ordering::Relaxed) != 0 && heap.sweep.swap(0, Ordering::Acquire) != 0;
        if is_seen {
            assert!(heap.slots().word(0).is(State::Done));
            assert_eq!(heap.rows[0].reply_bytes.load(Ordering::Relaxed), 9);
        }
        let is_rung = worker.join().unwrap();
        assert!(is_seen || is_rung, "comm sleeps beside a reply that is in no ring");
    });
}

/// The last cell of a lap and the first of the next are written while the tail lags behind both.
#[test]
fn two_producers_help_the_tail_over_the_end_of_the_ring() {
    loom::model(|| {
        let heap = Heap::new(2);
        for _ in 0..heap.cells.len() - 1 {
            heap.submit(9);
            let slot = heap.requests().take(WORKER).unwrap();
            heap.slots().finish(slot, WORKER).unwrap();
            heap.slots().release(slot).unwrap();
        }
        let other = thread::spawn({
            let heap = heap.clone();
            move || heap.submit(1)
        });
        heap.submit(2);
        other.join().unwrap();
        let mut taken = [heap.take(2).unwrap(), heap.take(2).unwrap()];
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        assert!(heap.requests().is_empty());
    });
}

/// A worker that was given up answers late, while its request is already being run again.
#[test]
fn a_stale_owner_and_its_successor_never_both_finish() {
    loom::model(|| {
        let heap = Heap::new(1);
        let slot = heap.running();
        let stale = thread::spawn({
            let heap = heap.clone();
            move || heap.slots().finish(slot, WORKER).is_ok()
        });
        recover_worker(heap.slots(), WORKER);
        let again = heap.slots().retry(slot).ok();
        let is_run_again = again.is_some_and(|again| {
            heap.slots().take(again, OTHER).unwrap();
            heap.slots().finish(again, OTHER).unwrap();
            true
        });
        let is_stale_done = stale.join().unwrap();
        assert!(is_stale_done != is_run_again);
        assert!(heap.slots().word(0).is(State::Done));
    });
}

/// The body of the next request goes into a block only when the last reads and writes of the previous one are over.
#[test]
fn a_block_that_falls_free_with_its_slot_is_taken_with_everything_written_before() {
    loom::model(|| {
        let heap = Heap::new(2);
        let owner = Owner::new(COMM, 1);
        let holder = heap.slots().claim(owner, &mut Cursor::default()).unwrap();
        let next = heap.slots().claim(owner, &mut Cursor::at(1)).unwrap();
        let blocks = |heap: &Arc<Heap>, slot| {
            let blocks = Blocks::new([(64, &heap.tags[..])], heap.slots());
            blocks.claim(0, slot, BlockKind::Request, &mut Cursor::default()).is_some()
        };
        assert!(blocks(&heap, holder));
        let freer = thread::spawn({
            let heap = heap.clone();
            move || {
                heap.body.store(7, Ordering::Relaxed);
                heap.slots().release(holder).unwrap();
            }
        });
        let claimer = thread::spawn({
            let heap = heap.clone();
            move || {
                if blocks(&heap, next) {
                    assert_eq!(
                        heap.body.load(Ordering::Relaxed),
                        7,
                        "the block was taken while it was written"
                    );
                }
            }
        });
        freer.join().unwrap();
        claimer.join().unwrap();
    });
}

/// A block is given back early, as a reply does that moves into a larger one, and claimed by another slot.
#[test]
fn a_block_that_is_given_back_is_taken_with_everything_written_before() {
    loom::model(|| {
        let heap = Heap::new(2);
        let owner = Owner::new(COMM, 1);
        let holder = heap.slots().claim(owner, &mut Cursor::default()).unwrap();
        let next = heap.slots().claim(owner, &mut Cursor::at(1)).unwrap();
        let held = Blocks::new([(64, &heap.tags[..])], heap.slots())
            .claim(0, holder, BlockKind::Reply, &mut Cursor::default())
            .unwrap();
        let other = thread::spawn({
            let heap = heap.clone();
            move || {
                heap.body.store(7, Ordering::Relaxed);
                let blocks = Blocks::new([(64, &heap.tags[..])], heap.slots());
                blocks.release(held, holder, BlockKind::Reply);
            }
        });
        let blocks = Blocks::new([(64, &heap.tags[..])], heap.slots());
        if blocks.claim(0, next, BlockKind::Reply, &mut Cursor::default()).is_some() {
            assert_eq!(heap.body.load(Ordering::Relaxed), 7, "the block was taken while it was written");
        }
        other.join().unwrap();
    });
}

/// One thread settles the original of a repeat that waits, the repeat's own thread gives it up.
#[test]
fn a_repeat_that_is_resolved_while_it_is_given_up_is_whole_or_free() {
    loom::model(|| {
        let heap = Heap::new(1);
        let comm = Owner::new(COMM, 1);
        let slot = heap.slots().claim(comm, &mut Cursor::default()).unwrap();
        heap.slots().join(slot, comm).unwrap();
        let resolver = thread::spawn({
            let heap = heap.clone();
            move || {
                heap.rows[0].reply_bytes.store(9, Ordering::Relaxed);
                let is_resolved = heap.slots().resolve(slot).is_ok();
                if is_resolved {
                    heap.replies().push(slot).unwrap();
                }
                is_resolved
            }
        });
        // In a thread of its own: loom then has the whole resolving come first, too.
        let home = thread::spawn({
            let heap = heap.clone();
            move || {
                if heap.slots().word(0).is(State::Done) {
                    assert_eq!(heap.rows[0].reply_bytes.load(Ordering::Relaxed), 9);
                }
                heap.slots().release(slot).is_ok()
            }
        });
        let is_resolved = resolver.join().unwrap();
        let is_given_up = home.join().unwrap();
        // A release that lost the race finds the repeat done, and is made once more by whoever pops the entry.
        assert!(is_given_up || is_resolved);
        let _ = heap.slots().release(slot);
        assert!(heap.slots().word(0).is(State::Free));
        assert_eq!(heap.replies().pop(), None, "the entry of a repeat that is over is stale");
    });
}

/// The supervisor sets a spare to work while it falls asleep.
#[test]
fn a_spare_that_falls_asleep_sees_its_new_role_or_is_rung() {
    loom::model(|| {
        let heap = Heap::new(1);
        heap.process.set_role(Role::Spare);
        let supervisor = thread::spawn({
            let heap = heap.clone();
            move || {
                heap.process.set_role(Role::WriteWorker);
                Doorbell::new(&heap.process.bell).claim_wake()
            }
        });
        Doorbell::new(&heap.process.bell).announce();
        let is_seen = heap.process.role() == Role::WriteWorker;
        let is_rung = supervisor.join().unwrap();
        assert!(is_seen || is_rung, "a spare sleeps on though it was set to work");
    });
}

/// A supervisor gives up a child that was forked by its predecessor and comes late.
#[test]
fn a_life_is_taken_by_a_late_child_or_closed_and_never_both() {
    loom::model(|| {
        let heap = Heap::new(1);
        heap.process.begin_life(7);
        let child = thread::spawn({
            let heap = heap.clone();
            move || heap.process.take_life(7, 41).is_ok()
        });
        let is_closed = heap.process.end_life(Life { epoch: 7, pid: None });
        let is_taken = child.join().unwrap();
        assert!(is_closed != is_taken);
        assert_eq!(heap.process.pid(), is_taken.then_some(41));
    });
}

/// A new communication process pushes what it misses while a worker takes from the very same ring.
#[test]
fn a_request_that_is_pushed_twice_is_taken_once() {
    loom::model(|| {
        let heap = Heap::new(1);
        heap.submit(5);
        let slot = heap.requests().entries()[0];
        let worker = thread::spawn({
            let heap = heap.clone();
            move || heap.requests().take(WORKER)
        });
        heap.requests().push(slot).unwrap();
        let taken = [worker.join().unwrap(), heap.requests().take(OTHER)];
        assert_eq!(taken.iter().flatten().count(), 1, "{taken:?}");
        assert!(heap.requests().is_empty());
    });
}

/// Two supervisors recover the same worker, the first of which was thought to be dead, while comm sweeps.
#[test]
fn a_death_that_is_recovered_twice_is_retried_once() {
    loom::model(|| {
        let heap = Heap::new(1);
        let slot = heap.running();
        let other = thread::spawn({
            let heap = heap.clone();
            move || recover_worker(heap.slots(), WORKER).lost_count
        });
        let lost_count = recover_worker(heap.slots(), WORKER).lost_count;
        let again = heap.slots().retry(slot);
        assert_eq!(lost_count + other.join().unwrap(), 1);
        let again = again.or_else(|_| heap.slots().retry(slot)).unwrap();
        assert_eq!(heap.slots().retry(slot), Err(heap.slots().word(0)), "one death is one retry");
        assert_eq!(again.generation.attempt(), 1);
    });
}

/// A communication process that was paused in taking over goes on beside its successor.
#[test]
fn two_take_overs_free_what_the_dead_filled_once_and_nothing_of_the_living() {
    loom::model(|| {
        let heap = Heap::new(1);
        let life = |epoch| Owner::new(COMM, epoch);
        heap.slots().claim(life(1), &mut Cursor::default()).unwrap();
        let old = thread::spawn({
            let heap = heap.clone();
            move || adopt_slots(heap.slots(), life(2), |_| false).freed_count
        });
        let freed_count = adopt_slots(heap.slots(), life(3), |_| false).freed_count;
        let filled = heap.slots().claim(life(3), &mut Cursor::default());
        assert_eq!(freed_count + old.join().unwrap(), 1);
        let slot = filled.expect("the dead one's slot is free");
        heap.slots().publish(slot, life(3)).expect("nobody takes a slot from a living successor");
        assert_eq!(push_missing(heap.slots(), &heap.requests(), |_| true), 1);
        assert_eq!(heap.requests().take(WORKER), Some(slot));
    });
}

/// Comm lets a request expire while a worker meets its entry and a producer finds the ring full of it.
#[test]
fn a_full_reply_ring_refuses_and_loses_nothing() {
    loom::model(|| {
        let heap = Heap::new(1);
        let comm = Owner::new(COMM, 1);
        let slot = heap.slots().claim(comm, &mut Cursor::default()).unwrap();
        heap.slots().answer(slot, comm).unwrap();
        // The ring has two cells for the one slot: the same live entry twice fills it.
        heap.replies().push(slot).unwrap();
        heap.replies().push(slot).unwrap();
        let other = thread::spawn({
            let heap = heap.clone();
            move || heap.replies().push(slot)
        });
        let popped = heap.replies().pop();
        assert_eq!(popped, Some(slot));
        let _full_or_in: Result<(), Full> = other.join().unwrap();
        assert_eq!(heap.replies().pop(), Some(slot));
    });
}

/// The models can fail: each wrong memory ordering is found by those that are about it.
#[cfg(feature = "mutants")]
#[test]
fn every_wrong_memory_ordering_is_found_by_its_models() {
    use gantry_ring::mutants::{self, Mutant};

    for mutant in mutants::ORDERINGS {
        let models: &[fn()] = match mutant {
            Mutant::RelaxedWord => &[
                a_repeat_that_is_resolved_while_it_is_given_up_is_whole_or_free,
                a_block_that_falls_free_with_its_slot_is_taken_with_everything_written_before,
            ],
            Mutant::RelaxedCell => &[one_request_is_taken_by_exactly_one_of_two_workers_with_its_whole_body],
            Mutant::RelaxedTag => &[a_block_that_is_given_back_is_taken_with_everything_written_before],
            Mutant::UnfencedSleep | Mutant::UnfencedRing => &[
                work_that_comes_while_a_worker_falls_asleep_is_seen_or_rung,
                a_sweep_that_is_asked_for_while_comm_falls_asleep_is_seen_or_rung_with_the_reply_whole,
                a_spare_that_falls_asleep_sees_its_new_role_or_is_rung,
            ],
            other => panic!("{other:?} is no ordering"),
        };
        for (index, model) in models.iter().enumerate() {
            mutants::activate(Some(mutant));
            let ended = std::panic::catch_unwind(model);
            mutants::activate(None);
            assert!(ended.is_err(), "{mutant:?} was not found by its model {index}");
        }
    }
}

/// As above, for safeguards that matter to living processes too.
#[cfg(feature = "mutants")]
#[test]
fn every_mutant_that_needs_no_death_is_found_by_its_model() {
    use gantry_ring::mutants::{self, Mutant};

    let models: [(Mutant, fn()); 6] = [
        (Mutant::ExpireStraightToFree, expiry_and_a_taker_never_both_win),
        (Mutant::NoAttemptCount, a_death_that_is_recovered_twice_is_retried_once),
        (Mutant::FinishAnyOwner, a_stale_owner_and_its_successor_never_both_finish),
        (Mutant::AdoptYoungerToo, two_take_overs_free_what_the_dead_filled_once_and_nothing_of_the_living),
        (Mutant::BlockClaimByStore, a_block_is_claimed_once_and_again_only_after_its_slot_is_freed),
        (Mutant::BlockNeverStale, a_block_is_claimed_once_and_again_only_after_its_slot_is_freed),
    ];
    for (mutant, model) in models {
        mutants::activate(Some(mutant));
        let ended = std::panic::catch_unwind(model);
        mutants::activate(None);
        assert!(ended.is_err(), "{mutant:?} was not found");
    }
}
