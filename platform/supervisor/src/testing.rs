//! What several tests of this crate need.

use gantry_segment::{BlockClass, Dimensions};

/// Sizes of a segment that takes a few pages.
pub(crate) fn small_dimensions() -> Dimensions {
    Dimensions {
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
        classes: vec![BlockClass { block_bytes: 1024, blocks_count: 16 }],
    }
}
