//! One range in shared memory, from which every process takes and which one process fills.
//!
//! A cell is two words. `word` says which filling this is (36 bits), the low bits of the range's epoch (4) and how many
//! numbers are left (24); `end` is the number behind the last one. The numbers left are the last ones of the range, so a
//! take only lowers `left`: **one exchange of one word takes, and what was taken once cannot be taken again.**
//!
//! - *Who writes what.* `word` with something left: everybody, by compare-and-swap, and only downwards. `end`, and `word`
//!   with nothing left: only the process whose row of the process table the cell lies in. There is one such process at
//!   a time, and its successor is started only after it is dead, so a fill has no rival and needs no lock.
//! - *Why a taker's `end` belongs to its `word`.* It loads `word`, then `end`, then exchanges exactly that `word`. If it
//!   succeeds, the word had not changed. `end` is written only after the filler saw `left == 0` in a later word, which
//!   comes after the taker's exchange; that exchange releases and the filler's load acquires, so the taker's load of
//!   `end` happened before that write. If it fails, nothing was taken. A word never comes back: the filling
//!   number grows with each fill (2^36 of them; at one fill in a millisecond they last two years *within one stop of a
//!   taker between its load and its exchange*).
//! - *What a death leaves.* Filler, after `end`: nothing is left in the cell, its numbers are lost (a gap), the successor
//!   fills it. Taker, after the exchange: its numbers are lost. Everything else changes nothing. Nobody recovers
//!   anything, and nobody waits for anybody.
//! - *Epochs.* `gantry serial raise` begins a new epoch. A taker that finds another epoch's bits throws the rest of
//!   that range away instead of taking.

use std::ops::Range;

use gantry_segment::SerialCell;
use gantry_sys::atomic::Ordering;

/// Bits of `left`, the lowest.
const LEFT_BITS: u32 = 24;
/// Bits of the epoch, above `left`.
const EPOCH_BITS: u32 = 4;
const LEFT_MASK: u64 = (1 << LEFT_BITS) - 1;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;

/// Numbers that a cell can hold.
pub const CELL_NUMBERS_MAX: i64 = LEFT_MASK as i64;

/// What came of trying to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Take {
    /// Nothing is left.
    Empty,
    /// These numbers are the caller's alone.
    Taken(Range<i64>),
    /// The range was of another epoch; so many numbers were thrown away.
    Dropped(i64),
}

/// Numbers left in the cell, of whatever epoch.
pub fn left(cell: &SerialCell) -> i64 {
    left_of(cell.word.load(Ordering::Relaxed))
}

/// The number behind the last one. It orders ranges and proves nothing: it may be newer than what is taken then.
pub(crate) fn end(cell: &SerialCell) -> u64 {
    cell.end.load(Ordering::Relaxed)
}

/// Takes up to `count` numbers of the range, if it is of `epoch`. Called by any process.
pub fn take(cell: &SerialCell, epoch: u64, count: i64) -> Take {
    // Acquire: pairs with the Release in `fill`; `end` is that of this filling or a later one.
    let mut word = cell.word.load(Ordering::Acquire);
    loop {
        let left = left_of(word);
        if left == 0 || count <= 0 {
            return Take::Empty;
        }
        let is_current = (word >> LEFT_BITS) & EPOCH_MASK == epoch & EPOCH_MASK;
        let taken = if is_current { count.min(left) } else { left };
        let end = cell.end.load(Ordering::Relaxed);
        // Release: the load of `end` stays before it, for the filler that acquires in `fill`.
        match cell.word.compare_exchange(word, word - taken as u64, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) if !is_current => return Take::Dropped(taken),
            Ok(_) => {
                let first = i64::try_from(end).unwrap_or(i64::MAX) - left;
                return Take::Taken(first..first + taken);
            }
            Err(found) => word = found,
        }
    }
}

/// Throws away a range that is of another epoch; gives how many numbers that were. Called by any process.
pub fn sweep(cell: &SerialCell, epoch: u64) -> i64 {
    let word = cell.word.load(Ordering::Acquire);
    let is_current = (word >> LEFT_BITS) & EPOCH_MASK == epoch & EPOCH_MASK;
    match if is_current { Take::Empty } else { take(cell, epoch, 1) } {
        Take::Dropped(numbers) => numbers,
        // It was filled anew in between: one number too many is lost.
        Take::Taken(range) => range.end - range.start,
        Take::Empty => 0,
    }
}

