//! The sizes that a node's segments are laid out for.

use crate::SegmentError;

/// The most classes of blocks.
pub const CLASSES_MAX: usize = 8;
/// The most slots: a ring's cell has 16 bits for one.
pub const SLOTS_MAX: u32 = 65_536;
/// The most process rows: a slot's word has 8 bits for one.
pub const PROCESSES_MAX: u32 = 256;
/// The most I/O threads of the communication process.
pub const IO_THREADS_MAX: u32 = 16;
/// The most connections of a node.
pub const CONNECTIONS_MAX: u32 = 1_000_000;

/// One class of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockClass {
    /// Bytes of each block; a power of two from 1 KiB on.
    pub block_bytes: u32,
    /// How many blocks there are.
    pub blocks_count: u32,
}

/// All sizes of a node's segments. Two processes with the same dimensions compute the same layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimensions {
    /// Requests that the node holds at once; 1 to [`SLOTS_MAX`].
    pub slots: u32,
    /// Rows of the process table; 2 to [`PROCESSES_MAX`]. Row 0 is the supervisor, row 1 the communication process.
    pub processes: u32,
    /// I/O threads of the communication process; 1 to [`IO_THREADS_MAX`].
    pub io_threads: u32,
    /// Connection rows; 1 to [`CONNECTIONS_MAX`].
    pub connections: u32,
    /// Receive buffers, shared by the connections that hold a frame in part.
    pub receive_buffers: u32,
    /// Bytes of a receive buffer; a power of two.
    pub receive_buffer_bytes: u32,
    /// Records of outgoing replies.
    pub out_records: u32,
    /// Rows of the service table.
    pub services: u32,
    /// Rows of the library table.
    pub libraries: u32,
    /// Entries of the idempotency window; a multiple of 8.
    pub window_entries: u32,
    /// Classes of blocks, sizes ascending; 1 to [`CLASSES_MAX`].
    pub classes: Vec<BlockClass>,
}

impl Dimensions {
    /// Refuses what cannot be laid out.
    ///
    /// # Errors
    /// [`SegmentError::Dimension`] names the first size that is out of its range.
    pub fn check(&self) -> Result<(), SegmentError> {
        let within = |field, value: u32, low: u32, high: u32, rule| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(SegmentError::Dimension { field, value: u64::from(value), rule })
        };
        within("slots", self.slots, 1, SLOTS_MAX, "1 to 65,536")?;
        within("processes", self.processes, 2, PROCESSES_MAX, "2 to 256")?;
        within("io_threads", self.io_threads, 1, IO_THREADS_MAX, "1 to 16")?;
        within("connections", self.connections, 1, CONNECTIONS_MAX, "1 to 1,000,000")?;
        within("receive_buffers", self.receive_buffers, 1, 1 << 20, "1 to 1,048,576")?;
        within("receive_buffer_bytes", self.receive_buffer_bytes, 1 << 10, 1 << 24, "1 KiB to 16 MiB")?;
        within(
            "out_records",
            self.out_records,
            self.io_threads,
            1 << 24,
            "at least one for each I/O thread",
        )?;
        within("services", self.services, 1, 1 << 20, "1 to 1,048,576")?;
        // A slot's flags hold a row's number and one.
        within("libraries", self.libraries, 1, 1 << 12, "1 to 4,096")?;
        within("window_entries", self.window_entries, 8, 1 << 24, "8 to 16,777,216")?;
        within("classes", self.classes.len() as u32, 1, CLASSES_MAX as u32, "1 to 8")?;
        let power = |field, value: u32| {
            if value.is_power_of_two() {
                return Ok(());
            }
            Err(SegmentError::Dimension { field, value: u64::from(value), rule: "a power of two" })
        };
        power("receive_buffer_bytes", self.receive_buffer_bytes)?;
        if !self.window_entries.is_multiple_of(8) {
            let value = u64::from(self.window_entries);
            return Err(SegmentError::Dimension { field: "window_entries", value, rule: "a multiple of 8" });
        }
        let mut smaller = 0;
        for class in &self.classes {
            power("block size", class.block_bytes)?;
            within("block size", class.block_bytes, smaller + 1, 1 << 30, "larger than the class before it")?;
            within("block count", class.blocks_count, 1, 1 << 20, "1 to 1,048,576")?;
            smaller = class.block_bytes;
        }
        Ok(())
    }

    /// Cells of a ring: a power of two of at least twice the slots, so that a ring is never full of live entries.
    pub fn ring_cells(&self) -> u32 {
        (self.slots * 2).next_power_of_two()
    }

    /// The figures in the order in which the header keeps them, each with its name.
    pub(crate) fn figures(&self) -> [(&'static str, u32); 10] {
        [
            ("slots", self.slots),
            ("processes", self.processes),
            ("io_threads", self.io_threads),
            ("connections", self.connections),
            ("receive_buffers", self.receive_buffers),
            ("receive_buffer_bytes", self.receive_buffer_bytes),
            ("out_records", self.out_records),
            ("services", self.services),
            ("libraries", self.libraries),
            ("window_entries", self.window_entries),
        ]
    }

    #[cfg(test)]
    pub(crate) fn small() -> Self {
        Self {
            slots: 16,
            processes: 8,
            io_threads: 2,
            connections: 32,
            receive_buffers: 4,
            receive_buffer_bytes: 1024,
            out_records: 32,
            services: 8,
            libraries: 4,
            window_entries: 16,
            classes: vec![
                BlockClass { block_bytes: 1024, blocks_count: 16 },
                BlockClass { block_bytes: 4096, blocks_count: 4 },
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out_of_range_are_named() {
        assert!(Dimensions::small().check().is_ok());
        let broken = Dimensions { slots: 65_537, ..Dimensions::small() };
        assert!(broken.check().unwrap_err().to_string().contains("slots is 65537"));
        let mut broken = Dimensions::small();
        broken.classes.reverse();
        assert!(broken.check().unwrap_err().to_string().contains("larger than the class before"));
    }
}
