//! Slots and blocks for requests: where a thread looks for the next one, and how they are given back.

use gantry_message::Queue as QueueName;
use gantry_ring::{BlockKind, BlockRef, Cursor, SlotRef};
use gantry_segment::CLASSES_MAX;
use gantry_sys::atomic::Ordering;

use crate::admission::queue_of;
use crate::limits::CLASS_FULL_NS;
use crate::node::Node;

/// Slots and blocks that a thread remembers to have freed, to claim them again while they are warm.
const FREED_KEPT: usize = 64;

/// A slot that is being filled, with its block if there is a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimed {
    pub(crate) slot: SlotRef,
    pub(crate) block: Option<BlockRef>,
}

/// Where a thread looks for the next slot and block.
#[derive(Debug)]
pub(crate) struct Claims {
    slots: Cursor,
    freed_slots: Vec<u16>,
    classes: [ClassClaims; CLASSES_MAX],
}

#[derive(Debug, Default)]
struct ClassClaims {
    cursor: Cursor,
    freed: Vec<u32>,
    /// It was found full: not searched before this time.
    full_until_ns: u64,
}

impl Claims {
    /// Threads begin at different places, so that they do not fight for the same slots.
    pub(crate) fn new(node: &Node<'_>, thread: usize) -> Self {
        let start = |count: usize| Cursor::at(count * thread / node.threads_count());
        let classes = &node.control.dimensions().classes;
        Self {
            slots: start(node.slots.count()),
            freed_slots: Vec::with_capacity(FREED_KEPT),
            classes: std::array::from_fn(|class| ClassClaims {
                cursor: start(classes.get(class).map_or(0, |class| class.blocks_count as usize)),
                freed: Vec::with_capacity(FREED_KEPT),
                full_until_ns: 0,
            }),
        }
    }

    /// Claims a slot and a block for a body of so many bytes; `None` when one of them is out.
    pub(crate) fn claim(
        &mut self,
        node: &Node<'_>,
        is_read: bool,
        body_bytes: u32,
        now_ns: u64,
    ) -> Option<Claimed> {
        if !node.admission.take_slot(is_read) {
            return None;
        }
        let Some(slot) = self.claim_slot(node) else {
            node.admission.give_slot(is_read);
            return None;
        };
        if body_bytes == 0 {
            return Some(Claimed { slot, block: None });
        }
        let block = self.claim_block(node, slot, is_read, body_bytes, now_ns);
        if block.is_none() {
            let _ = node.slots.release(slot);
            node.admission.give_slot(is_read);
        }
        block.map(|block| Claimed { slot, block: Some(block) })
    }

    /// Claims a block for a request's body; a class that is full is passed over for a larger one.
    pub(crate) fn claim_block(
        &mut self,
        node: &Node<'_>,
        slot: SlotRef,
        is_read: bool,
        body_bytes: u32,
        now_ns: u64,
    ) -> Option<BlockRef> {
        let smallest = node.blocks.class_for(body_bytes)?;
        for class in smallest..node.blocks.classes_count() as u8 {
            let claims = &mut self.classes[usize::from(class)];
            if now_ns < claims.full_until_ns || !node.admission.take_block(class, is_read) {
                continue;
            }
            let mut warm = claims.freed.pop().map(|index| Cursor::at(index as usize));
            let cursor = warm.as_mut().unwrap_or(&mut claims.cursor);
            if let Some(block) = node.blocks.claim(class, slot, BlockKind::Request, cursor) {
                return Some(block);
            }
            claims.full_until_ns = now_ns + CLASS_FULL_NS;
            node.admission.give_block(class, is_read);
        }
        None
    }

    fn claim_slot(&mut self, node: &Node<'_>) -> Option<SlotRef> {
        while let Some(index) = self.freed_slots.pop() {
            if let Some(slot) = node.slots.claim_at(index, node.owner) {
                return Some(slot);
            }
        }
        node.slots.claim(node.owner, &mut self.slots)
    }

    /// Frees a slot that is answered or given up, and its blocks with it.
    pub(crate) fn release(&mut self, node: &Node<'_>, slot: SlotRef) {
        let Some(row) = node.slots.row(slot.index) else { return };
        let is_read = queue_of(row.flags.load(Ordering::Relaxed)) == QueueName::Read;
        let block = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed));
        if let Err(word) = node.slots.release(slot) {
            tracing::error!(slot = slot.index, ?word, "a slot that was answered cannot be freed");
            return;
        }
        node.admission.give_slot(is_read);
        keep(&mut self.freed_slots, slot.index);
        if let Some(block) = block {
            node.admission.give_block(block.class, is_read);
            if let Some(claims) = self.classes.get_mut(usize::from(block.class)) {
                claims.full_until_ns = 0;
                keep(&mut claims.freed, block.index);
            }
        }
    }
}

fn keep<T>(freed: &mut Vec<T>, index: T) {
    if freed.len() < FREED_KEPT {
        freed.push(index);
    }
}
