//! The key of a write.

use crate::connection::Connection;
use crate::error::{ErrorKind, SourceError};
use crate::limits::{CALLER_BYTES_MAX, REQUEST_ID_BYTES_MAX};

/// Who asked, and under which id: together unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestKey<'a> {
    /// The caller's authenticated name, or `anonymous`; 1 to 32 bytes.
    pub caller: &'a str,
    /// The request id, 1 to 24 bytes.
    pub request_id: &'a str,
}

impl RequestKey<'_> {
    /// SQLite would store a longer key and other databases refuse or cut it: so it is refused here.
    pub(super) fn check(
        &self,
        connection: &dyn Connection,
        operation: &'static str,
    ) -> Result<(), SourceError> {
        check_length(connection, operation, "caller", self.caller, CALLER_BYTES_MAX)?;
        check_length(connection, operation, "request id", self.request_id, REQUEST_ID_BYTES_MAX)
    }
}

pub(super) fn check_length(
    connection: &dyn Connection,
    operation: &'static str,
    what: &str,
    value: &str,
    bytes_max: usize,
) -> Result<(), SourceError> {
    if (1..=bytes_max).contains(&value.len()) {
        return Ok(());
    }
    let message = format!("{what} `{value}` has {} bytes; 1 to {bytes_max} are taken", value.len());
    Err(SourceError::own(ErrorKind::BadValue, connection.source_name(), operation, message))
}
