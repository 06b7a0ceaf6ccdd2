//! A connection's row in shared memory, and the order of the stores on it.
//!
//! The row is the only thing that a successor knows of a connection, so each function here is one step of the
//! protocol that `README.md` argues: what a death right after it leaves. A row has one writer, the I/O thread that
//! owns it.

use gantry_message::CallerName;
use gantry_ring::SlotRef;
use gantry_segment::ConnectionRow;
use gantry_sys::atomic::{AtomicU64, Ordering};

#[cfg(feature = "attack")]
use crate::mutants::{self, Mutant};

/// State in the low byte of a row's word.
const FREE: u64 = 0;
const OPEN: u64 = 1;
const CLOSING: u64 = 2;

/// The peer sends no more.
pub(crate) const PEER_CLOSED: u32 = 1;
/// Close when all is sent.
pub(crate) const CLOSE_WHEN_SENT: u32 = 2;
/// Nothing is read any more.
pub(crate) const NOT_READ: u32 = 4;

/// What kind of socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Family {
    Tcp = 1,
    Unix = 2,
}

/// Where the next received bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: nothing is read any more.
    Nowhere,
    /// Into the receive buffer from this position on, wrapping at its end; 0 bytes when it is full.
    Ring { at: u64, bytes: u64 },
    /// Into the block of a large body.
    Body { slot: SlotRef, at: u64, bytes: u64 },
}

/// The stream's marks, loaded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks {
    pub(crate) rx: u64,
    pub(crate) parsed: u64,
    pub(crate) flags: u32,
    pub(crate) body_slot: u64,
    pub(crate) body_start: u64,
    pub(crate) body_end: u64,
    pub(crate) discard_end: u64,
}

impl Marks {
    pub(crate) fn load(row: &ConnectionRow) -> Self {
        let load = |mark: &AtomicU64| mark.load(Ordering::Relaxed);
        Self {
            rx: load(&row.rx),
            parsed: load(&row.parsed),
            flags: row.flags.load(Ordering::Relaxed),
            // Acquire: pairs with the Release in `begin_body`; start and end are those of this body.
            body_slot: row.body_slot.load(Ordering::Acquire),
            body_start: load(&row.body_start),
            body_end: load(&row.body_end),
            // Acquire: pairs with the Release in `begin_discard`; the record is that of this body.
            discard_end: row.discard_end.load(Ordering::Acquire),
        }
    }

    /// The large body that is being received: its slot.
    pub(crate) fn body(&self) -> Option<SlotRef> {
        let slot = SlotRef::from_bits(self.body_slot)?;
        (self.body_end > self.parsed && self.body_start > self.parsed).then_some(slot)
    }

    /// Whether a refused body is being thrown away, or was thrown away and is not answered yet.
    pub(crate) fn is_discarding(&self) -> bool {
        self.discard_end > self.parsed
    }

    /// Where the next received bytes go: the pure function of the row as it is before the call, on which a successor
    /// relies that finds more bytes taken than the row says.
    pub(crate) fn place(&self, buffer_bytes: u64) -> Place {
        if self.flags & (NOT_READ | PEER_CLOSED) != 0 {
            return Place::Nowhere;
        }
        if let Some(slot) = self.body()
            && self.rx < self.body_end
        {
            return Place::Body {
                slot,
                at: self.rx.saturating_sub(self.body_start),
                bytes: self.body_end - self.rx,
            };
        }
        let at = self.rx % buffer_bytes;
        if self.is_discarding() {
            // What is thrown away may be overwritten at once, but bytes behind the body may not be taken with it.
            return Place::Ring { at, bytes: buffer_bytes.min(self.discard_end.saturating_sub(self.rx)) };
        }
        Place::Ring { at, bytes: buffer_bytes.saturating_sub(self.rx - self.parsed) }
    }
}

/// Takes a free row into use and gives its generation. The word comes last: a row that is not open is nobody's.
pub(crate) fn open(
    row: &ConnectionRow,
    thread: usize,
    family: Family,
    cookie: u64,
    caller: CallerName,
    now_ns: u64,
) -> u32 {
    for mark in [&row.rx, &row.parsed, &row.tx, &row.recorded, &row.body_slot, &row.body_start] {
        mark.store(0, Ordering::Relaxed);
    }
    for mark in [&row.body_end, &row.discard_end] {
        mark.store(0, Ordering::Relaxed);
    }
    for mark in [&row.receive_buffer, &row.out_head, &row.flags, &row.discard_record] {
        mark.store(0, Ordering::Relaxed);
    }
    row.in_transfer.store(0, Ordering::Relaxed);
    row.in_hand.store(0, Ordering::Relaxed);
    row.cookie.store(cookie, Ordering::Relaxed);
    row.family.store(family as u32, Ordering::Relaxed);
    row.accepted_ns.store(now_ns, Ordering::Relaxed);
    row.caller.set(caller.as_bytes());
    let generation = generation(row);
    set_word(row, OPEN, thread, generation);
    generation
}

