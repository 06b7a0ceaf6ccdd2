//! What a library says of itself, as plain data: what the probe prints and the registry keeps.

use gantry_message::{Kind, ServiceNumber};
use serde::{Deserialize, Serialize};

/// A library, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Name, such as `card`.
    pub name: String,
    /// Version, such as `1.4.0`.
    pub version: String,
    /// What tells two builds apart: the library's own word, else the linker's build id, else empty.
    pub build: String,
    /// Version of the contract that it was built for, such as `1.0`.
    pub abi: String,
    /// Its services, at least one, in the library's order.
    pub services: Vec<ServiceDescription>,
    /// Steps of the schema of its tables, in the library's order.
    pub migrations: Vec<MigrationDescription>,
}

impl Description {
    /// Whether it was built for this minor version of the contract or a later one.
    pub(crate) fn speaks(&self, minor: u32) -> bool {
        let own = self.abi.split_once('.').and_then(|(_, own)| own.parse::<u32>().ok());
        own.is_some_and(|own| own >= minor)
    }
}

/// One service of a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDescription {
    /// Its number.
    pub number: ServiceNumber,
    /// Its name, such as `card.recharge`.
    pub name: String,
    /// Read, write or other.
    pub kind: Kind,
    /// Time-out in milliseconds, 1 to 86,400,000; 0: the platform's default.
    pub timeout_ms: u32,
    /// Whether running it twice for one request harms nobody.
    pub idempotent: bool,
    /// One line for people.
    pub description: String,
    /// A request that works; may be empty.
    pub example: String,
    /// The reply to it; may be empty.
    pub example_reply: String,
    /// Names of the data sources that it uses.
    pub sources: Vec<String>,
    /// Names of the members of its configuration that it cannot do without.
    #[serde(default)]
    pub settings: Vec<String>,
}

/// One step of a schema, applied once per (source, schema, version).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationDescription {
    /// Name of the data source.
    pub source: String,
    /// Name of the set of tables.
    pub schema: String,
    /// Version that the step leads to, from 1.
    pub version: u32,
    /// Portable statements, separated by `;` and a line feed.
    pub sql: String,
}
