//! The slots and every legal change of their words.
//!
//! | change | who | what a death right after it leaves |
//! |---|---|---|
//! | `claim` Free → Filling | comm | Filling of a dead owner: a new comm frees it |
//! | `publish` Filling → Queued | comm | Queued, perhaps not in the ring: a new comm pushes it |
//! | `answer` Filling → Done | comm | Done: swept by its home thread |
//! | `join` Filling → Joined | comm | Joined: a new comm takes it up |
//! | `unjoin` Joined → Queued | comm | as after `publish` |
//! | `resolve` Joined → Done | comm | as after `finish` |
//! | `take` Queued → Running | worker | Running of a dead owner: recovery makes it Lost |
//! | `execute` Running → Executed | worker | Executed of a dead owner: recovery makes it Uncommitted |
//! | `finish` Running, Executed → Done | worker | Done, perhaps not in the reply ring: swept |
//! | `expire` Queued → Expired | comm | Expired: swept, answered 305 |
//! | `retry` Lost, Uncommitted → Queued | comm | as after `publish` |
//! | `release` any answered state → Free | comm | Free: nothing to do |

use gantry_segment::SlotRow;
use gantry_sys::atomic::{AtomicU64, Ordering};

#[cfg(feature = "mutants")]
use crate::mutants::{self, Mutant};
use crate::word::{Owner, SlotRef, State, Word};

/// Where a process looks for its next free slot or block: its own hint, in its own memory.
#[derive(Debug, Default, Clone)]
pub struct Cursor(pub(crate) usize);

impl Cursor {
    /// A cursor that begins at `index`.
    pub fn at(index: usize) -> Self {
        Self(index)
    }
}

/// All slots of a node.
#[derive(Debug, Clone, Copy)]
pub struct Slots<'a> {
    rows: &'a [SlotRow],
}

impl<'a> Slots<'a> {
    /// The slots in `rows`, of which at most 65,536 are used.
    pub fn new(rows: &'a [SlotRow]) -> Self {
        Self { rows: &rows[..rows.len().min(1 << 16)] }
    }

