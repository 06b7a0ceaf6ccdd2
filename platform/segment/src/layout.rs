//! Where each part of a segment lies. Computed from the dimensions alone, so that all processes agree.

use crate::connection_table::{ConnectionRow, OutRecord};
use crate::dimensions::Dimensions;
use crate::directory::{NUMBERS, PAGE_WORDS};
use crate::header::HEADER_PAGE;
use crate::keeper_table::{KEEPERS_MAX, KeeperRow};
use crate::node::{NodeRow, ThreadRow};
use crate::notes::ProcessNote;
use crate::process_table::ProcessRow;
use crate::serial_cache::{SERIAL_KINDS_MAX, SerialCells, SerialKind, SerialNode};
use crate::service_table::{LibraryRow, ServiceRow};
use crate::slot::{RingRow, SlotRow};
use crate::statistics::ServiceStatistics;
use crate::window::WindowEntry;

/// Parts start at a page, so that an unused part costs no memory beside a used one.
const PART_ALIGNMENT: usize = 4096;

/// Offsets of the parts of the control segment, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlLayout {
    pub(crate) node: usize,
    pub(crate) threads: usize,
    pub(crate) processes: usize,
    pub(crate) notes: usize,
    pub(crate) keepers: usize,
    pub(crate) serial_node: usize,
    pub(crate) serial_kinds: usize,
    pub(crate) serial_cells: usize,
    pub(crate) slots: usize,
    /// Read ring, write ring, then a reply ring for each I/O thread.
    pub(crate) rings: Vec<usize>,
    /// Tags of each class of blocks.
    pub(crate) tags: Vec<usize>,
    pub(crate) services: usize,
    pub(crate) libraries: usize,
    pub(crate) statistics: usize,
    pub(crate) connections: usize,
    pub(crate) out_records: usize,
    pub(crate) window: usize,
    pub(crate) pages: usize,
    pub(crate) bytes: usize,
}

/// Offsets of the parts of the blocks segment, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlocksLayout {
    pub(crate) classes: Vec<usize>,
    pub(crate) receive_buffers: usize,
    pub(crate) bytes: usize,
}

/// Lays parts one behind the other.
struct Cursor(usize);

impl Cursor {
    fn place(&mut self, item_bytes: usize, count: usize) -> usize {
        let here = self.0.next_multiple_of(PART_ALIGNMENT);
        self.0 = here + item_bytes * count;
        here
    }

    fn end(&self) -> usize {
        self.0.next_multiple_of(PART_ALIGNMENT)
    }
}

impl ControlLayout {
    pub(crate) fn new(dimensions: &Dimensions) -> Self {
        let count = |value: u32| value as usize;
        let mut cursor = Cursor(HEADER_PAGE);
        let node = cursor.place(size_of::<NodeRow>(), 1);
        let threads = cursor.place(size_of::<ThreadRow>(), count(dimensions.io_threads));
        let processes = cursor.place(size_of::<ProcessRow>(), count(dimensions.processes));
        let notes = cursor.place(size_of::<ProcessNote>(), count(dimensions.processes));
        let keepers = cursor.place(size_of::<KeeperRow>(), KEEPERS_MAX);
        let serial_node = cursor.place(size_of::<SerialNode>(), 1);
        let serial_kinds = cursor.place(size_of::<SerialKind>(), SERIAL_KINDS_MAX);
        let serial_cells =
            cursor.place(size_of::<SerialCells>(), SERIAL_KINDS_MAX * count(dimensions.processes));
        let slots = cursor.place(size_of::<SlotRow>(), count(dimensions.slots));
        let ring_bytes = size_of::<RingRow>() + 8 * count(dimensions.ring_cells());
        let rings = (0..2 + dimensions.io_threads).map(|_| cursor.place(ring_bytes, 1)).collect();
        let tags = dimensions.classes.iter().map(|c| cursor.place(8, count(c.blocks_count))).collect();
        let services = cursor.place(size_of::<ServiceRow>(), count(dimensions.services));
        let libraries = cursor.place(size_of::<LibraryRow>(), count(dimensions.libraries));
        // Twice: of the requests that no canary got, and of those that one got.
        let statistics_count = 2 * count(dimensions.services) * count(dimensions.io_threads);
        let statistics = cursor.place(size_of::<ServiceStatistics>(), statistics_count);
        let connections = cursor.place(size_of::<ConnectionRow>(), count(dimensions.connections));
        let out_records = cursor.place(size_of::<OutRecord>(), count(dimensions.out_records));
        let window = cursor.place(size_of::<WindowEntry>(), count(dimensions.window_entries));
        let pages = cursor.place(8, PAGE_WORDS);
        let bytes = cursor.end();
        Self {
            node,
            threads,
            processes,
            notes,
            keepers,
            serial_node,
            serial_kinds,
            serial_cells,
            slots,
            rings,
            tags,
            services,
            libraries,
            statistics,
            connections,
            out_records,
            window,
            pages,
            bytes,
        }
    }
}

impl BlocksLayout {
    pub(crate) fn new(dimensions: &Dimensions) -> Self {
        let mut cursor = Cursor(HEADER_PAGE);
        let classes = dimensions
            .classes
            .iter()
            .map(|class| cursor.place(class.block_bytes as usize, class.blocks_count as usize))
            .collect();
        let buffer_bytes = dimensions.receive_buffer_bytes as usize;
        let receive_buffers = cursor.place(buffer_bytes, dimensions.receive_buffers as usize);
        let bytes = cursor.end();
        Self { classes, receive_buffers, bytes }
    }
}

/// Bytes of the directory segment.
pub(crate) const DIRECTORY_BYTES: usize = HEADER_PAGE + NUMBERS * 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap_and_lie_inside() {
        let dimensions = Dimensions::small();
        let layout = ControlLayout::new(&dimensions);
        let mut starts = vec![layout.node, layout.threads, layout.processes, layout.notes, layout.keepers];
        starts.extend([layout.serial_node, layout.serial_kinds, layout.serial_cells, layout.slots]);
        starts.extend(&layout.rings);
        starts.extend(&layout.tags);
        starts.extend([layout.services, layout.libraries, layout.statistics, layout.connections]);
        starts.extend([layout.out_records, layout.window, layout.pages, layout.bytes]);
        assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");
        assert!(starts.iter().all(|start| start % PART_ALIGNMENT == 0));
    }

    #[test]
    fn blocks_follow_each_other_without_a_gap() {
        let layout = BlocksLayout::new(&Dimensions::small());
        assert_eq!(layout.classes, [4096, 4096 + 16 * 1024]);
        assert_eq!(layout.receive_buffers, 4096 + 16 * 1024 + 4 * 4096);
        assert_eq!(layout.bytes, layout.receive_buffers + 4 * 1024);
    }
}
