//! What can go wrong with a log.

use std::io;
use std::path::PathBuf;

/// Why there is no log, or why it did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The role cannot be part of a file's name.
    #[error("{role:?} is no role: a role is 1 to 32 of a-z 0-9 _ -")]
    Role {
        /// The role.
        role: String,
    },
    /// The folder or file of the log cannot be used.
    #[error("log {}: cannot be opened: {cause}; make its folder writable or change log.dir", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// This process has a log already.
    #[error("this process has a log already; it is set up once, at the start of main")]
    AlreadySet,
    /// This process has no log yet.
    #[error("this process has no log yet; call init first")]
    NotSet,
    /// The log is gone: its guard was dropped.
    #[error("the log has ended; its guard was dropped")]
    Ended,
    /// The records did not reach the file in time.
    #[error("records are still not written after {waited_ms} ms; the disk may hang")]
    NotWritten {
        /// How long was waited, in milliseconds.
        waited_ms: u128,
    },
}
