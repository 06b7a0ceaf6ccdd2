//! What is said on the admin socket: one JSON object in a line, in each direction.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gantry_message::ServiceNumber;
use serde::{Deserialize, Serialize};

use crate::limits::{ADMIN_LINE_BYTES_MAX, SERVED_LIMIT};

/// A command for a running node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum Request {
    /// How the node is.
    Status,
    /// End the node: drained, or at once.
    Stop {
        /// Without draining; segments are removed whatever is in them.
        #[serde(default)]
        now: bool,
    },
    /// Take nothing new after the grace time; answered when nothing is in flight any more.
    Drain,
    /// Take requests again.
    Undrain,
    /// Change the log level of all processes.
    Log {
        /// `debug`, `warn` or `error`.
        level: String,
    },
    /// Read the configuration again, as SIGHUP does.
    Reload,
    /// Go on as another program, and replace every process by one of it.
    Upgrade {
        /// The program, absolute.
        binary: PathBuf,
    },
    /// Something about services.
    Service(ServiceRequest),
}

/// A command about services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", content = "args", rename_all = "lowercase")]
pub enum ServiceRequest {
    /// All services with their counters.
    List,
    /// One service with all that is known of it.
    Show {
        /// Its number.
        number: ServiceNumber,
    },
    /// Deploy a library.
    Deploy {
        /// The file, absolute, or a bare library name.
        library: PathBuf,
        /// Try it on this share of the requests, in millionths; absent: put it into force.
        #[serde(default)]
        canary_ppm: Option<u32>,
        /// After how many milliseconds a canary that did well is put into force; absent: only by `promote`.
        #[serde(default)]
        promote_after_ms: Option<u64>,
        /// The build that serves already stays as it is (`changed` is false then); otherwise it is refused.
        #[serde(default)]
        unless_in_force: bool,
        /// How many milliseconds to wait for workers that run a request; absent, and at most: a minute.
        #[serde(default)]
        wait_ms: Option<u64>,
        /// Why, for the history.
        #[serde(default)]
        why: String,
    },
    /// Deploy a library again from where its name finds it.
    Reload {
        /// The library's name.
        name: String,
    },
    /// Put the canary of a library into force.
    Promote {
        /// The library's name.
        name: String,
        /// Why, for the history.
        #[serde(default)]
        why: String,
    },
    /// Set the canary of a library aside.
    Abort {
        /// The library's name.
        name: String,
        /// Why, for the history.
        #[serde(default)]
        why: String,
    },
    /// Compare canaries with the builds that they are tried beside.
    Canary,
    /// Put an earlier build of a library into force again.
    Rollback {
        /// The library's name.
        name: String,
        /// A version, or the beginning of a build; the newest of those that served before and were not rolled back.
        #[serde(default)]
        to: Option<String>,
        /// Why, for the history.
        #[serde(default)]
        why: String,
    },
    /// Take a library out of force: its services are unknown.
    Unload {
        /// The library's name.
        name: String,
        /// Why, for the history.
        #[serde(default)]
        why: String,
    },
    /// Let a service be called; lifts its quarantine.
    Start {
        /// Its number.
        number: ServiceNumber,
    },
    /// Answer 103 for a service.
    Stop {
        /// Its number.
        number: ServiceNumber,
        /// Why, for the history.
        #[serde(default)]
        why: String,
    },
    /// Change the rules of a service.
    Rule {
        /// Its number.
        number: ServiceNumber,
        /// The rules to change, by name.
        set: BTreeMap<String, String>,
    },
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Whether it was done.
    pub ok: bool,
    /// What there is to say about it; with a change that is not in force everywhere yet, who lags behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Why it was not done, for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It was not looked at; the same may be done in a while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

impl ServiceRequest {
    /// How long to wait at most until a change is in force.
    pub(crate) fn wait(&self) -> Duration {
        match self {
            Self::Deploy { wait_ms: Some(wait_ms), .. } => Duration::from_millis(*wait_ms).min(SERVED_LIMIT),
            _ => SERVED_LIMIT,
        }
    }

    /// Why it is asked for; mostly empty.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Deploy { why, .. }
            | Self::Promote { why, .. }
            | Self::Abort { why, .. }
            | Self::Rollback { why, .. }
            | Self::Unload { why, .. }
            | Self::Stop { why, .. } => why,
            _ => "",
        }
    }
}

impl Response {
    /// It was done.
    #[must_use]
    pub fn done(result: serde_json::Value) -> Self {
        Self { ok: true, result: Some(result), error: None, again: false }
    }