/// The generation of the row's connection, or of the next one.
pub(crate) fn generation(row: &ConnectionRow) -> u32 {
    // Acquire: pairs with the Release in `set_word`.
    (row.word.load(Ordering::Acquire) >> 32) as u32
}

/// What a row says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowState {
    /// It has none.
    Free,
    /// It is open: the I/O thread that has it.
    Open { thread: usize },
    /// It is being closed, or the word is corrupt, which comes to the same.
    Closing,
}

/// What a row says of its connection; for who finds it.
pub(crate) fn state(row: &ConnectionRow) -> RowState {
    // Acquire: pairs with the Release in `set_word`; the other fields are of this life.
    let word = row.word.load(Ordering::Acquire);
    match word & 0xff {
        FREE => RowState::Free,
        OPEN => RowState::Open { thread: (word >> 8) as usize & 0xff },
        _ => RowState::Closing,
    }
}

/// Whether the row is free.
pub(crate) fn is_free(row: &ConnectionRow) -> bool {
    row.word.load(Ordering::Acquire) & 0xff == FREE
}

/// Says that the socket is about to be closed: a successor then closes what it finds of it.
pub(crate) fn closing(row: &ConnectionRow) {
    let word = row.word.load(Ordering::Relaxed);
    row.word.store(word & !0xff | CLOSING, Ordering::Release);
}

/// Frees the row. After the socket was closed: a row must not be given to another while the old socket could still
/// be taken for it.
pub(crate) fn free(row: &ConnectionRow) {
    row.receive_buffer.store(0, Ordering::Relaxed);
    row.cookie.store(0, Ordering::Relaxed);
    #[cfg(feature = "attack")]
    if mutants::is(Mutant::RowOfSameGeneration) {
        return set_word(row, FREE, 0, generation(row));
    }
    set_word(row, FREE, 0, generation(row).wrapping_add(1));
}

/// Says that bytes are about to be passed to or from the kernel: until [`end_transfer`] the marks may be behind, and a
/// successor asks the kernel. It need not ask for any other connection, of which there may be tens of thousands.
pub(crate) fn begin_transfer(row: &ConnectionRow) {
    #[cfg(feature = "attack")]
    if mutants::is(Mutant::KernelNotAsked) {
        return;
    }
    // The system call that follows keeps its place behind this store, for the compiler too.
    row.in_transfer.store(1, Ordering::Release);
}

/// Says that the marks count everything that the kernel passed.
pub(crate) fn end_transfer(row: &ConnectionRow) {
    // Release: not before the marks.
    row.in_transfer.store(0, Ordering::Release);
}

/// Whether the marks may be behind the kernel.
pub(crate) fn is_in_transfer(row: &ConnectionRow) -> bool {
    row.in_transfer.load(Ordering::Acquire) != 0
}

/// Says that the connection is being served, by a process whose `deaths` predecessors in succession died doing so.
pub(crate) fn take_in_hand(row: &ConnectionRow, deaths: u32) {
    row.in_hand.store(deaths.saturating_add(1), Ordering::Release);
}

/// Says that this went well.
pub(crate) fn let_go(row: &ConnectionRow) {
    row.in_hand.store(0, Ordering::Release);
}

/// How many processes in succession died while they served it.
pub(crate) fn deaths_in_hand(row: &ConnectionRow) -> u32 {
    row.in_hand.load(Ordering::Acquire)
}

/// Notes received bytes. They are where the row said before the call.
pub(crate) fn received(row: &ConnectionRow, bytes: usize) {
    // Release: a successor that sees the mark sees the bytes.
    row.rx.store(row.rx.load(Ordering::Relaxed) + bytes as u64, Ordering::Release);
}

/// Notes that the kernel has taken everything before `offset`.
pub(crate) fn sent(row: &ConnectionRow, offset: u64) {
    row.tx.store(offset, Ordering::Release);
}

/// Notes that what has come in part will never be whole, since the peer sends no more. The mark goes first: after it
/// neither body nor refusal stands at the front of the stream.
pub(crate) fn forget_rest(row: &ConnectionRow, offset: u64) {
    parsed(row, offset);
    row.discard_end.store(0, Ordering::Release);
    row.body_slot.store(0, Ordering::Release);
}

/// Notes that everything before `offset` is published or refused. After the slot or the record that says so.
pub(crate) fn parsed(row: &ConnectionRow, offset: u64) {
    // Release: a successor that sees the mark sees the slot's word or the record behind it.
    row.parsed.store(offset, Ordering::Release);
}

/// Notes that the bytes from `start` to `end` belong into the block of `slot`, and that those received so far are
/// there. The slot is stored last: without it the other two mean nothing.
pub(crate) fn begin_body(row: &ConnectionRow, slot: SlotRef, start: u64, end: u64) {
    row.body_slot.store(0, Ordering::Release);
    row.body_start.store(start, Ordering::Relaxed);
    row.body_end.store(end, Ordering::Relaxed);
    // Release: pairs with the Acquire in `Marks::load`.
    row.body_slot.store(slot.to_bits(), Ordering::Release);
}

