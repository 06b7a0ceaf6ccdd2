//! Replies on their way out: records in shared memory, chained in the order in which their bytes go.
//!
//! Appending is: fill the record, then store one index (the last record's `next`, or the row's `out_head`). That one
//! store is the promise that the bytes will be sent; everything before it is invisible, everything after it can be
//! found again by walking the chain. A record is freed from the front when `tx` has passed its end.

use gantry_frame::HEADER_BYTES;
use gantry_ring::SlotRef;
use gantry_segment::{ConnectionRow, Control, OutRecord};
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;

#[cfg(feature = "attack")]
use crate::mutants::{self, Mutant};

const FREE: u32 = 0;
const IN_SLOT: u32 = 1;
const INLINE: u32 = 2;

/// What a record sends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'b> {
    /// The reply of a slot, whose body has this many bytes. The header is made again whenever it is needed.
    Slot { slot: SlotRef, body_bytes: u32 },
    /// These bytes, header and body; the slot that they answer, if there is one.
    Inline { slot: Option<SlotRef>, header: &'b [u8; HEADER_BYTES], body: &'b [u8] },
}

/// Whom a record answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// Index of the connection row.
    pub(crate) connection: u32,
    pub(crate) generation: u32,
    /// Stream offset of the frame.
    pub(crate) frame_offset: u64,
}

/// A record as the sender needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) record: u32,
    /// Stream offset of its first byte.
    pub(crate) start: u64,
    /// Bytes of header and body.
    pub(crate) bytes: u64,
    /// The slot that holds the body; `None` when the bytes are in the record.
    pub(crate) slot: Option<SlotRef>,
}

impl Outgoing {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes
    }
}

/// The records of one I/O thread.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    control: &'a Control,
    rows: &'a [OutRecord],
    free: Vec<u32>,
}

impl<'a> Records<'a> {
    /// All records from `first` to `end` that are not in `taken`.
    pub(crate) fn new(control: &'a Control, first: u32, end: u32, taken: impl Fn(u32) -> bool) -> Self {
        let rows = control.out_records();
        // Popped from the back: low ones first, which keeps the touched memory small.
        let free = (first..end).rev().filter(|record| !taken(*record)).collect();
        Self { control, rows, free }
    }

    /// Takes a free record; `None` when all are in use.
    pub(crate) fn claim(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives a record back that was not appended, or was sent.
    pub(crate) fn give_back(&mut self, record: u32) {
        self.rows[record as usize].kind.store(FREE, Ordering::Relaxed);
        self.free.push(record);
    }

    /// Whether there is none to claim.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// How many there are to claim.
    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Fills a claimed record. Nobody sees it before [`append`](Self::append).
    pub(crate) fn fill(&self, record: u32, answered: Answered, content: Content<'_>) {
        let row = &self.rows[record as usize];
        let (kind, slot, bytes) = match content {
            Content::Slot { slot, body_bytes } => (IN_SLOT, Some(slot), HEADER_BYTES + body_bytes as usize),
            Content::Inline { slot, header, body } => {
                let place = self.inline(record);
                let (front, back) = place.split_at(HEADER_BYTES).unwrap_or((place, place));
                front.copy_from(header);
                back.copy_from(body);
                (INLINE, slot, HEADER_BYTES + body.len().min(back.len()))
            }
        };
        row.next.store(0, Ordering::Relaxed);
        row.connection.store(answered.connection, Ordering::Relaxed);
        row.connection_generation.store(answered.generation, Ordering::Relaxed);
        row.slot.store(slot.map_or(0, SlotRef::to_bits), Ordering::Relaxed);
        row.frame_offset.store(answered.frame_offset, Ordering::Relaxed);
        row.bytes.store(bytes as u64, Ordering::Relaxed);
        row.kind.store(kind, Ordering::Relaxed);
    }

    /// Appends a filled record behind `tail` (index + 1 of the last one, 0 = none) and gives its length in bytes.
    pub(crate) fn append(&self, row: &ConnectionRow, tail: &mut u32, record: u32) -> u64 {
        let start = row.recorded.load(Ordering::Relaxed);
        #[cfg(feature = "attack")]
        if mutants::is(Mutant::LinkBeforeWhole) {
            self.link(row, *tail, record);
        }
        self.rows[record as usize].start.store(start, Ordering::Relaxed);
        self.link(row, *tail, record);
        let bytes = self.rows[record as usize].bytes.load(Ordering::Relaxed);
        // Only a shortcut to the end of the chain: a successor that died's link finds takes the end from there.
        row.recorded.store(start + bytes, Ordering::Release);
        *tail = record + 1;
        bytes
    }

    /// The one store that appends.
    fn link(&self, row: &ConnectionRow, tail: u32, record: u32) {
        let place = match tail.checked_sub(1) {
            Some(last) => &self.rows[last as usize].next,
            None => &row.out_head,
        };
        // Release: pairs with the Acquire in `first` and `next`; the record is whole.
        place.store(record + 1, Ordering::Release);
    }

    /// The first record of a chain.
    pub(crate) fn first(&self, row: &ConnectionRow) -> Option<Outgoing> {
        // Acquire: pairs with the Release in `link`; so also in `next`.
        self.get(row.out_head.load(Ordering::Acquire))
    }

    /// The record behind this one.
    pub(crate) fn next(&self, of: &Outgoing) -> Option<Outgoing> {
        self.get(self.rows[of.record as usize].next.load(Ordering::Acquire))
    }

    /// Takes the first record out of its chain, after its slot was released. The head moves before the record can be
    /// given to another chain.
    pub(crate) fn pop(&mut self, row: &ConnectionRow, tail: &mut u32, first: &Outgoing) {
        let next = self.rows[first.record as usize].next.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `first`.
        row.out_head.store(next, Ordering::Release);
        if next == 0 {
            *tail = 0;
        }
        self.give_back(first.record);
    }

    /// The bytes that a record holds itself.
    pub(crate) fn inline(&self, record: u32) -> SharedBytes<'a> {
        self.control.out_record_bytes(record as usize).expect("records are claimed from those that there are")
    }

