//! Why there is no serial number.

use crate::limits::{COUNT_MAX, NAME_BYTES_MAX, RANGE_MAX};
use gantry_datasource::{ErrorKind, SourceError};

/// Why serial numbers could not be drawn, or types not be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// No such type is configured.
    #[error("serial type `{kind}` is unknown; configured are: {}", known.join(", "))]
    UnknownKind {
        /// The name asked for.
        kind: String,
        /// The configured names.
        known: Vec<String>,
    },
    /// None, or more than one call may have.
    #[error("{count} serial numbers were asked for; 1 to {COUNT_MAX} are given at once")]
    CountOutOfRange {
        /// The count asked for.
        count: u32,
    },
    /// The numbers of this type are used up; nothing starts again from the beginning.
    #[error(
        "serial type `{kind}`: {needed} numbers are needed and {left} are left up to {number_max}; \
         give its format more digits in {{seq:N}}"
    )]
    Exhausted {
        /// The type.
        kind: String,
        /// The largest number that its format can show.
        number_max: i64,
        /// Numbers that were needed.
        needed: u64,
        /// Numbers that are left in the database.
        left: u64,
    },
    /// A type's name is empty, too long, of other letters, or there twice.
    #[error("serial type `{kind}`: a name is 1 to {NAME_BYTES_MAX} of a-z, 0-9, `_` and `-`, and there once")]
    BadName {
        /// The name as configured.
        kind: String,
    },
    /// A type's range is out of bounds.
    #[error("serial type `{kind}`: a range of {range} numbers; write 1 to {RANGE_MAX}")]
    BadRange {
        /// The type.
        kind: String,
        /// Its range as configured.
        range: u64,
    },
    /// The type's row in `gantry_serial` cannot be one that was written here.
    #[error(
        "serial type `{kind}`: its row in gantry_serial is damaged; set next_value above every number in use"
    )]
    Damaged {
        /// The type.
        kind: String,
    },
    /// The database.
    #[error("serial type `{kind}`: no range could be leased")]
    Source {
        /// The type.
        kind: String,
        /// What was asked of the database, and its answer.
        #[source]
        cause: Box<SourceError>,
    },
    /// The database knows less than was leased from it: it was restored from a backup, or replaced.
    #[error(
        "serial type `{kind}`: the database leases from {found} on, but numbers up to {} were leased before, as \
         this node or its Redis remembers; was it restored from a backup? run `gantry serial raise` once",
        known - 1
    )]
    WentBack {
        /// The type.
        kind: String,
        /// The first number that the database would lease.
        found: i64,
        /// The number behind the last one known to be leased.
        known: i64,
    },
    /// The database has no name for its number space.
    #[error("gantry_serial_space has no row; start the node once, or run `gantry data migrate`")]
    NoSpace,
    /// Figures for `gantry serial status`, or the space's name, could not be read or written.
    #[error("could not {doing}")]
    Figures {
        /// What was tried.
        doing: &'static str,
        /// The database's answer.
        #[source]
        cause: Box<SourceError>,
    },
    /// Redis. Nobody who draws sees it: the database serves then.
    #[error("Redis {address}: could not {doing}: {message}")]
    Redis {
        /// Which server.
        address: String,
        /// What was tried.
        doing: &'static str,
        /// Its answer, or the system's.
        message: String,
    },
    /// A Redis URL of the configuration cannot be used.
    #[error("[serial]: {message}")]
    BadUrl {
        /// What is wrong with it.
        message: String,
    },
    /// The standby was asked for and none is configured.
    #[error("[serial] {server} is not configured, so nothing can be switched to it")]
    NoServer {
        /// Which one.
        server: &'static str,
    },
}

impl SerialError {
    /// Whether the same may succeed when the transaction is rolled back and run again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Source { cause, .. } if cause.kind == ErrorKind::Retryable)
    }
}
