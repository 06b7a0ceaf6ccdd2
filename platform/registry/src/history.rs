//! Who changed what of a library, when, and why.

use serde::{Deserialize, Serialize};

use crate::limits::WHY_BYTES_MAX;

/// Who asks for changes, and why; noted with each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Author {
    /// Such as `uid 0`, or `platform`.
    pub asker: String,
    /// An operator's own words; may be empty.
    pub why: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A build came into force.
    Deploy,
    /// An earlier build came into force again.
    Rollback,
    /// No build is in force any more.
    Unload,
    /// A service was stopped.
    Stop,
    /// A service was started.
    Start,
    /// A version of a service was put out of service after it killed workers.
    Quarantine,
    /// A service fell back to an earlier build, since the one in force killed workers.
    Fallback,
    /// A build is tried on a share of the requests.
    Canary,
    /// A canary came into force.
    Promote,
    /// A canary was set aside.
    Abort,
}

impl Action {
    pub(crate) const ALL: [Self; 10] = [
        Self::Deploy,
        Self::Rollback,
        Self::Unload,
        Self::Stop,
        Self::Start,
        Self::Quarantine,
        Self::Fallback,
        Self::Canary,
        Self::Promote,
        Self::Abort,
    ];

    /// The word for it in the table and for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Unload => "unload",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Quarantine => "quarantine",
            Self::Fallback => "fallback",
            Self::Canary => "canary",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970, by the node's clock.
    pub at_ms: i64,
    /// Who asked for it.
    pub asker: String,
    /// What was done.
    pub action: Action,
    /// The library.
    pub library: String,
    /// The service, where it was about a single one.
    pub number: Option<u32>,
    /// The version that serves since then; that which served last after an `unload`.
    pub version: String,
    /// Its build.
    pub build: String,
    /// The version and build that it took the place of, such as `1.0.0 0123456789abcdef`; may be empty.
    pub before: String,
    /// Why; may be empty.
    pub why: String,
}

impl Author {
    /// The reason as it is stored: cut at a character's border.
    pub(crate) fn stored_why(&self) -> String {
        let mut end = self.why.len().min(WHY_BYTES_MAX);
        while !self.why.is_char_boundary(end) {
            end -= 1;
        }
        self.why[..end].to_owned()
    }
}
