//! Log set-up of every process.
//!
//! [`init`] gives a process its log: each record of `tracing` becomes one line of JSON in
//! `<dir>/<role>-<row>.log`, written by a thread of its own. [`init_stderr`] is for short-lived helpers,
//! whose records go to standard error as plain text.
//!
//! ```json
//! {"time":"2026-05-01T08:00:00.123Z","level":"warn","role":"worker","row":3,"pid":4711,
//!  "target":"gantry_worker::run","message":"service overran its time-out","fields":{"service":20000004}}
//! ```
//!
//! **No record is lost in silence.** The queue to the writing thread is bounded and blocks when it is full; a
//! record that cannot be written (disk full) is counted in [`LogGuard::lost`], told on standard error, and
//! the next record that can be written is preceded by one with the number of lost ones. Records still in
//! the queue when a process is killed are gone: at most [`QUEUE_RECORDS`].
//!
//! Levels are `debug`, `warn` and `error`; [`set_level`] changes them while running. Keep the [`LogGuard`]
//! until the end of `main`: dropping it writes what is queued. `std::process::exit` does not drop it, so
//! call [`LogGuard::flush`] before.
#![forbid(unsafe_code)]

mod error;
mod file;
mod json;
mod level;
mod log;
mod panic;
mod plain;
mod values;
mod written;

#[cfg(test)]
mod tests;

pub use error::TelemetryError;
pub use level::{Level, LevelError};
pub use log::{LogGuard, LogOptions, QUEUE_RECORDS, init, init_stderr, set_level};
