//! What the unit tests of several files share.

use gantry_segment::{BlockClass, Control, Dimensions};

/// Sizes small enough to fill.
pub(crate) fn dimensions() -> Dimensions {
    Dimensions {
        slots: 16,
        processes: 8,
        io_threads: 1,
        connections: 8,
        receive_buffers: 8,
        receive_buffer_bytes: 8192,
        out_records: 8,
        services: 4,
        libraries: 1,
        window_entries: 16,
        classes: vec![
            BlockClass { block_bytes: 1024, blocks_count: 8 },
            BlockClass { block_bytes: 4096, blocks_count: 4 },
        ],
    }
}

/// A control segment of these sizes on the heap.
pub(crate) fn control() -> Control {
    Control::heap(dimensions()).unwrap()
}
