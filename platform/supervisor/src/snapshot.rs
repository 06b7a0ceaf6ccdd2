//! What the registry says should be running, as a helper prints it. The supervisor opens no database, so these are its
//! own words for the registry's JSON; what it does not need (descriptions, examples, history) is not kept.

use std::path::PathBuf;

use gantry_message::{Kind, Policy, ServiceNumber};
use serde::{Deserialize, Serialize};

/// Everything that is in force, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct Snapshot {
    /// Raised with each change of the registry.
    pub(crate) generation: u64,
    /// Every build of every library that is remembered.
    pub(crate) libraries: Vec<SnapshotLibrary>,
    pub(crate) services: Vec<SnapshotService>,
}

/// One build of a library.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct SnapshotLibrary {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Content hash of its file.
    pub(crate) build: String,
    /// The staged file.
    pub(crate) file: PathBuf,
    /// When it was deployed last, in milliseconds since 1970.
    #[serde(default)]
    pub(crate) deployed_ms: i64,
    /// Whether this build serves.
    pub(crate) active: bool,
    /// Whether it is nothing to go back to.
    #[serde(default)]
    pub(crate) set_aside: bool,
    /// How it is tried, if it is a canary.
    #[serde(default)]
    pub(crate) canary: Option<Canary>,
}

/// How a build is tried beside the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Canary {
    /// The share of its services' requests that it gets, in millionths.
    pub(crate) share_ppm: u32,
    /// After how many milliseconds it is put into force, if it did well.
    pub(crate) promote_after_ms: Option<u64>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct SnapshotService {
    pub(crate) number: ServiceNumber,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Name of its library.
    pub(crate) library: String,
    pub(crate) version: String,
    pub(crate) build: String,
    /// `false`: stopped by the operator.
    pub(crate) enabled: bool,
    /// Whether this version is quarantined.
    pub(crate) quarantined: bool,
    /// Time-out in milliseconds; 0 = the node's.
    pub(crate) timeout_ms: u32,
    pub(crate) idempotent: bool,
    /// Names of the data sources that it uses.
    pub(crate) sources: Vec<String>,
    pub(crate) rule: Rule,
}

/// What the operator set for a service; `None` where nothing was set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rule {
    /// Most requests in flight.
    pub(crate) concurrency: Option<u32>,
    /// Most requests a second.
    pub(crate) rate: Option<f64>,
    /// Requests that may come at once under `rate`.
    pub(crate) burst: Option<u32>,
    /// Fill of the read queue, 0 to 1, from which it is refused.
    pub(crate) threshold: Option<f64>,
    /// Refuse all.
    pub(crate) refuse: bool,
    /// Time-out in milliseconds.
    pub(crate) timeout_ms: Option<u32>,
    /// What follows an overrun.
    pub(crate) policy: Option<Policy>,
}

/// What a helper prints.
#[derive(Debug, Deserialize)]
pub(crate) struct HelperAnswer {
    /// The registry afterwards, if the helper may have changed it.
    #[serde(default)]
    pub(crate) snapshot: Option<Snapshot>,
    /// What there is to tell the operator.
    #[serde(default)]
    pub(crate) result: serde_json::Value,
}