/// Puts a range into an empty cell; gives whether it did. Called only by the process whose row the cell lies in.
/// A range of no numbers, of more than [`CELL_NUMBERS_MAX`], or that begins below 1 is refused.
pub fn fill(cell: &SerialCell, epoch: u64, range: &Range<i64>) -> bool {
    let count = range.end.saturating_sub(range.start);
    // Acquire: pairs with the Release in `take`; whoever took the last number has read `end`.
    let word = cell.word.load(Ordering::Acquire);
    if left_of(word) != 0 || range.start < 1 || !(1..=CELL_NUMBERS_MAX).contains(&count) {
        return false;
    }
    cell.end.store(range.end.unsigned_abs(), Ordering::Relaxed);
    let filling = (word >> (LEFT_BITS + EPOCH_BITS)).wrapping_add(1);
    let full = filling << (LEFT_BITS + EPOCH_BITS) | (epoch & EPOCH_MASK) << LEFT_BITS | count.unsigned_abs();
    // Release: pairs with the Acquire in `take`. A plain store, since nobody else changes a word with nothing left.
    cell.word.store(full, Ordering::Release);
    true
}

fn left_of(word: u64) -> i64 {
    (word & LEFT_MASK).cast_signed()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_from_the_front_until_none_is_left() {
        let cell = SerialCell::default();
        assert_eq!(take(&cell, 0, 1), Take::Empty);
        assert!(fill(&cell, 0, &(100..110)));
        assert_eq!(take(&cell, 0, 4), Take::Taken(100..104));
        assert!(!fill(&cell, 0, &(200..210)), "a cell with numbers left is not filled");
        assert_eq!(take(&cell, 0, 0), Take::Empty);
        assert_eq!(take(&cell, 0, 100), Take::Taken(104..110));
        assert_eq!((take(&cell, 0, 1), left(&cell)), (Take::Empty, 0));
        assert!(fill(&cell, 0, &(200..210)));
        assert_eq!(take(&cell, 0, 1), Take::Taken(200..201));
    }

    #[test]
    fn range_of_another_epoch_is_thrown_away() {
        let cell = SerialCell::default();
        assert!(fill(&cell, 1, &(100..110)));
        assert_eq!(take(&cell, 1, 4), Take::Taken(100..104));
        assert_eq!(take(&cell, 2, 4), Take::Dropped(6));
        assert_eq!(take(&cell, 2, 4), Take::Empty);
    }

    #[test]
    fn largest_range_fits_and_what_does_not_is_refused() {
        let cell = SerialCell::default();
        let last = 10_i64.pow(18);
        let backwards = std::ops::Range { start: 9, end: 5 };
        for range in [5..5, backwards, 0..4, -3..4, 1..2 + CELL_NUMBERS_MAX] {
            assert!(!fill(&cell, 0, &range), "{range:?}");
        }
        assert!(fill(&cell, 15, &(last - CELL_NUMBERS_MAX..last)));
        assert_eq!(take(&cell, 15, 1), Take::Taken(last - CELL_NUMBERS_MAX..last - CELL_NUMBERS_MAX + 1));
        assert_eq!(take(&cell, 31, i64::MAX), Take::Taken(last - CELL_NUMBERS_MAX + 1..last));
    }

    /// Another process wrote it, so nothing in it may make a reader panic.
    #[test]
    fn damaged_words_give_no_panic() {
        let cell = SerialCell::default();
        cell.word.store(u64::MAX, Ordering::Relaxed);
        cell.end.store(u64::MAX, Ordering::Relaxed);
        assert!(matches!(take(&cell, 15, 5), Take::Taken(_)));
        cell.end.store(0, Ordering::Relaxed);
        assert!(matches!(take(&cell, 15, 5), Take::Taken(range) if range.start < 0));
        cell.word.store(!LEFT_MASK, Ordering::Relaxed);
        assert!(fill(&cell, 0, &(1..2)));
        assert_eq!(take(&cell, 0, 1), Take::Taken(1..2));
    }
}
