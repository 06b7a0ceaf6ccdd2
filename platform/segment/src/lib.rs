//! The shared-memory segments: who made them and what lies where.
//!
//! A node has three segments: *control* (tables, slots, rings, rows), *blocks* (bodies and receive buffers)
//! and *directory* (one entry for each of the 10^8 service numbers). `README.md` beside this crate is their
//! map: what lies where, who writes it, who reads it.
//!
//! This crate knows places and sizes. It does not know the algorithms that move requests: those are in
//! `gantry-ring`. Everything that more than one process changes is an atomic; everything that is read from
//! here is checked by its reader, because another process may have written it.

mod bodies;
mod connection_table;
mod control;
mod dimensions;
mod directory;
mod error;
mod header;
mod keeper_table;
mod layout;
mod node;
mod notes;
mod process_table;
mod region;
mod segments;
mod serial_cache;
mod service_table;
mod slot;
mod statistics;
mod text;
mod window;

pub use bodies::Bodies;
pub use connection_table::{ConnectionRow, INLINE_BYTES_MAX, OutRecord};
pub use control::Control;
pub use dimensions::{
    BlockClass, CLASSES_MAX, CONNECTIONS_MAX, Dimensions, IO_THREADS_MAX, PROCESSES_MAX, SLOTS_MAX,
};
pub use directory::{Directory, DirectoryEntry};
pub use error::SegmentError;
pub use header::{Header, LAYOUT_VERSION};
pub use keeper_table::{KEEPERS_MAX, KeeperRow};
pub use node::{NodeRow, ThreadRow};
pub use notes::{
    FrameNote, MODULE_BUILD_BYTES_MAX, MODULE_PATH_BYTES_MAX, ModuleNote, ProcessNote, STACK_FRAMES_MAX,
    STACK_MODULES_MAX, STATEMENT_BYTES_MAX, StackEnd, StackNote, StatementNote,
};
pub use process_table::{Life, ProcessRow, ProcessState, Role};
pub use region::{Region, Shared};
pub use segments::{Backend, Found, Handoff, Removal, Segments};
pub use serial_cache::{
    SERIAL_CELLS, SERIAL_KINDS_MAX, SERIAL_LISTS_MAX, SERIAL_SERVERS, SerialCell, SerialCells, SerialKind,
    SerialList, SerialNode, SerialServer,
};
pub use service_table::{LibraryFacts, LibraryRow, ServiceRow, library_bit};
pub use slot::{CANARY_LIBRARY_SHIFT, FOR_CANARY, RingRow, SlotRow};
pub use statistics::{LATENCY_BUCKETS, ServiceStatistics, latency_of_bucket};
pub use text::SharedText;
pub use window::{REPLY_INLINE_MAX, WindowEntry};
