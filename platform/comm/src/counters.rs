//! What an I/O thread counts besides the calls of each service: every limit that was met, by cause.

use gantry_segment::ThreadRow;
use gantry_sys::atomic::{AtomicU64, Ordering};

/// Makes the list of counters and their names; the order is the order in the thread's row.
macro_rules! counters {
    ($($variant:ident = $name:literal, $what:literal;)*) => {
        /// One counter of a thread's row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter { $(#[doc = $what] $variant),* }

        impl Counter {
            /// All counters, in the order of the row.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant),*];

            /// The name in `status` and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name),* }
            }
        }
    };
}

counters! {
    Accepted = "connections_accepted", "Connections taken from the listeners.";
    ConnectionsMax = "connections_over_limit", "Connections closed at once: `comm.connections_max`.";
    AcceptPaused = "accept_pauses", "Pauses of accepting: no descriptor or no memory was left.";
    HeaderTimeout = "closed_header_timeout", "Closed: a header did not arrive in time.";
    BodyTimeout = "closed_body_timeout", "Closed: a body did not arrive in time.";
    IdleTimeout = "closed_idle_timeout", "Closed: nothing was asked for `comm.idle_timeout`.";
    WriteTimeout = "closed_write_timeout", "Closed: replies were left unread for `comm.write_timeout`.";
    EvictedPartial = "closed_half_received", "Closed for its receive buffer, slot or block: the oldest incomplete frame.";
    EvictedStalled = "closed_stalled", "Closed for its records, slots or blocks: the longest without taking a byte.";
    ConnectionFailed = "closed_by_error", "Closed: the connection broke, or the client went away inside a frame.";
    FramesMax = "paused_in_flight", "Pauses of reading: frames or bytes in flight of one connection.";
    BuffersOut = "paused_receive_buffers", "Pauses of reading: no receive buffer was free.";
    RecordsOut = "paused_out_records", "Pauses of reading or replying: no out record was free.";
    Malformed = "malformed", "Answered 101.";
    NoSuchService = "no_such_service", "Answered 102.";
    ServiceStopped = "service_stopped", "Answered 103.";
    BodyTooLarge = "body_too_large", "Answered 104.";
    ChecksumWrong = "checksum_wrong", "Answered 106.";
    RequestIdReused = "request_id_reused", "Answered 107 by the window.";
    ReadThreshold = "refused_read_queue", "Answered 201.";
    Full = "refused_full", "Answered 202.";
    RefusedByRule = "refused_by_rule", "Answered 203.";
    Draining = "refused_draining", "Answered 204.";
    TimedOut = "timed_out", "Answered 301.";
    WorkerLost = "worker_lost", "Answered 302.";
    Quarantined = "quarantined", "Answered 303.";
    BudgetSpent = "budget_spent", "Answered 305.";
    Retried = "retried", "Requests queued again because their worker died.";
    Repeats = "repeats", "Repeats that the window answered or joined to the one that runs.";
    Dropped = "replies_dropped", "Replies whose connection was gone.";
}

/// Counts one.
pub(crate) fn count(row: &ThreadRow, counter: Counter) {
    bump(&row.counters[counter as usize], 1);
}

/// Adds to a counter that has one writer: a plain load and store, without a locked instruction.
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// The sum of a counter over all I/O threads.
pub fn total(threads: &[ThreadRow], counter: Counter) -> u64 {
    threads.iter().map(|row| row.counters[counter as usize].load(Ordering::Relaxed)).sum()
}

const _: () = assert!(Counter::ALL.len() <= 30, "a thread's row has 30 counters");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_name_and_place() {
        let row = ThreadRow::default();
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            count(&row, *counter);
        }
        let mut names: Vec<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Counter::ALL.len());
        assert_eq!(total(&[row, ThreadRow::default()], Counter::Repeats), 1);
    }
}