    /// It was not done.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self { ok: false, result: None, error: Some(error.into()), again: false }
    }

    /// It cannot be done now, and perhaps in a while.
    #[must_use]
    pub fn not_now(error: impl Into<String>) -> Self {
        Self { again: true, ..Self::failed(error) }
    }

    /// As a line, with its line feed.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an answer has text keys and finite numbers only");
        line.push(b'\n');
        line
    }
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote it.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| format!("the command cannot be understood: {error}"))
    }

    /// As a line, with its line feed.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line =
            serde_json::to_vec(self).expect("a command has text keys and no numbers that JSON lacks");
        line.push(b'\n');
        line
    }
}

/// What is at the beginning of a client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its line feed.
    Whole(Vec<u8>),
    /// Not yet a line.
    Part,
    /// More than a line may have.
    TooLong,
}

/// Takes the first line out of `input`.
pub(crate) fn take_line(input: &mut Vec<u8>) -> Line {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) if end > ADMIN_LINE_BYTES_MAX => Line::TooLong,
        Some(end) => {
            let mut line: Vec<u8> = input.drain(..=end).collect();
            line.pop();
            Line::Whole(line)
        }
        None if input.len() > ADMIN_LINE_BYTES_MAX => Line::TooLong,
        None => Line::Part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn number(value: u32) -> ServiceNumber {
        ServiceNumber::new(value).unwrap()
    }

    #[test]
    fn commands_are_read_as_they_are_documented() {
        let read = |value: serde_json::Value| Request::read(value.to_string().as_bytes());
        assert_eq!(read(json!({"command": "status"})), Ok(Request::Status));
        assert_eq!(read(json!({"command": "stop"})), Ok(Request::Stop { now: false }));
        assert_eq!(read(json!({"command": "stop", "now": true})), Ok(Request::Stop { now: true }));
        let log = Request::Log { level: "debug".to_owned() };
        assert_eq!(read(json!({"command": "log", "level": "debug"})), Ok(log));
        let start = Request::Service(ServiceRequest::Start { number: number(20_000_004) });
        assert_eq!(
            read(json!({"command": "service", "op": "start", "args": {"number": 20000004}})),
            Ok(start)
        );
        assert_eq!(
            read(json!({"command": "service", "op": "list"})),
            Ok(Request::Service(ServiceRequest::List))
        );
    }

    #[test]
    fn every_command_reads_back_from_its_line() {
        let set = BTreeMap::from([("rate".to_owned(), "5".to_owned())]);
        let requests = [
            Request::Status,
            Request::Stop { now: true },
            Request::Drain,
            Request::Undrain,
            Request::Reload,
            Request::Upgrade { binary: "/x/gantry".into() },
            Request::Service(ServiceRequest::List),
            Request::Service(ServiceRequest::Show { number: number(7) }),
            Request::Service(ServiceRequest::Deploy {
                library: "/x/liby.so".into(),
                canary_ppm: Some(50_000),
                promote_after_ms: None,
                unless_in_force: false,
                wait_ms: Some(5_000),
                why: "new".into(),
            }),
            Request::Service(ServiceRequest::Rollback { name: "y".into(), to: None, why: String::new() }),
            Request::Service(ServiceRequest::Promote { name: "y".into(), why: String::new() }),
            Request::Service(ServiceRequest::Abort { name: "y".into(), why: "slow".into() }),
            Request::Service(ServiceRequest::Canary),
            Request::Service(ServiceRequest::Unload { name: "y".into(), why: "old".into() }),
            Request::Service(ServiceRequest::Reload { name: "card".to_owned() }),
            Request::Service(ServiceRequest::Stop { number: number(7), why: String::new() }),
            Request::Service(ServiceRequest::Rule { number: number(7), set }),
        ];
        for request in requests {
            let line = request.to_line();
            assert_eq!(line.last(), Some(&b'\n'));
            assert_eq!(Request::read(&line[..line.len() - 1]), Ok(request));
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_what_is_wrong() {
        for (text, words) in [
            ("", "EOF"),
            ("status", "expected value"),
            (r#"{"command":"dance"}"#, "unknown variant `dance`"),
            (r#"{"command":"service","op":"start","args":{}}"#, "missing field `number`"),
            (r#"{"command":"service","op":"start","args":{"number":100000000}}"#, "99999999"),
            (r#"{"command":"log"}"#, "missing field `level`"),
            ("[1]", "command"),
        ] {
            let error = Request::read(text.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn lines_are_taken_one_by_one_and_long_ones_refused() {
        let mut input = b"one\ntwo\nthr".to_vec();
        assert_eq!(take_line(&mut input), Line::Whole(b"one".to_vec()));
        assert_eq!(take_line(&mut input), Line::Whole(b"two".to_vec()));
        assert_eq!(take_line(&mut input), Line::Part);
        assert_eq!(input, b"thr");
        input.extend(vec![b'x'; ADMIN_LINE_BYTES_MAX]);
        assert_eq!(take_line(&mut input), Line::TooLong);
        input.push(b'\n');
        assert_eq!(take_line(&mut input), Line::TooLong);
    }
}