/// Notes that a refused body up to `end` is thrown away, and which record is appended then.
pub(crate) fn begin_discard(row: &ConnectionRow, record: u32, end: u64) {
    row.discard_record.store(record + 1, Ordering::Relaxed);
    // Release: pairs with the Acquire in `Marks::load`.
    row.discard_end.store(end, Ordering::Release);
}

/// Sets flags.
pub(crate) fn set_flags(row: &ConnectionRow, flags: u32) {
    row.flags.store(row.flags.load(Ordering::Relaxed) | flags, Ordering::Release);
}

fn set_word(row: &ConnectionRow, state: u64, thread: usize, generation: u32) {
    let word = u64::from(generation) << 32 | (thread as u64 & 0xff) << 8 | state;
    // Release: pairs with the Acquire in `generation` and `is_open`; the other fields are in their new life.
    row.word.store(word, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_ring::Generation;

    const BUFFER: u64 = 1024;

    fn slot() -> SlotRef {
        SlotRef { index: 3, generation: Generation::from_bits(8) }
    }

    fn place(row: &ConnectionRow) -> Place {
        Marks::load(row).place(BUFFER)
    }

    fn is_open(row: &ConnectionRow, wanted: u32) -> bool {
        row.word.load(Ordering::Relaxed) & 0xff == OPEN && generation(row) == wanted
    }

    fn opened() -> ConnectionRow {
        let row = ConnectionRow::default();
        open(&row, 1, Family::Tcp, 99, CallerName::ANONYMOUS, 5);
        row
    }

    #[test]
    fn a_row_has_another_generation_in_its_next_life() {
        let row = ConnectionRow::default();
        assert!(is_free(&row));
        let first = open(&row, 2, Family::Unix, 7, CallerName::ANONYMOUS, 5);
        assert!(is_open(&row, first) && !is_free(&row));
        received(&row, 10);
        closing(&row);
        assert!(!is_open(&row, first) && !is_free(&row));
        free(&row);
        assert!(is_free(&row));
        let second = open(&row, 2, Family::Tcp, 8, CallerName::ANONYMOUS, 6);
        assert!(is_open(&row, second) && !is_open(&row, first));
        assert_eq!((Marks::load(&row), row.cookie.load(Ordering::Relaxed)), (Marks::default(), 8));
    }

    #[test]
    fn received_bytes_go_round_the_buffer_and_never_over_what_is_not_parsed() {
        let row = opened();
        assert_eq!(place(&row), Place::Ring { at: 0, bytes: 1024 });
        received(&row, 1000);
        assert_eq!(place(&row), Place::Ring { at: 1000, bytes: 24 });
        parsed(&row, 600);
        assert_eq!(place(&row), Place::Ring { at: 1000, bytes: 624 });
        received(&row, 624);
        assert_eq!(place(&row), Place::Ring { at: 600, bytes: 0 });
        parsed(&row, 1624);
        assert_eq!(place(&row), Place::Ring { at: 600, bytes: 1024 });
    }

    #[test]
    fn a_large_body_takes_its_bytes_and_not_one_more() {
        let row = opened();
        received(&row, 100);
        begin_body(&row, slot(), 64, 5000);
        assert_eq!(place(&row), Place::Body { slot: slot(), at: 36, bytes: 4900 });
        received(&row, 4900);
        assert!(matches!(place(&row), Place::Ring { at: 904, .. }));
        parsed(&row, 5000);
        assert_eq!(Marks::load(&row).body(), None, "a body before the parsed mark is an old one");
        assert_eq!(place(&row), Place::Ring { at: 904, bytes: 1024 });
    }

    #[test]
    fn a_refused_body_is_thrown_away_up_to_its_end() {
        let row = opened();
        received(&row, 1024);
        begin_discard(&row, 0, 64 + 3000);
        assert_eq!(
            place(&row),
            Place::Ring { at: 0, bytes: 1024 },
            "what is thrown away makes no room scarce"
        );
        received(&row, 1024);
        assert_eq!(place(&row), Place::Ring { at: 0, bytes: 1016 });
        received(&row, 1016);
        assert!(Marks::load(&row).is_discarding());
        parsed(&row, 64 + 3000);
        assert!(!Marks::load(&row).is_discarding());
        assert_eq!(place(&row), Place::Ring { at: 1016, bytes: 1024 });
    }

    #[test]
    fn nothing_is_read_after_a_malformed_frame_or_the_peers_end() {
        for flag in [NOT_READ, PEER_CLOSED] {
            let row = opened();
            set_flags(&row, flag);
            assert_eq!(place(&row), Place::Nowhere);
        }
    }
}
