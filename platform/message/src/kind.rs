//! What a service is to the platform: its kind, its queue, what follows its time-out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a service reads, writes, or does something else. Its code is the directory's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// Changes nothing; may be run again when its worker is lost.
    Read = 1,
    /// Changes data; takes effect once per request id.
    Write = 2,
    /// Neither a plain read nor a plain write (batch jobs, serial numbers); treated as a write.
    Other = 3,
}

/// The queue in which a request waits for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Queue {
    /// Reads wait here.
    Read,
    /// All other requests wait here, so that slow reads never hold them up.
    Write,
}

/// What follows when a service runs past its time-out. The caller gets its answer either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Policy {
    /// The worker is killed and replaced.
    Kill = 1,
    /// The caller is answered and the service may run to its end.
    Answer = 2,
}

impl Kind {
    /// The code in the directory and in `gantry_service`: 1 read, 2 write, 3 other.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this code; `None` for 0, which the directory uses for "no service", and above 3.
    pub const fn from_code(code: u8) -> Option<Kind> {
        match code {
            1 => Some(Kind::Read),
            2 => Some(Kind::Write),
            3 => Some(Kind::Other),
            _ => None,
        }
    }

    /// The queue in which requests of this kind wait.
    pub const fn queue(self) -> Queue {
        match self {
            Kind::Read => Queue::Read,
            Kind::Write | Kind::Other => Queue::Write,
        }
    }

    /// The name in JSON, configuration and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Other => "other",
        }
    }
}

impl Queue {
    /// The name in JSON, configuration and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Queue::Read => "read",
            Queue::Write => "write",
        }
    }
}

impl Policy {
    /// The code in shared memory and in `gantry_service`: 1 kill, 2 answer. 0 is nobody's, so that a row
    /// that was never written cannot pass for a policy.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The policy with this code, or `None`.
    pub const fn from_code(code: u8) -> Option<Policy> {
        match code {
            1 => Some(Policy::Kill),
            2 => Some(Policy::Answer),
            _ => None,
        }
    }

    /// The name in JSON, configuration and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::Kill => "kill",
            Policy::Answer => "answer",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_directory_read_back_and_all_others_are_none() {
        for code in 0..=u8::MAX {
            assert_eq!(Kind::from_code(code).map(Kind::code), (1..=3).contains(&code).then_some(code));
            assert_eq!(Policy::from_code(code).map(Policy::code), (1..=2).contains(&code).then_some(code));
        }
        assert_eq!([Kind::Read, Kind::Write, Kind::Other].map(Kind::code), [1, 2, 3]);
    }

    #[test]
    fn only_reads_wait_in_the_read_queue() {
        let queues = [Kind::Read, Kind::Write, Kind::Other].map(Kind::queue);
        assert_eq!(queues, [Queue::Read, Queue::Write, Queue::Write]);
    }

    #[test]
    fn json_holds_the_name_that_is_also_displayed() {
        for kind in [Kind::Read, Kind::Write, Kind::Other] {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<Kind>(&json).unwrap(), kind);
        }
        for policy in [Policy::Kill, Policy::Answer] {
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("\"{policy}\""));
            assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
        }
        for queue in [Queue::Read, Queue::Write] {
            let json = serde_json::to_string(&queue).unwrap();
            assert_eq!(json, format!("\"{queue}\""));
            assert_eq!(serde_json::from_str::<Queue>(&json).unwrap(), queue);
        }
        assert!(serde_json::from_str::<Kind>("\"Read\"").is_err());
    }
}
