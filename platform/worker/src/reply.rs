//! The reply's place: a block of shared memory that the caller is answered from.

use std::ptr::NonNull;

use gantry_ring::{BlockKind, BlockRef, Blocks, Cursor, SlotRef};
use gantry_segment::Bodies;
use gantry_service_host::ReplyError;
use gantry_sys::bytes::SharedBytes;

/// Where the replies of one request are written. The block belongs to the request's slot: it is given back with the
/// slot, whatever becomes of this worker.
pub(crate) struct ReplyRoom<'a> {
    blocks: Blocks<'a>,
    bodies: &'a Bodies,
    slot: SlotRef,
    held: Option<BlockRef>,
    committed_bytes: usize,
}

impl<'a> ReplyRoom<'a> {
    pub(crate) fn new(blocks: Blocks<'a>, bodies: &'a Bodies, slot: SlotRef) -> Self {
        Self { blocks, bodies, slot, held: None, committed_bytes: 0 }
    }

    /// Makes room for at least `bytes`, keeping what was written.
    pub(crate) fn reserve(
        &mut self,
        bytes: usize,
        cursors: &mut [Cursor],
    ) -> Result<NonNull<[u8]>, ReplyError> {
        let held = self.held_bytes();
        if let Some(held) = held.filter(|held| held.len() >= bytes) {
            return raw(held);
        }
        let (block, room) = self.claim(bytes, cursors)?;
        if let (Some(held), Some(old)) = (held, self.held) {
            room.copy_from_shared(held);
            self.blocks.release(old, self.slot, BlockKind::Reply);
        }
        self.held = Some(block);
        raw(room)
    }

    /// Sets the reply's length.
    pub(crate) fn commit(&mut self, bytes: usize) -> Result<(), ReplyError> {
        let room = self.held_bytes().map_or(0, |held| held.len());
        if bytes > room {
            return Err(ReplyError::TooLarge { bytes, bytes_max: room });
        }
        self.committed_bytes = bytes;
        Ok(())
    }

    /// Writes a whole reply, in place of what was there.
    pub(crate) fn write(&mut self, reply: &[u8], cursors: &mut [Cursor]) -> Result<(), ReplyError> {
        if !reply.is_empty() {
            self.reserve(reply.len(), cursors)?;
            if let Some(held) = self.held_bytes() {
                held.copy_from(reply);
            }
        }
        self.committed_bytes = reply.len();
        Ok(())
    }

    /// Forgets what was written; the block stays for the next reply of the same request.
    pub(crate) fn clear(&mut self) {
        self.committed_bytes = 0;
    }

    /// The reply as it stands.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let held = self.held_bytes().and_then(|held| held.slice(..self.committed_bytes));
        held.map(|bytes| bytes.to_vec()).unwrap_or_default()
    }

    /// Block (coded for the slot's row, 0 = none) and length of the reply.
    pub(crate) fn finished(&self) -> (u32, u32) {
        let block = self.held.filter(|_| self.committed_bytes > 0);
        (block.map_or(0, BlockRef::to_bits), self.committed_bytes as u32)
    }

    fn claim(&self, bytes: usize, cursors: &mut [Cursor]) -> Result<(BlockRef, SharedBytes<'a>), ReplyError> {
        let classes_count = self.blocks.classes_count() as u8;
        let largest = self.blocks.block_bytes(classes_count.saturating_sub(1)) as usize;
        let wanted = u32::try_from(bytes).ok().and_then(|bytes| self.blocks.class_for(bytes));
        let Some(smallest) = wanted else {
            return Err(ReplyError::TooLarge { bytes, bytes_max: largest });
        };
        // A full class is no reason to fail while a larger one has room.
        for class in smallest..classes_count {
            let Some(cursor) = cursors.get_mut(usize::from(class)) else { continue };
            let block = self.blocks.claim(class, self.slot, BlockKind::Reply, cursor);
            let room = block.and_then(|block| self.bodies.block(usize::from(class), block.index as usize));
            if let (Some(block), Some(room)) = (block, room) {
                return Ok((block, room));
            }
        }
        Err(ReplyError::NoRoom { bytes })
    }

    fn held_bytes(&self) -> Option<SharedBytes<'a>> {
        let block = self.held?;
        self.bodies.block(usize::from(block.class), block.index as usize)
    }
}

fn raw(bytes: SharedBytes<'_>) -> Result<NonNull<[u8]>, ReplyError> {
    let start = NonNull::new(bytes.as_ptr()).ok_or(ReplyError::NoReply)?;
    Ok(NonNull::slice_from_raw_parts(start, bytes.len()))
}
