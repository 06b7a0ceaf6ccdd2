//! A queue of slots: a ring of cells, each one word (generation 32 bits, lap 16, slot 16).
//!
//! The cells are the queue; head and tail are hints that anyone may help forward. One compare-and-swap of a cell
//! reserves and publishes at once, so a producer that dies has either done nothing or all. Taking is claiming the
//! *slot*; only then may the head pass the cell. So an entry that is stale, or that stands in the ring twice,
//! is dropped by whoever meets it, and an entry whose producer died before the tail moved is found all the same.
//!
//! A position `p` lies in cell `p % cells` in lap `p / cells + 1` (mod 2^16): zeroed memory is an empty ring, since
//! its cells carry lap 0. The cell at the tail carries the lap before the tail's until it is written.

use gantry_segment::RingRow;
use gantry_sys::atomic::{AtomicU64, Ordering};

#[cfg(feature = "mutants")]
use crate::mutants::{self, Mutant};
use crate::slots::Slots;
use crate::word::{Generation, Owner, SlotRef, State, Word};

/// Looks at a ring before it is given up as corrupt: a step without progress means that another process made some,
/// so a sound ring never needs this many.
const STEPS_MAX: u32 = 1 << 20;

/// The ring holds as many entries as it has cells, all of them live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A ring over slots.
#[derive(Debug, Clone, Copy)]
pub struct Queue<'a> {
    row: &'a RingRow,
    cells: &'a [AtomicU64],
    slots: Slots<'a>,
    /// The state of a slot whose entry still means something: `Queued` in a request ring, `Done` in a reply ring.
    live: State,
}

/// A cell's word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    slot: SlotRef,
    lap: u16,
}

impl Cell {
    fn from_bits(bits: u64) -> Self {
        let slot = SlotRef { index: bits as u16, generation: Generation::from_bits((bits >> 32) as u32) };
        Self { slot, lap: (bits >> 16) as u16 }
    }

    fn to_bits(self) -> u64 {
        u64::from(self.slot.generation.bits()) << 32 | u64::from(self.lap) << 16 | u64::from(self.slot.index)
    }
}

impl<'a> Queue<'a> {
    /// A ring of requests: an entry is live while its slot is queued.
    ///
    /// # Panics
    /// When the number of cells is not a power of two.
    pub fn requests(ring: (&'a RingRow, &'a [AtomicU64]), slots: Slots<'a>) -> Self {
        Self::new(ring, slots, State::Queued)
    }

    /// A ring of replies: an entry is live while its slot is done.
    ///
    /// # Panics
    /// When the number of cells is not a power of two.
    pub fn replies(ring: (&'a RingRow, &'a [AtomicU64]), slots: Slots<'a>) -> Self {
        Self::new(ring, slots, State::Done)
    }

    fn new((row, cells): (&'a RingRow, &'a [AtomicU64]), slots: Slots<'a>, live: State) -> Self {
        assert!(cells.len().is_power_of_two(), "a ring's cells are a power of two, by its layout");
        Self { row, cells, slots, live }
    }

    /// Hands a filled slot to the workers: makes it queued, then pushes its entry. A worker that met the entry before
    /// the slot was queued would drop it as stale, so the order must not be the other way round.
    ///
    /// # Errors
    /// The word as it is, when the slot is not `owner`'s to publish.
    pub fn submit(&self, slot: SlotRef, owner: Owner) -> Result<(), Word> {
        #[cfg(feature = "mutants")]
        if mutants::is(Mutant::PushBeforeQueued) {
            let _ = self.push(slot);
            return self.slots.publish(slot, owner);
        }
        self.slots.publish(slot, owner)?;
        // Full would mean a corrupt ring; the slot is queued all the same, and the next sweep pushes it again.
        let _ = self.push(slot);
        Ok(())
    }

    /// Appends an entry. Its slot must already be in the state that this ring is for. Does not block; helps other
    /// producers forward and drops stale entries when the ring is full.
    ///
    /// # Errors
    /// [`Full`] when a reply ring holds live entries only: the caller then sets the sweep flag. A request ring has
    /// twice as many cells as slots, so it is never full of live entries; there it means that the ring is corrupt.
    pub fn push(&self, slot: SlotRef) -> Result<(), Full> {
        for _ in 0..STEPS_MAX {
            // Acquire: pairs with the Release in `advance`; the cell before the tail is seen as written.
            let tail = self.row.tail.load(Ordering::Acquire);
            let place = self.cell(tail);
            // Acquire: pairs with the Release of the cell's own compare-and-swap below.
            let found = place.load(Ordering::Acquire);
            let lap = Cell::from_bits(found).lap;
            if lap == self.lap(tail) {
                // Written, but its producer has not moved the tail, or died: help.
                self.advance(&self.row.tail, tail);
                continue;
            }
            #[cfg(feature = "mutants")]
            let lap = if mutants::is(Mutant::NoLapCheck) { self.lap(tail).wrapping_sub(1) } else { lap };
            if lap != self.lap(tail).wrapping_sub(1) {
                // The tail was stale. Writing here would overwrite a live entry.
                spin();
                continue;
            }
            // Acquire: pairs with the Release in `advance` by a taker; what it took is no more in the ring.
            let head = self.row.head.load(Ordering::Acquire);
            if tail.wrapping_sub(head) as i64 >= self.cells.len() as i64 {
                self.make_room(head)?;
                continue;
            }
            let entry = Cell { slot, lap: self.lap(tail) }.to_bits();
            #[cfg(feature = "mutants")]
            if mutants::is(Mutant::ReserveThenPublish) {
                if self.advance(&self.row.tail, tail) {
                    place.store(entry, Ordering::Release);
                    return Ok(());
                }
                continue;
            }
            #[cfg(feature = "mutants")]
            if mutants::is(Mutant::RelaxedCell) {
                if place.compare_exchange(found, entry, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                    return Ok(());
                }
                continue;
            }
            // Release: pairs with the Acquire in `peek`; the slot's word is in its state before this.
            if place.compare_exchange(found, entry, Ordering::Release, Ordering::Relaxed).is_ok() {
                self.advance(&self.row.tail, tail);
                return Ok(());
            }
        }
        Err(Full)
    }

