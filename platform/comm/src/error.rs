//! Why the communication process ends with an error.

use std::io;

use gantry_segment::SegmentError;

/// Why the communication process cannot start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommError {
    /// The row of the process table is another process's by now.
    #[error(
        "row {row} of the process table is in life {found}, not in life {epoch}: a newer communication process was \
         started; let the supervisor start it, never by hand"
    )]
    NotOurRow {
        /// The row.
        row: u8,
        /// The life that this process was started for.
        epoch: u32,
        /// The life that the row says; `u32::MAX` when there is no such row.
        found: u32,
    },
    /// The number of doorbells is not that of the segment's I/O threads.
    #[error(
        "{given} doorbells were handed over, but the segment was made for {io_threads} I/O threads; restart the node \
         after changing `comm.threads`"
    )]
    Doorbells {
        /// How many there were.
        given: usize,
        /// How many there must be.
        io_threads: u32,
    },
    /// The segments are laid out for fewer things than each I/O thread needs one of.
    #[error(
        "the segment holds {count} {what}, but each of its {io_threads} I/O threads needs one; raise `{key}`"
    )]
    TooFew {
        /// What there are too few of.
        what: &'static str,
        /// How many there are.
        count: u32,
        /// How many threads there are.
        io_threads: u32,
        /// The configuration key to raise.
        key: &'static str,
    },
    /// The operating system refused something without which no connection can be served.
    #[error("{operation} failed: {cause}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// An I/O thread panicked; the others were stopped.
    #[error("I/O thread {thread} panicked; see the log for where; the supervisor starts a new process")]
    Panicked {
        /// Which thread.
        thread: usize,
    },
    /// The segments cannot be used.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

impl CommError {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::System { operation, cause }
    }
}
