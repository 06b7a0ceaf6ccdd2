//! The control segment with its parts by name.

use gantry_sys::atomic::AtomicU64;
use gantry_sys::bytes::SharedBytes;

use crate::connection_table::{ConnectionRow, OutRecord};
use crate::dimensions::Dimensions;
use crate::directory::PAGE_WORDS;
use crate::header::Header;
use crate::keeper_table::{KEEPERS_MAX, KeeperRow};
use crate::layout::ControlLayout;
use crate::node::{NodeRow, ThreadRow};
use crate::notes::ProcessNote;
use crate::process_table::ProcessRow;
use crate::region::Region;
use crate::serial_cache::{SERIAL_KINDS_MAX, SerialCells, SerialKind, SerialNode};
use crate::service_table::{LibraryRow, ServiceRow};
use crate::slot::{RingRow, SlotRow};
use crate::statistics::ServiceStatistics;
use crate::window::WindowEntry;
use crate::{SegmentError, Shared};

/// The control segment. All places were checked when it was opened, so looking one up cannot fail.
#[derive(Debug)]
pub struct Control {
    region: Region,
    dimensions: Dimensions,
    layout: ControlLayout,
}

impl Control {
    /// Opens a region that is laid out for `dimensions`.
    ///
    /// # Errors
    /// [`SegmentError::OutOfRegion`] when the region is too small for them.
    pub fn open(region: Region, dimensions: Dimensions) -> Result<Self, SegmentError> {
        dimensions.check()?;
        let layout = ControlLayout::new(&dimensions);
        // The layout's last byte: everything before it is then inside too.
        region.bytes(0, layout.bytes)?;
        Ok(Self { region, dimensions, layout })
    }

    /// A zeroed control segment on the heap, for tests and models.
    ///
    /// # Errors
    /// [`SegmentError::Dimension`] for sizes that cannot be laid out.
    pub fn heap(dimensions: Dimensions) -> Result<Self, SegmentError> {
        dimensions.check()?;
        let bytes = ControlLayout::new(&dimensions).bytes;
        Self::open(Region::heap(bytes), dimensions)
    }

    /// Bytes that a control segment of these dimensions takes.
    pub fn bytes_for(dimensions: &Dimensions) -> usize {
        ControlLayout::new(dimensions).bytes
    }

    /// The sizes.
    pub fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    /// The segment's header.
    pub fn header(&self) -> &Header {
        self.one(0)
    }

    /// Settings and marks of the whole node.
    pub fn node(&self) -> &NodeRow {
        self.one(self.layout.node)
    }

    /// A row for each I/O thread.
    pub fn threads(&self) -> &[ThreadRow] {
        self.many(self.layout.threads, self.dimensions.io_threads)
    }

    /// The process table.
    pub fn processes(&self) -> &[ProcessRow] {
        self.many(self.layout.processes, self.dimensions.processes)
    }

    /// What each process notes of what it is doing, in the order of the process table.
    pub fn notes(&self) -> &[ProcessNote] {
        self.many(self.layout.notes, self.dimensions.processes)
    }

    /// The keepers of the communication process's descriptors.
    pub fn keepers(&self) -> &[KeeperRow] {
        self.many(self.layout.keepers, KEEPERS_MAX as u32)
    }

    /// What holds for the serial numbers of the whole node.
    pub fn serial_node(&self) -> &SerialNode {
        self.one(self.layout.serial_node)
    }

    /// The types of serial numbers.
    pub fn serial_kinds(&self) -> &[SerialKind] {
        self.many(self.layout.serial_kinds, SERIAL_KINDS_MAX as u32)
    }

    /// The ranges of a type of serial numbers, in the order of the process table.
    ///
    /// # Panics
    /// When there is no such type.
    pub fn serial_cells(&self, kind: usize) -> &[SerialCells] {
        assert!(kind < SERIAL_KINDS_MAX, "there is no type {kind} of serial numbers");
        let row_bytes = size_of::<SerialCells>() * self.dimensions.processes as usize;
        self.many(self.layout.serial_cells + kind * row_bytes, self.dimensions.processes)
    }

    /// The slots.
    pub fn slots(&self) -> &[SlotRow] {
        self.many(self.layout.slots, self.dimensions.slots)
    }

    /// The ring of read requests: its row and its cells.
    pub fn read_ring(&self) -> (&RingRow, &[AtomicU64]) {
        self.ring(0)
    }

    /// The ring of write and other requests.
    pub fn write_ring(&self) -> (&RingRow, &[AtomicU64]) {
        self.ring(1)
    }

