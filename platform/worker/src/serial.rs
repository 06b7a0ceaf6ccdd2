//! Filling up serial numbers between two requests, and leaving them to others at the end.
//!
//! Only workers that write draw serial numbers, so only they fill up. A worker that never drew any has nothing to do
//! here beyond a few loads, and opens no connection for it.

use std::time::Duration;

use gantry_sys::clock;

use crate::call::SERIAL_SOURCE;
use crate::run::Worker;
use crate::write::now_ms;

/// How long one statement of filling up may take: the next request waits for it.
const STATEMENT_LIMIT: Duration = Duration::from_secs(1);
/// How long filling up is let be after the data source was not to be had.
const AGAIN_NS: u64 = 1_000_000_000;

impl Worker<'_> {
    /// Fills up what is low, if anything is. Between two requests only: no transaction is open.
    pub(crate) fn top_up_serials(&mut self) {
        if !self.sources.may_write() || !self.serials.wants_top_up() {
            return;
        }
        let now_ns = clock::monotonic_ns();
        if now_ns < self.top_up_again_ns {
            return;
        }
        let outcome = match self.sources.connection(SERIAL_SOURCE) {
            None => return,
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(connection)) => {
                self.serials.top_up(connection, now_ms(), STATEMENT_LIMIT).map_err(|error| describe(&error))
            }
        };
        if let Err(error) = outcome {
            self.top_up_again_ns = clock::monotonic_ns() + AGAIN_NS;
            tracing::warn!(error, "serial numbers were not filled up; it is tried again in a second");
        }
    }

    /// Leaves what this process holds to the node's other workers.
    pub(crate) fn leave_serials(&mut self) {
        if !self.sources.may_write() || !self.serials.is_attached() {
            return;
        }
        let Some(Ok(connection)) = self.sources.connection(SERIAL_SOURCE) else { return };
        if let Err(error) = self.serials.leave(connection, now_ms()) {
            let error = describe(&error);
            tracing::warn!(
                error,
                "the figures of serial numbers were not written down; another worker does it"
            );
        }
    }
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
