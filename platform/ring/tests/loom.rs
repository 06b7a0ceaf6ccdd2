//! Models of the ring: every interleaving of a few steps, on heap memory.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p gantry-ring --release --test loom`. What a *death* leaves is not
//! modelled here but attacked in `attack.rs`.

#![cfg(loom)]

use gantry_ring::{BlockKind, Blocks, Cursor, Doorbell, Owner, Queue, Slots, State};
use gantry_segment::{RingRow, SlotRow};
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
}

const COMM: u8 = 1;

impl Heap {
    fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self {
            rows: (0..slots).map(|_| SlotRow::default()).collect(),
            ring: RingRow::default(),
            cells: (0..slots.next_power_of_two() * 2).map(|_| AtomicU64::new(0)).collect(),
            tags: (0..1).map(|_| AtomicU64::new(0)).collect(),
            bell: AtomicU32::new(0),
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
