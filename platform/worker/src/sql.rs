//! Time limits of statements, and what a report of a death says was running.

use std::time::Duration;

use gantry_segment::ProcessNote;
use gantry_sys::clock;

/// Until when a request's statements may run; monotonic clock, ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) u64);

impl Limit {
    /// What is left now; zero when it has passed.
    pub(crate) fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(clock::monotonic_ns()))
    }
}

/// The platform's own part of a transaction, as it is noted; no SQL begins with a bracket.
pub(crate) const BEGIN: &str = "(begin the transaction)";
/// See [`BEGIN`].
pub(crate) const COMMIT: &str = "(record the reply and commit)";
/// See [`BEGIN`].
pub(crate) const RECORD: &str = "(record the reply)";
/// See [`BEGIN`].
pub(crate) const DRAW: &str = "(draw serials)";

/// A statement that is noted for as long as this lives, so that a report of this worker's death can name it.
pub(crate) struct Noted<'a>(&'a ProcessNote);

impl<'a> Noted<'a> {
    pub(crate) fn begin(note: &'a ProcessNote, source: &str, text: &str) -> Self {
        note.begin_statement(source, text, clock::monotonic_ns());
        Self(note)
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.end_statement();
    }
}
