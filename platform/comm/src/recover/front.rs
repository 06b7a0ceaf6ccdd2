//! The front of a stream: the frame at `parsed`, which a death may have left at any step between "not looked at" and
//! "answered".

use gantry_frame::{Decoded, HEADER_BYTES, Header, decode_request};
use gantry_ring::{BlockKind, BlockRef, SlotRef, State};
use gantry_sys::atomic::Ordering;

use super::chain::Chain;
use super::rows::{Lost, Taken};
use crate::client::Large;
use crate::connection::{self, CLOSE_WHEN_SENT, Marks, NOT_READ, PEER_CLOSED};
use crate::deliver::frame_cost;
use crate::receive::copy_from_ring;

/// How a stream goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Front {
    /// With frames, to be scanned from `parsed` on.
    Frames,
    /// With the rest of a large body.
    Body(Large),
    /// With the rest of a refused body.
    Discard,
}

/// Moves `parsed` over a frame that was published or answered, and says how the stream goes on. `may_have` says of a
/// record whether this row may have it.
pub(super) fn settle(
    taken: &Taken<'_, '_>,
    chain: &Chain,
    may_have: impl Fn(u32) -> bool,
) -> Result<Front, Lost> {
    let row = taken.row;
    let marks = Marks::load(row);
    if marks.parsed > marks.rx && !marks.is_discarding() {
        return Err(Lost::Corrupt("parsed"));
    }
    let is_answered = chain.answers(taken.node.control.out_records(), marks.parsed);
    let is_ended = marks.flags & PEER_CLOSED != 0;
    if marks.is_discarding() && marks.flags & NOT_READ == 0 {
        if is_answered {
            connection::parsed(row, marks.discard_end);
        } else if is_ended && marks.rx < marks.discard_end {
            connection::forget_rest(row, marks.rx);
        } else {
            let record = row.discard_record.load(Ordering::Relaxed).checked_sub(1);
            return record
                .filter(|record| may_have(*record))
                .map(|_| Front::Discard)
                .ok_or(Lost::Corrupt("refusal"));
        }
        row.discard_record.store(0, Ordering::Relaxed);
        return Ok(Front::Frames);
    }
    // Of a refusal that is appended, or that was not begun: what it left in the row means nothing.
    row.discard_record.store(0, Ordering::Relaxed);
    if marks.flags & NOT_READ != 0 {
        return Ok(Front::Frames);
    }
    if let Some(slot) = marks.body() {
        if is_answered || taken.published.is_some() {
            connection::parsed(row, marks.body_end);
        } else if is_ended && marks.rx < marks.body_end {
            connection::forget_rest(row, marks.rx);
        } else {
            return taken.body(&marks, slot).map(Front::Body).ok_or(Lost::Corrupt("body"));
        }
        row.body_slot.store(0, Ordering::Release);
        return Ok(Front::Frames);
    }
    if is_answered {
        taken.pass_answered(&marks)?;
    } else if let Some(slot) = taken.published {
        taken.pass_published(&marks, slot)?;
    }
    Ok(Front::Frames)
}

impl Taken<'_, '_> {
    /// The body that is being received, if its slot is still the one that the row names.
    fn body(&self, marks: &Marks, slot: SlotRef) -> Option<Large> {
        let node = self.node;
        let row = node.slots.row(slot.index)?;
        let word = node.slots.word(slot.index);
        let is_its = word.is(State::Filling)
            && word.slot(slot.index) == slot
            && row.connection.load(Ordering::Relaxed) == self.index
            && row.connection_generation.load(Ordering::Relaxed) == connection::generation(self.row)
            && row.frame_offset.load(Ordering::Relaxed) == marks.parsed;
        let Decoded::Header(header) = self.header(marks)?.ok()? else { return None };
        let block = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed))?;
        let is_whole = node.blocks.is_held(block, slot, BlockKind::Request)
            && node.blocks.block_bytes(block.class) >= header.body_bytes
            && marks.body_start == marks.parsed + HEADER_BYTES as u64
            && marks.body_end == marks.body_start + u64::from(header.body_bytes);
        (is_its && is_whole).then_some(Large { slot, block, header })
    }

    /// The header at `parsed`, as far as it has come.
    fn header(&self, marks: &Marks) -> Option<Result<Decoded, gantry_frame::DecodeError>> {
        let buffer = self.row.receive_buffer.load(Ordering::Relaxed).checked_sub(1)?;
        let ring = self.node.bodies.receive_buffer(buffer as usize)?;
        let mut prefix = [0_u8; HEADER_BYTES];
        let known = marks.rx.saturating_sub(marks.parsed).min(HEADER_BYTES as u64) as usize;
        copy_from_ring(ring, marks.parsed, &mut prefix[..known]);
        Some(decode_request(&prefix[..known], &self.node.frame_limits))
    }

    /// The frame's answer is recorded: the stream goes on behind it, or nowhere.
    fn pass_answered(&self, marks: &Marks) -> Result<(), Lost> {
        let wrong = Lost::Corrupt("answered frame");
        match self.header(marks).ok_or(wrong)? {
            Ok(Decoded::Header(header)) if frame_end(marks, &header) <= marks.rx => {
                connection::parsed(self.row, frame_end(marks, &header));
                Ok(())
            }
            // 101 or 104, also one that a predecessor with other limits gave.
            Err(_) | Ok(Decoded::Header(_)) => {
                connection::set_flags(self.row, NOT_READ | CLOSE_WHEN_SENT);
                Ok(())
            }
            Ok(Decoded::Incomplete) => Err(wrong),
        }
    }

    /// The frame is with the workers, or done.
    fn pass_published(&self, marks: &Marks, slot: SlotRef) -> Result<(), Lost> {
        let row = self.node.slots.row(slot.index).ok_or(Lost::Corrupt("published frame"))?;
        let end = marks.parsed + frame_cost(row);
        if end > marks.rx {
            return Err(Lost::Corrupt("published frame"));
        }
        connection::parsed(self.row, end);
        Ok(())
    }
}

fn frame_end(marks: &Marks, header: &Header) -> u64 {
    marks.parsed + HEADER_BYTES as u64 + u64::from(header.body_bytes)
}