    /// Takes the next queued slot for `owner`; `None` when nothing is queued. Does not block.
    pub fn take(&self, owner: Owner) -> Option<SlotRef> {
        loop {
            let (head, slot) = self.peek()?;
            #[cfg(feature = "mutants")]
            if mutants::is(Mutant::HeadBeforeClaim) {
                self.advance(&self.row.head, head);
            }
            let taken = self.slots.take(slot, owner);
            // Whatever the outcome, the entry is spent: taken by us, by another, expired or of an earlier use.
            // The head moves only after the claim, so a death in between leaves a word that names us.
            self.advance(&self.row.head, head);
            if taken.is_ok() {
                return Some(slot);
            }
        }
    }

    /// Takes the next entry of a reply ring, which has one consumer; the caller looks at the slot's word.
    pub fn pop(&self) -> Option<SlotRef> {
        loop {
            let (head, slot) = self.peek()?;
            self.advance(&self.row.head, head);
            if self.is_live(slot) {
                return Some(slot);
            }
        }
    }

    /// Whether there is an entry to take or pop, live or stale: what a consumer looks at before it sleeps.
    pub fn is_empty(&self) -> bool {
        self.peek().is_none()
    }

    /// Entries between head and tail, stale ones included: an upper bound of what is queued.
    pub fn entries_count(&self) -> u64 {
        let tail = self.row.tail.load(Ordering::Acquire);
        let head = self.row.head.load(Ordering::Acquire);
        (tail.wrapping_sub(head) as i64).max(0) as u64
    }

    /// All entries that stand in the ring now, live or stale.
    pub fn entries(&self) -> Vec<SlotRef> {
        let mut position = self.row.head.load(Ordering::Acquire);
        let mut found = Vec::new();
        while found.len() < self.cells.len() {
            let cell = Cell::from_bits(self.cell(position).load(Ordering::Acquire));
            if cell.lap != self.lap(position) {
                break;
            }
            found.push(cell.slot);
            position = position.wrapping_add(1);
        }
        found
    }

    /// The entry at the head; `None` when the ring is empty.
    fn peek(&self) -> Option<(u64, SlotRef)> {
        for _ in 0..STEPS_MAX {
            // Acquire: pairs with the Release in `advance`.
            let head = self.row.head.load(Ordering::Acquire);
            // Acquire: pairs with the Release of the compare-and-swap in `push`; the slot's word is in its state.
            let cell = Cell::from_bits(self.cell(head).load(Ordering::Acquire));
            if cell.lap == self.lap(head) {
                return Some((head, cell.slot));
            }
            if cell.lap == self.lap(head).wrapping_sub(1) {
                return None;
            }
            // The head was stale: the cell is a lap ahead already.
            spin();
        }
        None
    }

    /// Drops a stale entry at the head, or rotates a live one to the tail. It always ends, since live entries are
    /// at most half of the cells. A death after the head moved leaves a queued slot that is not in the ring, which
    /// a new communication process pushes again.
    fn make_room(&self, head: u64) -> Result<(), Full> {
        // Acquire: pairs with the Release of the compare-and-swap in `push`.
        let cell = Cell::from_bits(self.cell(head).load(Ordering::Acquire));
        if cell.lap != self.lap(head) {
            return Ok(());
        }
        let is_live = self.is_live(cell.slot);
        if is_live && self.live == State::Done {
            return Err(Full);
        }
        #[cfg(feature = "mutants")]
        let is_live = is_live && !mutants::is(Mutant::RotateDropsLive);
        if self.advance(&self.row.head, head) && is_live {
            return self.push(cell.slot);
        }
        Ok(())
    }

    fn is_live(&self, slot: SlotRef) -> bool {
        let word: Word = self.slots.word(slot.index);
        word.is(self.live) && word.generation() == slot.generation
    }

    fn cell(&self, position: u64) -> &'a AtomicU64 {
        &self.cells[position as usize & (self.cells.len() - 1)]
    }

    fn lap(&self, position: u64) -> u16 {
        ((position >> self.cells.len().trailing_zeros()) as u16).wrapping_add(1)
    }

    /// Moves head or tail on by one, if nobody did.
    fn advance(&self, hint: &AtomicU64, from: u64) -> bool {
        // Release: pairs with the Acquire loads of head and tail; the cell or claim that it stands for came before.
        hint.compare_exchange(from, from.wrapping_add(1), Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

/// Another process is between two steps that it will end soon, or that we can help with at the next look.
fn spin() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::hint::spin_loop();
}