    /// How many slots there are.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// A slot's row; `None` when a corrupt reference names no slot.
    pub fn row(&self, index: u16) -> Option<&'a SlotRow> {
        self.rows.get(usize::from(index))
    }

    /// A slot's word. An index that names no slot reads as a corrupt word, which no change starts from.
    pub fn word(&self, index: u16) -> Word {
        // Acquire: pairs with the Release half of every `change`; the fields that the word hands over are seen.
        self.row(index)
            .map_or(Word::from_bits(u64::MAX), |row| Word::from_bits(row.word.load(Ordering::Acquire)))
    }

    /// All slots with their words, each read once.
    pub fn words(&self) -> impl Iterator<Item = (u16, Word)> + '_ {
        let this = *self;
        (0..this.rows.len()).map(move |index| (index as u16, this.word(index as u16)))
    }

    /// Claims a free slot for filling, looking from the cursor on; `None` when all are taken.
    pub fn claim(&self, owner: Owner, cursor: &mut Cursor) -> Option<SlotRef> {
        for step in 0..self.rows.len() {
            let index = (cursor.0 + step) % self.rows.len();
            if let Some(slot) = self.claim_at(index as u16, owner) {
                cursor.0 = index + 1;
                return Some(slot);
            }
        }
        None
    }

    /// Claims this very slot if it is free, as a process does that remembers which it freed last.
    pub fn claim_at(&self, index: u16, owner: Owner) -> Option<SlotRef> {
        let word = self.word(index);
        if !word.is(State::Free) {
            return None;
        }
        let generation = word.generation();
        self.change(index, word, Word::new(State::Filling, owner, generation)).ok()?;
        Some(SlotRef { index, generation })
    }

    /// Hands a filled slot over to the workers. Its entry must be pushed after this, never before: a worker that
    /// met the entry first would drop it as stale.
    ///
    /// # Errors
    /// The word as it is, when the slot is not `owner`'s to publish.
    pub fn publish(&self, slot: SlotRef, owner: Owner) -> Result<(), Word> {
        self.leave_filling(slot, owner, State::Queued)
    }

    /// Marks a slot done that the communication process answered by itself.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn answer(&self, slot: SlotRef, owner: Owner) -> Result<(), Word> {
        self.leave_filling(slot, owner, State::Done)
    }

    /// Parks a repeat until its original is done.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn join(&self, slot: SlotRef, owner: Owner) -> Result<(), Word> {
        self.leave_filling(slot, owner, State::Joined)
    }

    /// Takes a queued slot for running. The ring's head may be advanced only after this.
    ///
    /// # Errors
    /// The word as it is, when another took it, it expired, or the reference is of an earlier use.
    pub fn take(&self, slot: SlotRef, owner: Owner) -> Result<(), Word> {
        let word = self.word(slot.index);
        #[cfg(feature = "mutants")]
        if mutants::is(Mutant::TakeAnyUse) && word.is(State::Queued) {
            return self.change(slot.index, word, Word::new(State::Running, owner, slot.generation));
        }
        if !word.is(State::Queued) || word.generation() != slot.generation {
            return Err(word);
        }
        self.change(slot.index, word, Word::new(State::Running, owner, slot.generation))
    }

    /// Notes that the service returned and only the commit is missing.
    ///
    /// # Errors
    /// The word as it is, when the slot is not running under `owner`.
    pub fn execute(&self, slot: SlotRef, owner: Owner) -> Result<(), Word> {
        let from = Word::new(State::Running, owner, slot.generation);
        self.change(slot.index, from, Word::new(State::Executed, owner, slot.generation))
    }

    /// Hands a whole reply over to the communication process.
    ///
    /// # Errors
    /// The word as it is, when the slot is not running or executed under `owner`.
    pub fn finish(&self, slot: SlotRef, owner: Owner) -> Result<(), Word> {
        let done = Word::new(State::Done, owner, slot.generation);
        let word = self.word(slot.index);
        #[cfg(feature = "mutants")]
        if mutants::is(Mutant::FinishAnyOwner) && word.is(State::Running) {
            return self.change(slot.index, word, word.with_state(State::Done));
        }
        if word.owner() != owner || word.generation() != slot.generation {
            return Err(word);
        }
        match word.state() {
            Some(State::Running | State::Executed) => self.change(slot.index, word, done),
            _ => Err(word),
        }
    }

    /// Ends the wait of a queued slot whose caller's time ran out. It is freed only after it was answered, so that
    /// a death in between leaves a word that says what is owed.
    ///
    /// # Errors
    /// The word as it is, when a worker was faster.
    pub fn expire(&self, slot: SlotRef) -> Result<(), Word> {
        #[cfg(feature = "mutants")]
        if mutants::is(Mutant::ExpireStraightToFree) {
            let word = self.word(slot.index);
            let is_ours = word.is(State::Queued) && word.generation() == slot.generation;
            return if is_ours { self.change(slot.index, word, word.freed()) } else { Err(word) };
        }
        self.step(slot, &[State::Queued], State::Expired)
    }

    /// Sends a joined repeat to the workers. To be pushed afterwards.
    ///
    /// # Errors
    /// The word as it is, when the slot is not joined.
    pub fn unjoin(&self, slot: SlotRef) -> Result<(), Word> {
        self.step(slot, &[State::Joined], State::Queued)
    }

    /// Ends the wait of a joined repeat: its original's reply is now its own. To be pushed to the reply ring of its
    /// home thread afterwards, as a worker does after `finish`.
    ///
    /// # Errors
    /// The word as it is, when the slot is not joined.
    pub fn resolve(&self, slot: SlotRef) -> Result<(), Word> {
        self.step(slot, &[State::Joined], State::Done)
    }

    /// Queues a lost request again, as the next attempt. To be pushed afterwards.
    ///
    /// # Errors
    /// The word as it is, when the slot is not lost or its attempts are used up.
    pub fn retry(&self, slot: SlotRef) -> Result<SlotRef, Word> {
        let word = self.word(slot.index);
        let is_lost = word.is(State::Lost) || word.is(State::Uncommitted);
        let generation =
            word.generation().retry().filter(|_| is_lost && word.generation() == slot.generation);
        let Some(generation) = generation else { return Err(word) };
        #[cfg(feature = "mutants")]
        let generation = if mutants::is(Mutant::NoAttemptCount) { word.generation() } else { generation };
        self.change(slot.index, word, Word::new(State::Queued, word.owner(), generation))?;
        Ok(SlotRef { index: slot.index, generation })
    }

    /// Frees a slot that is answered, and with it its blocks. Also for one that its filler gives up.
    ///
    /// # Errors
    /// The word as it is, when it is queued or with a worker, or the reference is of an earlier use.
    pub fn release(&self, slot: SlotRef) -> Result<(), Word> {
        let word = self.word(slot.index);
        let is_same_use = word.generation().base() == slot.generation.base();
        #[cfg(feature = "mutants")]
        let is_same_use = is_same_use || mutants::is(Mutant::ReleaseAnyUse);
        if !is_same_use {
            return Err(word);
        }
        match word.state() {
            Some(
                State::Filling
                | State::Done
                | State::Lost
                | State::Expired
                | State::Joined
                | State::Uncommitted,
            ) => self.change(slot.index, word, word.freed()),
            _ => Err(word),
        }
    }

    /// One compare-and-swap of the whole word: the only way in which a slot changes hands.
    pub(crate) fn change(&self, index: u16, from: Word, to: Word) -> Result<(), Word> {
        let Some(row) = self.row(index) else { return Err(Word::from_bits(u64::MAX)) };
        compare_and_swap(&row.word, from, to)
    }

    fn leave_filling(&self, slot: SlotRef, owner: Owner, to: State) -> Result<(), Word> {
        let from = Word::new(State::Filling, owner, slot.generation);
        self.change(slot.index, from, Word::new(to, owner, slot.generation))
    }

    /// A change that keeps owner and generation.
    fn step(&self, slot: SlotRef, from: &[State], to: State) -> Result<(), Word> {
        let word = self.word(slot.index);
        let is_from = from.iter().any(|state| word.is(*state));
        #[cfg(feature = "mutants")]
        let slot = if mutants::is(Mutant::StepAnyUse) { word.slot(slot.index) } else { slot };
        if !is_from || word.generation() != slot.generation {
            return Err(word);
        }
        self.change(slot.index, word, Word::new(to, word.owner(), slot.generation))
    }
}

impl Word {
    /// The use that the word belongs to, as a reference to slot `index`.
    pub fn slot(self, index: u16) -> SlotRef {
        SlotRef { index, generation: self.generation() }
    }

    /// The word with another state.
    pub(crate) fn with_state(self, state: State) -> Self {
        Self::new(state, self.owner(), self.generation())
    }

    /// The word of a freed slot after this use.
    pub(crate) fn freed(self) -> Self {
        Self::new(State::Free, Owner::NONE, self.generation().next())
    }
}

fn compare_and_swap(word: &AtomicU64, from: Word, to: Word) -> Result<(), Word> {
    #[cfg(feature = "mutants")]
    if mutants::is(Mutant::RelaxedWord) {
        let result = word.compare_exchange(from.bits(), to.bits(), Ordering::Relaxed, Ordering::Relaxed);
        return result.map(|_| ()).map_err(Word::from_bits);
    }
    // Release: what the holder wrote into row and block is seen by whoever acquires the new word (`Slots::word`).
    // Acquire: what the previous holder wrote is seen by us; also on failure, since the caller looks at the word.
    match word.compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(()),
        Err(found) => Err(Word::from_bits(found)),
    }
}
