//! What a reply says happened.

use std::fmt;

/// The status of a reply. Each one promises whether the request can have been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Status {
    /// 000: the service ran and succeeded.
    Done = 0,
    /// 101: a byte of the header is not what the protocol allows there; the connection is closed after it.
    Malformed = 101,
    /// 102: no service has this number.
    NoSuchService = 102,
    /// 103: the operator stopped the service.
    ServiceStopped = 103,
    /// 104: the body is longer than this node takes; the connection is closed after it.
    BodyTooLarge = 104,
    /// 105: this caller may not call this service.
    CallerNotAllowed = 105,
    /// 106: the body is not the one that the header's checksum was computed of.
    ChecksumWrong = 106,
    /// 107: the caller used this request id before, with another body or another service.
    RequestIdReused = 107,
    /// 201: the read queue is over its threshold.
    ReadQueueOverThreshold = 201,
    /// 202: a queue or the shared memory is full.
    Full = 202,
    /// 203: a rule of the service refused: its concurrency cap or its rate, or a plain refusal.
    RefusedByRule = 203,
    /// 204: the node drains and takes nothing new.
    Draining = 204,
    /// 301: the deadline passed while the service ran.
    TimedOut = 301,
    /// 302: the worker died while it ran a write.
    WorkerLost = 302,
    /// 303: this version of the service crashed too often and is switched off.
    Quarantined = 303,
    /// 304: the service reports a business error; the body says which.
    BusinessError = 304,
    /// 305: the caller's budget ran out before a worker took the request.
    BudgetSpent = 305,
    /// 306: the service panicked or failed inside.
    ServiceFailed = 306,
    /// 500: the platform itself failed.
    PlatformFault = 500,
}

/// Whether a request with a given status can have been executed: the promise to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Executed {
    /// The service ran and its effect is in force.
    Yes,
    /// The service did not run: the caller may retry at will.
    No,
    /// It may have run: ask with `00000002` or repeat with the same request id.
    Unknown,
    /// It ran, and its transaction was rolled back.
    NoEffect,
}

impl Status {
    /// Every status, in the order of the codes.
    pub const ALL: [Status; 19] = [
        Status::Done,
        Status::Malformed,
        Status::NoSuchService,
        Status::ServiceStopped,
        Status::BodyTooLarge,
        Status::CallerNotAllowed,
        Status::ChecksumWrong,
        Status::RequestIdReused,
        Status::ReadQueueOverThreshold,
        Status::Full,
        Status::RefusedByRule,
        Status::Draining,
        Status::TimedOut,
        Status::WorkerLost,
        Status::Quarantined,
        Status::BusinessError,
        Status::BudgetSpent,
        Status::ServiceFailed,
        Status::PlatformFault,
    ];

    /// The code in the frame, 0 to 999.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The status with this code, or `None` if version 1 of the protocol has none.
    pub fn from_code(code: u16) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.code() == code)
    }

    /// The meaning in the words of the protocol's table, without the code.
    pub const fn meaning(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::Malformed => "malformed frame",
            Status::NoSuchService => "no such service",
            Status::ServiceStopped => "service stopped",
            Status::BodyTooLarge => "body over the limit",
            Status::CallerNotAllowed => "caller not allowed",
            Status::ChecksumWrong => "checksum wrong",
            Status::RequestIdReused => "request id reused with a different body",
            Status::ReadQueueOverThreshold => "refused: read queue over its threshold",
            Status::Full => "refused: queue or memory full",
            Status::RefusedByRule => "refused by a rule of this service (concurrency, rate)",
            Status::Draining => "refused: node draining",
            Status::TimedOut => "timed out while running",
            Status::WorkerLost => "worker lost while running a write",
            Status::Quarantined => "service version quarantined after repeated crashes",
            Status::BusinessError => "the service reports a business error; its transaction was rolled back",
            Status::BudgetSpent => "the caller's budget ran out while queued: never started",
            Status::ServiceFailed => {
                "the service failed (panic, internal error); its transaction was rolled back"
            }
            Status::PlatformFault => "platform fault",
        }
    }

    /// Whether the request can have been executed.
    ///
    /// For [`Status::ServiceFailed`] this is the answer for data sources with transactions; where the source
    /// has none, the effect of a 306 is unknown.
    pub const fn executed(self) -> Executed {
        match self {
            Status::Done => Executed::Yes,
            Status::Malformed
            | Status::NoSuchService
            | Status::ServiceStopped
            | Status::BodyTooLarge
            | Status::CallerNotAllowed
            | Status::ChecksumWrong
            | Status::RequestIdReused
            | Status::ReadQueueOverThreshold
            | Status::Full
            | Status::RefusedByRule
            | Status::Draining
            | Status::Quarantined
            | Status::BudgetSpent => Executed::No,
            Status::TimedOut | Status::WorkerLost | Status::PlatformFault => Executed::Unknown,
            Status::BusinessError | Status::ServiceFailed => Executed::NoEffect,
        }
    }

    /// Whether admission refused the request (201 to 204): the body then says when to try again.
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Status::ReadQueueOverThreshold | Status::Full | Status::RefusedByRule | Status::Draining
        )
    }

    /// Whether the node closes the connection after a reply with this status (101 and 104), because it no
    /// longer knows, or no longer wants to read, where the next frame begins.
    pub const fn closes_connection(self) -> bool {
        matches!(self, Status::Malformed | Status::BodyTooLarge)
    }
}

/// The code in three digits and the meaning, as in `404 …` of other protocols.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {}", self.code(), self.meaning())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The protocol's table, written down a second time: code, beginning of the meaning, promise.
    const TABLE: [(u16, &str, Executed); 19] = [
        (0, "done", Executed::Yes),
        (101, "malformed frame", Executed::No),
        (102, "no such service", Executed::No),
        (103, "service stopped", Executed::No),
        (104, "body over the limit", Executed::No),
        (105, "caller not allowed", Executed::No),
        (106, "checksum wrong", Executed::No),
        (107, "request id reused with a different body", Executed::No),
        (201, "refused: read queue over its threshold", Executed::No),
        (202, "refused: queue or memory full", Executed::No),
        (203, "refused by a rule of this service (concurrency, rate)", Executed::No),
        (204, "refused: node draining", Executed::No),
        (301, "timed out while running", Executed::Unknown),
        (302, "worker lost while running a write", Executed::Unknown),
        (303, "service version quarantined after repeated crashes", Executed::No),
        (304, "the service reports a business error", Executed::NoEffect),
        (305, "the caller's budget ran out while queued: never started", Executed::No),
        (306, "the service failed (panic, internal error)", Executed::NoEffect),
        (500, "platform fault", Executed::Unknown),
    ];

    #[test]
    fn every_code_has_the_status_of_the_table_and_no_other_code_has_one() {
        for code in 0..=u16::MAX {
            let row = TABLE.iter().find(|row| row.0 == code);
            let status = Status::from_code(code);
            assert_eq!(status.map(Status::code), row.map(|row| row.0), "code {code}");
            let (Some(status), Some((_, meaning, executed))) = (status, row) else { continue };
            assert!(status.meaning().starts_with(meaning), "{status}");
            assert_eq!(status.executed(), *executed, "{status}");
            assert_eq!(status.is_refusal(), (201..=204).contains(&code), "{status}");
            assert_eq!(status.closes_connection(), code == 101 || code == 104, "{status}");
        }
    }

    #[test]
    fn status_prints_three_digits_and_its_meaning() {
        assert_eq!(Status::Done.to_string(), "000 done");
        assert_eq!(Status::ReadQueueOverThreshold.to_string(), "201 refused: read queue over its threshold");
    }
}