    /// The reply ring of an I/O thread.
    ///
    /// # Panics
    /// When there is no such thread.
    pub fn reply_ring(&self, thread: usize) -> (&RingRow, &[AtomicU64]) {
        assert!(thread < self.dimensions.io_threads as usize, "there is no I/O thread {thread}");
        self.ring(2 + thread)
    }

    /// The tags of a class of blocks.
    ///
    /// # Panics
    /// When there is no such class.
    pub fn block_tags(&self, class: usize) -> &[AtomicU64] {
        self.many(self.layout.tags[class], self.dimensions.classes[class].blocks_count)
    }

    /// The service table.
    pub fn services(&self) -> &[ServiceRow] {
        self.many(self.layout.services, self.dimensions.services)
    }

    /// The library table.
    pub fn libraries(&self) -> &[LibraryRow] {
        self.many(self.layout.libraries, self.dimensions.libraries)
    }

    /// The counters of all services as one I/O thread keeps them, by row of the service table.
    ///
    /// # Panics
    /// When there is no such thread.
    pub fn statistics(&self, thread: usize) -> &[ServiceStatistics] {
        assert!(thread < self.dimensions.io_threads as usize, "there is no I/O thread {thread}");
        let row_bytes = size_of::<ServiceStatistics>() * self.dimensions.services as usize;
        self.many(self.layout.statistics + thread * row_bytes, self.dimensions.services)
    }

    /// The same of the requests that went to a canary.
    ///
    /// # Panics
    /// When there is no such thread.
    pub fn canary_statistics(&self, thread: usize) -> &[ServiceStatistics] {
        let threads = self.dimensions.io_threads as usize;
        assert!(thread < threads, "there is no I/O thread {thread}");
        let row_bytes = size_of::<ServiceStatistics>() * self.dimensions.services as usize;
        self.many(self.layout.statistics + (threads + thread) * row_bytes, self.dimensions.services)
    }

    /// The connection table.
    pub fn connections(&self) -> &[ConnectionRow] {
        self.many(self.layout.connections, self.dimensions.connections)
    }

    /// The records of outgoing replies.
    pub fn out_records(&self) -> &[OutRecord] {
        self.many(self.layout.out_records, self.dimensions.out_records)
    }

    /// The inline bytes of an out record; `None` when there is no such record.
    pub fn out_record_bytes(&self, index: usize) -> Option<SharedBytes<'_>> {
        if index >= self.dimensions.out_records as usize {
            return None;
        }
        let offset = self.layout.out_records + index * size_of::<OutRecord>();
        OutRecord::inline_bytes(&self.region, offset).ok()
    }

    /// The idempotency window.
    pub fn window(&self) -> &[WindowEntry] {
        self.many(self.layout.window, self.dimensions.window_entries)
    }

    /// The bitmap of written directory pages.
    pub(crate) fn pages(&self) -> &[AtomicU64] {
        self.many(self.layout.pages, PAGE_WORDS as u32)
    }

    fn ring(&self, index: usize) -> (&RingRow, &[AtomicU64]) {
        let offset = self.layout.rings[index];
        let cells = self.many(offset + size_of::<RingRow>(), self.dimensions.ring_cells());
        (self.one(offset), cells)
    }

    fn one<T: Shared>(&self, offset: usize) -> &T {
        self.region.one(offset).expect("the layout was checked against the region when it was opened")
    }

    fn many<T: Shared>(&self, offset: usize, count: u32) -> &[T] {
        self.region
            .many(offset, count as usize)
            .expect("the layout was checked against the region when it was opened")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_sys::atomic::Ordering;

    #[test]
    fn every_part_of_a_heap_segment_is_there() {
        let control = Control::heap(Dimensions::small()).unwrap();
        assert_eq!(control.slots().len(), 16);
        assert_eq!(control.read_ring().1.len(), 32);
        assert_eq!(control.reply_ring(1).1.len(), 32);
        assert_eq!(control.block_tags(1).len(), 4);
        control.statistics(1)[7].calls.store(5, Ordering::Relaxed);
        assert_eq!(control.canary_statistics(1).len(), 8);
        assert_eq!(
            control.canary_statistics(0)[0].calls.load(Ordering::Relaxed),
            0,
            "behind those of all threads"
        );
        assert_eq!(control.window().len(), 16);
        control.out_record_bytes(31).unwrap().copy_from(&[1; 208]);
        assert_eq!(control.out_records()[31].inline[25].load(Ordering::Relaxed), 0x0101_0101_0101_0101);
        assert!(control.out_record_bytes(32).is_none());
        assert_eq!(control.window()[0].word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_region_that_is_too_small_is_refused() {
        let bytes = Control::bytes_for(&Dimensions::small());
        assert!(Control::open(Region::heap(bytes - 1), Dimensions::small()).is_err());
    }
}
