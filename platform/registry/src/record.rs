//! What the registry says, as it is printed and read as JSON.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that is in force, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Raised by one with each change; 0 before the first.
    pub generation: u64,
    /// Libraries by name, the active build of each first, then those it replaced, newest first.
    pub libraries: Vec<LibraryRecord>,
    /// Services by number.
    pub services: Vec<ServiceRecord>,
}

impl Snapshot {
    /// The service with this number.
    #[must_use]
    pub fn service(&self, number: u32) -> Option<&ServiceRecord> {
        self.services.iter().find(|service| service.number == number)
    }

    /// The build of this library that is tried on a share of its requests.
    #[must_use]
    pub fn canary(&self, name: &str) -> Option<&LibraryRecord> {
        self.libraries.iter().find(|library| library.canary.is_some() && library.name == name)
    }

    /// The active build of the library with this name.
    #[must_use]
    pub fn library(&self, name: &str) -> Option<&LibraryRecord> {
        self.libraries.iter().find(|library| library.active && library.name == name)
    }

    /// Those of `names` that neither a library which serves nor one of its services has, in their order.
    ///
    /// For the sections `[service.NAME]` of a configuration: one of these configures nothing, unless its library is
    /// yet to be deployed.
    #[must_use]
    pub fn unknown_names<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
        let is_known = |name: &str| {
            self.library(name).is_some() || self.services.iter().any(|service| service.name == name)
        };
        names.into_iter().filter(|name| !is_known(name)).collect()
    }
}

/// One build of a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryRecord {
    /// The library's name.
    pub name: String,
    /// The version that its author gave it.
    pub version: String,
    /// SHA-256 of its file, 64 hexadecimal digits: two builds of one version differ here.
    pub build: String,
    /// Its staged file.
    pub file: PathBuf,
    /// When it was deployed last, in milliseconds since 1970.
    pub deployed_ms: i64,
    /// Whether this build serves.
    pub active: bool,
    /// Whether an operator rolled it back; a later roll-back passes it over.
    #[serde(default)]
    pub set_aside: bool,
    /// How it is tried, if it is a canary.
    #[serde(default)]
    pub canary: Option<Canary>,
}

/// How a build is tried beside the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The share of its services' requests that it gets, in millionths, 1 to 1,000,000.
    pub share_ppm: u32,
    /// After how many milliseconds it is put into force, if it did well; `None`: only by hand.
    pub promote_after_ms: Option<u64>,
}

/// One service as it is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its number, eight digits.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// The library that brings it.
    pub library: String,
    /// Which queue it goes to.
    pub kind: ServiceKind,
    /// Whether it serves; the operator stops and starts it.
    pub enabled: bool,
    /// Its time-out in milliseconds, by the operator's rule or else by its library; 0: the platform's default.
    pub timeout_ms: u32,
    /// What follows when it overruns its time-out.
    pub policy: Policy,
    /// Version of its library.
    pub version: String,
    /// Build of its library.
    pub build: String,
    /// Whether running it twice does no harm, by its author's word.
    pub idempotent: bool,
    /// What it does, in one line.
    pub description: String,
    /// An example of a body.
    pub example: String,
    /// The reply to it.
    pub example_reply: String,
    /// The data sources that it uses.
    pub sources: Vec<String>,
    /// Whether this build was put out of service after repeated crashes, and there was none to fall back to.
    pub quarantined: bool,
    /// What the operator set for it.
    pub rule: Rule,
}

/// What the operator set for a service; it outlives new versions of the library.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Requests that may run at once.
    pub concurrency: Option<u32>,
    /// Requests per second.
    pub rate: Option<f64>,
    /// Requests that may come at once above the rate; without a rate it says nothing.
    pub burst: Option<u32>,
    /// Fill of the read queue, 0 to 1, from which the service is refused.
    pub threshold: Option<f64>,
    /// Whether every request is refused.
    pub refuse: bool,
    /// Time-out in milliseconds, in place of the library's.
    pub timeout_ms: Option<u32>,
    /// What follows an overrun, in place of `kill`.
    pub policy: Option<Policy>,
}

/// Which queue a service goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// It only reads.
    Read,
    /// It writes.
    Write,
    /// Something else; it goes to the write queue.
    Other,
}

impl ServiceKind {
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Other];

    /// The word for it in the table, in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Other => "other",
        }
    }

    /// The number for it in the directory: 1 read, 2 write, 3 other (0 is no service).
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Other => 3,
        }
    }
}

/// What follows when a service overruns its time-out. The caller is answered at its deadline in either case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The worker is ended and replaced.
    #[default]
    Kill,
    /// The worker goes on until the service ends by itself.
    Answer,
}

impl Policy {
    pub(crate) const ALL: [Self; 2] = [Self::Kill, Self::Answer];

    /// The word for it in the table, in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Answer => "answer",
        }
    }
}
