//! Answers that the communication process gives instead of running anything.

use gantry_frame::{DecodeError, Field};
use gantry_message::Status;

use crate::counters::Counter;
use crate::limits::{NS_PER_MS, RETRY_MS_MAX, RETRY_MS_MIN, RETRY_MS_UNKNOWN};
use crate::small_body::SmallBody;

/// What a refusal says besides its status.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Why {
    /// The status says everything by itself.
    Status,
    /// Something is full: what, how full, and when to come again.
    Overload { queue: &'static str, fill: f32, retry_ms: u64 },
    /// 101: which byte is wrong.
    Malformed { field: Field, position: usize },
    /// 104: how long a body may be.
    TooLarge { limit_bytes: u32 },
    /// 304 by the platform's own numbers.
    BadRequest { field: &'static str, message: &'static str },
}

/// A status with its reason, small enough to be handed through results; its body is made when it is recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    /// The row of the service that it is counted for.
    pub(crate) service_index: Option<u32>,
    why: Why,
}

impl Refusal {
    /// A status that says everything by itself.
    pub(crate) fn plain(status: Status) -> Self {
        Self { status, service_index: None, why: Why::Status }
    }

    /// 201 to 204. `queue` is what is full, `fill` how full it is, `retry_ms` when to come again.
    pub(crate) fn overload(status: Status, queue: &'static str, fill: f64, retry_ms: u64) -> Self {
        let retry_ms = retry_ms.clamp(RETRY_MS_MIN, RETRY_MS_MAX);
        Self { why: Why::Overload { queue, fill: fill as f32, retry_ms }, ..Self::plain(status) }
    }

    /// 204. This node takes nothing new: another one may.
    pub(crate) fn draining(fill: f64) -> Self {
        Self::overload(Status::Draining, "node", fill, RETRY_MS_UNKNOWN)
    }

    /// 101 and 104: what was wrong, and where.
    pub(crate) fn of_decode_error(error: &DecodeError) -> Self {
        let why = match error {
            DecodeError::BodyTooLarge { limit_bytes, .. } => Why::TooLarge { limit_bytes: *limit_bytes },
            DecodeError::Malformed { field, position, .. } => {
                Why::Malformed { field: *field, position: *position }
            }
            _ => Why::Status,
        };
        Self { why, ..Self::plain(error.status()) }
    }

    /// 304 for the platform's own numbers.
    pub(crate) fn bad_request(field: &'static str, message: &'static str) -> Self {
        Self { why: Why::BadRequest { field, message }, ..Self::plain(Status::BusinessError) }
    }

    /// The same, counted for a service.
    pub(crate) fn of_service(self, index: u32) -> Self {
        Self { service_index: Some(index), ..self }
    }

    /// What it says besides the status, as JSON.
    pub(crate) fn body(&self) -> SmallBody {
        match self.why {
            Why::Status => SmallBody::EMPTY,
            Why::Overload { queue, fill, retry_ms } => SmallBody::text(format_args!(
                "{{\"retry_after_ms\":{retry_ms},\"fill\":{fill:.2},\"queue\":\"{queue}\"}}"
            )),
            Why::Malformed { field, position } => SmallBody::text(format_args!(
                "{{\"error\":\"malformed\",\"field\":\"{field}\",\"position\":{position}}}"
            )),
            Why::TooLarge { limit_bytes } => SmallBody::text(format_args!(
                "{{\"error\":\"body_too_large\",\"limit_bytes\":{limit_bytes}}}"
            )),
            Why::BadRequest { field, message } => SmallBody::text(format_args!(
                "{{\"error\":\"bad_request\",\"field\":\"{field}\",\"message\":\"{message}\"}}"
            )),
        }
    }

    /// The counter of a status that this process gives by itself.
    pub(crate) fn counter(status: Status) -> Option<Counter> {
        Some(match status {
            Status::Malformed => Counter::Malformed,
            Status::NoSuchService => Counter::NoSuchService,
            Status::ServiceStopped => Counter::ServiceStopped,
            Status::BodyTooLarge => Counter::BodyTooLarge,
            Status::ChecksumWrong => Counter::ChecksumWrong,
            Status::RequestIdReused => Counter::RequestIdReused,
            Status::ReadQueueOverThreshold => Counter::ReadThreshold,
            Status::Full => Counter::Full,
            Status::RefusedByRule => Counter::RefusedByRule,
            Status::Draining => Counter::Draining,
            Status::TimedOut => Counter::TimedOut,
            Status::WorkerLost => Counter::WorkerLost,
            Status::Quarantined => Counter::Quarantined,
            Status::BudgetSpent => Counter::BudgetSpent,
            Status::Done
            | Status::CallerNotAllowed
            | Status::BusinessError
            | Status::ServiceFailed
            | Status::PlatformFault => return None,
        })
    }
}

/// Nanoseconds as whole milliseconds, rounded up.
pub(crate) fn to_ms(time_ns: u64) -> u64 {
    time_ns.div_ceil(NS_PER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_frame::{Limits, decode_request};

    #[test]
    fn an_overload_says_when_to_come_again_in_valid_json() {
        let refusal = Refusal::overload(Status::ReadQueueOverThreshold, "read", 0.8291, 0);
        assert_eq!(refusal.body().as_bytes(), br#"{"retry_after_ms":1,"fill":0.83,"queue":"read"}"#);
        let longest = Refusal::overload(Status::Full, "memory", 1.0, u64::MAX);
        assert_eq!(longest.body().as_bytes(), br#"{"retry_after_ms":60000,"fill":1.00,"queue":"memory"}"#);
        serde_json::from_slice::<serde_json::Value>(Refusal::draining(0.5).body().as_bytes()).unwrap();
    }

    #[test]
    fn a_malformed_frame_is_told_where_it_is_wrong() {
        let error = decode_request(b"ETC1x", &Limits::default()).unwrap_err();
        let refusal = Refusal::of_decode_error(&error);
        assert_eq!(refusal.status, Status::Malformed);
        assert_eq!(refusal.body().as_bytes(), br#"{"error":"malformed","field":"body length","position":4}"#);
    }

    #[test]
    fn a_bad_request_names_the_field() {
        let refusal = Refusal::bad_request("body", "the body must be the 24 bytes of a request id");
        let body: serde_json::Value = serde_json::from_slice(refusal.body().as_bytes()).unwrap();
        assert_eq!((&body["error"], &body["field"]), (&"bad_request".into(), &"body".into()));
    }
}
