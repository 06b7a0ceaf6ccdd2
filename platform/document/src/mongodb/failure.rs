//! What the driver's and the server's errors mean.

use std::any::Any;
use std::sync::Arc;

use mongodb::error::{Error, ErrorKind as Driver, TRANSIENT_TRANSACTION_ERROR, WriteFailure};

use crate::{DocumentError, ErrorKind};

/// An error from the driver, in our words.
pub(super) fn translate(name: &Arc<str>, operation: &'static str, error: &Error) -> DocumentError {
    let is_transient = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
    let (kind, code, message) = match &*error.kind {
        Driver::Command(refused) => {
            (kind_of(refused.code, is_transient), refused.code, refused.message.clone())
        }
        Driver::Write(WriteFailure::WriteError(refused)) => {
            (kind_of(refused.code, is_transient), refused.code, refused.message.clone())
        }
        Driver::Write(WriteFailure::WriteConcernError(refused)) => {
            (kind_of(refused.code, is_transient), refused.code, refused.message.clone())
        }
        other => (kind_without_code(other), 0, other.to_string()),
    };
    DocumentError { kind, source_name: Arc::clone(name), operation, code, message }
}

fn kind_without_code(kind: &Driver) -> ErrorKind {
    match kind {
        Driver::Io(_)
        | Driver::ConnectionPoolCleared { .. }
        | Driver::ServerSelection { .. }
        | Driver::DnsResolve { .. }
        | Driver::InvalidResponse { .. }
        | Driver::Shutdown => ErrorKind::ConnectionLost,
        Driver::Authentication { .. } => ErrorKind::Unauthorized,
        Driver::InvalidArgument { .. } | Driver::BsonSerialization(_) | Driver::Bson(_) => {
            ErrorKind::BadValue
        }
        Driver::SessionsNotSupported
        | Driver::InvalidTlsConfig { .. }
        | Driver::IncompatibleServer { .. } => ErrorKind::Unsupported,
        Driver::Transaction { .. } => ErrorKind::Aborted,
        _ => ErrorKind::Other,
    }
}

/// What a code of the server means. `is_transient`: the server says that the whole transaction may succeed when it is
/// run again.
pub(super) fn kind_of(code: i32, is_transient: bool) -> ErrorKind {
    match code {
        11_000 | 11_001 | 12_582 => ErrorKind::Unique,
        121 => ErrorKind::Check,
        // MaxTimeMSExpired, ExceededTimeLimit.
        50 | 262 => ErrorKind::Timeout,
        // Host unreachable or not found, timed out, step-down, shut-down, not the primary any more; and what a cluster's
        // router says when it finds no primary or loses one: FailedToSatisfyReadPreference,
        // NetworkInterfaceExceededTimeLimit, ConnectionPoolExpired, ConnectionError.
        6 | 7 | 89 | 91 | 133 | 189 | 202 | 317 | 384 | 9_001 | 10_058 | 10_107 | 11_600 | 11_602
        | 13_435 | 13_436 => ErrorKind::ConnectionLost,
        // LockTimeout, WriteConflict, LockBusy, ReadConcernMajorityNotAvailableYet, SnapshotUnavailable,
        // PreparedTransactionInProgress.
        24 | 46 | 112 | 134 | 246 | 267 => ErrorKind::Retryable,
        _ if is_transient => ErrorKind::Retryable,
        // NoSuchTransaction, TransactionTooOld, TransactionCommitted.
        251 | 225 | 256 => ErrorKind::Aborted,
        13 | 18 | 33 => ErrorKind::Unauthorized,
        14_031 => ErrorKind::Full,
        // BSON that is too large or broken, keys of indexes that are too long, a document that would grow too large.
        22 | 10_334 | 17_280 | 17_419 | 17_420 => ErrorKind::BadValue,
        // Bad value, failed to parse, type mismatch, no such namespace or index, unknown operator or command, conflicting
        // options …: all are about the command's text.
        2
        | 4
        | 9
        | 14
        | 17
        | 20
        | 26..=29
        | 40
        | 48
        | 51..=57
        | 59
        | 66
        | 67
        | 72
        | 73
        | 85
        | 86
        | 115
        | 168
        | 197
        | 224
        | 263 => ErrorKind::BadStatement,
        // The server's numbered assertions ("Location…"): the parser's, where they are not named above.
        15_000.. => ErrorKind::BadStatement,
        _ => ErrorKind::Other,
    }
}

/// The words of a panic in the driver.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    format!("the driver panicked: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_platform_acts_on() {
        for (code, is_transient, kind) in [
            (11_000, false, ErrorKind::Unique),
            (112, true, ErrorKind::Retryable),
            (251, true, ErrorKind::Retryable),
            (251, false, ErrorKind::Aborted),
            (50, true, ErrorKind::Timeout),
            (10_107, true, ErrorKind::ConnectionLost),
            (133, false, ErrorKind::ConnectionLost),
            (134, false, ErrorKind::Retryable),
            (14_031, false, ErrorKind::Full),
            (121, false, ErrorKind::Check),
            (2, false, ErrorKind::BadStatement),
            (59, false, ErrorKind::BadStatement),
            (13, false, ErrorKind::Unauthorized),
            (40_324, false, ErrorKind::BadStatement),
            (1, false, ErrorKind::Other),
        ] {
            assert_eq!(kind_of(code, is_transient), kind, "{code}");
        }
    }

    #[test]
    fn a_panic_keeps_its_words() {
        let payload = std::panic::catch_unwind(|| panic!("lost {}", "it")).unwrap_err();
        assert_eq!(panic_text(&*payload), "the driver panicked: lost it");
    }
}
