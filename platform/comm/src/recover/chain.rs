//! The chain of recorded replies of one connection, as a dead process left it.

use gantry_ring::{SlotRef, State};
use gantry_segment::{ConnectionRow, OutRecord};
use gantry_sys::atomic::Ordering;

use crate::deliver::reply_body;
use crate::node::{Node, Share};
use crate::outgoing::{self, Outgoing};

/// A chain that is whole: its replies follow each other in the stream, and each is there.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// In the order in which they are sent.
    pub(super) records: Vec<Outgoing>,
}

impl Chain {
    /// Walks the chain from the row's head. `None`: it is not one that this program left, so it cannot be gone on with.
    /// `is_taken` says of a record whether another chain has it.
    pub(super) fn read(
        node: &Node<'_>,
        index: u32,
        row: &ConnectionRow,
        is_taken: impl Fn(u32) -> bool,
    ) -> Option<Self> {
        let rows = node.control.out_records();
        let share = share_of(node, row, rows.len())?;
        let mut chain = Self::default();
        let mut next = outgoing::read(rows, row.out_head.load(Ordering::Acquire));
        if row.out_head.load(Ordering::Relaxed) != 0 && next.is_none() {
            return None;
        }
        while let Some(outgoing) = next {
            let record = &rows[outgoing.record as usize];
            let is_ours = record.connection.load(Ordering::Relaxed) == index
                && record.connection_generation.load(Ordering::Relaxed) == crate::connection::generation(row)
                && (share.first..share.end).contains(&outgoing.record)
                && !is_taken(outgoing.record);
            let follows = chain.records.last().is_none_or(|last| last.end() == outgoing.start);
            if !is_ours || !follows || chain.records.len() >= rows.len() {
                return None;
            }
            chain.records.push(outgoing);
            let link = record.next.load(Ordering::Acquire);
            next = outgoing::read(rows, link);
            if link != 0 && next.is_none() {
                return None;
            }
        }
        Some(chain)
    }

    /// Stream offset behind its last byte.
    pub(super) fn end(&self) -> Option<u64> {
        self.records.last().map(Outgoing::end)
    }

    /// Frees what lies before `tx`, in the sender's order: the slot, then the record's place. `false`: the reply of a
    /// record that is still to be sent is not in its slot.
    pub(super) fn drop_sent(&mut self, node: &Node<'_>, row: &ConnectionRow, tx: u64) -> bool {
        let rows = node.control.out_records();
        let sent_count = self.records.iter().take_while(|record| record.end() <= tx).count();
        for outgoing in self.records.drain(..sent_count) {
            if let Some(slot) = outgoing.slot.filter(|slot| is_done(node, *slot)) {
                // It was done a moment ago and is nobody's but ours, so this cannot fail; a second look would find it free.
                let _ = node.slots.release(slot);
            }
            let next = rows[outgoing.record as usize].next.load(Ordering::Relaxed);
            row.out_head.store(next, Ordering::Release);
        }
        self.records.iter().all(|outgoing| is_there(node, outgoing))
    }

    /// Whether one of them answers the frame at this offset.
    pub(super) fn answers(&self, rows: &[OutRecord], frame_offset: u64) -> bool {
        self.records.iter().any(|outgoing| {
            rows[outgoing.record as usize].frame_offset.load(Ordering::Relaxed) == frame_offset
        })
    }

    /// Index + 1 of the last record, 0 if there is none.
    pub(super) fn tail(&self) -> u32 {
        self.records.last().map_or(0, |last| last.record + 1)
    }
}

/// The records of the thread that a row belongs to.
fn share_of(node: &Node<'_>, row: &ConnectionRow, records: usize) -> Option<Share> {
    let crate::connection::RowState::Open { thread } = crate::connection::state(row) else { return None };
    (thread < node.threads_count()).then(|| Share::new(records as u32, thread, node.threads_count()))
}

/// Whether the slot holds a reply in this very use.
pub(super) fn is_done(node: &Node<'_>, slot: SlotRef) -> bool {
    let word = node.slots.word(slot.index);
    word.is(State::Done) && word.slot(slot.index).is_same_use(slot)
}

fn is_there(node: &Node<'_>, outgoing: &Outgoing) -> bool {
    let Some(slot) = outgoing.slot else { return true };
    let Some(row) = node.slots.row(slot.index) else { return false };
    is_done(node, slot)
        && reply_body(node, slot, row)
            .is_some_and(|body| (gantry_frame::HEADER_BYTES + body.len()) as u64 == outgoing.bytes)
}
