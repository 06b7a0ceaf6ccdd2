//! Panics are recorded.

use crate::log::{WRITER_THREAD, Writer};
use std::panic::{self, PanicHookInfo};
use std::thread;

/// Records every panic of this process, waits until it is written (the process may be about to abort), and
/// then does what was done before, such as printing it.
pub(crate) fn record_panics(writer: Writer) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // A panic of the writing thread cannot be written by it; waiting for it would never end.
        if thread::current().name() != Some(WRITER_THREAD) {
            record(info);
            // When the disk hangs the panic still goes on; what was done before tells it on standard error.
            let _ = writer.flush();
        }
        before(info);
    }));
}

fn record(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a value that is no text");
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    match info.location() {
        Some(location) => tracing::error!(target: "panic", thread, at = %location, "panic: {message}"),
        None => tracing::error!(target: "panic", thread, "panic: {message}"),
    }
}
