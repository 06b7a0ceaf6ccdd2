//! The row of a slot: what the communication process writes while it fills one, and reads back later.

use gantry_message::{CallerName, Kind, RequestId};
use gantry_ring::BlockRef;
use gantry_segment::{CANARY_LIBRARY_SHIFT, FOR_CANARY, SlotRow};
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;

use crate::node::Node;
use crate::window::words;

/// `service_index` of a platform number.
pub(crate) const NO_SERVICE: u32 = u32::MAX;

/// Flag of a slot's row: the write was done before and its reply is in the database, so it is looked up there before
/// the service is called.
pub(crate) const ASK_FIRST: u32 = 1 << 17;

/// What is written into a slot's row while it is filled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filing {
    pub(crate) connection: u32,
    pub(crate) generation: u32,
    pub(crate) frame_offset: u64,
    pub(crate) service: u32,
    pub(crate) service_index: u32,
    pub(crate) kind: Kind,
    pub(crate) timeout_ms: u32,
    pub(crate) block: Option<BlockRef>,
    pub(crate) body_bytes: u32,
    pub(crate) home: usize,
    pub(crate) wants_checksum: bool,
    /// As `ServiceRow::canary_library`.
    pub(crate) canary: Option<u32>,
    pub(crate) request_id: RequestId,
    pub(crate) caller: CallerName,
}

impl Filing {
    /// Writes the row. Its word is `Filling` and ours, so nobody else looks.
    pub(crate) fn write(&self, row: &SlotRow) {
        row.connection.store(self.connection, Ordering::Relaxed);
        row.connection_generation.store(self.generation, Ordering::Relaxed);
        row.frame_offset.store(self.frame_offset, Ordering::Relaxed);
        row.service.store(self.service, Ordering::Relaxed);
        row.service_index.store(self.service_index, Ordering::Relaxed);
        row.request_block.store(self.block.map_or(0, BlockRef::to_bits), Ordering::Relaxed);
        row.request_bytes.store(self.body_bytes, Ordering::Relaxed);
        row.reply_block.store(0, Ordering::Relaxed);
        row.reply_bytes.store(0, Ordering::Relaxed);
        row.reply_status.store(0, Ordering::Relaxed);
        let canary = self.canary.map_or(0, |library| FOR_CANARY | library << CANARY_LIBRARY_SHIFT);
        let checksum = u32::from(self.wants_checksum) << 16;
        let flags = self.home as u32 & 0xff | u32::from(self.kind.code()) << 8 | checksum | canary;
        row.flags.store(flags, Ordering::Relaxed);
        row.started_ns.store(0, Ordering::Relaxed);
        row.timeout_ms.store(self.timeout_ms, Ordering::Relaxed);
        row.window_entry.store(0, Ordering::Relaxed);
        row.answered.store(0, Ordering::Relaxed);
        row.joined.store(0, Ordering::Relaxed);
        for (place, word) in row.request_id.iter().zip(words(&self.request_id)) {
            place.store(word, Ordering::Relaxed);
        }
        row.caller.set(self.caller.as_bytes());
    }
}

/// The home I/O thread of a slot.
pub(crate) fn home_of(row: &SlotRow) -> usize {
    (row.flags.load(Ordering::Relaxed) & 0xff) as usize
}

/// The request id in a slot's row; 24 zeros if the row is damaged.
pub(crate) fn request_id_of(row: &SlotRow) -> RequestId {
    let mut bytes = [0_u8; 24];
    for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&row.request_id) {
        *chunk = word.load(Ordering::Relaxed).to_le_bytes();
    }
    RequestId::new(bytes).unwrap_or(RequestId::ZERO)
}

/// The first `bytes` of a block, if it has so many.
pub(crate) fn block_bytes<'a>(node: &Node<'a>, block: BlockRef, bytes: u32) -> Option<SharedBytes<'a>> {
    node.bodies.block(usize::from(block.class), block.index as usize)?.slice(..bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::queue_of;
    use gantry_message::Queue as QueueName;

    #[test]
    fn a_row_gives_back_what_was_filled_in() {
        let row = SlotRow::default();
        let id: RequestId = "abcdefghijklmnopqrstuvwx".parse().unwrap();
        row.answered.store(9, Ordering::Relaxed);
        let filing = Filing {
            connection: 3,
            generation: 4,
            frame_offset: 640,
            service: 20_000_004,
            service_index: 1,
            kind: Kind::Other,
            timeout_ms: 15_000,
            block: Some(BlockRef { class: 1, index: 2 }),
            body_bytes: 77,
            home: 5,
            wants_checksum: true,
            canary: Some(512),
            request_id: id,
            caller: CallerName::ANONYMOUS,
        };
        filing.write(&row);
        assert_eq!((home_of(&row), request_id_of(&row)), (5, id));
        assert_eq!(row.flags.load(Ordering::Relaxed), 5 | 3 << 8 | 1 << 16 | 1 << 18 | 512 << 19);
        assert_eq!(queue_of(row.flags.load(Ordering::Relaxed)), QueueName::Write);
        assert_eq!(row.answered.load(Ordering::Relaxed), 0);
        assert!(row.caller.is(b"anonymous"));
    }
}
