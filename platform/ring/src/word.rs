//! The state word of a slot: state 4 bits, row 8, epoch 20, generation 32.

use std::fmt;

/// How often a request may be started before it is given up: the first attempt and one more.
pub const ATTEMPTS_MAX: u32 = 2;

/// Where a request is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nobody's.
    Free = 0,
    /// The communication process writes fields and body.
    Filling = 1,
    /// Waits for a worker.
    Queued = 2,
    /// A worker runs it.
    Running = 3,
    /// The service returned; its transaction is not committed yet.
    Executed = 4,
    /// The reply is whole.
    Done = 5,
    /// Its worker died while running it.
    Lost = 6,
    /// Its caller's time ran out while it was queued.
    Expired = 7,
    /// A repeat that waits for the running original.
    Joined = 8,
    /// Its worker died after the service returned and before the commit was known.
    Uncommitted = 9,
}

impl State {
    /// From its four bits; `None` for a corrupt word.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Free,
            1 => Self::Filling,
            2 => Self::Queued,
            3 => Self::Running,
            4 => Self::Executed,
            5 => Self::Done,
            6 => Self::Lost,
            7 => Self::Expired,
            8 => Self::Joined,
            9 => Self::Uncommitted,
            _ => return None,
        })
    }
}

/// Who holds a slot: a row of the process table in one of its lives. Never a bare pid, since pids come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    row: u8,
    epoch: u32,
}

impl Owner {
    /// Nobody.
    pub const NONE: Self = Self { row: 0, epoch: 0 };

    /// The process in `row` of life `epoch`, of which 20 bits are kept.
    pub const fn new(row: u8, epoch: u32) -> Self {
        Self { row, epoch: epoch & 0xf_ffff }
    }

    /// Row of the process table.
    pub fn row(self) -> u8 {
        self.row
    }

    /// Life number, 20 bits.
    pub fn epoch(self) -> u32 {
        self.epoch
    }

    /// Whether this life of a row came before `other`'s. Life numbers go round, so the shorter way decides.
    pub(crate) fn is_earlier_life(self, other: Self) -> bool {
        let behind = other.epoch.wrapping_sub(self.epoch) & 0xf_ffff;
        behind != 0 && behind < 1 << 19
    }
}

/// Which use of a slot: the low two bits count the attempt, the rest the uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generation(u32);

impl Generation {
    /// From its 32 bits.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// All 32 bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The use, without the attempt: what block tags carry, so that they stay valid over a retry.
    pub fn base(self) -> u32 {
        self.0 >> 2
    }

    /// The attempt, from 0.
    pub fn attempt(self) -> u32 {
        self.0 & 3
    }

    /// The next use of the slot.
    pub(crate) fn next(self) -> Self {
        Self((self.0 & !3).wrapping_add(4))
    }

    /// The next attempt of the same use; `None` when there were [`ATTEMPTS_MAX`].
    pub(crate) fn retry(self) -> Option<Self> {
        (self.attempt() + 1 < ATTEMPTS_MAX).then_some(Self(self.0 + 1))
    }
}

/// One use of one slot, as rings, rows and records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRef {
    /// Index of the slot.
    pub index: u16,
    /// Which use and attempt.
    pub generation: Generation,
}

impl SlotRef {
    /// As one word that is never 0: index + 1 in the low half, generation in the high half.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation.0) << 32 | (u64::from(self.index) + 1)
    }

    /// From [`to_bits`](Self::to_bits); `None` for 0 and for what cannot be a slot.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let index = (bits as u32).checked_sub(1)?;
        Some(Self { index: u16::try_from(index).ok()?, generation: Generation((bits >> 32) as u32) })
    }

    /// Whether both name the same use of the same slot, whatever the attempt.
    pub fn is_same_use(self, other: Self) -> bool {
        self.index == other.index && self.generation.base() == other.generation.base()
    }
}

/// A slot's whole state word, taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    /// Puts a word together.
    pub fn new(state: State, owner: Owner, generation: Generation) -> Self {
        Self(
            (state as u64) << 60
                | u64::from(owner.row) << 52
                | u64::from(owner.epoch) << 32
                | u64::from(generation.0),
        )
    }

    /// From the 64 bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The 64 bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The state; `None` when the word is corrupt.
    pub fn state(self) -> Option<State> {
        State::from_bits((self.0 >> 60) as u8)
    }

    /// Whether the state is `state`.
    pub fn is(self, state: State) -> bool {
        self.0 >> 60 == state as u64
    }

    /// The owner.
    pub fn owner(self) -> Owner {
        Owner { row: (self.0 >> 52) as u8, epoch: (self.0 >> 32) as u32 & 0xf_ffff }
    }

    /// The generation.
    pub fn generation(self) -> Generation {
        Generation(self.0 as u32)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (owner, generation) = (self.owner(), self.generation());
        match self.state() {
            Some(state) => write!(out, "{state:?}")?,
            None => write!(out, "corrupt({:#x})", self.0 >> 60)?,
        }
        write!(out, "(row {}/{}, use {}.{})", owner.row, owner.epoch, generation.base(), generation.attempt())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_comes_apart_as_it_was_put_together() {
        let owner = Owner::new(255, 0xf_ffff);
        let word = Word::new(State::Uncommitted, owner, Generation(u32::MAX));
        assert_eq!(word.state(), Some(State::Uncommitted));
        assert_eq!(word.owner(), owner);
        assert_eq!(word.generation(), Generation(u32::MAX));
        assert!(Word(0).is(State::Free));
        assert_eq!(Word(0xf << 60).state(), None);
    }

    #[test]
    fn a_use_is_over_when_the_generation_moves_on_but_not_by_a_retry() {
        let first = Generation(8);
        let again = first.retry().unwrap();
        assert_eq!(again.retry(), None);
        assert_eq!((again.base(), again.attempt()), (first.base(), 1));
        assert_eq!(again.next(), Generation(12));
        assert_eq!(Generation(u32::MAX).next(), Generation(0));
    }

    #[test]
    fn lives_of_a_row_come_one_after_the_other_also_round_the_end() {
        let life = |epoch| Owner::new(1, epoch);
        for (earlier, later) in [(1, 2), (7, 500_000), (0xf_ffff, 1), (0xf_fff0, 9)] {
            assert!(life(earlier).is_earlier_life(life(later)));
            assert!(!life(later).is_earlier_life(life(earlier)));
        }
        assert!(!life(3).is_earlier_life(life(3)));
    }

    #[test]
    fn a_slot_reference_is_never_zero_and_comes_back() {
        for index in [0, 1, u16::MAX] {
            let slot = SlotRef { index, generation: Generation(7) };
            assert_eq!(SlotRef::from_bits(slot.to_bits()), Some(slot));
        }
        assert_eq!(SlotRef::from_bits(0), None);
        assert_eq!(SlotRef::from_bits(u64::from(u32::MAX)), None);
    }
}