    fn get(&self, index: u32) -> Option<Outgoing> {
        read(self.rows, index)
    }
}

/// The record that a link (index + 1) names; `None` for 0, and for what names none.
pub(crate) fn read(rows: &[OutRecord], link: u32) -> Option<Outgoing> {
    let record = link.checked_sub(1)?;
    let row = rows.get(record as usize)?;
    let slot = SlotRef::from_bits(row.slot.load(Ordering::Relaxed));
    Some(Outgoing {
        record,
        start: row.start.load(Ordering::Relaxed),
        bytes: row.bytes.load(Ordering::Relaxed),
        slot: slot.filter(|_| row.kind.load(Ordering::Relaxed) == IN_SLOT),
    })
}

/// Frees every record of a dead process that no kept connection has.
pub(crate) fn clear(rows: &[OutRecord], is_kept: impl Fn(usize) -> bool) {
    for (index, row) in rows.iter().enumerate() {
        // Rows that were never used are not written, so that they take no memory.
        if row.kind.load(Ordering::Relaxed) != FREE && !is_kept(index) {
            row.kind.store(FREE, Ordering::Relaxed);
            row.next.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use gantry_ring::Generation;

    const ANSWERED: Answered = Answered { connection: 2, generation: 9, frame_offset: 640 };

    /// The records of a chain as a successor walks them: each with its first byte and its length.
    fn chain(records: &Records<'_>, row: &ConnectionRow) -> Vec<(u32, u64, u64)> {
        let mut found = Vec::new();
        let mut next = records.first(row);
        while let Some(outgoing) = next {
            found.push((outgoing.record, outgoing.start, outgoing.bytes));
            next = records.next(&outgoing);
        }
        found
    }

    fn inline<'b>(body: &'b [u8]) -> Content<'b> {
        Content::Inline {
            slot: None,
            header: b"hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
            body,
        }
    }

    #[test]
    fn replies_follow_each_other_in_the_stream_and_leave_from_the_front() {
        let control = testing::control();
        let mut records = Records::new(&control, 0, 8, |_| false);
        let (row, mut tail) = (ConnectionRow::default(), 0);
        let slot = SlotRef { index: 1, generation: Generation::from_bits(4) };
        for content in [inline(b"abc"), Content::Slot { slot, body_bytes: 1000 }, inline(b"")] {
            let record = records.claim().unwrap();
            records.fill(record, ANSWERED, content);
            records.append(&row, &mut tail, record);
        }
        assert_eq!(chain(&records, &row), [(0, 0, 67), (1, 67, 1064), (2, 1131, 64)]);
        assert_eq!(row.recorded.load(Ordering::Relaxed), 1195);
        let first = records.first(&row).unwrap();
        assert_eq!((first.slot, first.end()), (None, 67));
        records.pop(&row, &mut tail, &first);
        let second = records.first(&row).unwrap();
        assert_eq!((second.slot, tail), (Some(slot), 3));
        records.pop(&row, &mut tail, &second);
        let third = records.first(&row).unwrap();
        records.pop(&row, &mut tail, &third);
        assert_eq!((chain(&records, &row), tail), (vec![], 0));
        assert_eq!(records.claim(), Some(2), "the last one freed comes first, and all came back");
    }

    #[test]
    fn a_death_at_each_step_of_an_append_leaves_all_of_it_or_nothing() {
        let control = testing::control();
        let mut records = Records::new(&control, 0, 8, |_| false);
        let (row, mut tail) = (ConnectionRow::default(), 0);
        for length in [3_usize, 0] {
            let before = chain(&records, &row);
            let end = before.last().map_or(0, |(_, start, bytes)| start + bytes);
            let record = records.claim().unwrap();
            records.fill(record, ANSWERED, inline(&b"abc"[..length]));
            assert_eq!(chain(&records, &row), before, "filled, not appended");
            control.out_records()[record as usize].start.store(end, Ordering::Relaxed);
            assert_eq!(chain(&records, &row), before, "placed, not appended");
            records.link(&row, tail, record);
            let mut after = before.clone();
            after.push((record, end, 64 + length as u64));
            assert_eq!(chain(&records, &row), after, "appended, though `recorded` does not know yet");
            // The rest of the append, as it would have been.
            row.recorded.store(end + 64 + length as u64, Ordering::Relaxed);
            tail = record + 1;
        }
    }

    #[test]
    fn a_pool_without_free_records_says_so_and_takes_them_back() {
        let control = testing::control();
        let mut records = Records::new(&control, 4, 7, |record| record == 5);
        assert_eq!((records.claim(), records.claim(), records.claim()), (Some(4), Some(6), None));
        assert!(records.is_empty());
        records.give_back(4);
        assert!(!records.is_empty());
    }

    #[test]
    fn clearing_forgets_what_a_dead_process_recorded() {
        let control = testing::control();
        let mut records = Records::new(&control, 0, 8, |_| false);
        let record = records.claim().unwrap();
        records.fill(record, ANSWERED, inline(b"x"));
        clear(control.out_records(), |_| false);
        assert!(control.out_records().iter().all(|row| row.kind.load(Ordering::Relaxed) == FREE));
    }
}
